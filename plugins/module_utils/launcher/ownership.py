# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whose the directories are that a host shares with a container.

A container gives a directory of the host to nobody that the host had there before: neither owner nor mode is changed.
The exception is one that root made and left empty, where an account asks for just this directory: that is what somebody
makes for a service to keep its data in. Even then it is opened for nobody else.
"""

from __future__ import annotations

import os
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .contract import Directory
    from .owners import Owners
    from .volumes import Volume

LOOKED_AT = 256  # files of a mapping, when ids are looked for that the container does not have
EMPTY = ("lost+found",)  # what a file system has from the beginning
OTHERS = stat.S_IRWXO
OTHER_OWNER = (
    "volume %s: is of %d:%d inside, and was declared to be of %d:%d; it stays so, for there is something in it: give "
    "all of it another owner inside (chown -R), or declare the one that it has"
)


def is_empty(directory: int) -> bool:
    """Return whether nothing is in a directory, of which this is a readable descriptor."""
    with os.scandir(directory) as entries:
        return all(entry.name in EMPTY for entry in entries)


def is_given(entry: Directory, status: os.stat_result, directory: int) -> bool:
    """Return whether a directory of the host is there for an account to take: asked for it, root's, and empty.

    What every system has, such as `/srv` and `/var/tmp`, is for no account, and stays as the host has it.
    """
    return bool(entry.uid or entry.gid) and (status.st_uid, status.st_gid) == (0, 0) and is_empty(directory)


def take(entry: Directory, status: os.stat_result, directory: int) -> str | None:
    """Give a directory of the host to the account that it is declared for, if it is there for that. Else leave it.

    The mode is the declared one, but of the rights of others it has those alone that it had before.

    Args:
        entry, status, directory: as for `refusal`.

    Returns:
        Why it cannot be what is declared, or None where it can.
    """
    reason = refusal(entry, status, directory, entry.path)
    if reason is None and is_given(entry, status, directory):
        os.fchown(directory, entry.uid, entry.gid)
        os.fchmod(directory, int(entry.mode, 8) & (~OTHERS | status.st_mode))
    return reason


def give_volume(source: int, volume: Volume, owners: Owners) -> str | None:
    """Give an empty volume the owner and the mode that are declared. Return a warning when another has what is in it.

    From then on they are root's inside to change.

    Args:
        source: descriptor (`O_PATH`) of its directory.
        owners: the ids of accounts that are others than declared.
    """
    wanted = owners.user(volume.uid), owners.group(volume.gid)
    directory = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=source)
    try:
        if is_empty(directory):
            os.fchown(directory, *wanted)
            os.fchmod(directory, int(volume.mode, 8))
            return None
        status = os.fstat(directory)
        found = status.st_uid, status.st_gid
        return None if found == wanted else OTHER_OWNER % (volume.name, *found, *wanted)
    finally:
        os.close(directory)


def refusal(entry: Directory, status: os.stat_result, directory: int, name: str) -> str | None:
    """Return why a directory of the host cannot be what is declared, or None where it can.

    Args:
        entry: the declared directory.
        status: of the directory, with ids as the container has them.
        directory: a readable descriptor of it.
        name: what the text calls it.
    """
    known = status.st_uid == entry.uid if entry.uid else not entry.gid or status.st_gid == entry.gid
    if known or is_given(entry, status, directory):
        return None
    ids = "%d:%d" % (entry.uid, entry.gid)
    if is_empty(directory):
        remedy = "chown %s %s on the host" % (ids, name)
    else:
        name_of = entry.account or "…"
        remedy = (
            "declare the account with its ids (in operating_system, users: [{name: %s, uid: %d}] and "
            "groups: [{name: %s, gid: %d}])" % (name_of, status.st_uid, name_of, status.st_gid)
        )
    return "%s: belongs to %d:%d, and %s of the container to %s%s: %s, or map an empty directory of root's" % (
        name,
        status.st_uid,
        status.st_gid,
        entry.path,
        ids,
        " (%s)" % entry.account if entry.account else "",
        remedy,
    )


def foreign_warning(directory: int, path: str, count: int) -> str | None:
    """Return the warning for the file that `foreign_file` finds in what is mapped from a path; None for none."""
    found = foreign_file(directory, count)
    if found is None:
        return None
    name, uid, gid = found
    return (
        "%s: belongs to %d:%d, and a container has the ids 0 to %d: inside it is nobody's, and nobody there can "
        "change or remove it; give it another owner on the host"
        % (path if name == "." else "%s/%s" % (path.rstrip("/"), name), uid, gid, count - 1)
    )


def foreign_file(directory: int, count: int) -> tuple[str, int, int] | None:
    """Return the first file, with owner and group, that belongs to nobody of the container, among the first few.

    Args:
        directory: a descriptor (`O_PATH`) of what is mapped, a directory or a file.
        count: how many ids the container has.
    """
    status = os.fstat(directory)
    if not (status.st_uid < count and status.st_gid < count):
        return ".", status.st_uid, status.st_gid
    if not stat.S_ISDIR(status.st_mode):
        return None
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        waiting = [("", os.open(".", flags, dir_fd=directory))]
    except OSError:
        return None  # a server may keep it from root
    left = LOOKED_AT
    try:
        while waiting and left > 0:
            name, descriptor = waiting.pop(0)
            try:
                with os.scandir(descriptor) as entries:
                    for entry in entries:
                        left -= 1
                        found = entry.stat(follow_symlinks=False)
                        if found.st_dev != status.st_dev:
                            continue
                        if not (found.st_uid < count and found.st_gid < count):
                            return name + entry.name, found.st_uid, found.st_gid
                        if left <= 0:
                            break
                        if stat.S_ISDIR(found.st_mode):
                            waiting.append((name + entry.name + "/", os.open(entry.name, flags, dir_fd=descriptor)))
            except OSError:
                continue  # it has changed meanwhile
            finally:
                os.close(descriptor)
    finally:
        for _name, descriptor in waiting:
            os.close(descriptor)
    return None
