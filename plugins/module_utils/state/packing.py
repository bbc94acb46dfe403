# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading a container's volume as the members of an archive; root inside has written what is in it, and may be hostile.

No link is followed, and nothing that is mounted is entered. The container stands still meanwhile, or does not run.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import Callable

from ..launcher import trees
from ..launcher.errors import LauncherError
from . import tar_members
from .tar_members import EXTENTS_LIMIT, TAR_PART, Member, TarKind
from .target import TargetError

ARCHIVED_PATH_LIMIT = 1 << 16  # bytes of a path in an archive; the kernel knows no limit for directories in each other
LABELS = ("security.selinux", "security.SMACK64", "security.apparmor", "security.ima", "security.evm", "trusted.")
"""The beginnings of the names of attributes that are the host's own, and no part of a volume."""

_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_ANY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_HOLES = (errno.EINVAL, errno.EOPNOTSUPP)

Put = Callable[[bytes], None]


def shown_path(path: bytes) -> str:
    """Return a path for a message: it may be anything, and of any length."""
    text = ascii(path)[1:]
    return text if len(text) <= 120 else text[:60] + "[...]" + text[-60:]


class Packer:
    """Writes directories as members of an archive.

    :param put: writes bytes of the archive, in order.
    :ivar files: how many files, directories and links were written of the last directory.
    :ivar bytes: how many bytes of files.
    :ivar sockets: how many sockets were left out of all; nobody listens there in a copy.
    """

    def __init__(self, put: Put) -> None:
        self.put = put
        self.files = self.bytes = self.sockets = 0
        self._path: list[bytes] = []
        self._names: dict[tuple[int, int], str] = {}  # of the directories that are still to be entered
        self._first: dict[tuple[int, int], bytes] = {}  # of files with several names: where they were written

    def pack(self, directory: int, path: bytes) -> None:
        """Write an open directory, and all in it.

        :param path: what it is called in the archive.
        :raises TargetError: something in it cannot be in an archive, or changes meanwhile.
        """
        self.files = self.bytes = 0
        self._path, self._first, self._names = [], {}, {trees.identity(directory): os.fsdecode(path)}
        try:
            trees.walk(directory, ".", os.fsdecode(path), self._enter, self._leave)
        except LauncherError as error:
            raise TargetError(str(error)) from error

    def _leave(self, _parent: int, _name: str) -> None:
        self._path.pop()

    def _enter(self, directory: int) -> list[str]:
        status = os.fstat(directory)
        self._path.append(os.fsencode(self._names.pop((status.st_dev, status.st_ino))))
        above = b"/".join(self._path)
        self._member(above, TarKind.DIRECTORY, status, attributes=_attributes(directory))
        found: list[str] = []
        for name in sorted(os.listdir(directory)):
            inner = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if stat.S_ISDIR(inner.st_mode):
                self._names[inner.st_dev, inner.st_ino] = name
                found.append(name)
            else:
                self._other(directory, name, above + b"/" + os.fsencode(name), inner)
        return found[::-1]  # the walk takes the last one first

    def _other(self, directory: int, name: str, path: bytes, status: os.stat_result) -> None:
        if stat.S_ISSOCK(status.st_mode):
            self.sockets += 1
            return
        identity = status.st_dev, status.st_ino
        if status.st_nlink > 1 and identity in self._first:
            self._member(path, TarKind.HARD_LINK, status, target=self._first[identity])
            return
        if status.st_nlink > 1:
            self._first[identity] = path
        if stat.S_ISREG(status.st_mode):
            self._file(directory, name, path)
        elif stat.S_ISLNK(status.st_mode):
            target = os.fsencode(os.readlink(name, dir_fd=directory))
            self._member(path, TarKind.LINK, status, target=target)
        elif stat.S_ISFIFO(status.st_mode) or (stat.S_ISCHR(status.st_mode) and status.st_rdev == 0):
            kind = TarKind.FIFO if stat.S_ISFIFO(status.st_mode) else TarKind.WHITEOUT
            descriptor = os.open(name, _ANY, dir_fd=directory)
            try:
                self._member(path, kind, status, attributes=_attributes("/proc/self/fd/%d" % descriptor))
            finally:
                os.close(descriptor)
        else:
            raise TargetError("volume %s is a device, and can be in no archive: remove it" % shown_path(path))

    def _member(
        self,
        path: bytes,
        kind: str,
        status: os.stat_result,
        target: bytes = b"",
        attributes: dict[bytes, bytes] | None = None,
        extents: list[tuple[int, int]] | None = None,
    ) -> None:
        if len(path) > ARCHIVED_PATH_LIMIT:
            raise TargetError(
                "volume %s has a path of more than %d bytes: remove it" % (shown_path(path), ARCHIVED_PATH_LIMIT)
            )
        size = status.st_size if kind == TarKind.FILE else 0
        mode = stat.S_IMODE(status.st_mode)
        member = Member(
            path, kind, mode, status.st_uid, status.st_gid, status.st_mtime_ns, size, target, attributes, extents
        )
        self.files += 1
        self.bytes += size
        self.put(member.head())

    def _file(self, directory: int, name: str, path: bytes) -> None:
        descriptor = os.open(name, _FILE, dir_fd=directory)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise TargetError("volume %s was exchanged while it was read: try again" % shown_path(path))
            extents = self._extents(descriptor, status, path)
            self._member(path, TarKind.FILE, status, attributes=_attributes(descriptor), extents=extents)
            stored = 0
            for offset, length in [(0, status.st_size)] if extents is None else extents:
                self._copy(descriptor, offset, length, path)
                stored += length
            self.put(tar_members.padding(stored))
        finally:
            os.close(descriptor)

    def _copy(self, descriptor: int, offset: int, length: int, path: bytes) -> None:
        end = offset + length
        while offset < end:
            part = os.pread(descriptor, min(TAR_PART, end - offset), offset)
            if not part:
                raise TargetError("volume %s became shorter while it was read: try again" % shown_path(path))
            self.put(part)
            offset += len(part)

    @staticmethod
    def _extents(descriptor: int, status: os.stat_result, path: bytes) -> list[tuple[int, int]] | None:
        """Return where a file has its data; None when it has no holes, or its file system does not say."""
        size = status.st_size
        if status.st_blocks * 512 >= size:
            return None
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
            if len(found) > EXTENTS_LIMIT:
                raise TargetError("volume %s has holes between more than %d pieces" % (shown_path(path), EXTENTS_LIMIT))
        if found == [(0, size)]:
            return None
        return [*found, (size, 0)]  # GNU tar takes the end of the last piece for that of the file


def _attributes(file: int | str) -> dict[bytes, bytes]:
    """Return the extended attributes of a file that are its volume's; none where there are none."""
    try:
        names = [name for name in os.listxattr(file) if not name.startswith(LABELS)]
        return {os.fsencode(name): os.getxattr(file, name) for name in sorted(names)}
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        return {}
