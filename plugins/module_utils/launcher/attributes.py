# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The attributes that a process inherits and keeps across exec: limits, priorities, processors, signals.

A container's PID 1 has the same ones whoever starts it, by hand, in a module over SSH, or at boot (P7). A command that
enters has those that PID 1 has at that moment, but no resource limit below the one that PID 1 was started with: root
inside could keep the host out by lowering it. The same holds for the scheduling of the processes on the way in.
"""

from __future__ import annotations

import _signal
import errno
import os

from . import linux, scheduling
from .paths import read_text

INFINITY = 0xFFFFFFFFFFFFFFFF
MEBIBYTE = 1 << 20
# RLIMIT_*: the kernel's own for the first process of a machine (include/asm-generic/resource.h), and systemd's hard
# limit of open files for every service. Of tasks and signals the kernel derives the limit from its memory.
RESOURCES = {
    0: (INFINITY, INFINITY),  # CPU
    1: (INFINITY, INFINITY),  # FSIZE
    2: (INFINITY, INFINITY),  # DATA
    3: (8 * MEBIBYTE, INFINITY),  # STACK
    4: (0, INFINITY),  # CORE
    5: (INFINITY, INFINITY),  # RSS
    7: (1024, 524288),  # NOFILE
    8: (8 * MEBIBYTE, 8 * MEBIBYTE),  # MEMLOCK
    9: (INFINITY, INFINITY),  # AS
    10: (INFINITY, INFINITY),  # LOCKS
    12: (819200, 819200),  # MSGQUEUE
    13: (0, 0),  # NICE
    14: (0, 0),  # RTPRIO
    15: (INFINITY, INFINITY),  # RTTIME
}
NPROC, SIGPENDING = linux.RLIMIT_NPROC, 11
# By number, as proc_pid_limits(5) and systemd.exec(5) name them.
NAMES = "CPU FSIZE DATA STACK CORE RSS NPROC NOFILE MEMLOCK AS LOCKS SIGPENDING MSGQUEUE NICE RTPRIO RTTIME".split()
BELOW = (
    "resource limits: %s; root here may not raise what its caller has lowered (CAP_SYS_RESOURCE), so these depend on "
    "who starts the container, and bound what a unit inside can ask for"
)
NAME_WIDTH = 25  # of the first column of /proc/PID/limits
RESET = tuple(set(range(1, 65)) - {9, 19})  # all signals but SIGKILL and SIGSTOP
CAP_SYS_RESOURCE = 24
FIRST_USER_NAMESPACE = 0xEFFFFFFD  # PROC_USER_INIT_INO of the kernel
LEAST_OOM_SCORE = -1000
NO_RESOURCE = "who starts the container lacks CAP_SYS_RESOURCE on the host"
REAL_TIME = 1  # IOPRIO_CLASS_RT (ioprio_set(2)), the class above the 13 bits of a level
UMASK = 0o022  # the file creation mask of every program
TIMER_SLACK = 50000  # nanoseconds, the kernel's own
CORE_FILTER = "/proc/%s/coredump_filter"


class Attributes:
    """The resource limits and the scheduling of a process.

    Attributes:
        limits: the soft and the hard limit by the number of each (prlimit(2)).
        nice: from -20 to 19.
        policy: `SCHED_*` with its flags, and the priority that goes with it (sched(7)).
        affinity: the processors that it may use.
        io_priority: class and level (ioprio_set(2)).
        oom_score_adj: from -1000 to 1000 (proc_pid_oom_score_adj(5)); none leaves it as it is.
        core_filter: what of its memory comes into a core dump (core(5)); "" leaves it as it is.
    """

    def __init__(
        self,
        limits: dict[int, tuple[int, int]],
        nice: int,
        policy: tuple[int, int],
        affinity: set[int],
        io_priority: int,
        oom_score_adj: int | None,
        core_filter: str = "",
    ) -> None:
        self.limits = limits
        self.nice = nice
        self.policy = policy
        self.affinity = affinity
        self.io_priority = io_priority
        self.oom_score_adj = oom_score_adj
        self.core_filter = core_filter

    @classmethod
    def standard(cls) -> Attributes:
        """Return those of a container's PID 1; processors and core dumps are as of this machine's own PID 1.

        Its OOM score is none of them: `give_oom_score`.
        """
        tasks = int(read_text("/proc/sys/kernel/threads-max").strip() or 0) // 2 or INFINITY
        limits = dict(RESOURCES)
        limits[NPROC] = limits[SIGPENDING] = (tasks, tasks)
        return cls(limits, 0, (os.SCHED_OTHER, 0), os.sched_getaffinity(1), 0, None, read_text(CORE_FILTER % 1).strip())

    @classmethod
    def of(cls, pid: int) -> Attributes:
        """Return the attributes of a process.

        Raises:
            OSError: it has ended (`ESRCH`, `ENOENT`).
        """
        return cls(
            _limits_of(pid),
            os.getpriority(os.PRIO_PROCESS, pid),
            scheduling.get_policy(pid),
            os.sched_getaffinity(pid),
            scheduling.get_io_priority(pid),
            _oom_score(pid),
            read_text(CORE_FILTER % pid).strip(),
        )

    @classmethod
    def of_entering(cls, pid: int) -> Attributes:
        """Return the attributes for a process that enters a container with this PID 1; raise as `of`."""
        found = cls.of(pid)
        for number, (soft, hard) in cls.standard().limits.items():
            now = found.limits.get(number, (soft, hard))
            found.limits[number] = max(now[0], soft), max(now[1], hard)
        return found

    def impose(self, pid: int) -> str | None:
        """Give another process these attributes. Return what it lacks nevertheless, as a warning, or None."""
        found = []
        for number, wanted in sorted(self.limits.items()):
            try:
                linux.set_limit(pid, number, *wanted)
            except PermissionError:
                now = _set_lowered(pid, number, *wanted)
                for kind, mine, asked in zip(("", " (hard)"), now, wanted):
                    if mine < asked:
                        found.append("%s%s is %d, not %s" % (NAMES[number], kind, mine, _words(asked)))
        self._schedule(pid)
        return BELOW % ", ".join(found) if found else None

    def raised(self, oom_score_adj: int | None) -> Attributes:
        """Return these attributes with a scheduling that is no worse than that with which a container's PID 1 begins.

        Anything better stays: only the host can have given it.
        """
        standard = self.standard()
        nice = min(self.nice, standard.nice)
        policy = self.policy if self.policy[1] else standard.policy  # a priority is that of a real-time policy
        io_priority = self.io_priority if self.io_priority >> 13 == REAL_TIME else standard.io_priority
        return Attributes(self.limits, nice, policy, standard.affinity, io_priority, oom_score_adj, self.core_filter)

    def give(self, pid: int) -> bool:
        """Give these attributes to a process (0: the calling one), as far as allowed. Return whether all were set.

        Without CAP_SYS_RESOURCE a process can neither raise a hard limit nor set another process's limits.
        """
        complete = True
        for number, (soft, hard) in self.limits.items():
            try:
                linux.set_limit(pid, number, soft, hard)
            except PermissionError:
                complete = False
                if pid == 0:
                    _set_lowered(pid, number, soft, hard)
        return self._schedule(pid) and complete

    def _schedule(self, pid: int) -> bool:
        """Give a process the scheduling and the OOM score, as far as allowed. Return whether all was set."""
        complete = True
        for change in (
            lambda: scheduling.set_policy(pid, *self.policy),
            lambda: os.setpriority(os.PRIO_PROCESS, pid, self.nice),
            lambda: os.sched_setaffinity(pid, self.affinity),
            lambda: scheduling.set_io_priority(pid, self.io_priority),
            lambda: self._give_oom_score(pid),
            lambda: self._give_core_filter(pid),
        ):
            try:
                change()
            except OSError as error:
                if error.errno not in (errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOSYS):
                    raise
                complete = False
        return complete

    def _give_oom_score(self, pid: int) -> None:
        if self.oom_score_adj is not None:
            _set_oom_score(pid, self.oom_score_adj)

    def _give_core_filter(self, pid: int) -> None:
        if self.core_filter:
            _write(CORE_FILTER % (pid or "self"), b"0x" + self.core_filter.encode())


def give_oom_score(pid: int, score: int) -> str | None:
    """Give another process its OOM score, and let nobody in its user namespace lower it.

    The kernel lets nobody without the host's CAP_SYS_RESOURCE go below what was last written with it. So it is written
    also where the process has that score already.

    Returns:
        A warning of what of this cannot be; none where all of it is done.
    """
    found = score if _try_oom_score(pid, score) else _oom_score(pid)
    if found != score:
        return "oom_score_adj: it is %d, and not %d: %s" % (found, score, NO_RESOURCE)
    if _has_host_resource() or score == LEAST_OOM_SCORE or not _try_oom_score(pid, score - 1):
        return None
    _try_oom_score(pid, score)
    return "oom_score_adj: it is %d, and root inside can lower it: %s" % (score, NO_RESOURCE)


def _oom_score(pid: int) -> int:
    return int(read_text("/proc/%d/oom_score_adj" % pid).strip() or 0)


def _try_oom_score(pid: int, score: int) -> bool:
    try:
        _set_oom_score(pid, score)
    except PermissionError:
        return False
    return True


def _has_host_resource() -> bool:
    """Return whether this process has CAP_SYS_RESOURCE where that counts, in the kernel's first user namespace."""
    if os.stat("/proc/self/ns/user").st_ino != FIRST_USER_NAMESPACE:
        return False
    return bool(linux.effective_capabilities() >> CAP_SYS_RESOURCE & 1)


def _set_oom_score(pid: int, score: int) -> None:
    _write("/proc/%s/oom_score_adj" % (pid or "self"), b"%d" % score)


def _write(path: str, text: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text)
    finally:
        os.close(descriptor)


def _set_lowered(pid: int, number: int, soft: int, hard: int) -> tuple[int, int]:
    """Set a limit of a process (0: the calling one) as near to these as its hard limit allows. Return what it has."""
    try:
        ceiling = linux.get_limit(pid, number)[1]
        lowered = min(soft, ceiling), min(hard, ceiling)
        linux.set_limit(pid, number, *lowered)
        return lowered
    except PermissionError:  # what protects the host may let nobody set the limits of another process
        if pid == 0:
            raise
        return _limits_of(pid).get(number, (soft, hard))


def _words(limit: int) -> str:
    return "infinity" if limit == INFINITY else str(limit)


def _limits_of(pid: int) -> dict[int, tuple[int, int]]:
    """Return the resource limits of a process by number, in the order of proc_pid_limits(5)."""
    limits = {}
    for number, line in enumerate(read_text("/proc/%d/limits" % pid).splitlines()[1:]):
        soft, hard = (INFINITY if word == "unlimited" else int(word) for word in line[NAME_WIDTH:].split()[:2])
        limits[number] = (soft, hard)
    return limits


def reset_own() -> None:
    """Reset what only a process itself can set: signals, timer slack, execution domain, huge pages, NUMA policy.

    Signals that Python, or its caller, ignores or blocks would stay so after exec. These include the signals that the C
    library keeps for itself and lets nobody set; another library may have ignored them.
    """
    linux.default_signals(*RESET)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, [])
    linux.prctl(linux.PR_SET_TIMERSLACK, TIMER_SLACK)
    linux.personality(0)
    linux.prctl(linux.PR_SET_THP_DISABLE, 0)
    scheduling.reset_memory_policy()
