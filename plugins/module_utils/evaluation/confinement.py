# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The confinement of a single command: what it gives up before it runs, such as capabilities and system calls.

A system container needs many capabilities in its own user namespace. A command needs none until one is asked for.
"""

from __future__ import annotations

import os

from ..launcher import contract, linux, seccomp
from ..launcher.confine import leave_session_keyring
from ..launcher.errors import LauncherError
from ..launcher.paths import read_text
from .request import Request

PR_SET_DUMPABLE, PR_CAP_AMBIENT_RAISE = 4, 2
# linux/capability.h, in the order of the numbers.
CAPABILITIES = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
    "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
    "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
    "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
    "CHECKPOINT_RESTORE",
)  # fmt: skip
CAP_KILL = 1 << CAPABILITIES.index("KILL")


def numbers(names: list[str]) -> list[int]:
    """Return the numbers of capabilities; ALL stands for every capability that this kernel knows.

    Raises:
        LauncherError: a name that no capability has.
    """
    last = int(read_text("/proc/sys/kernel/cap_last_cap").strip() or len(CAPABILITIES) - 1)
    if "ALL" in names:
        return list(range(last + 1))
    found = []
    for name in names:
        if name not in CAPABILITIES or CAPABILITIES.index(name) > last:
            raise LauncherError("capabilities: this kernel knows no %s" % name)
        found.append(CAPABILITIES.index(name))
    return found


def compile_filter() -> bytes | None:
    """Return the launcher's system-call filter, or None when the host lacks libseccomp."""
    return seccomp.compile_filter(contract.Security())


class Confinement:
    """The limits of one command.

    Args:
        request: what was asked.
        sole_user: whether the command's user is the only id that is mapped, by an ordinary user.
    """

    def __init__(self, request: Request, sole_user: bool) -> None:
        self.uid = request.guest_uid
        self.gid = request.guest_gid
        self.kept = numbers(request.capabilities)
        self.sole_user = sole_user
        self.filter_program = compile_filter()

    def take_ids(self) -> None:
        """Become the command's user, and keep every capability."""
        linux.prctl(linux.PR_SET_SECUREBITS, linux.SECBIT_NO_SETUID_FIXUP)
        if not self.sole_user:
            os.setgroups([])
        os.setresgid(self.gid, self.gid, self.gid)
        os.setresuid(self.uid, self.uid, self.uid)

    def apply(self) -> None:
        """Give up what the command may not have, as the last step before it runs."""
        leave_session_keyring()
        last = max(len(CAPABILITIES) + 1, 48)
        for number in range(last):
            if number not in self.kept and not linux.drop_from_bounding_set(number):
                break  # the first number that this kernel does not know
        linux.prctl(linux.PR_CAP_AMBIENT, linux.PR_CAP_AMBIENT_CLEAR_ALL)
        linux.prctl(linux.PR_SET_SECUREBITS, 0)
        mask = sum(1 << number for number in self.kept)
        linux.capset(mask, mask, mask)
        for number in self.kept:
            linux.prctl(linux.PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number)
        linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
        if self.filter_program is not None:
            linux.load_seccomp_filter(self.filter_program)


def hide_memory() -> None:
    """Make this process non-dumpable, so that nothing inside can read its memory, which is the host's."""
    linux.prctl(PR_SET_DUMPABLE, 0)
