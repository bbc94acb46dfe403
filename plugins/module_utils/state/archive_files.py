# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The file of an archive on this host: where it may lie, and how it comes there whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
import uuid
from typing import IO, Iterator

from .target import TargetError

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
UNFINISHED = ".unshare-archive-%s.new"
"""The name that a new archive has in its directory before it has its own. Each run has another."""

_unfinished = re.compile(re.escape(UNFINISHED).replace("%s", "[0-9a-f]{32}"))


@contextlib.contextmanager
def opened(path: str, option: str) -> Iterator[IO[bytes]]:
    """Yield the file at a path, without a buffer.

    :param option: of the module that names it.
    :raises TargetError: it cannot be read, or is no file.
    """
    if not os.path.isabs(path):
        raise TargetError("%s: %r is no absolute path" % (option, path))
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise TargetError("%s: %s cannot be read: %s" % (option, path, error.strerror)) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise TargetError("%s: %s is no file" % (option, path))
    with open(descriptor, "rb", buffering=0) as file:
        yield file


def parent_of(path: str) -> str:
    """Return the directory of a file that is to be written.

    :raises TargetError: no file can be there.
    """
    # What `..` leads to depends on the links before it.
    if not os.path.isabs(path) or path.endswith("/") or ".." in path.split("/"):
        raise TargetError("path: %r is no absolute path of a file, without `..`" % path)
    return os.path.dirname(os.path.normpath(path))


def check_place(path: str, containers: str) -> None:
    """Refuse a place unless its directory, and those above, are root's alone to write.

    Whoever else writes there could have us write elsewhere, or exchange the backup. Root inside a container can in its
    volumes, which look as if they were root's on this host.

    :param containers: path of the directory in which this host keeps its containers.
    :raises TargetError: it is none.
    """
    parent = os.path.realpath(parent_of(path))
    kept = os.path.realpath(containers)
    if os.path.commonpath((parent, kept)) == kept:
        raise TargetError("path: %s is kept of containers: name another directory" % kept)
    above = parent
    while True:
        status = os.stat(above)
        others = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
        if status.st_uid != 0 or (others and (above == parent or not status.st_mode & stat.S_ISVTX)):
            raise TargetError("path: others than root can write to %s: name another directory" % above)
        if above == "/":
            break
        above = os.path.dirname(above)
    if os.path.lexists(path) and not stat.S_ISREG(os.lstat(path).st_mode):
        raise TargetError("path: %s is there, and is no file" % path)


@contextlib.contextmanager
def new_file(path: str) -> Iterator[IO[bytes]]:
    """Yield a new file, without a buffer, which takes the path after the block, when all of it is on the disk.

    :raises OSError: it cannot be written. What had the path has it then, and nothing else is there.
    """
    directory = os.open(parent_of(path), _DIRECTORY)
    aside = UNFINISHED % uuid.uuid4().hex
    try:
        _remove_unfinished(directory)
        with _unnamed(directory, aside) as file:
            yield file
            os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):  # it has that name from its beginning
                os.link("/proc/self/fd/%d" % file.fileno(), aside, dst_dir_fd=directory)
            os.rename(aside, os.path.basename(path), src_dir_fd=directory, dst_dir_fd=directory)
        os.fsync(directory)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(aside, dir_fd=directory)
        raise
    finally:
        os.close(directory)


@contextlib.contextmanager
def _unnamed(directory: int, aside: str) -> Iterator[IO[bytes]]:
    """Yield a new file that has no name, so that nothing is left of it; where that cannot be, one with a name.

    It is locked while it is open, by which others see that it is no leftover.
    """
    try:
        descriptor = os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=directory)
        _lock(descriptor)
    except OSError:
        descriptor = _named(directory, aside)
    with open(descriptor, "wb+", buffering=0) as file:
        os.fchmod(descriptor, 0o600)
        yield file


def _named(directory: int, aside: str) -> int:
    """Return the descriptor of a new file that has a name, and is locked."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    while True:
        descriptor = os.open(aside, flags, 0o600, dir_fd=directory)
        _lock(descriptor)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.stat(aside, dir_fd=directory), os.fstat(descriptor)):
                return descriptor
        os.close(descriptor)  # another run has removed it as a leftover before it was locked


def _lock(descriptor: int) -> None:
    """Lock a file, as far as its file system has locks."""
    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def _remove_unfinished(directory: int) -> None:
    """Remove the files of runs that were killed. Those of runs that go on are locked."""
    for name in filter(_unfinished.fullmatch, os.listdir(directory)):
        with contextlib.suppress(OSError):
            descriptor = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                os.unlink(name, dir_fd=directory)
            finally:
                os.close(descriptor)
