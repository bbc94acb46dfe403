# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two containers that write to one directory of the host: what each writes to, and where that meets.

A launcher asks it before a start, of those that run; the modules ask it earlier, and of those that the host's boot
starts as well (`host/claims`).
"""

from __future__ import annotations

import os

from ..launcher import guarded, mount_table, mounts
from ..launcher.errors import LauncherError
from ..launcher.names import is_name
from ..launcher.paths import RUN_DIRECTORY
from ..launcher.specification import read_file_systems
from ..launcher.written_paths import paths_written
from . import mounted_sources
from .record import RecordedContainer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Dict, Iterable, Tuple

    from ..launcher.contract import Mount
    from .mounted_sources import Noted

    Written = Dict[str, str]  # a path of the host that a container writes to, and the mount point by which it does
    Place = Callable[[str], str]  # where a path of the host is looked for
    Other = Tuple[str, str, Written, Noted]  # a container's name, what it does, what it writes to, and has mounted

WAYS_OUT = (
    "two systems that write one directory damage what is in it: stop or remove that container first, "
    "give this one a directory of its own, or share it read-only"
)
TURNED = {"is": "is", "contains": "lies in", "lies in": "contains"}


def here(path: str) -> str:
    """Return the place of a path for a process that is on that host: the path."""
    return path


def writes(
    records: Iterable[Mount], place: Place = here, table: list[mount_table.MountTableEntry] | None = None
) -> Written:
    """Return the paths of the host that mounts write to, each with its mount point.

    Args:
        place: where a path of the host is looked for.
        table: the mount table of the host, if the caller has read it already.
    """
    found: Written = {}
    for record in records:
        for path in paths_written(record):
            if not mounts.answers_at_once(place(path), table) or mounted_sources.is_kept(path, place(path)):
                found.setdefault(path, record.mount_point)
    return found


def meetings(written: Written, others: Iterable[Other], place: Place = here) -> list[str]:
    """Return one sentence per path that a container writes to, and that another one writes to as well.

    Args:
        written: what the container writes to.
        others: the other containers.
        place: where a path of the host is looked for.
    """
    said = []
    for name, does, theirs, noted in others:
        if not written or not theirs:
            continue
        guard = guarded.GuardedHost({}, ())
        known = {path: identity for path, identity in noted.items() if path in theirs}
        for path in theirs:
            if mounts.answers_at_once(place(path), guard.mounts):
                mounted_sources.add(guard, path, place(path), known)
        for path, point in written.items():
            met = _meets(guard, path, theirs, known, place)
            if met:
                said.append(
                    "container '%s', which %s, writes to %s (at %s), and that %s %s (here at %s): %s"
                    % (name, does, met[1], theirs[met[1]], met[0], path, point, WAYS_OUT)
                )
    return said


def refuse_second(
    name: str,
    records: list[Mount],
    directory: str = RUN_DIRECTORY,
    recorded: Callable[[str], RecordedContainer] = RecordedContainer,
) -> None:
    """Refuse to start a container that would write where one that runs does. Without a writable mount, ask nothing.

    Raises:
        LauncherError: naming both, and the ways out.
    """
    if not any(paths_written(record) for record in records):
        return
    table = mount_table.read()
    written = writes(records, here, table)
    said = meetings(written, _running(name, directory, recorded, table)) if written else []
    if said:
        raise LauncherError("container %s: cannot start: %s" % (name, "; ".join(said)))


def names_beside(directory: str, name: str) -> list[str]:
    """Return the names of the containers in a directory but one, sorted; none where there is no such directory."""
    try:
        found = sorted(os.listdir(directory))
    except FileNotFoundError:
        return []
    return [other for other in found if other != name and is_name(other)]


def _running(
    name: str,
    directory: str,
    recorded: Callable[[str], RecordedContainer],
    table: list[mount_table.MountTableEntry],
) -> list[Other]:
    """Return the other containers that run, with what they were started to write to (`--share` as well)."""
    found = []
    for other in names_beside(directory, name):
        status = recorded(other).status()
        if status.state != "running" or not status.system:
            continue
        noted = mounted_sources.note(os.path.join(directory, other))
        records = [known.record for known in noted]
        try:
            records = read_file_systems(status.system) + records
        except LauncherError:
            pass  # it was damaged since
        found.append((other, "runs", writes(records, here, table), mounted_sources.mounted(noted)))
    return found


def _meets(
    guard: guarded.GuardedHost, path: str, theirs: Written, noted: Noted, place: Place
) -> tuple[str, str] | None:
    """Return how a path that another container writes to stands to this path, with that path; None if they are apart.

    Both their text and what is there count.

    Where the path cannot be opened as a start opens it, or a link of /proc is on the way to what lies there, only the
    words count: a start refuses that.
    """
    for known in theirs:
        relation = guarded.relation_of(known, path)
        if relation:
            return relation, known
    if not mounts.answers_at_once(place(path), guard.mounts):
        return None
    try:
        source = mounted_sources.open_source(path, place(path))
    except OSError:
        return None
    try:
        above = mounted_sources.mounted_above(source, noted)
        if above is not None:
            return above
        met = guard.written(source)
    except LauncherError:
        return None
    finally:
        os.close(source)
    return (TURNED[met[0]], guard.runs[met[1]]) if met else None
