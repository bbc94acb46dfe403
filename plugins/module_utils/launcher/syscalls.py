# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Linux system calls that Python's standard library does not have, one thin wrapper each.

Every wrapper raises `OSError` whose file name is the call with its arguments, so that an error says what was tried.
The numbers are those of the generic table; they are the same on every architecture but alpha for calls since 5.1.
`ctypes.PyDLL` keeps the interpreter's lock during a call: nothing here blocks, and a child of `clone3` finds it held by
itself.
"""

from __future__ import annotations

import ctypes
import os

_libc = ctypes.PyDLL(None, use_errno=True)
_syscall = _libc.syscall
_syscall.restype = ctypes.c_long

# The few older calls whose numbers differ between architectures go through the C library's own functions.
_NUMBER_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41, "ppc64le": 203, "s390x": 217}
_NUMBER_KEYCTL = {"x86_64": 250, "aarch64": 219, "riscv64": 219, "ppc64le": 271, "s390x": 280}
_NUMBER_SECCOMP = {"x86_64": 317, "aarch64": 277, "riscv64": 277, "ppc64le": 358, "s390x": 348}
_NUMBER_CAPSET = {"x86_64": 126, "aarch64": 91, "riscv64": 91, "ppc64le": 184, "s390x": 185}

CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_PARENT = 0x00008000
CLONE_INTO_CGROUP = 0x200000000

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
AT_SYMLINK_NOFOLLOW = 0x100

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
MOUNT_ATTR_IDMAP = 0x100000
MOUNT_ATTR__ATIME = 0x70

MS_REC = 0x4000
MS_PRIVATE = 1 << 18
MS_SHARED = 1 << 20
MNT_DETACH = 2

FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_CMD_CREATE = 6

RESOLVE_NO_XDEV = 0x01
RESOLVE_IN_ROOT = 0x10
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_SECUREBITS = 28
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
SECBIT_NO_SETUID_FIXUP = 1 << 2

KEYCTL_JOIN_SESSION_KEYRING = 1
SECCOMP_SET_MODE_FILTER = 1


def _call(description: str, result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), description)
    return result


def _architecture_number(table: dict[str, int], name: str) -> int:
    machine = os.uname().machine
    if machine not in table:
        raise OSError(38, "the number of this call is not known on " + machine, name)
    return table[machine]


class CloneArguments(ctypes.Structure):
    """`struct clone_args` of clone3(2), version 2 (Linux 5.7)."""

    _fields_ = [
        (name, ctypes.c_uint64)
        for name in (
            "flags",
            "pidfd",
            "child_tid",
            "parent_tid",
            "exit_signal",
            "stack",
            "stack_size",
            "tls",
            "set_tid",
            "set_tid_size",
            "cgroup",
        )
    ]


class MountAttributes(ctypes.Structure):
    """`struct mount_attr` of mount_setattr(2) (Linux 5.12)."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd")]


class OpenHow(ctypes.Structure):
    """`struct open_how` of openat2(2) (Linux 5.6)."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("flags", "mode", "resolve")]


class SocketFilterProgram(ctypes.Structure):
    """`struct sock_fprog` of seccomp(2)."""

    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


def clone3(flags: int, exit_signal: int = 0, cgroup: int | None = None, pid: int | None = None) -> int:
    """Make a child as fork(2) does, in new namespaces and, if a descriptor is given, in that cgroup: 0 in the child.

    With `pid` that is its number in the pid namespace of its own, and the numbers of those after it do not change.
    """
    arguments = CloneArguments(flags=flags, exit_signal=exit_signal)
    if pid is not None:
        number = ctypes.c_int(pid)
        arguments.set_tid = ctypes.addressof(number)
        arguments.set_tid_size = 1
    if cgroup is not None:
        arguments.flags |= CLONE_INTO_CGROUP
        arguments.cgroup = cgroup
    return _call(
        "clone3(flags=%#x)" % flags, _syscall(435, ctypes.byref(arguments), ctypes.c_size_t(ctypes.sizeof(arguments)))
    )


def unshare(flags: int) -> None:
    """unshare(2)."""
    _call("unshare(%#x)" % flags, _libc.unshare(ctypes.c_int(flags)))


def setns(descriptor: int, flags: int) -> None:
    """setns(2); with a pidfd several namespaces at once (Linux 5.8)."""
    _call("setns(%d, %#x)" % (descriptor, flags), _libc.setns(ctypes.c_int(descriptor), ctypes.c_int(flags)))


def pidfd_open(pid: int) -> int:
    """A descriptor that pins the process, close-on-exec (Linux 5.3)."""
    return _call("pidfd_open(%d)" % pid, _syscall(434, ctypes.c_int(pid), ctypes.c_uint(0)))


def pidfd_send_signal(pidfd: int, number: int) -> None:
    """Signal the process that the descriptor pins (Linux 5.1)."""
    _call(
        "pidfd_send_signal(%d)" % number,
        _syscall(424, ctypes.c_int(pidfd), ctypes.c_int(number), None, ctypes.c_uint(0)),
    )


def close_range(first: int, last: int = 0xFFFFFFFF) -> None:
    """Close every descriptor from `first` to `last` (Linux 5.9)."""
    _call("close_range(%d)" % first, _syscall(436, ctypes.c_uint(first), ctypes.c_uint(last), ctypes.c_uint(0)))


def openat2(directory: int, path: str, flags: int, resolve: int, mode: int = 0) -> int:
    """openat2(2): open with rules for the resolution of the path (Linux 5.6)."""
    how = OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    return _call(
        "openat2(%s)" % path,
        _syscall(
            437, ctypes.c_int(directory), os.fsencode(path), ctypes.byref(how), ctypes.c_size_t(ctypes.sizeof(how))
        ),
    )


def open_tree(directory: int, path: str, recursive: bool) -> int:
    """A detached copy of the mount at the path, and of those below it when recursive (Linux 5.2)."""
    flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (AT_RECURSIVE if recursive else 0)
    flags |= AT_EMPTY_PATH if not path else 0
    return _call(
        "open_tree(%s)" % (path or directory),
        _syscall(428, ctypes.c_int(directory), os.fsencode(path), ctypes.c_uint(flags)),
    )


def mount_setattr(mount: int, attributes: int, recursive: bool, user_namespace: int | None = None) -> None:
    """Set the attributes of a mount, and its id map from a user namespace's descriptor (Linux 5.12)."""
    structure = MountAttributes(attributes, 0, 0, 0)
    if user_namespace is not None:
        structure.attr_set |= MOUNT_ATTR_IDMAP
        structure.userns_fd = user_namespace
    flags = AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    _call(
        "mount_setattr(%#x)" % structure.attr_set,
        _syscall(
            442,
            ctypes.c_int(mount),
            b"",
            ctypes.c_uint(flags),
            ctypes.byref(structure),
            ctypes.c_size_t(ctypes.sizeof(structure)),
        ),
    )


def move_mount(mount: int, target: int) -> None:
    """Attach a detached mount at the file or directory that a descriptor names (Linux 5.2)."""
    flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH
    _call(
        "move_mount()",
        _syscall(429, ctypes.c_int(mount), b"", ctypes.c_int(target), b"", ctypes.c_uint(flags)),
    )


def fsopen(kind: str) -> int:
    """A context in which a file system of this type is configured (Linux 5.2)."""
    return _call("fsopen(%s)" % kind, _syscall(430, os.fsencode(kind), ctypes.c_uint(1)))


def fsconfig(context: int, command: int, key: str | None = None, value: str | None = None) -> None:
    """Configure the file system of a context (Linux 5.2)."""
    _call(
        "fsconfig(%s%s)" % (key or "create", "" if value is None else "=" + value),
        _syscall(
            431,
            ctypes.c_int(context),
            ctypes.c_uint(command),
            None if key is None else os.fsencode(key),
            None if value is None else os.fsencode(value),
            ctypes.c_int(0),
        ),
    )


def fsmount(context: int, attributes: int) -> int:
    """A detached mount of a configured file system (Linux 5.2)."""
    return _call("fsmount()", _syscall(432, ctypes.c_int(context), ctypes.c_uint(1), ctypes.c_uint(attributes)))


def make_private(path: str) -> None:
    """Let no mount below the path propagate anywhere."""
    _propagation(path, MS_PRIVATE, "MS_PRIVATE")


def make_shared(path: str) -> None:
    """Let mounts below the path propagate between the mount namespaces that are copied from this one from now on."""
    _propagation(path, MS_SHARED, "MS_SHARED")


def _propagation(path: str, kind: int, name: str) -> None:
    _call(
        "mount(%s, MS_REC | %s)" % (path, name),
        _libc.mount(None, os.fsencode(path), None, ctypes.c_ulong(MS_REC | kind), None),
    )


def unmount(path: str) -> None:
    """umount2(2), lazily."""
    _call("umount2(%s)" % path, _libc.umount2(os.fsencode(path), ctypes.c_int(MNT_DETACH)))


def pivot_root(new: str, old: str) -> None:
    """pivot_root(2)."""
    number = _architecture_number(_NUMBER_PIVOT_ROOT, "pivot_root")
    _call("pivot_root(%s, %s)" % (new, old), _syscall(number, os.fsencode(new), os.fsencode(old)))


def prctl(option: int, second: int = 0, third: int = 0) -> int:
    """prctl(2) with up to two further arguments."""
    zero = ctypes.c_ulong(0)
    return _call(
        "prctl(%d, %d)" % (option, second),
        _libc.prctl(ctypes.c_int(option), ctypes.c_ulong(second), ctypes.c_ulong(third), zero, zero),
    )


def set_host_name(name: str) -> None:
    """sethostname(2), for the uts namespace of the calling process."""
    data = os.fsencode(name)
    _call("sethostname(%s)" % name, _libc.sethostname(data, ctypes.c_size_t(len(data))))


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """Set the capabilities of the calling process, each a bit mask (capset(2), version 3)."""
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    low, high = 0xFFFFFFFF, 32
    data = (ctypes.c_uint32 * 6)(
        effective & low, permitted & low, inheritable & low, effective >> high, permitted >> high, inheritable >> high
    )
    number = _architecture_number(_NUMBER_CAPSET, "capset")
    _call("capset()", _syscall(number, header, data))


def join_new_session_keyring() -> None:
    """Leave the caller's session keyring for a new, empty one (keyctl(2))."""
    number = _architecture_number(_NUMBER_KEYCTL, "keyctl")
    _call("keyctl(JOIN_SESSION_KEYRING)", _syscall(number, ctypes.c_int(KEYCTL_JOIN_SESSION_KEYRING), None))


def load_seccomp_filter(program: bytes) -> None:
    """Install a compiled filter (`struct sock_filter` records) for this process and all that come of it."""
    buffer = ctypes.create_string_buffer(program, len(program))
    structure = SocketFilterProgram(len(program) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    number = _architecture_number(_NUMBER_SECCOMP, "seccomp")
    _call(
        "seccomp(SET_MODE_FILTER)",
        _syscall(number, ctypes.c_uint(SECCOMP_SET_MODE_FILTER), ctypes.c_uint(0), ctypes.byref(structure)),
    )


def bring_loopback_up() -> None:
    """Set the interface `lo` of this network namespace up (netdevice(7), SIOCSIFFLAGS)."""
    import fcntl

    descriptor = _call("socket(AF_INET)", _libc.socket(2, 2 | os.O_CLOEXEC, 0))
    try:
        request = b"lo".ljust(16, b"\0") + (0x1).to_bytes(2, "little") + bytes(22)
        fcntl.ioctl(descriptor, 0x8914, request)
    finally:
        os.close(descriptor)
