# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's own file systems in a container: /dev, /proc, /sys, control groups, message queues (S7).

The host's root mounts them in the mount namespace that the container later gets a copy of. So the copy is locked (S13):
a part that is masked or read-only here stays so.
"""

from __future__ import annotations

import errno
import os
import stat

from . import linux, mount_calls, mounts
from .errors import LauncherError
from .excursion import in_child
from .targets import CONSOLE, DEVICE_LINKS, RUN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .contract import Mount
# The lists of runc and crun, which agree, and what systemd-nspawn adds.
MASKED = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/kernel/security",
)
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
BOOT_ID = "/proc/sys/kernel/random/boot_id"
UNNAMED = ".boot-id"  # the name in /run that a file has until it is mounted

# Ptys of a container's own devpts. All containers share 3,072 (kernel.pty.max less kernel.pty.reserve, which is the
# host's), so that one which takes all of its own leaves enough to others; yet a session each for many people.
PTYS = 256

# What PID 1 says before the journal runs: the file is in the place of the kernel's log, which no container sees.
EARLY_LOG = "kmsg"

MOUNTER = 299  # a PID out of the way: those of the container's own processes are what they would be without it
QUIET = mount_calls.MOUNT_ATTR_NOSUID | mount_calls.MOUNT_ATTR_NOEXEC
READ_ONLY_QUIET = QUIET | mount_calls.MOUNT_ATTR_RDONLY


def open_null() -> int:
    """Open the host's null device, and verify it: a link or another device must not hide files (CVE-2025-31133)."""
    descriptor = linux.openat2(linux.AT_FDCWD, "/dev/null", os.O_PATH, linux.RESOLVE_NO_SYMLINKS)
    status = os.fstat(descriptor)
    if not stat.S_ISCHR(status.st_mode) or status.st_rdev != os.makedev(1, 3):
        raise LauncherError("/dev/null: is not the null device (1:3) on this host; repair it")
    return descriptor


def terminal_options(declared: list[tuple[str, str | None]]) -> list[tuple[str, str | None]]:
    """Return a devpts' options, with the bound on its ptys: `PTYS`, or the declared `max` when that is less."""
    most = PTYS
    options = []
    for name, value in declared:
        if name == "max" and value is not None and value.isdigit():
            most = min(most, int(value))
        else:
            options.append((name, value))
    return options + [("max", str(most))]


def populate_devices(tree: mounts.Tree, console: str | None, names: tuple[str, ...], early_log: bool = False) -> None:
    """Mount a tmpfs on /dev with the host's harmless devices and, for a terminal, its pty as the console.

    Args:
        names: of the devices.
        early_log: whether there is a file in which systemd keeps what it says before its journal runs.
    """
    attributes = mount_calls.MOUNT_ATTR_NOSUID | mount_calls.MOUNT_ATTR_NOEXEC
    tree.attach(mounts.tmpfs("0755", "4m", "64k", attributes, nodes=True), "/dev")
    directory = tree.open("/dev", os.O_RDONLY | os.O_DIRECTORY)
    for name in names:
        _make_device(tree, name, directory, attributes)
    for name, link in DEVICE_LINKS.items():
        os.symlink(link, name, dir_fd=directory)
    if early_log:
        os.close(os.open(EARLY_LOG, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory))
    os.close(directory)
    if console is not None:
        source = os.open(console, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        os.chown("/proc/self/fd/%d" % source, os.geteuid(), -1)  # the container's root, as whom this is built
        tree.attach(
            mounts.bind(source, attributes, None, recursive=False, nodes=True), "/dev/" + CONSOLE, directory=False
        )
        os.close(source)


def _make_device(tree: mounts.Tree, name: str, directory: int, attributes: int) -> None:
    """Make the container's own node for a device or, in a user namespace, bind the host's node there."""
    try:
        status = os.lstat("/dev/" + name)
    except FileNotFoundError:
        return
    if not stat.S_ISCHR(status.st_mode):
        return
    try:
        os.mknod(name, status.st_mode, status.st_rdev, dir_fd=directory)
    except PermissionError:
        source = linux.openat2(linux.AT_FDCWD, "/dev/" + name, os.O_PATH, linux.RESOLVE_NO_SYMLINKS)
        tree.attach(mounts.bind(source, attributes, None, recursive=False, nodes=True), "/dev/" + name, directory=False)
        os.close(source)


def mount_process_information(tree: mounts.Tree, init: int, pidfd: int) -> None:
    """Mount /proc of the pid namespace of the process `init`, which `pidfd` pins.

    Since Linux 6.17 the namespace can be named; before, /proc is of the mounting process's own, so a child in that
    namespace mounts it.
    """
    try:
        mount = mounts.filesystem("proc", [("pidns", "/proc/%d/ns/pid" % init)], QUIET)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        linux.setns(pidfd, linux.CLONE_NEWPID)
        in_child(lambda: tree.attach(mounts.filesystem("proc", [], QUIET), "/proc"), None, (tree.root,), pid=MOUNTER)
        return
    tree.attach(mount, "/proc")


def mount_system(tree: mounts.Tree, shared_network: bool) -> None:
    """Mount /sys read-only: of the container's own network namespace, or of the host's when that is shared."""
    tree.attach(_bound_system() if shared_network else mounts.filesystem("sysfs", [], READ_ONLY_QUIET), "/sys")


def _bound_system() -> int:
    source = os.open("/sys", os.O_PATH | os.O_CLOEXEC)
    try:
        return mounts.bind(source, READ_ONLY_QUIET, None, recursive=False)
    except OSError as error:
        # In a container, what is mounted below its /sys is locked to it, and the two cannot be bound apart. A mount of
        # the mounting process's network namespace shows the same.
        if error.errno != errno.EINVAL:
            raise
        return mounts.filesystem("sysfs", [], READ_ONLY_QUIET)
    finally:
        os.close(source)


def mount_control_groups(tree: mounts.Tree) -> None:
    """Mount the container's own part of the unified hierarchy, writable: an init needs it."""
    tree.attach(mounts.filesystem("cgroup2", [], QUIET), "/sys/fs/cgroup")


def mount_message_queues(tree: mounts.Tree, record: Mount) -> None:
    """Mount the POSIX message queues of the container's ipc namespace."""
    tree.attach(mounts.filesystem("mqueue", [], mounts.attributes(record.flags)), record.mount_point)


def restrict(tree: mounts.Tree, null: int) -> None:
    """Mask the files that reveal the host's hardware and kernel; make those that control it read-only."""
    covers: dict[
        bool, int
    ] = {}  # by whether it is a directory: the mount that hides the first, and copies of it others
    for path in MASKED:
        try:
            target = tree.open(path)
        except FileNotFoundError:
            continue
        directory = stat.S_ISDIR(os.fstat(target).st_mode)
        if directory in covers:
            mount = mount_calls.open_tree(covers[directory], "", False)
        elif directory:
            mount = covers[directory] = mounts.tmpfs("0755", "4k", "2", READ_ONLY_QUIET)
        else:
            # Read-only, or a root inside with the host's own ids could take everybody's access to the null device.
            mount = covers[directory] = mounts.bind(null, READ_ONLY_QUIET, None, recursive=False, nodes=True)
        mount_calls.move_mount(mount, target)
        os.close(target)
        if mount not in covers.values():
            os.close(mount)
    for mount in covers.values():
        os.close(mount)
    for path in READ_ONLY:
        try:
            target = tree.open(path)
        except FileNotFoundError:
            continue
        mount = mounts.bind(target, READ_ONLY_QUIET, None, recursive=False)
        mount_calls.move_mount(mount, target)
        os.close(mount)
        os.close(target)


def leave_bare(tree: mounts.Tree) -> None:
    """Keep a second, uncovered /proc: the kernel lets a user namespace inside mount one only where there is one.

    (mount_namespaces(7): nobody may uncover a masked part of /proc by mounting another.)
    """
    source = tree.open("/proc")
    tree.attach(mounts.bind(source, QUIET, None, recursive=False), "/run/host/proc")
    os.close(source)


def name_boot(tree: mounts.Tree) -> None:
    """Give this start a boot id of its own: random, read-only, from a file that has no other name."""
    try:
        target = tree.open(BOOT_ID)
    except FileNotFoundError:
        return
    directory = tree.open(RUN, os.O_PATH | os.O_DIRECTORY)  # which is new with each start
    file = os.open(UNNAMED, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444, dir_fd=directory)
    os.fchmod(file, 0o444)
    os.write(file, _random_uuid().encode())
    mount = mounts.bind(file, READ_ONLY_QUIET, None, recursive=False)
    mount_calls.move_mount(mount, target)
    os.unlink(UNNAMED, dir_fd=directory)  # not before: the kernel attaches nothing that has no name
    for descriptor in (mount, file, directory, target):
        os.close(descriptor)


def _random_uuid() -> str:
    """Return a line with a UUID of version 4 (RFC 9562), in the kernel's format."""
    data = bytearray(os.urandom(16))
    data[6] = data[6] & 0x0F | 0x40
    data[8] = data[8] & 0x3F | 0x80
    digits = data.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])) + "\n"
