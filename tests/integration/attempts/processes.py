# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Devices, processes and namespaces."""

from __future__ import annotations

import ctypes
import fcntl
import os
import stat
import struct

from .common import HOST, LIBC, NEWUSER, add, attempt, check, touch, unshare

DEVICES = (("memory", stat.S_IFCHR, 1, 1), ("null", stat.S_IFCHR, 1, 3), ("disk", stat.S_IFBLK, 8, 0))
for name, mode, major, minor in DEVICES:
    for place in ("/", "/tmp/", "/dev/"):

        def node(mode: int = mode, device: int = os.makedev(major, minor), path: str = f"{place}{name}-node") -> None:
            os.mknod(path, mode | 0o600, device)

        add("devices", f"make a device node of {name} in {place}", node)


# Processes and namespaces.
@attempt("processes", "see a process of the host or a sibling")
def see_process() -> str:
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            if HOST["marker"].encode() in file.read() and pid != str(os.getpid()) and pid != str(os.getppid()):
                return "seen"
    return "nothing"


for signal_name, number in (("signal", 0), ("kill", 9)):

    def kill(number: int = number) -> None:
        os.kill(HOST["pid"], number)

    add("processes", f"{signal_name} a process of the host by its PID", kill)


@attempt("processes", "trace a process of the host")
def trace() -> None:
    check(LIBC.ptrace(16, HOST["pid"], 0, 0))


@attempt("processes", "read memory of a process of the host")
def read_memory() -> None:
    buffer = ctypes.create_string_buffer(8)
    vector = struct.pack("<QQ", ctypes.addressof(buffer), 8)
    check(LIBC.process_vm_readv(HOST["pid"], vector, 1, vector, 1, 0))


@attempt("root", "/proc/1/root is another root")
def root_of_init() -> str:
    return "inside" if os.path.samefile("/proc/1/root", "/") else "ok"


for name, request in (("user", 0xB702), ("pid", 0xB702), ("mnt", 0xB701), ("net", 0xB701)):

    def outer(name: str = name, request: int = request) -> str:
        descriptor = os.open(f"/proc/self/ns/{name}", os.O_RDONLY)
        found = fcntl.ioctl(descriptor, request)
        if request == 0xB701:
            return "inside" if os.path.sameopenfile(found, os.open("/proc/self/ns/user", os.O_RDONLY)) else "ok"
        return "ok"

    add("root", f"get the namespace around the {name} namespace", outer)

add("root", "take an id outside of the range", lambda: os.setresuid(70000, 70000, 70000))
add("root", "write uid_map anew", lambda: os.write(os.open("/proc/self/uid_map", os.O_WRONLY), b"0 0 1\n"))
add(
    "share",
    "spare itself from the kernel's killer",
    lambda: os.write(os.open("/proc/self/oom_score_adj", os.O_WRONLY), b"-1000"),
)
add("share", "take a real-time priority", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50)))


@attempt("nested", "map uid 0 into a nested user namespace")
def map_root() -> None:
    """Map root in a nested namespace: a file capability needs it to count for the container's root (CAP_SETFCAP)."""
    unshare(NEWUSER)
    os.write(os.open("/proc/self/uid_map", os.O_WRONLY), b"0 0 1\n")


@attempt("foreign capability", "map another uid into a nested user namespace and set a file capability")
def nested_capability() -> None:
    path = touch(os.path.join(HOST["writable"], "nested"))
    os.chown(path, 1000, 1000)
    parent_read, parent_write = os.pipe()
    ready_read, ready_write = os.pipe()
    child = os.fork()
    if child == 0:
        unshare(NEWUSER)
        os.write(ready_write, b"1")
        os.read(parent_read, 1)
        try:
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
            os.setxattr(path, "security.capability", struct.pack("<IIIII", 0x2000001, 0xFFFFFFFF, 0, 0xFFFFFFFF, 0))
        except OSError as error:
            os._exit(error.errno or 255)
        os._exit(0)
    os.read(ready_read, 1)
    for name in ("uid_map", "gid_map"):
        with open(f"/proc/{child}/{name}", "w") as file:
            file.write("0 1000 1\n")
    os.write(parent_write, b"1")
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        raise OSError(status, "")
