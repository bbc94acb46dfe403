# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where containers write on the host: what was mounted when they started, and not what their paths lead to now.

Root inside may put a link, or another directory, where a path of its container's mappings leads. A path of the host is
opened here as a start opens it: through no link.
"""

from __future__ import annotations

import os
import stat

from ..launcher import guarded, linux, lookup, mapped
from ..launcher.paths import STATE_DIRECTORY, read_text
from ..launcher.targets import is_below, plain_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict

    Noted = Dict[str, str]  # paths of the host, each with the device and inode that a container has mounted from there

NOTE_LIMIT = 16 << 20  # bytes of the note of a start's mappings
WITH_LINKS = ("/dev", STATE_DIRECTORY)  # where no container writes


def note(directory: str) -> list[mapped.Mapped]:
    """Return the note of a container's start on its mappings, from its runtime directory."""
    return mapped.parse(read_text(os.path.join(directory, mapped.FILE), NOTE_LIMIT))


def mounted(known: list[mapped.Mapped]) -> Noted:
    """Return the paths that were mounted by a note, each with its device and inode; not those that were left out."""
    return {plain_path(each.record.source): each.identity for each in known if each.identity}


def open_source(path: str, place: str) -> int:
    """Return a descriptor (`O_PATH`) of what a container would mount from a path; the caller closes it.

    Args:
        place: where the path is looked for.

    Raises:
        OSError: as open(2) says; `ELOOP` for a link, which a start refuses.
    """
    if any(is_below(path, directory) for directory in WITH_LINKS):
        return lookup.open_on_host(place)
    return linux.openat2(linux.AT_FDCWD, place, os.O_PATH, linux.RESOLVE_NO_SYMLINKS)


def is_kept(path: str, place: str) -> bool:
    """Return whether what is written to a path stays there; also when the path cannot be opened.

    That is not so for sockets, pipes and devices, which any number of containers may use.
    """
    try:
        source = open_source(path, place)
    except OSError:
        return True
    try:
        mode = os.fstat(source).st_mode
    finally:
        os.close(source)
    return not (stat.S_ISSOCK(mode) or stat.S_ISFIFO(mode) or stat.S_ISCHR(mode))


def places_of(guard: guarded.GuardedHost, path: str, place: str, known: Noted) -> list[guarded.Place]:
    """Return the places of a path that another container writes to, as long as that is still there.

    Args:
        known: what that container has mounted, while it runs.
    """
    try:
        source = open_source(path, place)
    except OSError:
        return []  # it is missing, or a link has come there: what is mounted is elsewhere
    try:
        identity = mapped.identity_of(os.fstat(source))
        if known.get(path, identity) == identity:
            return guard.places(source)
        return []
    finally:
        os.close(source)


def identities_above(source: int) -> list[str]:
    """Return the device and inode of what a descriptor names, then those of the directories above it.

    What another container has mounted is known by these: it may have been renamed since.
    """
    here = os.readlink("/proc/self/fd/%d" % source)
    found = [mapped.identity_of(os.fstat(source))]
    while here != "/":
        here = os.path.dirname(here)
        try:
            directory = linux.openat2(linux.AT_FDCWD, here, os.O_PATH, linux.RESOLVE_NO_SYMLINKS)
        except OSError:
            break  # it was moved meanwhile
        found.append(mapped.identity_of(os.fstat(directory)))
        os.close(directory)
    return found
