# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The system-call filter, compiled once on the target through libseccomp, and loaded unchanged by every start.

A system container runs any program, so the filter allows every call except those on a list: calls that reach the kernel
beyond its namespaces, calls that past escapes used, and calls that would leave a set-user-id file of the host's root in
a writable mapping. (It cannot keep overlayfs from that, which copies modes inside the kernel; see `reachable`.) A
machine may have such files, for no user of the host can reach its layer, or a mapping that it writes to.
"""

from __future__ import annotations

import ctypes
import os

from . import quota_calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .contract import Security

ALLOW = 0x7FFF0000
_ERRNO = 0x00050000
# ENOTTY is what another file system than btrfs says: programs make a directory where they would make a subvolume.
EPERM, ENOTTY, ENOSYS, EOPNOTSUPP, EAFNOSUPPORT = 1, 25, 38, 95, 97
_OPTIMIZE = 8  # SCMP_FLTATR_CTL_OPTIMIZE, libseccomp 2.5
_BAD_ARCHITECTURE = 2  # SCMP_FLTATR_ACT_BADARCH
_MASKED_EQUAL = 7

REFUSED = (
    # Kernel, modules, time and memory of the host.
    "kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "create_module",
    "settimeofday", "clock_settime", "clock_settime64", "stime", "swapon", "swapoff", "acct",
    "iopl", "ioperm", "pciconfig_read", "pciconfig_write", "pciconfig_iobase", "syslog",
    # Files by handle pass by every mount and mask.
    "open_by_handle_at",
    # Not divided by namespaces.
    "add_key", "keyctl", "request_key", "bpf", "perf_event_open", "fanotify_init", "fanotify_mark",
    "quotactl", "quotactl_fd", "lookup_dcookie", "nfsservctl", "userfaultfd", "uselib", "ustat", "sysfs", "_sysctl",
    "vm86", "vm86old", "vserver",
)  # fmt: skip
# Programs fall back without these. io_uring would pass by this filter; openat2 hides its mode from it.
ABSENT = ("io_uring_setup", "io_uring_enter", "io_uring_register", "openat2")
# The launcher of an inner container resolves its mount points with it.
NESTING_NEEDS = ("openat2",)
# Younger than the libseccomp of some hosts, with the same numbers everywhere.
YOUNG = {"quotactl_fd": 443, "fchmodat2": 452, "setxattrat": 463}
SET_USER_ID, SET_GROUP_ID = 0o4000, 0o2000
# Which argument is the mode, for each call that can set one.
MODES = {"chmod": 1, "fchmod": 1, "fchmodat": 2, "mknod": 1, "mknodat": 2, "creat": 1}
OPENS = {"open": (1, 2), "openat": (2, 3)}  # flags, mode
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
# Root inside is the owner of the files of an id-mapped share. A lease, or a delegation (F_SETDELEG), which only the
# owner of a file gets, would keep whoever opens, runs or renames that file on the host waiting (fcntl(2)).
LEASED, LEASES = ("fcntl", "fcntl64"), (1024, 1040)
NETLINK, NETLINK_AUDIT = 16, 9
VSOCK = 40  # reaches the hypervisor, and services of the host, past every network namespace
# A container that runs containers keeps CAP_SETFCAP, and a file capability in a writable mapping would count on the
# host: there no extended attribute can be set at all (EOPNOTSUPP, which programs take for the file system's word).
SET_ATTRIBUTES = ("setxattr", "lsetxattr", "fsetxattr", "setxattrat")
COMPATIBLE = {
    "x86_64": (0x40000003, 0x4000003E),  # i386, and x32 by its own token
    "aarch64": (0x40000028,),
}


class _Comparison(ctypes.Structure):
    _fields_ = [
        ("argument", ctypes.c_uint),
        ("operation", ctypes.c_int),
        ("first", ctypes.c_uint64),
        ("second", ctypes.c_uint64),
    ]


def compile_filter(security: Security) -> bytes | None:
    """Return a system's filter as `struct sock_filter` records, or None without libseccomp 2.4 or newer.

    Raises:
        OSError: libseccomp refused a rule.
    """
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return None
    return _Builder(library).build(security)


class _Builder:
    def __init__(self, library: ctypes.CDLL) -> None:
        self.library = library
        library.seccomp_init.restype = ctypes.c_void_p
        self.context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(ALLOW)))

    def build(self, security: Security) -> bytes:
        try:
            self.library.seccomp_attr_set(self.context, _BAD_ARCHITECTURE, ctypes.c_uint32(_ERRNO | ENOSYS))
            self.library.seccomp_attr_set(self.context, _OPTIMIZE, ctypes.c_uint32(2))
            nesting = security.nesting
            for token in self._compatible(nesting):
                self._check("architecture", self.library.seccomp_arch_add(self.context, ctypes.c_uint32(token)), (-17,))
            for name in REFUSED:
                self._refuse(name, EPERM)
            for name in ABSENT:
                if not (nesting and name in NESTING_NEEDS):
                    self._refuse(name, ENOSYS)
            self._refuse("fchmodat2", ENOSYS)
            for bit in () if security.set_user_id else (SET_USER_ID, SET_GROUP_ID):
                for name, argument in MODES.items():
                    self._refuse(name, EPERM, (argument, bit, bit))
                for name, (flags, mode) in OPENS.items():
                    self._refuse(name, EPERM, (flags, os.O_CREAT, os.O_CREAT), (mode, bit, bit))
                    temporary = 0o20000000
                    self._refuse(name, EPERM, (flags, temporary, temporary), (mode, bit, bit))
            for request in (TIOCSTI, TIOCLINUX):
                self._refuse("ioctl", EPERM, (1, 0xFFFFFFFF, request))
            for request in quota_calls.BTRFS_REFUSED:
                self._refuse("ioctl", ENOTTY, (1, 0xFFFFFFFF, request))
            for command in LEASES:
                for name in LEASED:
                    self._refuse(name, EPERM, (1, 0xFFFFFFFF, command))
            self._refuse("socket", EAFNOSUPPORT, (0, 0xFFFFFFFF, NETLINK), (2, 0xFFFFFFFF, NETLINK_AUDIT))
            self._refuse("socket", EAFNOSUPPORT, (0, 0xFFFFFFFF, VSOCK))
            # Of i386's `socketcall`, whose arguments no filter can see, libseccomp refuses every socket with these two.
            if nesting:
                for name in SET_ATTRIBUTES:
                    self._refuse(name, EOPNOTSUPP)
            return self._export()
        finally:
            self.library.seccomp_release(self.context)

    def _compatible(self, nesting: bool) -> tuple[int, ...]:
        """Return the other architectures whose programs may run.

        There are none when libseccomp does not know a call that must be refused: it would take no rule for that by its
        number, which it could not translate for them.
        """
        needed = [name for name in YOUNG if nesting or name not in SET_ATTRIBUTES]
        if any(self.library.seccomp_syscall_resolve_name(name.encode()) == -1 for name in needed):
            return ()
        return COMPATIBLE.get(os.uname().machine, ())

    def _refuse(self, name: str, error: int, *comparisons: tuple[int, int, int]) -> None:
        """Let a call fail with `error` when each masked argument equals its value: (argument, mask, value)."""
        number = self.library.seccomp_syscall_resolve_name(name.encode())
        if number == -1:  # a call that this libseccomp does not know
            number = YOUNG.get(name, -1)
        if number != -1:
            self._refuse_number(number, error, *comparisons)

    def _refuse_number(self, number: int, error: int, *comparisons: tuple[int, int, int]) -> None:
        array = (_Comparison * len(comparisons))(
            *(_Comparison(argument, _MASKED_EQUAL, mask, value) for argument, mask, value in comparisons)
        )
        result = self.library.seccomp_rule_add_array(
            self.context, ctypes.c_uint32(_ERRNO | error), ctypes.c_int(number), ctypes.c_uint(len(comparisons)), array
        )
        self._check("rule for system call %d" % number, result, (-33, -22) if number < 0 else ())

    def _export(self) -> bytes:
        with open(os.memfd_create("filter"), "w+b") as file:
            self._check("export", self.library.seccomp_export_bpf(self.context, file.fileno()), ())
            file.seek(0)
            return file.read()

    @staticmethod
    def _check(what: str, result: int, accepted: tuple[int, ...]) -> None:
        if result < 0 and result not in accepted:
            raise OSError(-result, os.strerror(-result), "libseccomp: " + what)
