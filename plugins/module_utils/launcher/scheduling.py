# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A process's scheduling, by the kernel's own calls: in musl, those of sched(7) always fail."""

from __future__ import annotations

import ctypes

from . import linux

SETSCHEDULER = {"x86_64": 144, "aarch64": 119, "riscv64": 119, "ppc64le": 156, "s390x": 156}
GETSCHEDULER = {"x86_64": 145, "aarch64": 120, "riscv64": 120, "ppc64le": 157, "s390x": 157}
GETPARAM = {"x86_64": 143, "aarch64": 121, "riscv64": 121, "ppc64le": 155, "s390x": 155}
IOPRIO_SET = {"x86_64": 251, "aarch64": 30, "riscv64": 30, "ppc64le": 273, "s390x": 282}
IOPRIO_GET = {"x86_64": 252, "aarch64": 31, "riscv64": 31, "ppc64le": 274, "s390x": 283}
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
