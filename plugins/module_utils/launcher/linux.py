# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Linux system calls that Python's standard library does not have, one thin wrapper each.

Every wrapper raises `OSError` whose file name is the call with its arguments, so that an error says what was tried.
The numbers are those of the generic table; they are the same on every architecture but alpha for calls since 5.1.
`ctypes.PyDLL` keeps the interpreter's lock during a call, so that a child of `clone3` finds it held by itself; so a
process with several threads must not wait here. Whole numbers go as C ints, wide enough for all that is passed.
"""

from __future__ import annotations

import _signal
import ctypes
import fcntl
import os

from .loading import refuse_to_load

libc = ctypes.PyDLL(None, use_errno=True)
syscall = libc.syscall
syscall.restype = ctypes.c_long
# All that is called is looked up here, and the types are made. In a container's first process each would write to, and
# so copy, two dozen pages of its parent's.
for _name in (
    "fstatfs inotify_add_watch inotify_init1 mount personality prctl prlimit sethostname setns socket syncfs umount2 "
    "unshare"
).split():
    getattr(libc, _name)
_Limits = ctypes.c_uint64 * 2  # `struct rlimit64`
_Status = ctypes.c_char * 256  # room for `struct statfs` and `struct statx`
_CapabilityHeader = ctypes.c_uint32 * 2
_CapabilitySets = ctypes.c_uint32 * 6

MACHINE = os.uname().machine

_CAPABILITIES_OF_CALLER = 0x20080522, 0  # `struct __user_cap_header_struct`: version 3, and whose
_ZERO = ctypes.c_ulong(0)
_DEFAULT_ACTION = ctypes.create_string_buffer(32)  # `struct sigaction` of the kernel: no function, no flags, no mask


def by_architecture(x86_64: int, generic: int, ppc64le: int, s390x: int) -> dict[str, int]:
    """Return the numbers of a call on each architecture; two of them have the generic table's."""
    return {"x86_64": x86_64, "aarch64": generic, "riscv64": generic, "ppc64le": ppc64le, "s390x": s390x}


# The few older calls whose numbers differ between architectures go through the C library's own functions.
_KEYCTL = by_architecture(250, 219, 271, 280)
_SECCOMP = by_architecture(317, 277, 358, 348)
_EXECVEAT = by_architecture(322, 281, 362, 354)
_SIGACTION = by_architecture(13, 134, 173, 174)
_STATX = by_architecture(332, 291, 383, 379)
_CAPGET = by_architecture(125, 90, 183, 184)
_CAPSET = by_architecture(126, 91, 184, 185)

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_PARENT = 0x00008000
SIGCHLD = 17
CLONE_INTO_CGROUP = 0x200000000

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000
AT_SYMLINK_NOFOLLOW = 0x100
AT_EACCESS = 0x200
AT_STATX_DONT_SYNC = 0x4000  # no file system is asked for what only the kernel is to say
STATX_ATTR_MOUNT_ROOT = 0x2000
STATX_MNT_ID = 0x1000  # Linux 5.8
STATX_MNT_ID_UNIQUE = 0x4000  # Linux 6.8; it counts where a kernel has both

RESOLVE_NO_XDEV = 0x01
RESOLVE_IN_ROOT = 0x10
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04

# openat2(2) gives up with EAGAIN when anything on this machine is renamed or mounted while it follows "..": a few times
# in a row by chance, a thousand times never.
OPEN_TRIES = 1000
EAGAIN = 11
EINVAL = 22

PR_SET_PDEATHSIG = 1
PR_GET_PDEATHSIG = 2
PR_GET_DUMPABLE = 3
PR_SET_DUMPABLE = 4
PR_SET_TIMERSLACK = 29
PR_SET_NO_NEW_PRIVS = 38
PR_SET_THP_DISABLE = 41
PR_CAPBSET_DROP = 24
PR_GET_SECUREBITS = 27
PR_SET_SECUREBITS = 28
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
SECBIT_NO_SETUID_FIXUP = 1 << 2

RLIMIT_NPROC = 6
PROC_SUPER_MAGIC, AUTOFS_SUPER_MAGIC = 0x9FA0, 0x0187
TIOCSCTTY = 0x540E
KEYCTL_JOIN_SESSION_KEYRING = 1
SECCOMP_SET_MODE_FILTER = 1


def result_of(result: int, call: str, *arguments: object) -> int:
    """Return the result of a call. Raise OSError when it failed; only then is the call's text made."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), call % arguments)
    return result


def number_here(table: dict[str, int], name: str) -> int:
    """Return the number of a call on this machine. Raise OSError where it is not known."""
    if MACHINE not in table:
        raise OSError(38, "the number of this call is not known on " + MACHINE, name)
    return table[MACHINE]


def call(numbers: dict[str, int], name: str, *arguments: object) -> int:
    """Make the call whose number depends on the architecture; return its result."""
    return result_of(syscall(number_here(numbers, name), *arguments), name)


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


class OpenHow(ctypes.Structure):
    """`struct open_how` of openat2(2) (Linux 5.6)."""

    _fields_ = [(name, ctypes.c_uint64) for name in ("flags", "mode", "resolve")]


class SocketFilterProgram(ctypes.Structure):
    """`struct sock_fprog` of seccomp(2)."""

    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_char_p)]


def clone3(flags: int, exit_signal: int = 0, cgroup: int | None = None, pid: int | None = None) -> int:
    """Make a child as fork(2) does, in new namespaces and, with a descriptor, in that cgroup. Return 0 in the child.

    `pid` is the child's number in its pid namespace. The numbers of later children do not change.
    """
    arguments = CloneArguments(flags=flags, exit_signal=exit_signal)
    if pid is not None:
        number = ctypes.c_int(pid)
        arguments.set_tid = ctypes.addressof(number)
        arguments.set_tid_size = 1
    if cgroup is not None:
        arguments.flags |= CLONE_INTO_CGROUP
        arguments.cgroup = cgroup
    return result_of(syscall(435, ctypes.byref(arguments), ctypes.sizeof(arguments)), "clone3(flags=%#x)", flags)


def unshare(flags: int) -> None:
    """Call unshare(2)."""
    result_of(libc.unshare(flags), "unshare(%#x)", flags)


def setns(descriptor: int, flags: int, home: bool = False) -> None:
    """Call setns(2), with a pidfd for several namespaces at once (Linux 5.8).

    Args:
        home: the mount namespace is the host's.

    Raises:
        RuntimeError: a mount namespace may be a container's, and this process can import modules.
    """
    if flags & CLONE_NEWNS and not home:
        refuse_to_load()
    result_of(libc.setns(descriptor, flags), "setns(%d, %#x)", descriptor, flags)


def pidfd_open(pid: int) -> int:
    """Return a descriptor that pins the process, close-on-exec (Linux 5.3)."""
    return result_of(syscall(434, pid, 0), "pidfd_open(%d)", pid)


def pidfd_send_signal(pidfd: int, number: int) -> None:
    """Signal the process that the descriptor pins (Linux 5.1)."""
    result_of(syscall(424, pidfd, number, None, 0), "pidfd_send_signal(%d)", number)


def close_range(first: int, last: int = 0xFFFFFFFF) -> None:
    """Close every descriptor from `first` to `last` (Linux 5.9)."""
    result_of(syscall(436, first, last, 0), "close_range(%d)", first)


def openat2(directory: int, path: str, flags: int, resolve: int, mode: int = 0) -> int:
    """Open a path under rules for its resolution (openat2(2), Linux 5.6). Return the descriptor."""
    how = OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    name = os.fsencode(path)
    for _try in range(OPEN_TRIES):
        result = syscall(437, directory, name, ctypes.byref(how), ctypes.sizeof(how))
        if result >= 0 or ctypes.get_errno() != EAGAIN:
            break
    return result_of(result, "openat2(%s)", path)


def prctl(option: int, second: int = 0, third: int = 0) -> int:
    """Call prctl(2) with up to two further arguments; return its result."""
    result = libc.prctl(option, ctypes.c_ulong(second), ctypes.c_ulong(third), _ZERO, _ZERO)
    return result_of(result, "prctl(%d, %d)", option, second)


def drop_from_bounding_set(capability: int) -> bool:
    """Drop a capability for this process and all that come of it. Return whether the kernel knows this capability."""
    result = libc.prctl(PR_CAPBSET_DROP, ctypes.c_ulong(capability), _ZERO, _ZERO, _ZERO)
    if result < 0 and ctypes.get_errno() == EINVAL:
        return False
    return result_of(result, "prctl(PR_CAPBSET_DROP, %d)", capability) == 0


def parent_death_signal() -> int:
    """Return the signal that this process gets when its parent dies, or 0 (PR_GET_PDEATHSIG)."""
    number = ctypes.c_int()
    result = libc.prctl(PR_GET_PDEATHSIG, ctypes.byref(number), _ZERO, _ZERO, _ZERO)
    result_of(result, "prctl(PR_GET_PDEATHSIG)")
    return number.value


def end_with(parent: int) -> None:
    """Have the kernel kill this process when its parent ends; end at once when that has ended already.

    Args:
        parent: the parent's PID, which it has found out itself: a child that asks who its parent is may be too late.
    """
    prctl(PR_SET_PDEATHSIG, _signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def get_limit(pid: int, number: int) -> tuple[int, int]:
    """Return the soft and the hard limit of this number of a process, or of the calling one (0) (prlimit(2))."""
    limits = _Limits()
    result_of(libc.prlimit(pid, number, None, limits), "prlimit(%d, %d)", pid, number)
    return limits[0], limits[1]


def set_limit(pid: int, number: int, soft: int, hard: int) -> None:
    """Set the soft and the hard limit of a process, or of the calling one (0)."""
    limits = _Limits(soft, hard)
    result_of(libc.prlimit(pid, number, limits, None), "prlimit(%d, %d, %d)", pid, number, soft)


def file_system_type(descriptor: int) -> int:
    """Return the number of the type of the file system that a descriptor is in (fstatfs(2))."""
    status = _Status()
    result_of(libc.fstatfs(descriptor, status), "fstatfs(%d)", descriptor)
    kind = ctypes.c_uint if MACHINE == "s390x" else ctypes.c_long
    return kind.from_buffer(status).value


def sync_file_system(descriptor: int) -> None:
    """Write all of a file system to its disk, that of an open file (syncfs(2)). Errors are told since Linux 5.8."""
    result_of(libc.syncfs(descriptor), "syncfs(%d)", descriptor)


def mount_number(descriptor: int) -> int:
    """Return the id of the mount that an open file lies in; since Linux 6.8 ids are never used again (statx(2))."""
    return ctypes.c_uint64.from_buffer(_statx(descriptor), 144).value


def mount_table_number(descriptor: int) -> int:
    """Return the id of the mount that an open file lies in, as mountinfo has it (statx(2), Linux 5.8); 0 before."""
    return ctypes.c_uint64.from_buffer(_statx(descriptor, STATX_MNT_ID), 144).value


def is_root_of_mount(descriptor: int) -> bool:
    """Return whether a descriptor names the root of a mount, a file or a directory (statx(2), Linux 5.8)."""
    return bool(ctypes.c_uint64.from_buffer(_statx(descriptor), 8).value & STATX_ATTR_MOUNT_ROOT)


def _statx(descriptor: int, wanted: int = STATX_MNT_ID | STATX_MNT_ID_UNIQUE) -> ctypes.Array[ctypes.c_char]:
    status, number = _Status(), number_here(_STATX, "statx")
    result_of(
        syscall(number, descriptor, b"", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, wanted, status), "statx(%d)", descriptor
    )
    return status


def default_signals(*signals: int) -> None:
    """Give signals their default action (rt_sigaction(2)), even those that the C library reserves."""
    number, size = number_here(_SIGACTION, "rt_sigaction"), ctypes.c_ulong(8)
    for signal in signals:
        result_of(syscall(number, signal, _DEFAULT_ACTION, None, size), "rt_sigaction(%d, SIG_DFL)", signal)


def personality(domain: int) -> None:
    """Set the execution domain (personality(2)); 0 is Linux's, with every flag off."""
    result_of(libc.personality(ctypes.c_ulong(domain)), "personality(%d)", domain)


def may_execute(directory: int, name: str) -> bool:
    """Return whether the process, by its effective ids, may execute a file that is no link (faccessat2, Linux 5.8)."""
    flags = AT_EACCESS | AT_SYMLINK_NOFOLLOW
    return bool(syscall(439, directory, os.fsencode(name), os.X_OK, flags) == 0)


def execveat(directory: int, name: str, arguments: list[str], environment: dict[str, str]) -> None:
    """Execute the file of this name in a directory, unless it is a link (execveat(2)). Return by an error only."""
    words = [os.fsencode(word) for word in arguments]
    variables = [os.fsencode(key) + b"=" + os.fsencode(value) for key, value in environment.items()]
    if any(b"\0" in text for text in words + variables):
        raise ValueError("a null byte in an argument or a variable")
    argv = (ctypes.c_char_p * (len(words) + 1))(*words, None)
    envp = (ctypes.c_char_p * (len(variables) + 1))(*variables, None)
    number = number_here(_EXECVEAT, "execveat")
    result_of(syscall(number, directory, os.fsencode(name), argv, envp, AT_SYMLINK_NOFOLLOW), "execveat(%s)", name)


def inotify_open() -> int:
    """Return the descriptor of a new watch of files, close-on-exec (inotify_init1(2))."""
    return result_of(libc.inotify_init1(os.O_CLOEXEC), "inotify_init1()")


def inotify_add(descriptor: int, path: str, mask: int) -> int:
    """Watch a path for what `mask` says. Return the number that events of it have."""
    return result_of(libc.inotify_add_watch(descriptor, os.fsencode(path), mask), "inotify_add_watch(%s)", path)


def set_host_name(name: str) -> None:
    """Set the host name of the calling process's uts namespace (sethostname(2))."""
    data = os.fsencode(name)
    result_of(libc.sethostname(data, ctypes.c_size_t(len(data))), "sethostname(%s)", name)


def effective_capabilities() -> int:
    """Return the effective capabilities of the calling process as a bit mask (capget(2), version 3)."""
    header, data = _CapabilityHeader(*_CAPABILITIES_OF_CALLER), _CapabilitySets()
    result_of(syscall(number_here(_CAPGET, "capget"), header, data), "capget()")
    return data[0] | data[3] << 32


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """Set the capabilities of the calling process, each a bit mask (capset(2), version 3)."""
    header = _CapabilityHeader(*_CAPABILITIES_OF_CALLER)
    low, high = 0xFFFFFFFF, 32
    data = _CapabilitySets(
        effective & low, permitted & low, inheritable & low, effective >> high, permitted >> high, inheritable >> high
    )
    number = number_here(_CAPSET, "capset")
    result_of(syscall(number, header, data), "capset()")


def join_new_session_keyring() -> None:
    """Leave the caller's session keyring for a new, empty one (keyctl(2))."""
    number = number_here(_KEYCTL, "keyctl")
    result_of(syscall(number, KEYCTL_JOIN_SESSION_KEYRING, None), "keyctl(JOIN_SESSION_KEYRING)")


def load_seccomp_filter(program: bytes) -> None:
    """Install a compiled filter (`struct sock_filter` records) for this process and all its descendants."""
    structure = SocketFilterProgram(len(program) // 8, program)
    number = number_here(_SECCOMP, "seccomp")
    result_of(syscall(number, SECCOMP_SET_MODE_FILTER, 0, ctypes.byref(structure)), "seccomp(SET_MODE_FILTER)")


def bring_loopback_up() -> None:
    """Set the interface `lo` of this network namespace up (netdevice(7), SIOCSIFFLAGS)."""
    descriptor = result_of(libc.socket(2, 2 | os.O_CLOEXEC, 0), "socket(AF_INET)")
    try:
        request = b"lo".ljust(16, b"\0") + (0x1).to_bytes(2, "little") + bytes(22)
        fcntl.ioctl(descriptor, 0x8914, request)
    finally:
        os.close(descriptor)
