# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a process is scheduled is read and set whatever library Python stands on, and whatever the machine is."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import attributes, linux, scheduling
from ansible_collections.unshare.container.plugins.module_utils.launcher.attributes import Attributes

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may be scheduled as it likes")

POLICIES = {
    "batch": (os.SCHED_BATCH, 0),
    "idle": (os.SCHED_IDLE, 0),
    "first in, first out": (os.SCHED_FIFO, 3),
    "round robin": (os.SCHED_RR, 99),
    "not inherited": (os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, 1),
}


def in_child(work: t.Callable[[], object]) -> str:
    """Return what a child of this process, which may do to itself what it likes, makes of its work."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(write, repr(work()).encode())
        except BaseException as error:
            os.write(write, repr(error).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as file:
        said = file.read().decode()
    os.waitpid(pid, 0)
    return said


@pytest.fixture(params=["glibc", "musl"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the C library: those calls of musl fail."""
    if request.param == "glibc":
        return

    def fail(*_arguments: object) -> t.NoReturn:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    for name in ("sched_getscheduler", "sched_getparam", "sched_setscheduler", "sched_setparam"):
        monkeypatch.setattr(os, name, fail)


def policy_and_priority(pid: int = 0) -> tuple[int, int]:
    """As the kernel tells it in /proc/PID/stat: policy and priority."""
    with open(f"/proc/{pid or 'self'}/stat", encoding="utf-8") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[38]), int(fields[37])


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("name", POLICIES)
def test_a_start_does_not_keep_the_callers(name: str) -> None:
    policy, priority = POLICIES[name]

    def work() -> object:
        scheduling.set_policy(0, policy, priority)
        before = policy_and_priority(), scheduling.get_policy(0), Attributes.of(os.getpid()).policy
        Attributes.standard().give(0)
        return (*before, policy_and_priority(), scheduling.get_policy(0))

    known = policy & ~os.SCHED_RESET_ON_FORK, priority
    assert in_child(work) == repr((known, (policy, priority), (policy, priority), (os.SCHED_OTHER, 0), (0, 0)))


@pytest.mark.usefixtures("library")
@pytest.mark.parametrize("name", POLICIES)
def test_who_enters_takes_that_of_pid_1(name: str) -> None:
    def work() -> object:
        scheduling.set_policy(0, *POLICIES[name])
        found = Attributes.of(os.getpid())
        scheduling.set_policy(0, os.SCHED_OTHER, 0)
        found.give(0)
        return scheduling.get_policy(0)

    assert in_child(work) == repr(POLICIES[name])


def test_one_that_has_ended() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    for call in (scheduling.get_policy, scheduling.get_io_priority):
        with pytest.raises(ProcessLookupError):
            call(pid)


def test_on_a_machine_of_which_no_numbers_are_known_the_rest_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linux, "MACHINE", "elbrus")

    def work() -> object:
        os.nice(7)
        return Attributes.standard().give(0), os.getpriority(os.PRIO_PROCESS, 0)

    assert in_child(work) == repr((False, 0))


def kept_of_memory() -> tuple[str, int, str]:
    """Return what a core dump holds, whether there are huge pages, and the policy of the stack's memory."""
    with open("/proc/self/coredump_filter", encoding="utf-8") as file:
        core = file.read().strip()
    policy = "default"
    if os.path.exists("/proc/self/numa_maps"):
        with open("/proc/self/numa_maps", encoding="utf-8") as file:
            (policy,) = [line.split()[1] for line in file if " stack " in line]
    return core, linux.prctl(42), policy


def test_a_callers_choices_about_memory_are_not_kept() -> None:
    def work() -> object:
        usual = Attributes.standard()
        with open("/proc/self/coredump_filter", "w", encoding="utf-8") as file:
            file.write("0x7f")
        linux.prctl(linux.PR_SET_THP_DISABLE, 1)
        with contextlib.suppress(OSError):
            linux.call(scheduling.SET_MEMPOLICY, "set_mempolicy", 3, ctypes.byref(ctypes.c_ulong(1)), 64)
        assert kept_of_memory()[:2] == ("0000007f", 1)
        usual.give(0)
        attributes.reset_own()
        return kept_of_memory()

    with open("/proc/1/coredump_filter", encoding="utf-8") as file:
        assert in_child(work) == repr((file.read().strip(), 0, "default"))


def test_a_core_filter_is_taken_over_from_another_process() -> None:
    def work() -> object:
        with open("/proc/self/coredump_filter", "w", encoding="utf-8") as file:
            file.write("0x11")
        kept = Attributes.of(os.getpid())
        with open("/proc/self/coredump_filter", "w", encoding="utf-8") as file:
            file.write("0x33")
        kept.raised(None).give(0)
        return kept_of_memory()[0]

    assert in_child(work) == repr("00000011")
