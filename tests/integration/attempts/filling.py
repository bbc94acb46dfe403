# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""To use up what the host keeps for all: an attempt gets through when nothing but the host itself ended it.

`held` takes as much as it is given and keeps it, so that the host can be asked meanwhile whether it has enough left.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import resource
import struct
import sys

from .common import HOST, LIBC, add, attempt, call, check

F_SETPIPE_SZ = 1031
F_SETDELEG = 1040
PIPE_SIZE = 1 << 20
MQ_ATTRIBUTES = (0, 10, 8192, 0, 0, 0, 0, 0)  # struct mq_attr: the sizes that anybody may ask for


def more_files() -> None:
    """Let this process have as many descriptors as it can get."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def take(one: object, most: int) -> tuple[int, int]:
    """Do it until it fails, at most so many times; how often it worked, and the errno that ended it."""
    assert callable(one)
    for count in range(most):
        try:
            one(count)
        except OSError as error:
            return count, error.errno or 0
    return most, 0


def queue(number: int) -> int:
    """Open a message queue of a name of its own."""
    number_of_call = {"x86_64": 240}.get(os.uname().machine, 180)
    attributes = (ctypes.c_long * 8)(*MQ_ATTRIBUTES)
    return call(number_of_call, b"probe-%d" % number, os.O_CREAT | os.O_RDWR, 0o600, attributes)


def pipe(_number: int) -> None:
    """Make a pipe as large as an unprivileged user may."""
    read, _write = os.pipe()
    if fcntl.fcntl(read, F_SETPIPE_SZ, PIPE_SIZE) < PIPE_SIZE:
        raise OSError(errno.EPERM, "")


def terminal(_number: int) -> int:
    return os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY)


@attempt("share", "take all ptys")
def take_ptys() -> str:
    """Half of what the host has for all is more than one container should get."""
    more_files()
    _count, number = take(terminal, HOST["ptys"] // 2)
    return "ok" if not number else errno.errorcode[number]


@attempt("share", "take more tasks than the container's bound")
def take_tasks() -> str:
    """Fork until the bound on tasks. The tests set a bound that is quickly reached, where the host can enforce one."""
    if "tasks" not in HOST:
        return "absent"
    end_read, end_write = os.pipe()

    def fork(_number: int) -> None:
        if os.fork() == 0:
            os.close(end_write)
            os.read(end_read, 1)
            os._exit(0)

    count, number = take(fork, HOST["tasks"])
    os.close(end_write)
    for _child in range(count):
        os.wait()
    return "ok" if not number else errno.errorcode[number]


@attempt("share", "make control groups without end")
def make_groups() -> str:
    """Read the bound on control groups, which the kernel enforces; to write it is another attempt."""
    with open("/sys/fs/cgroup/cgroup.max.descendants") as file:
        return "inside" if file.read().strip().isdigit() else "ok"


for place in ("/", "/run", "/tmp", "/dev", "/dev/shm"):

    def bound(place: str = place) -> str:
        """Check that a file system in memory that the launcher mounted is bounded, in memory and in files."""
        with open("/proc/mounts") as file:
            mounted = {line.split()[1]: line.split()[2] for line in file}
        if mounted.get(place) != "tmpfs":
            return "nothing"
        found = os.statvfs(place)
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        bounded = found.f_blocks and found.f_files and found.f_blocks * found.f_frsize <= memory // 4
        return "inside" if bounded else "ok"

    add("share", "fill the memory through " + place, bound)


@attempt("share", "make keys")
def make_keys() -> None:
    """In the session keyring; a key is kernel memory."""
    call({"x86_64": 248}.get(os.uname().machine, 217), b"user", b"probe", b"x" * 64, ctypes.c_size_t(64), -3)


@attempt("share", "lock memory")
def lock_memory() -> None:
    """mlock(2) of more than the limit: memory that the host can never reclaim."""
    size = 256 << 20
    LIBC.mmap.restype = ctypes.c_void_p
    address = LIBC.mmap(None, ctypes.c_size_t(size), 3, 0x22, -1, ctypes.c_long(0))
    check(LIBC.mlock(ctypes.c_void_p(address), ctypes.c_size_t(size)))


def held() -> None:
    """Take inotify instances, pipes, message queues and ptys, say how many, and keep them until the input ends."""
    more_files()
    taken = {
        "inotify": take(lambda _number: check(LIBC.inotify_init1(0)), 4096),
        "pipes": take(pipe, 512),
        "queues": take(queue, 512),
        "ptys": take(terminal, 8192),
    }
    print(" ".join(f"{name}={count}" for name, (count, _number) in taken.items()), flush=True)
    sys.stdin.read()


@attempt("lease", "take a lease on a program of the store")
def lease() -> None:
    """Who opens the file for writing, or runs it, would wait for the lease to be given up."""
    descriptor = os.open("/usr/bin/true", os.O_RDONLY)
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)


@attempt("lease", "take a delegation of a directory of the store")
def delegation() -> str:
    """Who makes, renames or removes a file there would wait for it to be given up. Kernels before 6.19 have none."""
    descriptor = os.open("/usr/bin", os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.fcntl(descriptor, F_SETDELEG, struct.pack("IHH", 0, fcntl.F_RDLCK, 0))
    except OSError as error:
        return "absent" if error.errno == errno.EINVAL else errno.errorcode[error.errno or 0]
    return "ok"
