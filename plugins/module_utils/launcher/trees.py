# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Walking a directory tree of any depth and width that somebody hostile has made, with few descriptors and names.

The walk goes down by one name at a time, never through a link and never onto another mount, and comes up by "..". It
compares the directory that it reaches with the one it came from. So a directory that is moved meanwhile ends the walk,
and does not lead it elsewhere.
"""

from __future__ import annotations

import errno
import os
import stat

from . import linux
from .errors import LauncherError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
RESOLVE = linux.RESOLVE_NO_XDEV | linux.RESOLVE_NO_SYMLINKS
PORTION = 1000  # directories of one directory whose names are known at a time, while they are removed
BLOCK = 512  # bytes of what st_blocks counts, inode(7)
MOUNTED = "%s: something is mounted there; unmount it, and try again"
SHOWN = 200  # characters of a path in a message; the path of a file may be longer than any that can be used


class _Level:
    """A directory on the way down.

    Attributes:
        name: its name.
        identity: what tells it from every other.
        pending: names of the directories beside it that are still to be entered.
        full: whether there may be more directories in it than were returned.
        entered: whether one of these was there.
    """

    __slots__ = ("entered", "full", "identity", "name", "pending")

    def __init__(self, name: str, descriptor: int, pending: list[str]) -> None:
        self.name = name
        self.identity = identity(descriptor)
        self.pending = pending
        self.full = self.entered = False


def identity(descriptor: int) -> tuple[int, int]:
    """Return the device and the inode of an open file."""
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def walk(
    directory: int,
    name: str,
    place: str,
    enter: Callable[[int], list[str]],
    leave: Callable[[int, str], None] | None = None,
    portion: int | None = None,
    down: Callable[[str], None] | None = None,
) -> None:
    """Walk through the directory `name` and all directories below it, and visit each before and after its content.

    Args:
        directory: descriptor of the directory that has the name.
        place: its path, for messages.
        enter: called with the descriptor of each directory; returns the names in it of the directories to go into.
        leave: called with the descriptor of its parent and its name when that was done.
        portion: how many names `enter` returns at most, by default all. When it has returned that many, and `leave` has
            removed them, it is called again.
        down: called with the name of each directory before `enter` is, by whoever makes the same way elsewhere.

    A name that `enter` has returned and that is not there any more is left out.

    Raises:
        NotADirectoryError: the name is no directory, or a link.
        LauncherError: a mount is in the way, or the tree is being moved.
        OSError: as the calls say.
    """
    levels: list[_Level] = []
    here = os.dup(directory)
    pending = [name]
    try:
        while True:
            if pending:
                name = pending.pop()
                try:
                    inner = _open(here, name)
                except FileNotFoundError:
                    continue
                os.close(here)
                here = inner
                if levels:
                    levels[-1].entered = True
                levels.append(_Level(name, here, pending))
                if down is not None:
                    down(name)
                pending = enter(here)
                levels[-1].full = len(pending) == portion
                continue
            if not levels:
                return
            level = levels[-1]
            if level.full and level.entered:
                level.entered = False
                pending = enter(here)
                level.full = len(pending) == portion
                continue
            levels.pop()
            outer = os.dup(directory) if not levels else _parent(here, levels[-1])
            os.close(here)
            here = outer
            if leave is not None:
                leave(here, level.name)
            pending = level.pending
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        below = [level.name for level in levels[1:]] + ([os.fsdecode(error.filename)] if levels else [])
        raise LauncherError(MOUNTED % path_shown([place] + below)) from error
    finally:
        os.close(here)


def _open(directory: int, name: str) -> int:
    try:
        return linux.openat2(directory, name, FLAGS, RESOLVE)
    except OSError as error:
        number = errno.ENOTDIR if error.errno == errno.ELOOP else error.errno  # a link
        raise OSError(number, os.strerror(number or 0), name) from error


def _parent(descriptor: int, level: _Level) -> int:
    """Open the directory above, and check that it is that of the level."""
    outer = linux.openat2(descriptor, "..", FLAGS, RESOLVE)
    if identity(outer) != level.identity:
        os.close(outer)
        raise LauncherError("%s: was moved to another directory meanwhile; try again" % path_shown([level.name]))
    return outer


def path_shown(names: list[str]) -> str:
    """Return the path that these names make, for a message; the middle of a long one is left out."""
    path = "/".join(names)
    return path if len(path) <= SHOWN else path[: SHOWN // 2] + "[...]" + path[-SHOWN // 2 :]


class TreeSize:
    """The disk space of a tree, counted directory by directory in a walk through it.

    What is known of the tree at a time is the names of the directories on the way, and of those beside them.

    Attributes:
        bytes: of the disk. Of a file with several names each has its part, so that nothing is remembered of them.
        entries: how many names are in it.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self.entries = 0

    def enter(self, descriptor: int) -> list[str]:
        """Count what is in a directory. Return the names of the directories in it."""
        self.bytes += os.fstat(descriptor).st_blocks * BLOCK
        found = []
        with os.scandir(descriptor) as entries:
            for entry in entries:
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue  # somebody has just removed it
                self.entries += 1
                if stat.S_ISDIR(status.st_mode):
                    found.append(entry.name)
                else:
                    self.bytes += status.st_blocks * BLOCK // max(1, status.st_nlink)
        return found


def tree_size(directory: int, place: str) -> int:
    """Return how many bytes of the disk all below a directory takes.

    Args:
        directory: a descriptor of it.
        place: its path, for messages.

    Raises:
        LauncherError: something is mounted in it.
    """
    size = TreeSize()
    walk(directory, ".", place, size.enter)
    return size.bytes


def directories(descriptor: int) -> list[str]:
    """Return the names of the directories in a directory."""
    with os.scandir(descriptor) as entries:
        return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]


def remove(directory: int, name: str, place: str) -> None:
    """Remove a file, or a directory with all in it but nothing that is mounted there. A missing name is no error.

    Args:
        directory: descriptor of the directory that has the name.
        place: its path, for messages.

    Raises:
        LauncherError: something is mounted on it or below it; that, and what leads to it, stays.
        OSError: it cannot be removed.
    """
    try:
        _remove_file(directory, name)
    except IsADirectoryError:
        walk(directory, name, place, _remove_files, remove_directory, PORTION)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        raise LauncherError(MOUNTED % place) from error


def _remove_files(descriptor: int) -> list[str]:
    """Remove everything in a directory except its directories; return the names of these, up to `PORTION`.

    What comes after that many is left for another time. The names of the files are not kept.
    """
    found: list[str] = []
    with os.scandir(descriptor) as entries:
        for entry in entries:
            is_directory = entry.is_dir(follow_symlinks=False)
            if not is_directory:
                try:
                    _remove_file(descriptor, entry.name)
                except IsADirectoryError:
                    is_directory = True
            if is_directory:
                found.append(entry.name)
                if len(found) == PORTION:
                    break
    return found


def _remove_file(directory: int, name: str) -> None:
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        raise OSError(errno.EXDEV, "something is mounted there", name) from error


def remove_directory(parent: int, name: str) -> None:
    """Remove an empty directory, if it is there."""
    try:
        os.rmdir(name, dir_fd=parent)
    except FileNotFoundError:
        pass
