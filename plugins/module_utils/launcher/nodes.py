# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The host's devices that a container is given (P6): nodes of its own in its /dev, for the same drivers.

A node of the container's own has an owner and a mode of its own. So nothing inside reaches the host's node, its mode
or its access list. Nobody inside can make another: that takes CAP_MKNOD on the host, no file system that a container
brings or shares has devices, and what root inside mounts has none either. So no device control group is needed, and
one that the administrator has set (`DevicePolicy=`) holds as well.
"""

from __future__ import annotations

import errno
import os
import stat

from . import devices, linux, lookup, mount_calls, mount_table, mounts
from .data import first_words
from .errors import LauncherError
from .paths import read_text
from .targets import plain_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from .needs import Device
    from .owners import Owners

DEEPEST, MOST = 4, 512  # directories in one another, and nodes, that one device brings
# Character devices by their numbers (devices.txt of the kernel).
FORBIDDEN = {
    "1:1": "it is the host's memory",
    "1:2": "it is the kernel's memory",
    "1:4": "it is every I/O port of the host",
    "1:11": "it is the kernel's log, with what the host and all other containers do",
    "5:1": "it is the host's console",
    "5:2": "it makes terminals of the host's; the container has its own /dev/ptmx",
    "10:229": "a container gets it by security.fuse: true",
}
IN_USE = "/proc/consoles"
TERMINALS = range(136, 144)  # major numbers of the slaves of the host's ptys
RISKS = {
    "10:130": "a watchdog that is opened and not served resets the host",
    "10:223": "who opens it types on the host's keyboard",
    "10:237": "who opens it adds loop devices to the host",
    "10:239": "who opens it types on the host's keyboard",
}
INPUT, CONSOLES, SCREENS = 13, 4, 7  # major numbers; of consoles the first 64 are virtual
TYPED = "who opens it reads what is typed at the host"
SHOWN = "who opens it reads what the host's screen shows"
LOGINS = "it is a console of the host, where the kernel and its users' logins are"
RAW = "root inside writes any bytes to it: let the host mount nothing of it again"
MISSING = "this host has no %s; plug it in, load its module (modprobe), or correct the path"
NOT_OWN = (
    "%s: %s has the host's owner and mode: this host is a container itself, and makes no device nodes of other owners"
)


class RefusedDevice(LauncherError):
    """A device that can be given to no container; the message begins with `devices[…]`."""


class Node:
    """A device node that a container is given.

    Attributes:
        source: path on the host.
        target: path inside.
        kind: `stat.S_IFCHR` or `stat.S_IFBLK`.
        device: the device's number.
        mode: its permissions on the host.
    """

    def __init__(self, source: str, target: str, status: os.stat_result) -> None:
        self.source = source
        self.target = target
        self.kind = stat.S_IFMT(status.st_mode)
        self.device = status.st_rdev
        self.mode = stat.S_IMODE(status.st_mode) & 0o777

    @property
    def number(self) -> str:
        return devices.numbers(self.device)


def find(device: Device, open_path: Callable[[str], int] = lookup.open_on_host) -> list[Node]:
    """Return the nodes at a device's path: one, or all those in a directory. Links of the host's /dev are followed.

    Raises:
        FileNotFoundError: there is nothing.
        RefusedDevice: there is something else.
    """
    try:
        descriptor = open_path(device.path)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise FileNotFoundError(errno.ENOENT, error.strerror, device.path) from error
        raise RefusedDevice("%s cannot be looked at: %s" % (device.path, error.strerror)) from error
    try:
        status = os.fstat(descriptor)
        if _is_device(status):
            return [Node(device.path, device.target, status)]
        if not stat.S_ISDIR(status.st_mode):
            raise RefusedDevice("%s is neither a device nor a directory of devices" % device.path)
        found: list[Node] = []
        _walk(descriptor, device.path, device.target, found, DEEPEST)
    finally:
        os.close(descriptor)
    if not found:
        raise FileNotFoundError(errno.ENOENT, "holds no device", device.path)
    return found


def _is_device(status: os.stat_result) -> bool:
    return stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode)


def _walk(directory: int, source: str, target: str, found: list[Node], depth: int) -> None:
    listed = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=directory)
    try:
        for name in sorted(os.listdir(listed)):
            status = os.stat(name, dir_fd=listed, follow_symlinks=False)
            if _is_device(status):
                found.append(Node("%s/%s" % (source, name), "%s/%s" % (target, name), status))
            elif stat.S_ISDIR(status.st_mode) and depth > 1:
                below = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=listed)
                try:
                    _walk(below, "%s/%s" % (source, name), "%s/%s" % (target, name), found, depth - 1)
                finally:
                    os.close(below)
            if len(found) > MOST:
                raise RefusedDevice("%s holds more than %d devices: name those that are needed" % (source, MOST))
    finally:
        os.close(listed)


def refusal(node: Node) -> str | None:
    """Return why no container can have a device, or None."""
    if node.kind == stat.S_IFCHR:
        if os.major(node.device) in TERMINALS:
            return "%s cannot be given to a container: it is a terminal of the host's" % node.source
        if node.number in FORBIDDEN:
            return "%s cannot be given to a container: %s" % (node.source, FORBIDDEN[node.number])
    for number in _blocks(node):
        use = _use_of(number)
        if use:
            return "%s cannot be given to a container: the host uses that disk, %s" % (node.source, use)
    return None


def risk(node: Node) -> str | None:
    """Return what root inside can do with a device that the administrator should know, or None."""
    if _blocks(node):
        return "%s: %s" % (node.source, RAW)
    major = os.major(node.device)
    if major == INPUT or (major == CONSOLES and os.minor(node.device) < 64):
        return "%s: %s" % (node.source, TYPED)
    if major == SCREENS:
        return "%s: %s" % (node.source, SHOWN)
    if any(line.split()[-1:] == [node.number] for line in read_text(IN_USE).split("\n")):
        return "%s: %s" % (node.source, LOGINS)
    return "%s: %s" % (node.source, RISKS[node.number]) if node.number in RISKS else None


def _blocks(node: Node) -> list[str]:
    """Return the numbers of the disks that are written through a device: its own, or those of a raw interface."""
    if node.kind == stat.S_IFBLK:
        return [node.number]
    place = "%s/dev/char/%s" % (devices.SYSTEM, node.number)
    found = devices.numbers_in(place + "/device/block")  # of SCSI
    for directory in (place, place + "/device"):  # of NVMe: the controller's own, and a namespace's
        names = [name for name in _names(directory) if name.startswith("nvme")]
        found += [read_text("%s/%s/dev" % (directory, name)).strip() for name in names]
    return [number for number in found if number and os.path.isdir("%s/dev/block/%s" % (devices.SYSTEM, number))]


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except OSError:
        return []


def _use_of(number: str) -> str | None:
    """Return what the host uses a disk for, or None: what is mounted from it, or from something on it, and swap."""
    for mount in {mount.device: mount for mount in reversed(mount_table.read())}.values():
        members = [each for each in devices.of_mount(mount) if not each.startswith("0:")]
        if any(devices.holds(number, each) for each in members):
            return "for what is mounted at %s" % mount.point
    for path in first_words(read_text("/proc/swaps"))[1:]:
        swap = devices.block_device(mount_table.unescape(path))
        if swap and devices.holds(number, swap):
            return "for swap (%s)" % path
    return None


def populate(tree: mounts.Tree, wanted: list[Device], base: int, owners: Owners) -> list[str]:
    """Make a container's nodes in its /dev. Return warnings.

    Args:
        base: the host's id of root inside.
        owners: the ids of accounts that are others than declared.

    Raises:
        LauncherError: one is missing, or cannot be given to a container.
    """
    warnings: list[str] = []
    for index, device in enumerate(wanted):
        place = "devices[%d]" % index
        try:
            found = find(device)
        except FileNotFoundError:
            raise LauncherError("%s: %s" % (place, MISSING % device.path)) from None
        except RefusedDevice as error:
            raise LauncherError("%s: %s" % (place, error)) from error
        for node in found:
            reason = refusal(node)
            if reason:
                raise LauncherError("%s: %s" % (place, reason))
            if not _make(tree, node, device, base, owners) and (device.mode or device.uid or device.gid):
                warnings.append(NOT_OWN % (place, node.target))
    return warnings


def _make(tree: mounts.Tree, node: Node, device: Device, base: int, owners: Owners) -> bool:
    """Make a node, or bind the host's where the kernel lets this host make none. Return whether it was made."""
    above, _slash, name = plain_path(node.target).rpartition("/")
    directory = tree.target(above, True, above=True)
    try:
        mode = int(device.mode, 8) if device.mode else node.mode
        try:
            os.mknod(name, mode | node.kind, node.device, dir_fd=directory)
        except PermissionError:
            _bind(tree, node)
            return False
        uid, gid = base + owners.user(device.uid), base + owners.group(device.gid)
        os.chown(name, uid, gid, dir_fd=directory, follow_symlinks=False)
        return True
    finally:
        os.close(directory)


def _bind(tree: mounts.Tree, node: Node) -> None:
    # Read-only: nobody inside changes the mode of the host's node, and a device is written to all the same.
    attributes = mount_calls.MOUNT_ATTR_NOSUID | mount_calls.MOUNT_ATTR_NOEXEC | mount_calls.MOUNT_ATTR_RDONLY
    source = linux.openat2(linux.AT_FDCWD, node.source, os.O_PATH, linux.RESOLVE_NO_MAGICLINKS)
    try:
        if os.fstat(source).st_rdev != node.device:
            raise LauncherError("%s: has become another device while it was looked at" % node.source)
        mount = mounts.bind(source, attributes, None, recursive=False, nodes=True)
        tree.attach(mount, node.target, directory=False)
    finally:
        os.close(source)
