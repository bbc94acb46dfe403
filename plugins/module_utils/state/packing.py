# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading a container's volume as the members of an archive; root inside has written what is in it, and may be hostile.

No link is followed, and nothing that is mounted is entered. The container stands still meanwhile, or does not run. What
is kept in memory is the names of one directory, and of the directories that are still to be entered, and one name of
each file that has several.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Any, Tuple

from ..launcher import trees
from ..launcher.errors import LauncherError
from .archive_streams import Sink
from .helper import FILES_OF_PART, LEAST_OF_PART, Helper
from .increments import Base, stamp
from .plain_files import READING, is_kept_attribute, plain_members
from .tar_members import Member, TarKind, padding
from .tar_reading import EXTENTS_LIMIT, PAX_LIMIT
from .target import TargetError

ARCHIVED_PATH_LIMIT = 1 << 16  # bytes of a path in an archive; the kernel knows no limit for directories in each other
ATTRIBUTES_LIMIT = PAX_LIMIT - (1 << 18)  # bytes of all of one file, which have room in one header of pax
ATTRIBUTE_COST = 32  # bytes of what stands there beside the name, in hexadecimal digits, and the value

_ANY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_HOLES = (errno.EINVAL, errno.EOPNOTSUPP)
LEASED = (
    "volume %s: somebody inside has a lease on it (fcntl(2), F_SETLEASE), so that it cannot be read now: export it "
    "while the container is stopped (stop: true)"
)

_OTHER_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)  # what an open finds where another file was
EXCHANGED = "was exchanged while it was read: try again"
UNREADABLE = "cannot be read: %s"
SHORTER = "volume %s became shorter while it was read: try again"
PIECES = "volume %s has holes between more than %d pieces: copy it to a file that has none, or remove it"
TOO_MANY_ATTRIBUTES = "volume %s has more extended attributes than an archive takes (%d MiB): remove some, or it"

ArchivePlace = Tuple[Any, bytes]
"""A directory in an archive: that above it, or None, and its name. So a long way down is in memory once."""


def shown_path(path: bytes) -> str:
    """Return a path for a message: it may be anything, and of any length."""
    text = ascii(path)[1:]
    return text if len(text) <= 120 else text[:60] + "[...]" + text[-60:]


class Packer:
    """Writes directories as members of an archive.

    A directory is followed by what is no directory in it, and then by its directories, each by its name.

    :param sink: takes the archive.
    :param helper: does `plain_members` of files that are not compared with a base.
    :param base: has what need not be in it.
    :ivar files: how many files, directories and links were written of the last directory.
    :ivar bytes: how many bytes of files.
    :ivar sockets: how many sockets were left out of all; nobody listens there in a copy.
    """

    def __init__(self, sink: Sink, helper: Helper, base: Base | None = None) -> None:
        self.sink = sink
        self._helper = helper
        self.base = base
        self._stamped = False
        self.files = self.bytes = self.sockets = 0
        self._place: ArchivePlace | None = None
        self._above = b""  # its path, with a slash
        self._at = b""  # the path of what is read now
        self._first: dict[int, tuple[ArchivePlace | None, bytes]] = {}  # of files with several names: which was written

    def pack(self, directory: int, path: bytes, stamped: bool = False) -> None:
        """Write an open directory, and all in it.

        :param path: what it is called in the archive.
        :param stamped: whether files are to be known again (`increments`).
        :raises TargetError: something in it cannot be in an archive, or changes meanwhile.
        """
        self.files = self.bytes = 0
        self._place, self._first, self._stamped = None, {}, stamped

        def down(name: str) -> None:
            self._place = self._place, path if self._place is None else os.fsencode(name)

        try:
            trees.walk(directory, ".", os.fsdecode(path), self._enter, self._leave, down=down)
        except LauncherError as error:
            raise TargetError(str(error)) from error
        except OSError as error:
            if self.sink.has_failed_with(error):
                raise
            said = EXCHANGED if error.errno in _OTHER_FILE else UNREADABLE % error.strerror
            raise TargetError("volume %s %s" % (shown_path(self._at), said)) from error

    def _leave(self, _parent: int, _name: str) -> None:
        if self._place is not None:
            self._place = self._place[0]

    def _enter(self, directory: int) -> list[str]:
        above = self._at = _path_of(self._place)
        self.sink.put(
            self._head(above, TarKind.DIRECTORY, os.fstat(directory), attributes=_attributes(directory, above))
        )
        self._above = above + b"/"
        found: list[str] = []
        names: list[bytes] = []
        odd: set[bytes] = set()
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    found.append(entry.name)
                    continue
                name = os.fsencode(entry.name)
                names.append(name)
                if not entry.is_file(follow_symlinks=False):
                    odd.add(name)
        names.sort()
        for begin in range(0, len(names), 2 * FILES_OF_PART):
            self._pack_some(directory, names[begin : begin + 2 * FILES_OF_PART], odd)
        found.sort(key=os.fsencode, reverse=True)  # the walk takes the last one first
        return found

    def _pack_some(self, directory: int, names: list[bytes], odd: set[bytes]) -> None:
        """Write files of a directory. The helper reads the second half of them meanwhile."""
        if self.base is not None:
            for name in names:
                self._one(directory, name, odd)
            return
        half = len(names) // 2
        mine, theirs = names[:half], names[half:]
        request = self._request(theirs, odd)
        if min(half, len(request[1])) < LEAST_OF_PART or not self._helper.ready():
            mine = names
        else:
            self._helper.give([directory], request, lambda answer, _given: self._put(directory, theirs, odd, answer))
        for begin in range(0, len(mine), FILES_OF_PART):
            some = mine[begin : begin + FILES_OF_PART]
            self._put(directory, some, odd, plain_members([directory], self._request(some, odd)))
        self._helper.settle()

    def _request(self, names: list[bytes], odd: set[bytes]) -> tuple[bytes, list[bytes], bool]:
        return self._above, [name for name in names if name not in odd], self._stamped

    def _put(self, directory: int, names: list[bytes], odd: set[bytes], answer: tuple[list[int], int, bytes]) -> None:
        """Write files of a directory in their order: the members that were read of them, and the others."""
        lengths, size, members = answer
        left = iter(lengths)
        view = memoryview(members)
        begin = end = 0
        for name in names:
            length = 0 if name in odd else next(left)
            if length:
                end += length
                self.files += 1
            else:
                self.sink.put(view[begin:end])
                begin = end
                self._one(directory, name, odd)
        self.sink.put(view[begin:end])
        self.bytes += size

    def _one(self, directory: int, name: bytes, odd: set[bytes]) -> None:
        self._at = self._above + name
        if name in odd:
            self._other(directory, name)
        else:
            self._file(directory, name)

    def _other(self, directory: int, name: bytes) -> None:
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        path = self._above + name
        if stat.S_ISSOCK(status.st_mode):
            self.sockets += 1
        elif status.st_nlink > 1 and self._is_written(status, name):
            pass
        elif stat.S_ISLNK(status.st_mode):
            self.sink.put(self._head(path, TarKind.LINK, status, target=os.readlink(name, dir_fd=directory)))
        elif stat.S_ISFIFO(status.st_mode) or (stat.S_ISCHR(status.st_mode) and status.st_rdev == 0):
            kind = TarKind.FIFO if stat.S_ISFIFO(status.st_mode) else TarKind.WHITEOUT
            descriptor = os.open(name, _ANY, dir_fd=directory)
            try:
                self.sink.put(
                    self._head(path, kind, status, attributes=_attributes("/proc/self/fd/%d" % descriptor, path))
                )
            finally:
                os.close(descriptor)
        elif stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
            raise TargetError("volume %s is a device, and can be in no archive: remove it" % shown_path(path))
        else:
            raise TargetError("volume %s %s" % (shown_path(path), EXCHANGED))

    def _is_written(self, status: os.stat_result, name: bytes) -> bool:
        """Write another name of a file with several, or take note of the first. Return whether it is another."""
        identity = status.st_dev << 64 | status.st_ino
        here = self._place, name
        first = self._first.setdefault(identity, here)
        if first is here:  # to compare places would take as many steps in each other as there are directories
            return False
        self.sink.put(self._head(self._above + name, TarKind.HARD_LINK, status, target=_path_of(first)))
        return True

    def _head(
        self,
        path: bytes,
        kind: str,
        status: os.stat_result,
        target: bytes = b"",
        attributes: dict[bytes, bytes] | None = None,
        extents: list[tuple[int, int]] | None = None,
    ) -> bytes:
        if len(path) > ARCHIVED_PATH_LIMIT:
            raise TargetError(
                "volume %s has a path of more than %d bytes: remove it" % (shown_path(path), ARCHIVED_PATH_LIMIT)
            )
        is_file = kind == TarKind.FILE
        size = status.st_size if is_file else 0
        self.files += 1
        self.bytes += size
        known = stamp(status) if self._stamped and is_file else b""
        told = stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns, size
        return Member(path, kind, *told, target, attributes, extents, known).head()

    def _file(self, directory: int, name: bytes) -> None:
        path = self._above + name
        try:
            descriptor = os.open(name, READING, dir_fd=directory)
        except BlockingIOError:
            raise TargetError(LEASED % shown_path(path)) from None
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise TargetError("volume %s %s" % (shown_path(path), EXCHANGED))
            if status.st_nlink > 1 and self._is_written(status, name):
                return
            if self.base is not None and self.base.has(path, status):
                self._keep(path, status)
            else:
                self._content(descriptor, path, status)
        finally:
            os.close(descriptor)

    def _keep(self, path: bytes, status: os.stat_result) -> None:
        self.files += 1
        self.bytes += status.st_size
        self.sink.put(Member(path, TarKind.KEPT).head())

    def _content(self, descriptor: int, path: bytes, status: os.stat_result) -> None:
        size = status.st_size
        extents = None if status.st_blocks * 512 >= size else _extents(descriptor, size, path)
        head = self._head(path, TarKind.FILE, status, attributes=_attributes(descriptor, path), extents=extents)
        self.sink.put(head)
        stored = 0
        for offset, length in [(0, size)] if extents is None else extents:
            self._copy(descriptor, offset, length, path)
            stored += length
        self.sink.put(padding(stored))

    def _copy(self, descriptor: int, offset: int, length: int, path: bytes) -> None:
        end = offset + length
        while offset < end:
            count = self.sink.put_from(descriptor, offset, end - offset)
            if not count:
                raise TargetError(SHORTER % shown_path(path))
            offset += count


def _path_of(place: ArchivePlace | None) -> bytes:
    names = []
    while place is not None:
        place, name = place
        names.append(name)
    return b"/".join(names[::-1])


def _extents(descriptor: int, size: int, path: bytes) -> list[tuple[int, int]] | None:
    """Return where a file has its data; None when it has no holes, or its file system does not say."""
    found: list[tuple[int, int]] = []
    place = 0
    while place < size:
        try:
            start = os.lseek(descriptor, place, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                break  # nothing but a hole comes
            if error.errno in _NO_HOLES:
                return None
            raise
        place = min(size, os.lseek(descriptor, start, os.SEEK_HOLE))
        found.append((start, place - start))
        if len(found) == EXTENTS_LIMIT:  # the end of the file is to come
            raise TargetError(PIECES % (shown_path(path), EXTENTS_LIMIT - 1))
    if found == [(0, size)]:
        return None
    return [*found, (size, 0)]  # GNU tar takes the end of the last piece for that of the file


def _attributes(file: int | str, path: bytes) -> dict[bytes, bytes] | None:
    """Return the extended attributes of a file that are its volume's; None where there are none.

    They are in the order in which the file system has them: ext4 has two places for them, of which each may be full,
    and in another order they may have no room.
    """
    try:
        names = os.listxattr(file)
        if not names:
            return None
        kept: dict[bytes, bytes] = {}
        size = 0
        for name in filter(is_kept_attribute, names):
            kept[os.fsencode(name)] = value = os.getxattr(file, name)
            size += 2 * len(name) + len(value) + ATTRIBUTE_COST
            if size > ATTRIBUTES_LIMIT:
                break
        else:
            return kept
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            return None
        if error.errno != errno.E2BIG:  # their names alone are more than the kernel lists
            raise
    raise TargetError(TOO_MANY_ATTRIBUTES % (shown_path(path), ATTRIBUTES_LIMIT >> 20))
