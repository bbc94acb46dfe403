# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look-up of paths in a tree whose links are not trusted: a container's root, or the tree of a store.

Paths are resolved below a descriptor of the tree's root. A link that is absolute, or leads upward, stays in the tree,
and no magic link of procfs (`/proc/self/fd/3`, `/proc/1/root`) is followed to what it names.

On the host the kernel resolves the path (`open_below`; openat2(2)). In a container the system-call filter refuses that
call, so a process there goes one directory at a time (`find`).
"""

from __future__ import annotations

import errno
import os
import stat

from . import linux

RESOLVE = linux.RESOLVE_IN_ROOT | linux.RESOLVE_NO_MAGICLINKS
LINKS_LIMIT = 40  # of one path, as in the kernel
LEADS_OUT = "a symbolic link on the way leads out of the mapping that it is in; remove it, or name its target"
TAKEN = "has become the mount point of something else while it was made"
DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


def open_root(path: str) -> int:
    """Return a descriptor (`O_PATH`) of a directory that is to be the root of look-ups; the caller closes it."""
    return os.open(path, DIRECTORY)


def open_on_host(path: str) -> int:
    """Return a descriptor (`O_PATH`) of a path of the host on which somebody in a container may have put links.

    Such a link leads where it says, and never into what a container has mounted: to that only links of /proc lead.

    Raises:
        OSError: as open(2) says; `ELOOP` for a magic link.
    """
    return linux.openat2(linux.AT_FDCWD, path, os.O_PATH, linux.RESOLVE_NO_MAGICLINKS)


def open_below(root: int, path: str, flags: int = os.O_PATH, mode: int = 0) -> int:
    """Open a path in the tree whose root a descriptor names, with the flags of open(2), and close-on-exec.

    Args:
        root: a descriptor from `open_root`, or of a mount.
        path: absolute or relative to the root, which means the same.
        mode: the mode of a file that is made.

    Raises:
        OSError: as open(2) says; `ELOOP` for a magic link.
    """
    return linux.openat2(root, path.lstrip("/") or ".", flags, RESOLVE, mode)


def find(root: int, path: str, links: set[int] | None = None, magic: bool = True) -> tuple[int, str]:
    """Return the directory in which a path ends, as a descriptor that the caller closes, and the name in it.

    Every link is followed by its text. The name is never that of a link; it may be one that does not exist, and it is
    `.` when the path ends in the root.

    Args:
        links: gets the mount (`linux.mount_number`) in which each link that is followed lies.
        magic: whether links of /proc are followed by their text, too. The kernel follows them elsewhere.

    Raises:
        OSError: a directory on the way is missing or is none, or there are too many links, or one of /proc.
    """
    way = [os.dup(root)]  # the directories from the root on, for ".."
    try:
        waiting, followed = path.split("/")[::-1], 0
        while waiting:
            part = waiting.pop()
            if part in ("", ".", ".."):
                if part == ".." and len(way) > 1:
                    os.close(way.pop())
                continue
            target = _enter(way, part) if waiting else _link(way[-1], part)
            if target is None:
                if not waiting:
                    return way.pop(), part
                continue
            if not magic and linux.file_system_type(way[-1]) == linux.PROC_SUPER_MAGIC:
                raise OSError(errno.ELOOP, "a link of /proc, which leads elsewhere than it says", path)
            if links is not None:
                links.add(linux.mount_number(way[-1]))
            followed += 1
            if followed > LINKS_LIMIT:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            while target.startswith("/") and len(way) > 1:
                os.close(way.pop())
            waiting += target.split("/")[::-1]
        return way.pop(), "."
    except OSError as error:
        error.filename = path  # and not the one part of it
        raise
    finally:
        for descriptor in way:
            os.close(descriptor)


def _enter(way: list[int], name: str) -> str | None:
    """Go one directory further, or return the text of the link that is there instead."""
    target = _link(way[-1], name)
    if target is None:
        way.append(os.open(name, DIRECTORY | os.O_NOFOLLOW, dir_fd=way[-1]))
    return target


def _link(directory: int, name: str) -> str | None:
    """Return the text of a link, or None when there is no link of this name."""
    try:
        if stat.S_ISLNK(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            return os.readlink(name, dir_fd=directory)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOENT):
            raise
    return None


def open_found(root: int, path: str, flags: int, mode: int = 0) -> int:
    """Open a path as `open_below` does, without openat2(2)."""
    directory, name = find(root, path)
    return _open(directory, name, flags, path, mode)


def open_confined(root: int, path: str, flags: int) -> tuple[int, bool]:
    """Open a path of a container under construction. Return whether a link that is not the launcher's led there.

    The launcher's own links lie in the root, and lead anywhere. A link in another mount may come from whoever shares
    that mount, or from a former run: it must lead into the same mount, by whatever way.

    Raises:
        OSError: as open(2) says; `EXDEV` where a link leads out of the mount that it is in, `ELOOP` for one of /proc.
    """
    links: set[int] = set()
    directory, name = find(root, path, links, magic=False)
    descriptor = _open(directory, name, flags, path)
    foreign = links - {linux.mount_number(root)}
    if foreign - {linux.mount_number(descriptor)}:
        os.close(descriptor)
        raise OSError(errno.EXDEV, LEADS_OUT, path)
    return descriptor, bool(foreign)


def open_made(directory: int, name: str, flags: int) -> int:
    """Open what has just been made under a name, without openat2(2), which is refused in a container.

    Raises:
        OSError: as open(2) says; `EXDEV` where something is mounted: a mount point that was moved to this name.
    """
    descriptor = os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    if linux.mount_number(descriptor) != linux.mount_number(directory):
        os.close(descriptor)
        raise OSError(errno.EXDEV, TAKEN, name)
    return descriptor


def open_made_on_host(directory: int, name: str) -> int:
    """Return a descriptor (`O_PATH`) of what has just been made under a name, by openat2(2). It may be a link by now.

    Raises:
        OSError: as `open_made`.
    """
    try:
        return linux.openat2(directory, name, os.O_PATH | os.O_NOFOLLOW, linux.RESOLVE_NO_XDEV)
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise OSError(errno.EXDEV, TAKEN, name) from None
        raise


def _open(directory: int, name: str, flags: int, path: str, mode: int = 0) -> int:
    """Open the file of this name, which is `path`'s, and close its directory's descriptor."""
    try:
        return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=directory)
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(directory)


def make_directory_below(root: int, path: str, mode: int) -> int:
    """Make a directory and its parents, unless they exist. Return a descriptor (`O_RDONLY`) of it.

    Args:
        path: as of `open_below`, without `..`.
        mode: of a directory that is made, before the file creation mask.

    Raises:
        OSError: as mkdir(2) says; `ENOTDIR` where something else is, a link to nothing, too; `EXDEV` and `ELOOP` as
            `open_confined`.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY
    try:
        return open_confined(root, path, flags)[0]
    except FileNotFoundError:
        pass
    above, _slash, name = path.rstrip("/").rpartition("/")
    parent = make_directory_below(root, above, mode) if above else os.dup(root)
    try:
        try:
            os.mkdir(name, mode, dir_fd=parent)
        except FileExistsError:
            pass  # somebody else was faster, or it is a link to nothing, which is not followed
        return open_made(parent, name, flags)
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(parent)
