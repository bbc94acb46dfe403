# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A process with a stable identity: pinned by a pidfd, checked by its start time, never trusted by its number."""

from __future__ import annotations

import _signal
import errno
import os
import select
import time

from . import linux
from .paths import read_text
from .stop_signals import HEEDED

KILL = 9
EXITING = 0x4  # PF_EXITING and PF_FORKNOEXEC, of the flags in proc_pid_stat(5)
NOT_EXECUTED = 0x40
# Among the fields after the second: the parent, the start time, the signals for one thread, the wait status of one that
# has ended.
PARENT, STARTED, PENDING, STATUS = 1, 19, 28, 49
PAUSE = 0.02  # seconds between two looks at what a process that has just begun heeds
KILL_SECONDS = 2.0  # in which a killed process ends, unless the kernel does not let it
REAP_SECONDS = 1.0  # in which the end of a child comes to be known, unless somebody traces it
AT_ONCE = 1000  # children that are reaped before the caller looks at the time: others inside may make them as fast


class Uninterrupted:
    """A few steps that belong together: a signal of `HEEDED` is handled before them or, as a context ends, after them.

    Nothing in it waits for anybody, or makes a process.
    """

    def __enter__(self) -> None:
        try:
            self.former = _signal.pthread_sigmask(_signal.SIG_BLOCK, HEEDED)
        except BaseException:  # of one that came before
            _signal.pthread_sigmask(_signal.SIG_UNBLOCK, HEEDED)
            raise

    def __exit__(self, *_error: object) -> None:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, self.former)


def milliseconds(seconds: float) -> int:
    """Return a time limit for poll(2), rounded up; 0 for one that is over."""
    return -int(-min(seconds, 2e6) * 1000 // 1) if seconds > 0 else 0


_boot_id = ""


def boot_id() -> str:
    """Return the kernel's id of this boot of the host. PIDs and start times are unique within one boot only."""
    global _boot_id
    if not _boot_id:
        _boot_id = read_text("/proc/sys/kernel/random/boot_id").strip()
    return _boot_id


def start_time(pid: int, ended: bool = False) -> int | None:
    """Return the start time of a process in clock ticks since boot (proc(5), stat, field 22), or None without one.

    A process whose first thread has ended exists while another of its threads runs.

    Args:
        ended: also count a process that has ended, or is about to, and that nobody has waited for.
    """
    fields = _stat("/proc/%d" % pid)
    if not fields or (not ended and _is_over(fields) and not _has_thread(pid)):
        return None
    return int(fields[STARTED])


def _has_thread(pid: int) -> bool:
    """Return whether a thread of the process still runs."""
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
    """Return the fields of a process or thread in /proc; an empty list when it does not exist."""
    try:
        fields = _fields(read_text(directory + "/stat"))
    except ProcessLookupError:
        return []  # it ended between the opening and the reading
    return fields if len(fields) > PENDING else []


def _is_over(fields: list[str]) -> bool:
    """Return whether a thread with these fields has ended or is about to."""
    return fields[0] in ("Z", "X") or bool(int(fields[6]) & EXITING)


def is_own_child(pid: int) -> bool:
    """Return whether a process is a child of this one, also one that has ended and that nobody has waited for."""
    return _stat("/proc/%d" % pid)[PARENT : PARENT + 1] == [str(os.getpid())]


def unified_group(text: str) -> str:
    """Return the path of a group of cgroup2 that a file `/proc/PID/cgroup` names, or ""."""
    return next((line[3:].strip("/") for line in text.split("\n") if line.startswith("0::")), "")


def executed(pid: int) -> bool:
    """Return whether this child has executed a program, as far as known: until it is reaped, also after its end."""
    fields = _fields(read_text("/proc/%d/stat" % pid))
    return len(fields) < 20 or not int(fields[6]) & NOT_EXECUTED


def waits_in_kernel(pid: int) -> bool:
    """Return whether a process waits for something in the kernel that no signal ends (D in proc_pid_stat(5))."""
    return _stat("/proc/%d" % pid)[:1] == ["D"]


def _fields(text: str) -> list[str]:
    """Return the fields of proc_pid_stat(5) after the second, a name in parentheses that may hold anything."""
    return text[text.rfind(")") + 2 :].split()


class Process:
    """A running process, pinned. `Process.find` returns the one that was recorded, only if it is still that one."""

    def __init__(self, pid: int, descriptor: int) -> None:
        self.pid = pid
        self.descriptor = descriptor

    @classmethod
    def find(cls, pid: int, started: int | None, ended: bool = False) -> Process | None:
        """Pin the process `pid` if it started at `started`; else return None.

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
        """Pin the process that has this number now; return None when there is none."""
        try:
            return cls(pid, linux.pidfd_open(pid))
        except OSError as error:
            # No process, or no process's first thread, which is ENOENT since Linux 6.15.
            if error.errno in (errno.ESRCH, errno.EINVAL, errno.ENOENT):
                return None
            raise

    @classmethod
    def pin_child(cls, pid: int) -> Process:
        """Pin a child that runs, or end it; a sibling is ended, too, and is the parent's to reap.

        Raises:
            OSError: there are too many open files.
        """
        try:
            return cls(pid, linux.pidfd_open(pid))
        except OSError:
            os.kill(pid, KILL)
            try:
                reap_within(pid, time.monotonic() + REAP_SECONDS)
            except ChildProcessError:
                pass
            raise

    def signal(self, number: int) -> None:
        """Send a signal. A process that has ended is no error."""
        try:
            linux.pidfd_send_signal(self.descriptor, number)
        except ProcessLookupError:
            pass

    def wait(self, timeout: float | None) -> bool:
        """Wait until the process has ended, for at most `timeout` seconds. Return whether it has."""
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        if poll.poll(0):
            return True
        deadline = None if timeout is None else time.monotonic() + timeout
        while (_left or _entered) and (deadline is None or time.monotonic() < deadline):
            reap_left()
            if poll.poll(milliseconds(PAUSE)):
                return True
        return bool(poll.poll(None if deadline is None else milliseconds(deadline - time.monotonic())))

    def heeds(self, number: int) -> bool:
        """Return whether the process catches, blocks, ignores or awaits a signal.

        The kernel drops any other signal for a PID 1 (pid_namespaces(7)). What an init such as busybox's or tini awaits
        by sigtimedwait(2) is in none of the masks meanwhile, and not said elsewhere.
        """
        masks = ("SigCgt", "SigBlk", "SigIgn")
        return number == KILL or any(self._has(mask, number) for mask in masks) or self._awaits_signals()

    def _awaits_signals(self) -> bool:
        """Return whether the process is in sigtimedwait(2) or a relative of it."""
        try:
            return "sigtimedwait" in read_text("/proc/%d/wchan" % self.pid)
        except ProcessLookupError:
            return False

    def _has(self, mask: str, number: int) -> bool:
        """Return whether a signal is in one of the masks of proc_pid_status(5)."""
        try:
            text = read_text("/proc/%d/status" % self.pid)
        except ProcessLookupError:
            return False
        value = text.partition("\n%s:" % mask)[2].partition("\n")[0]
        return bool(value) and int(value, 16) >> (number - 1) & 1 == 1

    def ask(self, number: int, deadline: float) -> None:
        """Send a signal as soon as the process heeds it; give up at the deadline (time.monotonic)."""
        while not self.heeds(number):
            left = deadline - time.monotonic()
            if left <= 0 or self.wait(min(left, PAUSE)):
                return
        self.signal(number)

    def reap(self) -> None:
        """Reap the process, if it has ended and is this process's own child."""
        reap(self.pid)

    def end(self, seconds: float = KILL_SECONDS) -> bool:
        """Kill the process, and reap it if it is a child. Return whether it has ended within the time.

        The kernel may not let it end yet.
        """
        self.signal(KILL)
        ended = self.wait(seconds)
        if ended:
            self.reap()
        else:
            leave(self.pid)
        return ended

    def unreaped(self) -> list[str]:
        """Return who keeps a PID 1 from ending, as `PID (name)`: who has not reaped children in its pid namespace.

        Such are outside: PID 1 itself reaps the others.
        """
        parents = set()
        for name in os.listdir("/proc"):
            fields = _stat("/proc/" + name) if name.isdigit() else []
            try:
                if fields[:1] == ["Z"] and _namespace(name) == _namespace(self.pid):
                    parents.add(int(fields[1]))
            except OSError:
                pass  # one of the two has ended meanwhile
        names = {pid: read_text("/proc/%d/comm" % pid).strip() for pid in parents - {self.pid}}
        return ["%d (%s)" % (pid, name) for pid, name in sorted(names.items()) if name]

    def close(self) -> None:
        os.close(self.descriptor)


def heed_children() -> None:
    """Make the kernel report to the calling process how its children end.

    The caller may ignore SIGCHLD, and exec keeps that; then the kernel tells nobody how a child has ended (wait(2)).
    """
    if _signal.getsignal(_signal.SIGCHLD) == _signal.SIG_IGN:
        linux.default_signals(_signal.SIGCHLD)  # any thread may call this


def reap(pid: int) -> None:
    """Reap a process that has ended, if it is a child of this one."""
    try:
        os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        pass


def wait_status(pid: int) -> int:
    """Reap a child that has ended, according to its pidfd. Return its wait status.

    Somebody inside who traces it can prevent that it is reaped (ptrace(2)), but not that its status is read.
    """
    status = reap_within(pid, time.monotonic() + REAP_SECONDS)
    if status is None:
        fields = _stat("/proc/%d" % pid)
        status = int(fields[STATUS]) if len(fields) > STATUS else KILL
    return status


def reap_within(pid: int, deadline: float) -> int | None:
    """Return a child's wait status, or None when it is traced or has not ended by the deadline (time.monotonic)."""
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            _commands.pop(pid, None)
            return status
        if time.monotonic() >= deadline:
            leave(pid)
            return None
        time.sleep(PAUSE)


# Children of this process in containers, whose ends it could not get as somebody inside traces them (ptrace(2)), or as
# the kernel does not let them end. PID 1 waits for them before it ends.
_left: set[int] = set()

# Commands with which this process has entered containers. Each can give children of its own to its parent, this process
# (clone(2), CLONE_PARENT), for which PID 1 waits, too. With each stands when it started: whoever else reaps one says
# nothing here, and the kernel gives its number to another.
_commands: dict[int, int | None] = {}
_entered = False


def leave(pid: int) -> None:
    """Stop waiting for this child until its tracer has ended."""
    _left.add(pid)


def has_entered() -> bool:
    """Return whether commands of this process may have given it children."""
    return _entered


def enters(pid: int) -> None:
    """Remember a child as a command in a container; `reap_within` or `wait_status` waits for its end."""
    global _entered
    _entered = True
    _commands[pid] = start_time(pid, ended=True)


def reap_left() -> None:
    """Reap those that have ended of the children left before, and of those that commands gave to this process."""
    for pid in list(_left):
        try:
            ended = os.waitpid(pid, os.WNOHANG)[0] != 0
        except ChildProcessError:
            ended = True
        if ended:
            _left.discard(pid)
            _commands.pop(pid, None)
    if _entered:
        _reap_given()


def _reap_given() -> None:
    """Reap ended children in a pid namespace below this one that this process did not make."""
    for _number in range(AT_ONCE):
        ended = _ended(os.P_ALL)
        if not ended:
            return
        if not _is_given(ended):
            break
        reap(ended)
    # The kernel names this one each time, so each is asked for.
    for thread in os.listdir("/proc/self/task"):
        for pid in map(int, read_text("/proc/self/task/%s/children" % thread).split()):
            if _ended(os.P_PID, pid) and _is_given(pid):
                reap(pid)


def _ended(kind: int, pid: int = 0) -> int:
    """Return a child (`os.P_PID`), or any (`os.P_ALL`), that has ended and can be reaped, or 0."""
    try:
        found = os.waitid(kind, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        return found.si_pid if found is not None else 0
    except ChildProcessError:
        return 0


def _is_given(pid: int) -> bool:
    """Return whether a child of this process is one that it did not make.

    It has made its commands, and the first processes of containers, for which their life cycles wait. One that was
    left is none either: `reap_left` has tried to reap it.
    """
    if pid in _left or (pid in _commands and _commands[pid] == start_time(pid, ended=True)):
        return False
    return _numbers(str(pid))[len(_numbers("self")) :] not in ([], ["1"])


def _namespace(pid: object) -> int:
    return os.stat("/proc/%s/ns/pid" % pid).st_ino


def _numbers(pid: str) -> list[str]:
    """Return the numbers of a process in its pid namespaces, from this one downwards (NSpid in proc_pid_status(5))."""
    try:
        return read_text("/proc/%s/status" % pid).partition("\nNSpid:")[2].partition("\n")[0].split()
    except ProcessLookupError:
        return []
