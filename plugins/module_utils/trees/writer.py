# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writing a tree from entries that somebody hostile may have made: nothing is written outside, and no link followed.

All is done below the descriptor of the tree's root; a path is resolved by the kernel, which refuses links on the way
(openat2(2)). Nobody else has the tree meanwhile.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import Callable

from ..launcher import linux
from ..launcher.errors import LauncherError
from ..launcher.trees import remove
from . import entries
from .entries import Budget, Refused, TreeEntry, shown_name

_BELOW = linux.RESOLVE_IN_ROOT | linux.RESOLVE_NO_SYMLINKS | linux.RESOLVE_NO_XDEV
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NOT_COPIED_BY_KERNEL = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF)
PART = 1 << 18  # bytes that are copied at a time
OWN_DEVICES = "dev"
"""The directory whose devices are left out: each container makes its own."""


class InTheWay(Refused):
    """A path that leads through a link, or through something else that is no directory."""


class TreeWriter:
    """The writer of a tree. As a context, it finishes what was written.

    :param root: path of the tree's root, an empty directory of the caller's own.
    :param budget: what it may hold.
    """

    def __init__(self, root: str, budget: Budget) -> None:
        self.place = root
        self.root = os.open(root, _DIRECTORY)
        self.budget = budget
        self._times: dict[str, float] = {}
        self._parent, self._parent_path = os.dup(self.root), ""
        self._write: dict[str, Callable[[int, str, TreeEntry], None]] = {
            entries.DIRECTORY: self._write_directory,
            entries.FILE: self._write_file,
            entries.SYMBOLIC_LINK: self._write_link,
            entries.HARD_LINK: self._write_hard_link,
            entries.FIFO: self._write_fifo,
        }

    def __enter__(self) -> TreeWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        try:
            if kind is None:
                self._set_times()
        finally:
            os.close(self._parent)
            os.close(self.root)

    def put(self, entry: TreeEntry) -> None:
        """Write an entry. What had its path is replaced, except that a directory keeps what is in it.

        :raises Refused: it cannot be in a tree, or not there.
        :raises OSError: it cannot be written.
        """
        self.budget.spend(entry.path, entry.size if entry.kind == entries.FILE else 0)
        if entry.kind in (entries.DEVICE, entries.WHITEOUT_DEVICE):
            self._pass_over(entry)
            return
        if not entry.path:
            if entry.kind != entries.DIRECTORY:
                raise Refused(f"the tree's root is a {entry.kind}, and no directory")
            self._set_directory(self.root, entry)
            return
        above, _slash, name = entry.path.rpartition("/")
        self._write[entry.kind](self._directory(above, entry.path), name, entry)

    def remove(self, path: str) -> bool:
        """Remove what has a path, and all below it. Return whether there was anything. Raise as `put`."""
        above, _slash, name = path.rpartition("/")
        try:
            directory = self._directory(above, path, make=False)
        except FileNotFoundError:
            return False
        return self._remove(directory, name, path)

    def names(self, path: str) -> list[str]:
        """Return the names in a directory of the tree; none where there is none. Raise InTheWay."""
        try:
            return os.listdir(self._directory(path, path, make=False))
        except FileNotFoundError:
            return []

    def check_place(self, path: str) -> None:
        """Raise InTheWay when a path lies below a link of the tree, or below what else is no directory."""
        with contextlib.suppress(FileNotFoundError):
            self._directory(path.rpartition("/")[0], path, make=False)

    @staticmethod
    def _pass_over(entry: TreeEntry) -> None:
        if entry.kind == entries.WHITEOUT_DEVICE:
            raise Refused(f"{shown_name(entry.path)} is a whiteout of overlayfs, and no file of a tree")
        if not entry.path.startswith(OWN_DEVICES + "/"):
            raise Refused(f"{shown_name(entry.path)} is a device, and outside of /dev none can be in a tree")

    def _directory(self, path: str, what: str, make: bool = True) -> int:
        """Return a descriptor of a directory of the tree, which stays open until the next call.

        :param make: whether it and what is above it are made when they are missing.
        :raises InTheWay: a link is on the way, or something else than a directory.
        """
        if path != self._parent_path:
            opened = self._open(path, what, make)
            os.close(self._parent)
            self._parent, self._parent_path = opened, path
        return self._parent

    def _open(self, path: str, what: str, make: bool) -> int:
        try:
            return linux.openat2(self.root, path or ".", os.O_RDONLY | os.O_DIRECTORY, _BELOW)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR):
                kind = "a link" if error.errno == errno.ELOOP else "no directory"
                raise InTheWay(
                    f"{shown_name(what)} lies below {shown_name(self._obstacle(path))}, which is {kind}"
                ) from None
            if error.errno != errno.ENOENT or not make:
                raise
        above, _slash, name = path.rpartition("/")
        parent = self._open(above, what, make)
        try:
            os.mkdir(name, 0o755, dir_fd=parent)
            made = os.open(name, _DIRECTORY, dir_fd=parent)
            os.fchmod(made, 0o755)  # whatever the umask
            return made
        finally:
            os.close(parent)

    def _obstacle(self, path: str) -> str:
        """Return the first part of a path that is no directory."""
        parts = path.split("/")
        for length in range(1, len(parts)):
            part = "/".join(parts[:length])
            try:
                os.close(linux.openat2(self.root, part, os.O_PATH | os.O_DIRECTORY, _BELOW))
            except OSError:
                return part
        return path

    def _remove(self, directory: int, name: str, path: str) -> bool:
        try:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return False
        if not stat.S_ISDIR(status.st_mode):
            os.unlink(name, dir_fd=directory)
            return True
        try:
            remove(directory, name, path)
        except LauncherError as error:
            raise Refused(str(error)) from error
        self._times = {each: time for each, time in self._times.items() if not (each + "/").startswith(path + "/")}
        return True

    def _write_directory(self, directory: int, name: str, entry: TreeEntry) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=directory)
        except FileExistsError:
            if not stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
                os.unlink(name, dir_fd=directory)
                os.mkdir(name, 0o700, dir_fd=directory)
        descriptor = os.open(name, _DIRECTORY, dir_fd=directory)
        try:
            self._set_directory(descriptor, entry)
        finally:
            os.close(descriptor)

    def _set_directory(self, descriptor: int, entry: TreeEntry) -> None:
        for attribute in filter(entries.is_attribute_kept, os.listxattr(descriptor)):
            os.removexattr(descriptor, attribute)
        _set_all(descriptor, entry)
        self._times[entry.path] = entry.mtime

    def _write_file(self, directory: int, name: str, entry: TreeEntry) -> None:
        self._remove(directory, name, entry.path)
        descriptor = os.open(name, _NEW_FILE, 0o600, dir_fd=directory)
        try:
            _copy(descriptor, entry)
            _set_all(descriptor, entry)
            _set_time(descriptor, entry.mtime)
        finally:
            os.close(descriptor)

    def _write_link(self, directory: int, name: str, entry: TreeEntry) -> None:
        if not entry.target or "\0" in entry.target or len(os.fsencode(entry.target)) > entries.PATH_LIMIT:
            raise Refused(f"{shown_name(entry.path)} is a link to {shown_name(entry.target)}, which is no path")
        self._remove(directory, name, entry.path)
        os.symlink(entry.target, name, dir_fd=directory)
        os.chown(name, entry.uid, entry.gid, dir_fd=directory, follow_symlinks=False)

    def _write_hard_link(self, directory: int, name: str, entry: TreeEntry) -> None:
        if entry.target == entry.path:
            raise Refused(f"{shown_name(entry.path)} is a hard link to itself")
        above, _slash, source = entry.target.rpartition("/")
        said = f"{shown_name(entry.path)} is a hard link to {shown_name(entry.target)}"
        try:
            beside = self._open(above, entry.target, make=False)
        except (FileNotFoundError, Refused) as error:
            reason = "of which the tree has nothing" if isinstance(error, FileNotFoundError) else str(error)
            raise Refused(f"{said}, {reason}") from None
        try:
            status = os.stat(source, dir_fd=beside, follow_symlinks=False) if source else os.fstat(beside)
            if not stat.S_ISREG(status.st_mode) and not stat.S_ISLNK(status.st_mode):
                raise Refused(f"{said}, which is no file")
            self._remove(directory, name, entry.path)
            os.link(source, name, src_dir_fd=beside, dst_dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            raise Refused(f"{said}, of which the tree has nothing") from None
        finally:
            os.close(beside)

    def _write_fifo(self, directory: int, name: str, entry: TreeEntry) -> None:
        self._remove(directory, name, entry.path)
        os.mkfifo(name, 0o600, dir_fd=directory)
        os.chown(name, entry.uid, entry.gid, dir_fd=directory, follow_symlinks=False)
        os.chmod(name, entry.mode, dir_fd=directory)  # of what this process has just made, in a tree of its own

    def _set_times(self) -> None:
        """Give directories their times, now that nothing more is written in them."""
        for path, mtime in self._times.items():
            descriptor = linux.openat2(self.root, path or ".", os.O_RDONLY | os.O_DIRECTORY, _BELOW)
            try:
                _set_time(descriptor, mtime)
            finally:
                os.close(descriptor)


def _set_all(descriptor: int, entry: TreeEntry) -> None:
    """Give an open file its owner, attributes and mode, in the order in which none takes another away."""
    os.fchown(descriptor, entry.uid, entry.gid)
    for attribute, value in entry.attributes.items():
        if entries.is_attribute_kept(attribute):
            _set_attribute(descriptor, entry.path, attribute, value)
    os.fchmod(descriptor, entry.mode)


def _set_attribute(descriptor: int, path: str, attribute: str, value: bytes) -> None:
    try:
        os.setxattr(descriptor, attribute, value)
    except OSError as error:
        if error.errno == errno.ENOTSUP:
            said = "has extended attributes, which the file system of /var/lib/unshare does not keep"
            raise Refused(f"{shown_name(path)} {said}") from error
        said = f"the attribute {shown_name(attribute)}, which cannot be set to its {len(value)} bytes"
        raise Refused(f"{shown_name(path)} has {said}: {error.strerror}") from error


def _set_time(descriptor: int, mtime: float) -> None:
    try:
        os.utime(descriptor, (mtime, mtime))
    except (OSError, OverflowError, ValueError):
        pass  # a time that no file here can have, such as one of the year 9999


def _copy(descriptor: int, entry: TreeEntry) -> None:
    """Write the content of a file; what is empty in it takes no room on the disk."""
    left = entry.size
    while left and entry.descriptor >= 0:
        try:
            count = os.copy_file_range(entry.descriptor, descriptor, min(left, 1 << 30))
        except OSError as error:
            if error.errno not in _NOT_COPIED_BY_KERNEL or left != entry.size:
                raise
            break
        if not count:
            break
        left -= count
    while left:
        part = entry.read(min(left, PART)) if entry.read is not None else b""
        if not part:
            raise Refused(f"{shown_name(entry.path)} ends {left} bytes before it should: the source is cut off")
        left -= len(part)
        if part.count(0) == len(part):
            os.lseek(descriptor, len(part), os.SEEK_CUR)
            continue
        while part:
            part = part[os.write(descriptor, part) :]
    os.ftruncate(descriptor, entry.size)
