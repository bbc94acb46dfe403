# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files that an archive has, written into directories that nobody else has yet: content, owner, mode, attributes, time.

Small ones are written many at a time, also by another process (`helper`).
"""

from __future__ import annotations

import os
from typing import Dict, Iterable, Sequence, Tuple

from .archive_streams import BEGUN_TOGETHER, Damaged, Writeback
from .packing import shown_path
from .tar_members import MODE_BITS, Member
from .target import TargetError

NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
TWICE = "%s is in it twice"

SmallFile = Tuple[bytes, int, int, int, int, bytes]
"""The name of a file in its directory, its mode, owner, group, time in nanoseconds, and content."""

Owned = Tuple[int, int, int]
"""The mode, the owner and the group of a file."""

_LikeOthers = Dict[int, Owned]
"""What a new file of a directory is like before it gets what is its own, by the mode with which it is made."""


def fill(descriptor: int, member: Member, content: Iterable[memoryview]) -> None:
    """Write the content of a file; what is a hole in it takes no room on the disk."""
    if member.extents is None:
        disk = Writeback(descriptor) if member.size > BEGUN_TOGETHER else None
        place = 0
        for part in content:
            written = os.pwrite(descriptor, part, place)
            while written < len(part):
                written += os.pwrite(descriptor, part[written:], place + written)
            place += written
            if disk is not None:
                disk.wrote(written)
        return
    extents = iter(member.extents)
    place = left = 0
    for part in content:
        while part:
            while not left:
                place, left = next(extents)
            written = os.pwrite(descriptor, part[:left], place)
            place, left, part = place + written, left - written, part[written:]
    os.ftruncate(descriptor, member.size)


def write_small(descriptors: Sequence[int], files: list[SmallFile]) -> int:
    """Write small files into a directory, up to one that cannot be written; return how many are there.

    :param descriptors: one, of the directory.
    """
    made: _LikeOthers = {}
    for number, file in enumerate(files):
        try:
            _write_one(descriptors[0], made, *file)
        except OSError:
            return number
    return len(files)


def write_files(directory: int, above: bytes | None, files: list[SmallFile]) -> None:
    """Write small files into a directory.

    :param above: its path in the archive.
    :raises Damaged: one of them is there already.
    """
    made: _LikeOthers = {}
    for file in files:
        try:
            _write_one(directory, made, *file)
        except FileExistsError:
            raise Damaged(TWICE % shown_path((above or b"") + b"/" + file[0])) from None


def _write_one(
    directory: int, made: _LikeOthers, name: bytes, mode: int, uid: int, gid: int, mtime: int, content: bytes
) -> None:
    # To change the mode afterwards takes a file system longer.
    descriptor = os.open(name, NEW_FILE, mode & 0o777, dir_fd=directory)
    try:
        place = 0
        while place < len(content):
            place += os.pwrite(descriptor, content[place:] if place else content, place)
        if mode not in made:
            made[mode] = _owned(descriptor)
        _give(descriptor, made[mode], (mode, uid, gid))
        _date(descriptor, mtime)
    except OSError:
        os.unlink(name, dir_fd=directory)  # so that it can be tried again
        raise
    finally:
        os.close(descriptor)


def finish_file(file: int | str, member: Member, owned: bool = False) -> None:
    """Give a file its owner, attributes, mode and time, in the order in which none takes another away."""
    has = _owned(file)
    _give(file, has, (member.mode, *has[1:]) if owned else (member.mode, member.uid, member.gid))
    for name, value in member.attributes.items():
        try:
            os.setxattr(file, name, value)
        except OSError as error:
            said = "%s has the attribute %a, which the file system of /var/lib/unshare does not take: %s"
            raise TargetError(said % (shown_path(member.path), name, error.strerror)) from error
    _date(file, member.mtime)


def _owned(file: int | str) -> Owned:
    status = os.stat(file)
    return status.st_mode & MODE_BITS, status.st_uid, status.st_gid


def _give(file: int | str, has: Owned, wanted: Owned) -> None:
    """Give a file its owner and its mode, as far as it has others."""
    if has[1:] != wanted[1:]:
        os.chown(file, *wanted[1:])
    # A new file has no set-ID bit that this could have taken away. A directory keeps the one that it has taken over.
    if has[0] != wanted[0]:
        os.chmod(file, wanted[0])


def _date(file: int | str, mtime: int) -> None:
    try:
        os.utime(file, ns=(mtime, mtime))
    except (OSError, OverflowError):
        pass  # a time that no file can have here
