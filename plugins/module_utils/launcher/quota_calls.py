# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The calls by which a file system is told how much one directory may hold: quotactl(2), and requests of ioctl(2)."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os

from . import linux

_QUOTACTL = linux.by_architecture(179, 60, 131, 131)
_QUOTACTL_FD = 443  # Linux 5.14
_WRITE, _READ = (4, 2) if linux.MACHINE == "ppc64le" else (1, 2)
_DIRECTION = 29 if linux.MACHINE == "ppc64le" else 30

PROJECT = 2  # PRJQUOTA
Q_GETQUOTA, Q_SETQUOTA, Q_XGETQSTAT = 0x800007, 0x800008, 0x5805


def request(number: int, size: int, kind: int, reads: bool = False, writes: bool = False) -> int:
    """Return the number of a request of ioctl(2): the kernel of ppc64le has other bits for its direction.

    Args:
        size: bytes of what is read or written.
        reads: whether the kernel gives it to the caller.
        writes: whether the caller gives it to the kernel.
    """
    direction = (_READ if reads else 0) | (_WRITE if writes else 0)
    return direction << _DIRECTION | size << 16 | kind << 8 | number


def call(descriptor: int, number: int, structure: ctypes.Structure) -> None:
    """Make a request of an open file, which reads a structure, writes it, or both. Raise OSError."""
    fcntl.ioctl(descriptor, number, structure, True)


class QuotaBlock(ctypes.Structure):
    """`struct if_dqblk` of quotactl(2): limits in blocks of 1024 bytes, usage in bytes."""

    _fields_ = [
        (name, ctypes.c_uint64)
        for name in "hard_blocks soft_blocks space hard_files soft_files files block_time file_time".split()
    ] + [("valid", ctypes.c_uint32)]


class QuotaState(ctypes.Structure):
    """`struct fs_quota_stat` of quotactl(2), as far as it is read; with room for the rest."""

    _fields_ = [("version", ctypes.c_int8), ("flags", ctypes.c_uint16), ("rest", ctypes.c_char * 252)]


def quotactl(command: int, number: int, data: ctypes.Structure, descriptor: int) -> None:
    """Call quotactl(2) for project quotas, of the file system that an open file lies in. Raise OSError.

    Args:
        number: that of the project.
    """
    operation = command << 8 | PROJECT
    what, whose, to = ctypes.c_uint(operation), ctypes.c_uint(number), ctypes.byref(data)
    result = linux.syscall(_QUOTACTL_FD, descriptor, what, whose, to)
    if result < 0 and ctypes.get_errno() == errno.ENOSYS:
        device = os.fstat(descriptor).st_dev
        special = os.fsencode("/dev/block/%d:%d" % (os.major(device), os.minor(device)))
        result = linux.syscall(linux.number_here(_QUOTACTL, "quotactl"), what, special, whose, to)
    linux.result_of(result, "quotactl(%#x, %d)", operation, number)


class FileAttributes(ctypes.Structure):
    """`struct fsxattr` of ioctl_xfs_fsgetxattr(2), which ext4 has as well."""

    _fields_ = [(name, ctypes.c_uint32) for name in "flags extent_size extents project copy_extent_size".split()] + [
        ("padding", ctypes.c_char * 8)
    ]


FS_IOC_FSGETXATTR = request(31, 28, ord("X"), reads=True)
FS_IOC_FSSETXATTR = request(32, 28, ord("X"), writes=True)
INHERITED = 0x200  # FS_XFLAG_PROJINHERIT: what is made in the directory is of its project


class VolumeArguments(ctypes.Structure):
    """`struct btrfs_ioctl_vol_args` of ioctl_btrfs(2)."""

    _fields_ = [("descriptor", ctypes.c_int64), ("name", ctypes.c_char * 4088)]


class LookUpArguments(ctypes.Structure):
    """`struct btrfs_ioctl_ino_lookup_args`."""

    _fields_ = [("tree", ctypes.c_uint64), ("inode", ctypes.c_uint64), ("name", ctypes.c_char * 4080)]


class GroupLimit(ctypes.Structure):
    """`struct btrfs_ioctl_qgroup_limit_args`."""

    _fields_ = [
        (name, ctypes.c_uint64)
        for name in "group flags most_referenced most_exclusive reserved_referenced reserved_exclusive".split()
    ]


_BTRFS = 0x94
BTRFS_SUBVOLUME_CREATE = request(14, 4096, _BTRFS, writes=True)
BTRFS_INODE_LOOKUP = request(18, 4096, _BTRFS, reads=True, writes=True)
BTRFS_GROUP_LIMIT = request(43, 48, _BTRFS, reads=True)
BTRFS_REFUSED = (
    BTRFS_SUBVOLUME_CREATE,
    request(1, 4096, _BTRFS, writes=True),  # a snapshot
    request(23, 4096, _BTRFS, writes=True),  # a snapshot, version 2
    request(24, 4096, _BTRFS, writes=True),  # a subvolume, version 2
    request(26, 8, _BTRFS, writes=True),  # the flags of a subvolume
)
"""The requests that nobody inside may make. A new subvolume has no limit, and a read-only one cannot be removed."""
