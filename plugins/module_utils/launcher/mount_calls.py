# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The system calls about mounts and file systems, in the manner of `linux`."""

from __future__ import annotations

import ctypes
import os

from . import linux
from .loading import refuse_to_load

_PIVOT_ROOT = linux.by_architecture(155, 41, 203, 217)

OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH = 0x04
MOVE_MOUNT_T_EMPTY_PATH = 0x40
MOUNT_ATTR_RDONLY = 0x01
MOUNT_ATTR_NOSUID = 0x02
MOUNT_ATTR_NODEV = 0x04
MOUNT_ATTR_NOEXEC = 0x08
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR_NODIRATIME = 0x80
MOUNT_ATTR__ATIME = 0x70  # the bits of which one value stands for when access times are noted
MOUNT_ATTR_IDMAP = 0x100000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MNT_DETACH = 2
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_CMD_CREATE = 6


class MountAttributes(ctypes.Structure):
    """`struct mount_attr` of mount_setattr(2) (Linux 5.12)."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd")]


def open_tree(directory: int, path: str, recursive: bool) -> int:
    """Return a detached copy of the mount at the path, and of those below it when recursive (Linux 5.2)."""
    flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (linux.AT_RECURSIVE if recursive else 0)
    flags |= linux.AT_EMPTY_PATH if not path else 0
    return linux.result_of(linux.syscall(428, directory, os.fsencode(path), flags), "open_tree(%s)", path or directory)


def mount_setattr(mount: int, attributes: int, recursive: bool, user_namespace: int | None = None) -> None:
    """Set the attributes of a mount, and its id map from a user namespace's descriptor (Linux 5.12)."""
    cleared = MOUNT_ATTR__ATIME if attributes & MOUNT_ATTR__ATIME else 0  # the kernel wants it replaced as a whole
    structure = MountAttributes(attributes, cleared, 0, 0)
    if user_namespace is not None:
        structure.attr_set |= MOUNT_ATTR_IDMAP
        structure.userns_fd = user_namespace
    flags = linux.AT_EMPTY_PATH | (linux.AT_RECURSIVE if recursive else 0)
    result = linux.syscall(442, mount, b"", flags, ctypes.byref(structure), ctypes.sizeof(structure))
    linux.result_of(result, "mount_setattr(%#x)", structure.attr_set)


def move_mount(mount: int, target: int) -> None:
    """Attach a detached mount at the file or directory that a descriptor names (Linux 5.2)."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    linux.result_of(linux.syscall(429, mount, b"", target, b"", flags), "move_mount()")


def fsopen(kind: str) -> int:
    """Return a context for configuring a file system of this type (Linux 5.2)."""
    return linux.result_of(linux.syscall(430, os.fsencode(kind), 1), "fsopen(%s)", kind)


def fsconfig(context: int, command: int, key: str | None = None, value: str | None = None) -> None:
    """Configure the file system of a context (Linux 5.2)."""
    name = None if key is None else os.fsencode(key)
    text = None if value is None else os.fsencode(value)
    result = linux.syscall(431, context, command, name, text, 0)
    linux.result_of(result, "fsconfig(%s%s)", key or "create", "" if value is None else "=" + value)


def make_slave(mount: int) -> None:
    """Let a mount, and those below it, take what is mounted on their peers, and give nothing back (Linux 5.12)."""
    structure = MountAttributes(0, 0, MS_SLAVE, 0)
    flags = linux.AT_EMPTY_PATH | linux.AT_RECURSIVE
    linux.result_of(
        linux.syscall(442, mount, b"", flags, ctypes.byref(structure), ctypes.sizeof(structure)), "mount_setattr()"
    )


def fsmount(context: int, attributes: int) -> int:
    """Return a detached mount of a configured file system (Linux 5.2)."""
    return linux.result_of(linux.syscall(432, context, 1, attributes), "fsmount()")


def make_private(path: str) -> None:
    """Make all mounts at and below the path private, so that none propagates."""
    _propagation(path, MS_PRIVATE, "MS_PRIVATE")


def make_shared(path: str) -> None:
    """Let mounts below the path propagate between the mount namespaces that are copied from this one from now on."""
    _propagation(path, MS_SHARED, "MS_SHARED")


def _propagation(path: str, kind: int, name: str) -> None:
    result = linux.libc.mount(None, os.fsencode(path), None, ctypes.c_ulong(MS_REC | kind), None)
    linux.result_of(result, "mount(%s, MS_REC | %s)", path, name)


def unmount(path: str) -> None:
    """Detach a mount with umount2(2), lazily."""
    linux.result_of(linux.libc.umount2(os.fsencode(path), MNT_DETACH), "umount2(%s)", path)


def pivot_root(new: str, old: str) -> None:
    """Call pivot_root(2), after which the root is a container's.

    Raises:
        RuntimeError: this process can import modules.
    """
    refuse_to_load()
    number = linux.number_here(_PIVOT_ROOT, "pivot_root")
    linux.result_of(linux.syscall(number, os.fsencode(new), os.fsencode(old)), "pivot_root(%s, %s)", new, old)
