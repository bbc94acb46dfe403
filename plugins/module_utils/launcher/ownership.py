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

from .mapping_ids import NOBODY
from .targets import plain_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .contract import Directory, Mount
    from .mapping_ids import Ids, MappingIds
    from .owners import Owners
    from .volumes import Volume

LOOKED_AT = 256  # files of a mapping, when ids are looked for that the container does not have
EMPTY = ("lost+found",)  # what a file system has from the beginning
OTHERS = stat.S_IRWXO
OTHER_OWNER = (
    "volume %s: is of %d:%d inside, and was declared to be of %d:%d; it stays so, for there is something in it: give "
    "all of it another owner inside (chown -R), or declare the one that it has"
)
READABLE = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def is_empty(directory: int) -> bool:
    """Return whether nothing is in a directory, of which this is a readable descriptor."""
    with os.scandir(directory) as entries:
        return all(entry.name in EMPTY for entry in entries)


def is_given(entry: Directory, owner: Ids, directory: int) -> bool:
    """Return whether a directory of the host is there for an account to take: asked for it, root's, and empty.

    What every system has, such as `/srv` and `/var/tmp`, is for no account, and stays as the host has it.
    """
    return bool(entry.uid or entry.gid) and owner == (0, 0) and is_empty(directory)


def take(entry: Directory, status: os.stat_result, directory: int, mapped: bool = False) -> str | None:
    """Give a directory of the host to the account that it is declared for, if it is there for that. Else leave it.

    Args:
        entry, directory, mapped: as for `refusal`.
        status: of the directory, with ids as the container has them.

    Returns:
        Why it cannot be what is declared, or None where it can.
    """
    owner = status.st_uid, status.st_gid
    reason = refusal(entry, status, directory, entry.path, mapped)
    if reason is None and is_given(entry, owner, directory):
        _give(directory, (entry.uid, entry.gid), status.st_mode, entry.mode)
    return reason


def give(source: int, status: os.stat_result, record: Mount, entries: list[Directory]) -> bool:
    """Give a directory of the host to the owner that its mapping says, if it is root's and empty. Else leave it.

    Args:
        source: a descriptor (`O_PATH`) of it.
        status: of it.
        record: the mapping.
        entries: the declared directories, one of which may say its mode.

    Returns:
        Whether it was given.
    """
    owner = record.uid or 0, record.gid or 0
    if not is_roots_and_empty(source, status):
        return False
    modes = [entry.mode for entry in entries if plain_path(entry.path) == plain_path(record.mount_point)]
    directory = os.open(".", READABLE, dir_fd=source)
    try:
        _give(directory, owner, status.st_mode, modes[0] if modes else None)
    finally:
        os.close(directory)
    return True


def is_roots_and_empty(source: int, status: os.stat_result) -> bool:
    """Return whether what a descriptor (`O_PATH`) names is an empty directory of root's."""
    if (status.st_uid, status.st_gid) != (0, 0) or not stat.S_ISDIR(status.st_mode):
        return False
    directory = os.open(".", READABLE, dir_fd=source)
    try:
        return is_empty(directory)
    finally:
        os.close(directory)


def give_volume(source: int, volume: Volume, owners: Owners) -> str | None:
    """Give an empty volume the owner and the mode that are declared. Return a warning when another has what is in it.

    From then on they are root's inside to change.

    Args:
        source: descriptor (`O_PATH`) of its directory.
        owners: the ids of accounts that are others than declared.
    """
    wanted = owners.user(volume.uid), owners.group(volume.gid)
    directory = os.open(".", READABLE, dir_fd=source)
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


def _give(directory: int, owner: Ids, former: int, mode: str | None) -> None:
    """Change the owner, and the mode to a declared one, but of the rights of others leave those that there were."""
    os.fchown(directory, *owner)
    if mode is not None:
        os.fchmod(directory, int(mode, 8) & (~OTHERS | former))


def refusal(
    entry: Directory,
    status: os.stat_result,
    directory: int,
    name: str,
    mapped: bool = False,
    ids: MappingIds | None = None,
) -> str | None:
    """Return why a directory of the host cannot be what is declared, or None where it can.

    Args:
        entry: the declared directory.
        status: of the directory.
        directory: a readable descriptor of it.
        name: what the text calls it.
        mapped: whether a mapping could say that its owner is another inside.
        ids: those of the mapping that it lies in, where the status is as the host has it; None where it is as the
            container has it.
    """
    disk = status.st_uid, status.st_gid
    owner = disk if ids is None else ids.inside(status)
    known = owner[0] == entry.uid if entry.uid else not entry.gid or owner[1] == entry.gid
    if known or is_given(entry, owner, directory):
        return None
    wanted = entry.uid, entry.gid
    if is_empty(directory) or owner[0] in (0, NOBODY):
        recursive = "" if is_empty(directory) else " -R"
        to = wanted if ids is None else ids.on_disk(*wanted)
        remedy = "chown%s %d:%d %s on the host" % (recursive, *to, name)
    else:
        name_of = entry.account or "…"
        remedy = (
            "declare the account with its ids (in operating_system, users: [{name: %s, uid: %d}] and "
            "groups: [{name: %s, gid: %d}])" % (name_of, owner[0], name_of, owner[1])
        )
    if mapped and owner[0] != 0 and entry.uid:
        remedy = "let the mapping say whose it is (owner: %s), %s" % (entry.account or entry.uid, remedy)
    elsewhere = "" if disk == owner else " inside (%d:%d on the host)" % disk
    return "%s: belongs to %d:%d%s, and %s of the container to %s%s: %s, or map an empty directory of root's" % (
        name,
        *owner,
        elsewhere,
        entry.path,
        "%d:%d" % wanted,
        " (%s)" % entry.account if entry.account else "",
        remedy,
    )


def foreign_warning(directory: int, path: str, ids: MappingIds) -> str | None:
    """Return the warning for the file that `foreign_file` finds in what is mapped from a path; None for none."""
    found = foreign_file(directory, ids)
    if found is None:
        return None
    name, uid, gid = found
    reason = "a container has the ids 0 to %d" % (ids.count - 1)
    if all(number < ids.count for number in ids.without_counterpart(uid, gid)):
        reason = "what its `owner` and `group` say leaves no id inside for that"
    return (
        "%s: belongs to %d:%d, and %s: inside it is nobody's, and nobody there can "
        "change or remove it; give it another owner on the host"
        % (path if name == "." else "%s/%s" % (path.rstrip("/"), name), uid, gid, reason)
    )


def foreign_file(directory: int, ids: MappingIds) -> tuple[str, int, int] | None:
    """Return the first file, with owner and group, that belongs to nobody of the container, among the first few.

    Args:
        directory: a descriptor (`O_PATH`) of what is mapped, a directory or a file.
        ids: those of the mapping.
    """
    status = os.fstat(directory)
    if ids.without_counterpart(status.st_uid, status.st_gid):
        return ".", status.st_uid, status.st_gid
    if not stat.S_ISDIR(status.st_mode):
        return None
    try:
        waiting = [("", os.open(".", READABLE, dir_fd=directory))]
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
                        if ids.without_counterpart(found.st_uid, found.st_gid):
                            return name + entry.name, found.st_uid, found.st_gid
                        if left <= 0:
                            break
                        if stat.S_ISDIR(found.st_mode):
                            waiting.append((name + entry.name + "/", os.open(entry.name, READABLE, dir_fd=descriptor)))
            except OSError:
                continue  # it has changed meanwhile
            finally:
                os.close(descriptor)
    finally:
        for _name, descriptor in waiting:
            os.close(descriptor)
    return None
