# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""System calls that a filter or the bounding set refuses, and set-user-ID files, made in every way."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import stat
import struct
from collections.abc import Callable
from functools import partial

from .common import HOST, LIBC, add, attempt, call, check, touch

# System calls. Most take nonsense: what counts is who refuses.
for name, x86, generic, arguments in (
    ("kexec_load", 246, 104, (0, 0, 0, 0)),
    ("kexec_file_load", 320, 294, (-1, -1, 0, 0, 0)),
    ("init_module", 175, 105, (0, 0, 0)),
    ("finit_module", 313, 273, (-1, 0, 0)),
    ("delete_module", 176, 106, (0, 0)),
    ("settimeofday", 164, 170, (0, 0)),
    ("clock_settime", 227, 112, (0, 0)),
    ("swapon", 167, 224, (0, 0)),
    ("acct", 163, 89, (0,)),
    ("syslog", 103, 116, (3, 0, 0)),
    ("open_by_handle_at", 304, 265, (-1, 0, 0)),
    ("add_key", 248, 217, (0, 0, 0, 0, 0)),
    ("request_key", 249, 218, (0, 0, 0, 0)),
    ("keyctl", 250, 219, (0, -3, 1)),
    ("bpf", 321, 280, (0, 0, 0)),
    ("perf_event_open", 298, 241, (0, 0, -1, -1, 0)),
    ("fanotify_init", 300, 262, (0, 0)),
    ("quotactl", 179, 60, (0, 0, 0, 0)),
    ("userfaultfd", 323, 282, (0,)),
    ("io_uring_setup", 425, 425, (1, 0)),
):

    def system_call(x86: int = x86, generic: int = generic, arguments: tuple[int, ...] = arguments) -> None:
        call(x86 if os.uname().machine == "x86_64" else generic, *map(ctypes.c_long, arguments))

    add("devices", "call " + name, system_call)

add("devices", "speak to the hypervisor (vsock)", lambda: socket.socket(40, socket.SOCK_STREAM).close())
add("devices", "open an audit socket", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 9).close())


@attempt("terminal", "push input into a terminal (TIOCSTI)")
def push_input() -> None:
    _master, slave = os.openpty()
    fcntl.ioctl(slave, 0x5412, b"x")


# Set-user-ID files: one in a writable mapping would be the host root's.
def set_user_id(function: Callable[[str], object]) -> str:
    path = os.path.join(HOST["writable"], "set-user-id")
    if os.path.isdir(path):
        os.rmdir(path)
    elif os.path.lexists(path):
        os.unlink(path)
    function(path)
    mode = os.stat(path).st_mode if os.path.lexists(path) else 0
    return "ok" if mode & 0o6000 else "stripped"


def by_descriptor(path: str) -> None:
    os.fchmod(os.open(path, os.O_CREAT | os.O_RDWR, 0o755), 0o4755)


def without_name(path: str) -> None:
    descriptor = os.open(os.path.dirname(path), os.O_TMPFILE | os.O_RDWR, 0o4755)
    os.link(f"/proc/self/fd/{descriptor}", path, follow_symlinks=True)


def by_init(path: str) -> None:
    """PID 1 is under the same filter, and so is what it runs."""
    ask = "systemd-run --quiet --service-type=oneshot"
    if os.system(f"{ask} touch {touch(path)}") or not os.system(f"{ask} chmod 4755 {path} 2>/dev/null"):
        raise RuntimeError("systemd-run")


for name, function in {
    "chmod": lambda path: os.chmod(touch(path), 0o4755),
    "chmod to set-group-ID": lambda path: os.chmod(touch(path), 0o2755),
    "fchmod": by_descriptor,
    "fchmodat": lambda path: check(LIBC.fchmodat(-100, touch(path).encode(), 0o4755, 0)),
    "fchmodat2": lambda path: call(452, -100, touch(path).encode(), 0o4755, 0),
    "open": lambda path: os.open(path, os.O_CREAT | os.O_WRONLY, 0o4755),
    "O_TMPFILE": without_name,
    "openat2": lambda path: call(437, -100, path.encode(), struct.pack("<QQQ", 0o101, 0o4755, 0), 24),
    "mknod": lambda path: os.mknod(path, stat.S_IFREG | 0o4755),
    "mkdir": lambda path: os.mkdir(path, 0o2755),
    "xattr": lambda path: os.setxattr(
        touch(path), "security.capability", struct.pack("<IIIII", 0x2000001, 0xFFFFFFFF, 0, 0xFFFFFFFF, 0)
    ),
    "the init": by_init,
}.items():
    add("capability" if name == "xattr" else "set-user-ID", "set-user-ID by " + name, partial(set_user_id, function))
