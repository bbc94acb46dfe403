# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What of a volume is still as an earlier archive has it, its base, so that a further archive needs only the rest.

A file is known again by its place, inode, size and times. Root inside can choose all of these but the time at which the
inode was changed last, which the kernel sets. It is trusted only where nothing can have set it back:

- The base was read since the host started, and the clock was not set back since. A crash can lose the times of what has
  reached the disk, and a clock that goes back can give the same time twice.
- The file was changed some seconds before the base was read, so that a later change cannot have the same time.
- Its file system notes fractions of seconds, and the first write to a page through a mapping, once the page was written
  out. So all is written out before a container that stands still is read: what comes later is noted.

Both archives have the files of a volume in one order, so that they are compared while both are read.
"""

from __future__ import annotations

import os
import time
from typing import NamedTuple, Tuple

from ..launcher import linux
from ..launcher.process import boot_id
from .tar_members import Member, TarKind
from .tar_reading import Members

CLOCK_MARGIN = 5 * 10**9  # nanoseconds; the clock by which files are given their times ticks in hundredths of a second
CLOCK_SLEWS = 10**9  # nanoseconds by which a clock that is only corrected may have gone back
EXT4, XFS, BTRFS = 0xEF53, 0x58465342, 0x9123683E  # of statfs(2)
NOTING = (EXT4, XFS, BTRFS)

ArchiveOrder = Tuple[bytes, ...]


class Moment(NamedTuple):
    """When an archive was begun to be read.

    :param boot: which start of the host.
    :param time: nanoseconds since 1970.
    :param uptime: nanoseconds since that start.
    """

    boot: str
    time: int
    uptime: int

    @classmethod
    def now(cls) -> Moment:
        """Return the present one."""
        return cls(boot_id(), time.time_ns(), time.clock_gettime_ns(time.CLOCK_BOOTTIME))

    def doubt(self, later: Moment) -> str:
        """Return why times of files do not tell, at a later moment, what has changed since; empty when they do."""
        if not self.boot:
            return "the base does not tell when it was read"
        if later.boot != self.boot:
            return "the host has started anew since the base was made"
        if later.time - later.uptime < self.time - self.uptime - CLOCK_SLEWS:
            return "the clock was set back since the base was made"
        return ""


def is_noting(directory: int) -> bool:
    """Return whether the file system of a directory notes when files were changed, as is said above."""
    return linux.file_system_type(directory) in NOTING


def doubt(directory: str) -> str:
    """Return why times of the files below a directory do not tell what has changed; empty when they do."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return "" if is_noting(descriptor) else "the file system of %s does not note all changes" % directory
    finally:
        os.close(descriptor)


def stamp(status: os.stat_result) -> bytes:
    """Return by what a file is known again, beside its size and its own time, which its member has."""
    return b"inode %d changed %d" % (status.st_ino, status.st_ctime_ns)


def order(path: bytes) -> ArchiveOrder:
    """Return what sorts files as archives have them: those of a directory by their names, then its directories."""
    *above, name = path.split(b"/")
    return (*[b"\1" + part for part in above], b"\0" + name)


class Base:
    """The files of an earlier archive, asked for in order.

    :param members: of that archive, which was held to its checksum before.
    :param read: when it was read.
    """

    def __init__(self, members: Members, read: Moment) -> None:
        self._members = members
        self._read = read
        self._member: Member | None = None
        self._order: ArchiveOrder = ()
        self._next()

    def _next(self) -> None:
        while True:
            self._member = self._members.next()
            if self._member is None:
                return
            if self._member.kind == TarKind.FILE:
                self._order = order(self._member.path)
                return

    def find(self, path: bytes) -> Member | None:
        """Return the file at a path; None when there is none, or the path does not come behind the last one."""
        wanted = order(path)
        while self._member is not None and self._order < wanted:
            self._next()
        return self._member if self._order == wanted else None

    def has(self, path: bytes, status: os.stat_result) -> bool:
        """Return whether it has what a file holds now, and all that belongs to it."""
        found = self.find(path)
        return (
            found is not None
            and found.size == status.st_size
            and found.mtime == status.st_mtime_ns
            and found.stamp == stamp(status)
            and status.st_ctime_ns + CLOCK_MARGIN < self._read.time
            and status.st_ctime_ns % 10**9 != 0  # a file system that notes whole seconds
        )
