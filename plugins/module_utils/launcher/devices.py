# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Block devices, and which of them lie on one another or share a file system."""

from __future__ import annotations

import fcntl
import os
import stat

from . import lookup, mount_table
from .paths import read_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .mount_table import MountTableEntry

SYSTEM = "/sys"
BTRFS_FS_INFO = 0x8400941F  # BTRFS_IOC_FS_INFO of ioctl_btrfs(2)
INFO_SIZE = 1024  # bytes of its structure, `struct btrfs_ioctl_fs_info_args`
UUID_AT = 16  # where in it the UUID of the file system is


def numbers(device: int) -> str:
    """Return the numbers of a device, as `major:minor`."""
    return "%d:%d" % (os.major(device), os.minor(device))


def block_device(path: str) -> str | None:
    """Return the numbers of a block device, or None where the path leads to none."""
    try:
        descriptor = lookup.open_on_host(path)
    except OSError:
        return None
    status = os.fstat(descriptor)
    os.close(descriptor)
    return numbers(status.st_rdev) if stat.S_ISBLK(status.st_mode) else None


def of_mount(mount: MountTableEntry) -> list[str]:
    """Return the devices of a mounted file system, at least one of them.

    Btrfs and bcachefs have a number of their own in the table of mounts, and name a device, or several.
    """
    if not mount.device.startswith("0:"):
        return [mount.device]
    names = mount.source.split(":") if mount.kind == "bcachefs" else [mount.source]
    found = [block_device(name) for name in names if name.startswith("/dev/")]
    known = [number for number in found if number]
    if not known and mount.kind == "btrfs":  # `/dev/root` names no device
        known = members_of_btrfs(mount.point)
    return known or [mount.device]


def members_of_btrfs(directory: str, at: int | None = None) -> list[str]:
    """Return the devices of the btrfs that a directory lies in; none where it lies in no btrfs.

    Args:
        at: a descriptor of the directory that a relative path starts from.
    """
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=at)
    except OSError:
        return []
    try:
        return numbers_in(btrfs_state(descriptor) + "/devices")
    except OSError:
        return []
    finally:
        os.close(descriptor)


def btrfs_state(descriptor: int) -> str:
    """Return the directory in which the kernel tells of the btrfs that an open file lies in.

    Raises:
        OSError: it lies in no btrfs.
    """
    said = fcntl.ioctl(descriptor, BTRFS_FS_INFO, bytes(INFO_SIZE))
    digits = said[UUID_AT : UUID_AT + 16].hex()
    uuid = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
    return "%s/fs/btrfs/%s" % (SYSTEM, uuid)


def whole_disk(path: str) -> str | None:
    """Return the numbers of the disk that a path is, or is on, or None: the kernel counts its work there.

    A partition's is that of its disk. A device that lies on a single other one stands for that, as with systemd.

    Raises:
        OSError: the path leads nowhere.
    """
    found = [block_device(path) or numbers(os.stat(path).st_dev)]
    if found[0].startswith("0:"):
        way = mount_table.way(mount_table.read(), os.path.realpath(path))
        found = of_mount(way[-1]) if way else []
    while len(found) == 1 and not found[0].startswith("0:"):
        directory = "%s/dev/block/%s" % (SYSTEM, found[0])
        disk = found[0]
        if os.path.exists(directory + "/partition"):
            return read_text(directory + "/../dev").strip()
        found = numbers_in(directory + "/slaves")
        if len(found) != 1:
            return disk
    return None


def holds(one: str, other: str) -> bool:
    """Return whether one of two block devices is the other, lies on it, or shares a file system with it.

    Partitions, mapped devices (LVM, dm-crypt), RAID (md), and loop devices lie on others.
    """
    return other in _chain(one) or one in _chain(other)


def _chain(number: str) -> set[str]:
    """Return a block device, those below it, and those that share a file system with one of them."""
    together = _groups()
    found, pending = set(), [number]
    while pending:
        number = pending.pop()
        if not number or number in found:
            continue
        found.add(number)
        directory = "%s/dev/block/%s" % (SYSTEM, number)
        backing = read_text(directory + "/loop/backing_file").strip("\n")
        if backing:
            pending.append(block_device(backing) or "")
        if os.path.exists(directory + "/partition"):
            pending.append(read_text(directory + "/../dev").strip())
        pending += numbers_in(directory + "/slaves")
        for group in together:
            if number in group:
                pending += group
    return found


def _groups() -> list[list[str]]:
    """Return the devices of each file system that has several, as far as the kernel tells: btrfs and bcachefs."""
    btrfs, bcachefs = SYSTEM + "/fs/btrfs", SYSTEM + "/fs/bcachefs"
    found = [numbers_in("%s/%s/devices" % (btrfs, name)) for name in _names(btrfs)]
    return found + [numbers_in("%s/%s" % (bcachefs, name), "block/dev") for name in _names(bcachefs)]


def numbers_in(directory: str, file: str = "dev") -> list[str]:
    """Return the numbers of the devices that a directory of sysfs has entries for."""
    found = []
    for name in _names(directory):
        try:
            found.append(read_text("%s/%s/%s" % (directory, name, file)).strip())
        except NotADirectoryError:  # a file beside the entries
            pass
    return [number for number in found if number]


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []
