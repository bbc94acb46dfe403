# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A process that stays the same process: pinned by a pidfd, checked by its start time, never trusted by its number."""

from __future__ import annotations

import _signal
import errno
import os
import select
import time

from . import syscalls as sys
from .paths import read_text

KILL = 9
EXITING = 0x4  # PF_EXITING and PF_FORKNOEXEC, of the flags in proc_pid_stat(5)
NOT_EXECUTED = 0x40
# Among the fields after the second: the start time, the signals for one thread, the wait status of one that has ended.
STARTED, PENDING, STATUS = 19, 28, 49
PAUSE = 0.02  # seconds between two looks at what a process that has just begun heeds
KILL_SECONDS = 2.0  # in which a killed process ends, unless the kernel does not let it
REAP_SECONDS = 1.0  # in which the end of a child comes to be known, unless somebody traces it


def milliseconds(seconds: float) -> int:
    """A time limit as poll(2) takes it, rounded up; what is no limit is none to wait for."""
    return -int(-min(seconds, 2e6) * 1000 // 1) if seconds > 0 else 0


_boot_id = ""


def boot_id() -> str:
    """The kernel's name for this boot of the host, for PIDs and start times are unique within one only."""
    global _boot_id
    if not _boot_id:
        _boot_id = read_text("/proc/sys/kernel/random/boot_id").strip()
    return _boot_id


def start_time(pid: int, ended: bool = False) -> int | None:
    """When the process started, in clock ticks since boot (proc(5), stat, field 22); none when it is not there.

    A process whose first thread has ended is there for as long as another of its threads goes on.

    Args:
        ended: whether one that has ended or is about to, and that nobody has waited for, counts too.
    """
    fields = _stat("/proc/%d" % pid)
    if not fields or (not ended and _is_over(fields) and not _has_thread(pid)):
        return None
    return int(fields[STARTED])


def _has_thread(pid: int) -> bool:
    """Whether a thread of the process goes on."""
    try:
        threads = os.listdir("/proc/%d/task" % pid)
    except (FileNotFoundError, ProcessLookupError):
        return False
    for thread in threads:
        fields = _stat("/proc/%d/task/%s" % (pid, thread))
        if fields and not _is_over(fields) and not int(fields[PENDING]) >> (KILL - 1) & 1:
            return True
    return False


def _stat(directory: str) -> list[str]:
    """The fields of a process or a thread in /proc; none when it is not there."""
    try:
        fields = _fields(read_text(directory + "/stat"))
    except ProcessLookupError:
        return []  # it ended between the opening and the reading
    return fields if len(fields) > PENDING else []


def _is_over(fields: list[str]) -> bool:
    """Whether a thread with these fields has ended or is about to."""
    return fields[0] in ("Z", "X") or bool(int(fields[6]) & EXITING)


def executed(pid: int) -> bool:
    """Whether this child has executed a program, as far as is known; also when it has ended, until it is waited for."""
    fields = _fields(read_text("/proc/%d/stat" % pid))
    return len(fields) < 20 or not int(fields[6]) & NOT_EXECUTED


def _fields(text: str) -> list[str]:
    """Those of proc_pid_stat(5) after the second, a program's name in parentheses, which may hold anything."""
    return text[text.rfind(")") + 2 :].split()


class Process:
    """A running process, or none: `Process.find` gives the one that was recorded, only if it is still that one."""

    def __init__(self, pid: int, descriptor: int) -> None:
        self.pid = pid
        self.descriptor = descriptor

    @classmethod
    def find(cls, pid: int, started: int | None, ended: bool = False) -> Process | None:
        """Pin the process `pid` if it is the one that started at `started`.

        Args:
            ended: as for `start_time`.
        """
        process = None if started is None else cls.pin(pid)
        if process is None:
            return None
        killed = not ended and process._has("ShdPnd", KILL)  # its end takes a moment
        if killed or start_time(pid, ended) != started:
            process.close()
            return None
        return process

    @classmethod
    def pin(cls, pid: int) -> Process | None:
        """Pin the process that has this number now, if there is one."""
        try:
            return cls(pid, sys.pidfd_open(pid))
        except OSError as error:
            # No process, or no process's first thread, which is ENOENT since Linux 6.15.
            if error.errno in (errno.ESRCH, errno.EINVAL, errno.ENOENT):
                return None
            raise

    def signal(self, number: int) -> None:
        """Signal it; a process that has ended is no error."""
        try:
            sys.pidfd_send_signal(self.descriptor, number)
        except ProcessLookupError:
            pass

    def wait(self, timeout: float | None) -> bool:
        """Wait until it has ended, for at most `timeout` seconds; whether it has."""
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        deadline = None if timeout is None else time.monotonic() + timeout
        while (_left or _entered) and (deadline is None or time.monotonic() < deadline):
            reap_left()
            if poll.poll(milliseconds(PAUSE)):
                return True
        return bool(poll.poll(None if deadline is None else milliseconds(deadline - time.monotonic())))

    def heeds(self, number: int) -> bool:
        """Whether it has said what to do at this signal. What a PID 1 has not, the kernel drops (pid_namespaces(7))."""
        return number == KILL or any(self._has(mask, number) for mask in ("SigCgt", "SigBlk", "SigIgn"))

    def _has(self, mask: str, number: int) -> bool:
        """Whether a signal is in one of the masks of proc_pid_status(5)."""
        try:
            text = read_text("/proc/%d/status" % self.pid)
        except ProcessLookupError:
            return False
        value = text.partition("\n%s:" % mask)[2].partition("\n")[0]
        return bool(value) and int(value, 16) >> (number - 1) & 1 == 1

    def ask(self, number: int, deadline: float) -> None:
        """Signal it as soon as it heeds that; one that never does is left alone after the deadline (time.monotonic)."""
        while not self.heeds(number):
            left = deadline - time.monotonic()
            if left <= 0 or self.wait(min(left, PAUSE)):
                return
        self.signal(number)

    def reap(self) -> None:
        """Let go of it, if it has ended and was this process's own child."""
        reap(self.pid)

    def end(self) -> None:
        """Kill it, a child, and wait for its end for a moment: the kernel may not let it end yet."""
        self.signal(KILL)
        if self.wait(KILL_SECONDS):
            self.reap()
        else:
            leave(self.pid)

    def close(self) -> None:
        os.close(self.descriptor)


def heed_children() -> None:
    """Let the calling process learn how its children end.

    Who called may ignore SIGCHLD, which outlives exec; then the kernel tells nobody how a child has ended (wait(2)).
    """
    if _signal.getsignal(_signal.SIGCHLD) == _signal.SIG_IGN:
        sys.default_signal(_signal.SIGCHLD)  # any thread may call this


def reap(pid: int) -> None:
    """Let go of a process that has ended, if it was a child of this one."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass


def wait_status(pid: int) -> int:
    """Let go of a child that has ended, as its pidfd says; its wait status.

    Somebody inside who traces it can keep it from being let go of (ptrace(2)), but not from being looked at.
    """
    status = reap_within(pid, time.monotonic() + REAP_SECONDS)
    if status is None:
        fields = _stat("/proc/%d" % pid)
        status = int(fields[STATUS]) if len(fields) > STATUS else KILL
    return status


def reap_within(pid: int, deadline: float) -> int | None:
    """The wait status of a child, or none when it has not ended by the deadline (time.monotonic), or is traced."""
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            _commands.discard(pid)
            return status
        if time.monotonic() >= deadline:
            leave(pid)
            return None
        time.sleep(PAUSE)


# Children of this process in containers, whose ends it could not get as somebody inside traces them (ptrace(2)), or as
# the kernel does not let them end. PID 1 waits for them before it ends.
_left: set[int] = set()

# Commands with which this process has entered containers. Each can give children of its own to its parent, this process
# (clone(2), CLONE_PARENT), for which PID 1 waits, too.
_commands: set[int] = set()
_entered = False


def leave(pid: int) -> None:
    """Do not wait for this child any more until its tracer has ended."""
    _left.add(pid)


def enters(pid: int) -> None:
    """Know a child for a command in a container, whose end is waited for with `reap_within` or `wait_status`."""
    global _entered
    _entered = True
    _commands.add(pid)


def reap_left() -> None:
    """Let go of the children left before, and of those that commands gave, as far as they have ended by now."""
    for pid in list(_left):
        try:
            ended = os.waitpid(pid, os.WNOHANG)[0] != 0
        except ChildProcessError:
            ended = True
        if ended:
            _left.discard(pid)
            _commands.discard(pid)
    if _entered:
        _reap_given()


def _reap_given() -> None:
    """Let go of ended children in a pid namespace below this one that this process has not made.

    It has made its commands, and the first process of a container that it has started: for that the container's own
    life waits.
    """
    try:
        if os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return
    except ChildProcessError:
        return
    depth = len(_numbers("self"))
    for thread in os.listdir("/proc/self/task"):
        for word in read_text("/proc/self/task/%s/children" % thread).split():
            numbers = _numbers(word)
            first = len(numbers) == depth + 1 and numbers[-1] == "1"
            if len(numbers) > depth and not first and int(word) not in _commands:
                reap(int(word))


def _numbers(pid: str) -> list[str]:
    """The numbers of a process in its pid namespaces, from this one downwards (NSpid in proc_pid_status(5))."""
    try:
        return read_text("/proc/%s/status" % pid).partition("\nNSpid:")[2].partition("\n")[0].split()
    except ProcessLookupError:
        return []
