# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Being elsewhere for a while and coming back, in one process, for another process would cost a quarter of a launch.

A process that cannot come back ends at once: it must never act on the host's files from where they are not.
"""

from __future__ import annotations

import _signal
import os
import select
import time

from . import syscalls as sys
from .errors import LauncherError
from .process import KILL, Process, leave, milliseconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, NoReturn

KILL_SECONDS = 2.0
STRANDED = 125  # exit status, that of an error of the launcher's


class Alarm:
    """Lets the call inside end with `TimeoutError` (setitimer(2)); for calls without a time limit of their own.

    A timer that the process has set already goes on afterwards, and rings then if it was to ring meanwhile.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = max(0.001, seconds)
        self.over = False

    def __enter__(self) -> None:
        def ring(_number: int, _frame: object) -> None:
            if not self.over:
                self.over = True
                raise TimeoutError()

        self.former = _signal.signal(_signal.SIGALRM, ring)
        self.began = time.monotonic()
        # Again and again, for the first may come when the call has not begun yet.
        self.former_timer = _signal.setitimer(_signal.ITIMER_REAL, self.seconds, 0.05)

    def __exit__(self, *_error: object) -> None:
        try:
            self.over = True
        finally:
            _signal.setitimer(_signal.ITIMER_REAL, 0)
            _signal.signal(_signal.SIGALRM, self.former)
            left, interval = self.former_timer
            if left:
                left = max(0.001, left - (time.monotonic() - self.began))
                _signal.setitimer(_signal.ITIMER_REAL, left, interval)


class Excursion:
    """A private mount namespace for the calling process, in which it may also change its ids; then back, in any case.

    What it has afterwards as it had it before: mount namespace, root and working directory, umask, ids, securebits
    (capabilities(7)) and dumpable attribute. Signals wait until then.
    """

    def __enter__(self) -> None:
        flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        self.directories = os.open("/", flags), os.open(".", flags)
        self.home = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        self.ids = os.getresuid(), os.getresgid()
        self.bits = sys.prctl(sys.PR_GET_SECUREBITS)
        self.dumpable = sys.prctl(sys.PR_GET_DUMPABLE)
        self.umask = os.umask(0)
        self.signals = _signal.pthread_sigmask(_signal.SIG_SETMASK, _signal.valid_signals())
        try:
            os.chdir("/")
            sys.unshare(sys.CLONE_NEWNS)
            sys.make_private("/")
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_error: object) -> None:
        try:
            os.setresuid(*self.ids[0])
            os.setresgid(*self.ids[1])
            sys.prctl(sys.PR_SET_SECUREBITS, self.bits)
            if self.dumpable == 1:
                sys.prctl(sys.PR_SET_DUMPABLE, 1)
            sys.setns(self.home, sys.CLONE_NEWNS)
            os.fchdir(self.directories[0])
            os.chroot(".")
            os.fchdir(self.directories[1])
            os.umask(self.umask)
        except BaseException as error:
            strand("the host's mount namespace", error)
        for descriptor in (self.home,) + self.directories:
            os.close(descriptor)
        _signal.pthread_sigmask(_signal.SIG_SETMASK, self.signals)


class NoWayBack(LauncherError):
    """This process may leave one of its namespaces, and not enter it again (setns(2)): it belongs to somebody else.

    So does the network of a container that shares it with its host.
    """


class Visit:
    """The namespaces of another process, joined by the calling one for a while.

    Args:
        pidfd: the process.
        flags: which ones, of `NAMES`; with its pid namespace, children of this process are in that.

    Raises:
        NoWayBack: on entry: the kernel would not let it come back. It has not left.
    """

    NAMES = (
        ("net", sys.CLONE_NEWNET),
        ("ipc", sys.CLONE_NEWIPC),
        ("cgroup", sys.CLONE_NEWCGROUP),
        ("pid", sys.CLONE_NEWPID),
    )

    def __init__(self, pidfd: int, flags: int) -> None:
        self.pidfd = pidfd
        self.flags = flags
        self.homes: list[tuple[int, int]] = []

    def __enter__(self) -> None:
        try:
            for name, flag in self.NAMES:
                if self.flags & flag:
                    home = os.open("/proc/self/ns/" + name, os.O_RDONLY | os.O_CLOEXEC)
                    self.homes.append((home, flag))
                    self._try(home, flag, name)
            sys.setns(self.pidfd, self.flags)  # all of them, or none
        except BaseException:
            self._close()
            raise

    def __exit__(self, *_error: object) -> None:
        try:
            for home, flag in self.homes:
                sys.setns(home, flag)
        except BaseException as error:
            strand("the host's namespaces", error)
        self._close()

    @staticmethod
    def _try(home: int, flag: int, name: str) -> None:
        try:
            sys.setns(home, flag)
        except PermissionError as error:
            raise NoWayBack(name) from error

    def _close(self) -> None:
        for home, _flag in self.homes:
            os.close(home)


def strand(where: str, error: BaseException) -> NoReturn:
    """End this process, which cannot come back."""
    text = "the launcher cannot come back to %s, and ends: %s\n" % (where, error)
    os.write(2, text.encode("utf-8", "replace"))
    os._exit(STRANDED)


def in_child(work: Callable[[], str | None], seconds: float | None = None, pid: int | None = None) -> str:
    """Do in a child of this process that from which there is no way back, or which may not end; what it returns there.

    Args:
        seconds: how long it may take.
        pid: its number in its pid namespace.

    Raises:
        TimeoutError: it took longer, and was killed.
        LauncherError: it failed.
    """
    read, write = os.pipe()
    child = sys.clone3(0, sys.SIGCHLD, pid=pid)
    if child == 0:
        try:
            os.write(write, b"+" + (work() or "").encode("utf-8", "replace"))
        except BaseException as error:
            os.write(write, b"-" + (str(error) or type(error).__name__).encode("utf-8", "replace"))
        os._exit(0)
    os.close(write)
    try:
        poll = select.poll()
        poll.register(read, select.POLLIN)
        if not poll.poll(None if seconds is None else milliseconds(seconds)):
            _end(child)
            raise TimeoutError()
        said = os.read(read, 65536).decode("utf-8", "replace")
    finally:
        os.close(read)
    os.waitpid(child, 0)
    if said[:1] != "+":
        raise LauncherError(said[1:] or "a process of the launcher was killed")
    return said[1:]


def _end(child: int) -> None:
    """Kill a child, and wait for its end unless the kernel does not let it."""
    process = Process(child, sys.pidfd_open(child))
    process.signal(KILL)
    if process.wait(KILL_SECONDS):
        process.reap()
    else:
        leave(child)
    process.close()
