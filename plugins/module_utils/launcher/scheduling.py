# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A process's scheduling, by the kernel's own calls: in musl, those of sched(7) always fail."""

from __future__ import annotations

import ctypes
import errno

from . import linux

SETSCHEDULER = linux.by_architecture(144, 119, 156, 156)
GETSCHEDULER = linux.by_architecture(145, 120, 157, 157)
GETPARAM = linux.by_architecture(143, 121, 155, 155)
IOPRIO_SET = linux.by_architecture(251, 30, 273, 282)
IOPRIO_GET = linux.by_architecture(252, 31, 274, 283)
SET_MEMPOLICY = linux.by_architecture(238, 237, 261, 270)
IOPRIO_WHO_PROCESS = 1


def get_policy(pid: int) -> tuple[int, int]:
    """Return the scheduling policy with its flags, and the priority, of a process or of this one (0)."""
    policy = linux.call(GETSCHEDULER, "sched_getscheduler", pid)
    priority = ctypes.c_int()
    linux.call(GETPARAM, "sched_getparam", pid, ctypes.byref(priority))
    return policy, priority.value


def set_policy(pid: int, policy: int, priority: int) -> None:
    """Set the scheduling policy and the priority of a process."""
    linux.call(SETSCHEDULER, "sched_setscheduler", pid, policy, ctypes.byref(ctypes.c_int(priority)))


def get_io_priority(pid: int) -> int:
    """Return the class and level of the input and output of a process, or of this one (0) (ioprio_get(2))."""
    return linux.call(IOPRIO_GET, "ioprio_get", IOPRIO_WHO_PROCESS, pid)


def set_io_priority(pid: int, priority: int) -> None:
    """Set the class and level; with 0 they follow from the process's nice value."""
    linux.call(IOPRIO_SET, "ioprio_set", IOPRIO_WHO_PROCESS, pid, priority)


def reset_memory_policy() -> None:
    """Let this process have its memory from the nearest node of the machine (set_mempolicy(2)), as by itself."""
    try:
        linux.call(SET_MEMPOLICY, "set_mempolicy", 0, None, 0)
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EPERM):  # a kernel without nodes, or a host that lets nobody ask
            raise
