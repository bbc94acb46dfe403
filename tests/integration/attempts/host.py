# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files, sockets and memory of the host, and what of a process of the container is its own."""

from __future__ import annotations

import errno
import os
import socket
from functools import partial

from .common import HOST, LIBC, add, attempt, check, opened, tell, touch


def descriptors(path: str) -> dict[str, str]:
    """Return what is open in a directory of descriptors, by its name."""
    numbers = [number for number in os.listdir(path) if os.path.lexists(f"{path}/{number}")]
    return {number: os.readlink(f"{path}/{number}") for number in numbers}


# The host's files, sockets and shared memory.
for path in HOST.get("own", ()):
    # What PID 1 and an entered command have open, by its name.
    tell("descriptors in " + path, partial(descriptors, path))
add("files", "read a file of the host", lambda: opened(HOST["secret"], os.O_RDONLY))
add("software", "make a file in /usr", lambda: touch("/usr/made-by-probe"))
add("software", "set times in /usr", lambda: os.utime("/usr/bin/env"))
add("files", "see the launcher's state", lambda: os.listdir("/var/lib/unshare"))
add("files", "see the launcher's runtime state", lambda: os.listdir("/run/unshare"))
add("files", "get shared memory of the host", lambda: check(LIBC.shmget(HOST["shared_memory"], 1, 0)))


@attempt("network", "connect to an abstract socket of the host")
def abstract() -> None:
    """CVE-2020-15257."""
    socket.socket(socket.AF_UNIX).connect("\0" + HOST["abstract"])


@attempt("network", "connect to a port of the host's loopback")
def port() -> None:
    socket.create_connection(("127.0.0.1", HOST["port"]), 2).close()


@attempt("share", "nest control groups without end")
def nest_groups() -> str:
    made: list[str] = []
    path = "/sys/fs/cgroup/probe"
    try:
        for _level in range(64):
            os.mkdir(path)
            made.append(path)
            path += "/x"
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    finally:
        for path in reversed(made):
            os.rmdir(path)
    return "ok"


# What every process of the container is limited by.
def limits(status: str) -> dict[str, str]:
    with open(status) as file:
        fields = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    return {key: fields[key].strip() for key in ("CapBnd", "CapEff", "CapAmb", "Seccomp", "NoNewPrivs")}


tell("limits of PID 1", lambda: limits("/proc/1/status"))
tell("limits of an entered command", lambda: limits("/proc/self/status"))
