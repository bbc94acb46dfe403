# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mounting by descriptor: a mount is made detached, given its attributes, and attached where a descriptor points.

No step takes a path that somebody else could change between a look and its use. Targets are resolved *inside* the
container's root (`openat2`, `RESOLVE_IN_ROOT`), so that no symbolic link in a container's own state leads out of it
(CVE-2021-30465, CVE-2024-45310).
"""

from __future__ import annotations

import errno
import os
import stat

from . import linux, lookup, mount_calls, mount_table, targets
from .errors import LauncherError
from .excursion import in_child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

LINK_SECONDS = 2.0
# The flags of a file system record, as mount attributes.
ATTRIBUTES = {
    "read-only": mount_calls.MOUNT_ATTR_RDONLY,
    "no-suid": mount_calls.MOUNT_ATTR_NOSUID,
    "no-dev": mount_calls.MOUNT_ATTR_NODEV,
    "no-exec": mount_calls.MOUNT_ATTR_NOEXEC,
    "no-atime": mount_calls.MOUNT_ATTR_NOATIME,
    "no-diratime": mount_calls.MOUNT_ATTR_NODIRATIME,
    "strict-atime": mount_calls.MOUNT_ATTR_STRICTATIME,
}

# File systems of which the kernel itself knows the answers. Another may wait for a server, or for a process.
OWN = frozenset(
    (
        "bcachefs bpf btrfs cgroup cgroup2 configfs debugfs devpts devtmpfs efivarfs erofs exfat ext2 ext3 ext4 "
        "f2fs fusectl hfs hfsplus hugetlbfs iso9660 jfs minix mqueue msdos nilfs2 nsfs ntfs3 overlay proc pstore ramfs "
        "reiserfs rootfs securityfs selinuxfs squashfs sysfs tmpfs tracefs ubifs udf vfat xfs zfs"
    ).split()
)


def answers_at_once(path: str, ways: mount_table.Ways | None = None) -> bool:
    """Return whether an absolute path can be looked at without waiting for a server (a network file system, FUSE).

    Args:
        ways: those through what is mounted, for who asks several times.
    """
    way = (ways or mount_table.Ways(mount_table.read())).of(os.path.normpath(path))
    return all(mount.point == "/" or mount.kind in OWN for mount in way)


def attributes(flags: list[str]) -> int:
    """Return the mount attributes that a record's flags stand for."""
    result = 0
    for flag in flags:
        result |= ATTRIBUTES.get(flag, 0)
    return result


def _with_nodes(mount_attributes: int, nodes: bool) -> int:
    """Return the attributes with which a mount is made. All mounts of the launcher get theirs here.

    A device node counts wherever its file system is mounted, whoever has left it there: on a disk it may be part of a
    copy of another system's `/dev`. So none is a device inside, but in what the kernel and the launcher fill.

    Args:
        nodes: whether this is such a one.
    """
    return mount_attributes if nodes else mount_attributes | mount_calls.MOUNT_ATTR_NODEV


def filesystem(kind: str, options: list[tuple[str, str | None]], mount_attributes: int = 0, nodes: bool = False) -> int:
    """Make a new, detached mount of a file system; return its descriptor.

    Args:
        options: (name, value or None).
        nodes: whether device nodes in it are devices. In a devpts they always are, for the kernel makes them all.
    """
    context = mount_calls.fsopen(kind)
    try:
        for name, value in options:
            if value is None:
                mount_calls.fsconfig(context, mount_calls.FSCONFIG_SET_FLAG, name)
            else:
                mount_calls.fsconfig(context, mount_calls.FSCONFIG_SET_STRING, name, value)
        mount_calls.fsconfig(context, mount_calls.FSCONFIG_CMD_CREATE)
        return mount_calls.fsmount(context, _with_nodes(mount_attributes, nodes or kind == "devpts"))
    finally:
        os.close(context)


def tmpfs(mode: str, size: str, inodes: str, mount_attributes: int = 0, nodes: bool = False) -> int:
    """Make a detached tmpfs, bounded in size and in files: a hostile writer may try to fill the host's memory."""
    options: list[tuple[str, str | None]] = [("mode", mode), ("size", size), ("nr_inodes", inodes)]
    return filesystem("tmpfs", options, mount_attributes, nodes)


def bind(
    source: int,
    mount_attributes: int,
    id_map: int | None,
    recursive: bool = True,
    copy: Callable[[], int] | None = None,
    nodes: bool = False,
) -> int:
    """Return a detached copy of the mount that a descriptor names, with attributes and a user namespace's id map.

    Args:
        copy: makes another copy than that of the descriptor's mount.
        nodes: whether device nodes in it, or the one that it is, are devices.

    Raises:
        OSError: as mount_setattr(2); `EINVAL` when this kernel cannot map the ids of that file system.
    """
    mount = copy() if copy else mount_calls.open_tree(source, "", recursive)
    try:
        mount_calls.mount_setattr(mount, _with_nodes(mount_attributes, nodes), recursive, id_map)
    except OSError:
        os.close(mount)
        raise
    return mount


class ProtectedTarget(LauncherError):
    """A mount point that leads to what a container needs. Nothing can be mounted there, and no option allows it."""


def _path_of(descriptor: int) -> str:
    return os.readlink("/proc/self/fd/%d" % descriptor)


def _is_root_of_mount(descriptor: int) -> bool:
    try:
        os.close(linux.openat2(descriptor, "..", os.O_PATH, linux.RESOLVE_NO_XDEV))
    except OSError as error:
        return error.errno == errno.EXDEV  # or it is no directory
    return False


class Tree:
    """A root directory under construction, named by a descriptor.

    Args:
        root: descriptor of the root directory, an attached mount.
    """

    def __init__(self, root: int) -> None:
        self.root = root

    def open(self, path: str, flags: int = os.O_PATH) -> int:
        """Open a path inside the tree; all symbolic links, absolute ones included, stay inside."""
        return lookup.open_below(self.root, path, flags)

    def target(self, path: str, directory: bool, above: bool = False) -> int:
        """Open a mount point, and make it as an empty directory or file when it is missing. Return its descriptor.

        Args:
            above: whether it is no mount point, but a directory above one.

        Raises:
            ProtectedTarget: a link on the way leads to what the container stands on, or out of the mapping it is in.
            LauncherError: it is a link to nothing.
        """
        try:
            return self._open_target(path, above)
        except FileNotFoundError:
            pass
        parent, _slash, name = path.rstrip("/").rpartition("/")
        parent_descriptor = self.target(parent, True, above=True) if parent else self.open("/")
        try:
            if directory:
                os.mkdir(name, 0o755, dir_fd=parent_descriptor)
            else:
                flags = os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
                os.close(os.open(name, flags, 0o644, dir_fd=parent_descriptor))
            # By its name, for somebody in the same directory may have put a link, or a mount point, in its place.
            return lookup.open_made_on_host(parent_descriptor, name)
        except FileExistsError as error:
            message = "%s: is a symbolic link to nothing, so nothing can be mounted there" % path
            raise LauncherError(message) from error
        finally:
            os.close(parent_descriptor)

    def _open_target(self, path: str, above: bool) -> int:
        resolve = lookup.RESOLVE | linux.RESOLVE_NO_SYMLINKS
        try:
            return linux.openat2(self.root, path.lstrip("/") or ".", os.O_PATH, resolve)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
        try:
            target, foreign = lookup.open_confined(self.root, path, os.O_PATH)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            raise ProtectedTarget("%s: %s" % (path, lookup.LEADS_OUT)) from error
        place = _path_of(target)[len(_path_of(self.root).rstrip("/")) :] or "/"
        reason = targets.refusal_of_place(place)
        if reason is None and foreign and not above and _is_root_of_mount(target):
            reason = "'%s' is the mapping that contains it, which would be hidden" % place
        if reason is not None:
            os.close(target)
            message = (
                "%s: a symbolic link on the way, perhaps in a writable mapping, leads elsewhere, and %s; remove it"
            )
            raise ProtectedTarget(message % (path, reason))
        return target

    def attach(self, mount: int, path: str, directory: bool = True) -> None:
        """Attach a detached mount at a path of the tree, and close its descriptor."""
        try:
            target = self.target(path, directory)
            try:
                mode = os.fstat(target).st_mode
                if stat.S_ISLNK(mode):
                    raise LauncherError("%s: has become a symbolic link while it was made" % path)
                if directory != stat.S_ISDIR(mode):
                    kinds = ("a directory", "a file") if directory else ("a file", "a directory")
                    raise LauncherError("%s: %s cannot be mounted over %s" % ((path,) + kinds))
                mount_calls.move_mount(mount, target)
            finally:
                os.close(target)
        finally:
            os.close(mount)


def open_source(path: str, follow: bool, trusted: str = "/") -> int:
    """Open a bind mount's source on the host. Return its descriptor.

    Unless `follow`, a symbolic link on the way is an error. A source may lie in some container's writable storage,
    where it could become a link to anywhere between two starts. Only the way to `trusted`, a directory, may hold a
    link.

    Args:
        path: absolute.
    """
    if follow:
        return os.open(path, os.O_PATH | os.O_CLOEXEC)
    if trusted == "/" or not (path + "/").startswith(trusted + "/"):
        return open_unlinked(linux.AT_FDCWD, path, path)
    directory = os.open(trusted, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return open_unlinked(directory, path[len(trusted) :].lstrip("/") or ".", path)
    finally:
        os.close(directory)


def real_of(path: str) -> str:
    """Return where a path leads, to end a message; nothing when a server or a container would have to say."""
    try:
        return ": %s" % in_child(lambda: _real(path), LINK_SECONDS, keep=())
    except (TimeoutError, LauncherError):
        return ""


def _real(path: str) -> str:
    descriptor = lookup.open_on_host(path)  # which ends with its process
    return os.readlink("/proc/self/fd/%d" % descriptor)


def open_unlinked(directory: int, below: str, path: str) -> int:
    """Open a path below a directory of the host, and refuse symbolic links on the way. `path` is its full name."""
    try:
        return linux.openat2(directory, below, os.O_PATH, linux.RESOLVE_NO_SYMLINKS)
    except OSError as error:
        if error.errno == errno.ELOOP:
            message = "%s: passes through a symbolic link; name the directory itself%s" % (path, real_of(path))
            raise LauncherError(message) from error
        raise
