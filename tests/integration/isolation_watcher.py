# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A hostile root that waits for processes of the host to enter; run inside, until its standard input ends.

It looks at every process that comes, as fast as it can, and tells as JSON what it got of any that was not a program of
the container yet: its files, memory, environment, program, directory and command line, and whether it could be traced.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import struct
import sys

WORDS = sys.argv[1].split(",")  # what no command line inside should hold
KILLS = sys.argv[2] == "kill"  # a dying process may have forgotten that it must not be looked at
LIBC = ctypes.CDLL(None, use_errno=True)
SEIZE, INTERRUPT, DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000
OWN = os.readlink("/proc/self/exe")
BUFFER = ctypes.create_string_buffer(8)
found: dict[str, int] = {}
seen: set[str] = set()
known = set(os.listdir("/proc"))
print("watching", flush=True)


def note(what: str) -> None:
    found[what] = found.get(what, 0) + 1


def program(pid: str) -> str:
    """Return what the process runs, as far as that can be known: of a process under way it must not."""
    try:
        return os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""


def read(path: str) -> str:
    """Return what a file of /proc holds that is not the container's, as far as can be told."""
    what = path.rpartition("/")[2]
    if what in ("cwd", "root"):
        target = os.readlink(path)
        return "" if target in ("/", "/root") else target
    if what in ("fd", "map_files"):
        links = [os.readlink(f"{path}/{name}") for name in os.listdir(path)]
        if what == "map_files":
            return " ".join(link for link in links if "python" in link)
        return " ".join(link for link in links if link != "/dev/null" and not link.startswith("pipe:"))
    with open(path, "rb") as file:
        text = file.read().decode("utf-8", "replace")
    strange = "python" in text if what == "maps" else text and "container=unshare" not in text
    return text[:200] if strange else ""


def take(pid: int) -> str:
    """Return what can be had of the process without /proc: descriptors, memory."""
    descriptor = LIBC.syscall(434, pid, 0)  # pidfd_open
    if descriptor < 0:
        return ""  # it has ended
    taken = []
    for number in range(128):
        got = LIBC.syscall(438, descriptor, number, 0)  # pidfd_getfd
        if got >= 0:
            os.close(got)  # a pipe of the container's program that is kept here would never end
            taken.append(number)
    os.close(descriptor)
    local = struct.pack("<QQ", ctypes.addressof(BUFFER), 8)
    if LIBC.process_vm_readv(pid, local, 1, struct.pack("<QQ", 0x400000, 8), 1, 0) >= 0:
        return f"memory, descriptors {taken}"
    return f"descriptors {taken}" if taken else ""


def look(pid: str) -> None:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            line = file.read()
    except OSError:
        return
    seen.add(pid)
    if any(word.encode() in line for word in WORDS):
        note("command line")
    before = program(pid)
    if before == OWN or "python" in before:
        note("program")
    if before:
        return  # it is a program of the container's already
    for what in ("", "fd", "cwd", "root", "environ", "maps", "map_files"):
        try:
            if what:
                got = read(f"/proc/{pid}/{what}")
            elif KILLS:
                os.kill(int(pid), 9)
        except OSError:
            continue
        after = program(pid)  # it may have become one of the container's meanwhile
        if what and got and (not after or "python" in after):
            note(f"{what}: {got}")
    if KILLS:
        return
    taken = take(int(pid))
    if taken and "python" in program(pid):
        note(taken)
    if LIBC.ptrace(SEIZE, int(pid), 0, 0) == 0:
        if "python" in program(pid):
            note("trace")
        LIBC.ptrace(INTERRUPT, int(pid), 0, 0)
        os.waitpid(int(pid), WALL)
        LIBC.ptrace(DETACH, int(pid), 0, 0)


while not select.select([0], [], [], 0)[0]:
    for name in os.listdir("/proc"):
        if name.isdigit() and name not in known:
            look(name)
print(json.dumps({"found": found, "seen": len(seen)}))
