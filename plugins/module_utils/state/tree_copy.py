# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A copy of a directory tree that root inside has made: byte for byte, whatever is in it, and nothing beside it.

Names are followed one at a time, below descriptors, and no link is (`launcher/trees`). The copy has owners, modes,
times, extended attributes with POSIX ACLs, hard links, holes, symbolic links, FIFOs, and the device 0:0, with which an
overlay says that something is gone. It lacks sockets, which nobody can listen on any more, and other devices, which
nobody inside can have made. What a file system can share between two files (btrfs, XFS), the copy shares.

Nothing grows with the number of files but the copy itself: which file has further names is kept in a directory beside.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from functools import partial
from typing import Sequence

from ..launcher import trees
from ..launcher.errors import LauncherError
from .helper import FILES_OF_PART, LEAST_OF_PART, Helper

FICLONE = 0x40049409  # of ioctl_ficlonerange(2)
NOT_SHARED = (errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.ENOSYS)
NOT_THIS_FILE = (errno.EINVAL, errno.ETXTBSY, errno.EPERM)
NOT_BY_KERNEL = (errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EINVAL)
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NOATIME | os.O_CLOEXEC
# An open that does not block fails where somebody has a lease on the file, instead of waiting for who stands still.
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOATIME | os.O_NOCTTY | os.O_CLOEXEC
WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
AT_ONCE = 1 << 20
MOST = 1 << 30  # bytes of one call of copy_file_range(2)
DEFAULT_ACL = "system.posix_acl_default"
LARGE = 1 << 26  # bytes of a file that the helper does not copy: it would be copied twice where it does not fit
NOT_COPIED = -1  # blocks of a file of which the helper has no copy
LEASED = (
    "%s: somebody inside has a lease on it (fcntl(2), F_SETLEASE), so that it cannot be read now: copy it while the "
    "container is stopped (stop: true)"
)
UNLISTED_ATTRIBUTES = "%s: has more extended attributes than the kernel lists: remove some, or it"
EXCHANGED = "%s: was exchanged while it was copied; try again"


class TreeCopy:
    """One copy of a directory.

    Args:
        source: descriptor of the directory that the one to be copied is in.
        target: descriptor of the directory that the copy goes into; nobody else changes that.
        links: descriptor of an empty directory of the same file system as the copy, which is empty again afterwards.
        place: the path of what is copied, for messages.

    Attributes:
        size: bytes on the disk of what was read.
        files: how many files, directories and others the copy has.
        sockets: how many were left out.
        devices: how many were left out.
    """

    def __init__(self, source: int, target: int, links: int, place: str) -> None:
        self.source = source
        self.target = target
        self.links = links
        self.place = place
        self.size = self.files = self.sockets = self.devices = 0
        self._here = -1
        self._shares = True

    def run(self, name: str) -> None:
        """Copy the directory of this name, under the same name.

        Raises:
            LauncherError: something is mounted in it, or cannot be read now.
            OSError: as the calls say. What is there of the copy is the caller's to remove.
        """
        self._here = os.dup(self.target)
        try:
            with Helper(self._copy_some) as self._helper:
                trees.walk(self.source, name, self.place, self._enter, self._leave, down=self._down)
            self._forget_links()
        finally:
            os.close(self._here)

    def _down(self, name: str) -> None:
        self._make(self._here, name)
        inner = os.open(name, DIRECTORY, dir_fd=self._here)
        os.close(self._here)
        self._here = inner
        self.files += 1

    def _make(self, parent: int, name: str) -> None:
        """Make a directory of the copy."""
        os.mkdir(name, 0o700, dir_fd=parent)

    def _leave(self, parent: int, name: str) -> None:
        """Give a directory that is complete what is its own, so that nothing in it inherits of that."""
        source = os.open(name, DIRECTORY, dir_fd=parent)
        try:
            outer = os.open("..", DIRECTORY, dir_fd=self._here)
        except BaseException:
            os.close(source)
            raise
        complete, self._here = self._here, outer
        self._helper.then([complete, source], partial(self._finish, name))

    def _finish(self, name: str, descriptors: Sequence[int]) -> None:
        target, source = descriptors
        status = os.fstat(source)
        self.size += status.st_blocks * trees.BLOCK
        _give(source, status, target, [self.place, "...", name])

    def _enter(self, directory: int) -> list[str]:
        found = []
        files: list[str] = []
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    found.append(entry.name)
                elif entry.is_file(follow_symlinks=False):
                    files.append(entry.name)
                    if len(files) == FILES_OF_PART:
                        self._files(directory, files)
                        files = []
                else:
                    self._other(directory, entry.name, entry.stat(follow_symlinks=False))
        self._files(directory, files)
        return found

    def _files(self, directory: int, names: list[str]) -> None:
        """Copy files of a directory, or have the helper copy those of them that have no further name."""
        if len(names) >= LEAST_OF_PART and self._helper.ready():
            self._helper.give([directory, self._here], names, partial(self._note_copied, names))
        else:
            for name in names:
                self._file(directory, self._here, name)

    def _note_copied(self, names: list[str], blocks: list[int], descriptors: Sequence[int]) -> None:
        """Take note of what the helper has copied, and copy the rest."""
        directory, here = descriptors
        for name, count in zip(names, blocks):
            if count == NOT_COPIED:
                self._file(directory, here, name)
            else:
                self.files += 1
                self.size += count * trees.BLOCK

    def _copy_some(self, descriptors: Sequence[int], names: list[str]) -> list[int]:
        """Copy files into another directory, up to one that fails. Return the blocks of each, or `NOT_COPIED`."""
        directory, here = descriptors
        blocks = [NOT_COPIED] * len(names)
        with contextlib.suppress(OSError, LauncherError):
            for number, name in enumerate(names):
                blocks[number] = self._blocks_of_copy(directory, here, name)
        return blocks

    def _blocks_of_copy(self, directory: int, here: int, name: str) -> int:
        source = os.open(name, READ, dir_fd=directory)
        try:
            status = os.fstat(source)
            if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1 or status.st_size > LARGE:
                return NOT_COPIED
            self._copy_file(source, status, here, name)
            return status.st_blocks
        finally:
            os.close(source)

    def _keep_link(self, here: int, name: str, status: os.stat_result) -> None:
        """Give what was copied, if it has further names, one beside the copy, by which `_link` finds it."""
        if status.st_nlink > 1:
            os.link(name, _key(status), src_dir_fd=here, dst_dir_fd=self.links, follow_symlinks=False)

    def _link(self, here: int, name: str, status: os.stat_result) -> bool:
        """Give another name to what was copied before. Return whether it was.

        With its name beside the copy, a file may have all names that it can have: that one is taken for the last.
        """
        if status.st_nlink == 1:
            return False
        key = _key(status)
        try:
            os.link(key, name, src_dir_fd=self.links, dst_dir_fd=here, follow_symlinks=False)
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno != errno.EMLINK:
                raise
            os.rename(key, name, src_dir_fd=self.links, dst_dir_fd=here)
        self.files += 1
        return True

    def _forget_links(self) -> None:
        # A descriptor of btrfs does not show what has come since it was opened.
        links = os.open(".", DIRECTORY, dir_fd=self.links)
        try:
            with os.scandir(links) as entries:
                for entry in entries:
                    os.unlink(entry.name, dir_fd=links)
        finally:
            os.close(links)

    def _other(self, directory: int, name: str, status: os.stat_result) -> None:
        """Copy what is neither a directory nor a file."""
        if self._link(self._here, name, status):
            return
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFLNK:
            os.symlink(os.readlink(name, dir_fd=directory), name, dir_fd=self._here)
        elif kind == stat.S_IFIFO or (kind == stat.S_IFCHR and status.st_rdev == 0):
            os.mknod(name, kind | 0o600, 0, dir_fd=self._here)
        else:
            self.sockets += kind == stat.S_IFSOCK
            self.devices += kind != stat.S_IFSOCK
            return
        give_name(directory, name, status, self._here)
        self._keep_link(self._here, name, status)
        self.files += 1

    def _file(self, directory: int, here: int, name: str) -> None:
        try:
            source = os.open(name, READ, dir_fd=directory)
        except BlockingIOError:
            raise LauncherError(LEASED % trees.path_shown([self.place, "...", name])) from None
        try:
            status = os.fstat(source)
            if not stat.S_ISREG(status.st_mode):
                raise LauncherError(EXCHANGED % trees.path_shown([self.place, "...", name]))
            if self._link(here, name, status):
                return
            self._copy_file(source, status, here, name)
            self._keep_link(here, name, status)
            self.files += 1
            self.size += status.st_blocks * trees.BLOCK
        finally:
            os.close(source)

    def _copy_file(self, source: int, status: os.stat_result, here: int, name: str) -> None:
        """Make a file that is like an open one; after an error there is none."""
        target = os.open(name, WRITE, 0o600, dir_fd=here)
        try:
            if status.st_size:
                self._content(source, target, status)
            _give(source, status, target, [self.place, "...", name])
        except BaseException:
            os.unlink(name, dir_fd=here)
            raise
        finally:
            os.close(target)

    def _content(self, source: int, target: int, status: os.stat_result) -> None:
        if self._shares and self._share(source, target):
            return
        size = status.st_size
        if status.st_blocks * trees.BLOCK >= size:
            _copy_range(source, target, 0, size)
            return
        end = 0
        while end < size:
            try:
                first = os.lseek(source, end, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                break  # all the rest is a hole
            end = os.lseek(source, first, os.SEEK_HOLE)
            _copy_range(source, target, first, end)
        os.ftruncate(target, size)

    def _share(self, source: int, target: int) -> bool:
        """Have a file share the content of another, if it can. Return whether it does."""
        try:
            fcntl.ioctl(target, FICLONE, source)
        except OSError as error:
            if error.errno not in NOT_SHARED + NOT_THIS_FILE:
                raise
            self._shares = error.errno not in NOT_SHARED
            return False
        return True


def give_name(source: int, name: str, status: os.stat_result, target: int) -> None:
    """Give what a descriptor cannot be had of what is its own, as another of this name has it: no link is followed.

    Args:
        source, target: descriptors of the directories that have the name.
        status: of the one in `source`.
    """
    os.chown(name, status.st_uid, status.st_gid, dir_fd=target, follow_symlinks=False)
    if not stat.S_ISLNK(status.st_mode):
        os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=target)
    one, other = ("/proc/self/fd/%d/%s" % (each, name) for each in (source, target))
    for attribute in os.listxattr(one, follow_symlinks=False):
        value = os.getxattr(one, attribute, follow_symlinks=False)
        os.setxattr(other, attribute, value, follow_symlinks=False)
    times = status.st_atime_ns, status.st_mtime_ns
    os.utime(name, ns=times, dir_fd=target, follow_symlinks=False)


def without_default_acl(directory: int) -> None:
    """Let nothing inherit permissions of a directory that was just made, and has inherited some itself (acl(5))."""
    try:
        os.removexattr(directory, DEFAULT_ACL)
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP):
            raise


def _key(status: os.stat_result) -> str:
    return "%x-%x" % (status.st_dev, status.st_ino)


def _give(source: int, status: os.stat_result, target: int, way: list[str]) -> None:
    """Give an open file the owner, mode, attributes and times of another. A new owner takes away some of the rest.

    Args:
        way: the names that lead to it, for messages.
    """
    os.fchown(target, status.st_uid, status.st_gid)
    os.fchmod(target, stat.S_IMODE(status.st_mode))
    try:
        attributes = os.listxattr(source)
    except OSError as error:
        if error.errno != errno.E2BIG:
            raise
        raise LauncherError(UNLISTED_ATTRIBUTES % trees.path_shown(way)) from error
    for attribute in attributes:
        os.setxattr(target, attribute, os.getxattr(source, attribute))
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))


def _copy_range(source: int, target: int, first: int, end: int) -> None:
    """Copy bytes of a file to the same place of another, in the kernel where that can."""
    while first < end:
        try:
            done = os.copy_file_range(source, target, min(end - first, MOST), first, first)
        except OSError as error:
            if error.errno not in NOT_BY_KERNEL:
                raise
            done = os.pwrite(target, os.pread(source, min(end - first, AT_ONCE), first), first)
        if done == 0:
            raise OSError(errno.EIO, "a file has become shorter while it was copied")
        first += done
