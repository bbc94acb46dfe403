# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads a directory of this host as entries of a tree."""

from __future__ import annotations

import os
import stat
from typing import Callable

from ..launcher import linux, trees
from ..launcher.errors import LauncherError
from . import entries
from .entries import TreeEntry, path_in_tree

Put = Callable[[TreeEntry], None]


def put_all(top: int, put: Put) -> None:
    """Call `put` with an entry for a directory and for all that is in it; what is mounted in it stays empty.

    :raises Refused: somebody changes it meanwhile, or something in it can be in no tree.
    """
    root = os.readlink("/proc/self/fd/%d" % top)
    names: dict[tuple[int, int], str] = {}

    def enter(descriptor: int) -> list[str]:
        path = os.readlink("/proc/self/fd/%d" % descriptor)[len(root) :].strip("/")
        put(_entry(path, entries.DIRECTORY, os.fstat(descriptor), descriptor))
        found = []
        for name in sorted(os.listdir(descriptor)):
            below = f"{path}/{name}" if path else name
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                if _is_mounted(descriptor, name):
                    put(_entry(below, entries.DIRECTORY, status, -1))
                else:
                    found.append(name)
            elif not stat.S_ISSOCK(status.st_mode):
                _put_one(put, descriptor, name, below, status, names)
        return found

    try:
        trees.walk(top, ".", root, enter)
    except LauncherError as error:
        raise entries.Refused(str(error)) from error


def _is_mounted(directory: int, name: str) -> bool:
    descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        return linux.is_root_of_mount(descriptor)
    finally:
        os.close(descriptor)


def _put_one(
    put: Put, directory: int, name: str, path: str, status: os.stat_result, names: dict[tuple[int, int], str]
) -> None:
    if stat.S_ISLNK(status.st_mode):
        put(_entry(path, entries.SYMBOLIC_LINK, status, -1, os.readlink(name, dir_fd=directory)))
        return
    if not stat.S_ISREG(status.st_mode):
        kind = entries.FIFO if stat.S_ISFIFO(status.st_mode) else entries.DEVICE
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
            kind = entries.WHITEOUT_DEVICE
        put(_entry(path, kind, status, -1))
        return
    identity = (status.st_dev, status.st_ino)
    if status.st_nlink > 1 and identity in names:
        put(_entry(path, entries.HARD_LINK, status, -1, names[identity]))
        return
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise entries.Refused(f"{entries.shown_name(path)} was exchanged while it was copied: try again")
        put(_entry(path, entries.FILE, status, descriptor))
    finally:
        os.close(descriptor)
    if status.st_nlink > 1:
        names[identity] = path


def _entry(path: str, kind: str, status: os.stat_result, descriptor: int, target: str = "") -> TreeEntry:
    """Return the entry of what is on this host; `descriptor` is that of an open file or directory, else -1."""
    attributes = {}
    if descriptor >= 0:
        attributes = {
            name: os.getxattr(descriptor, name) for name in os.listxattr(descriptor) if entries.is_attribute_kept(name)
        }
    is_file = kind == entries.FILE
    return TreeEntry(
        path_in_tree(path),
        kind,
        stat.S_IMODE(status.st_mode),
        status.st_uid,
        status.st_gid,
        status.st_mtime,
        status.st_size if is_file else 0,
        target,
        attributes,
        (lambda size: os.read(descriptor, size)) if is_file else None,
        descriptor if is_file else -1,
    )
