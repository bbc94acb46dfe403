# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Being elsewhere for a while and coming back, in one process, for another process would cost a quarter of a launch.

A process that cannot come back ends at once: it must never act on the host's files from where they are not.
"""

from __future__ import annotations

import _signal
import os

from . import syscalls as sys
from .errors import LauncherError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, NoReturn

STRANDED = 125  # exit status, that of an error of the launcher's


class Alarm:
    """Lets the call inside end with `TimeoutError` (setitimer(2)); for calls without a time limit of their own."""

    def __init__(self, seconds: float) -> None:
        self.seconds = max(0.001, seconds)
        self.over = False

    def __enter__(self) -> None:
        def ring(_number: int, _frame: object) -> None:
            if not self.over:
                self.over = True
                raise TimeoutError()

        self.former = _signal.signal(_signal.SIGALRM, ring)
        # Again and again, for the first may come when the call has not begun yet.
        _signal.setitimer(_signal.ITIMER_REAL, self.seconds, 0.05)

    def __exit__(self, *_error: object) -> None:
        try:
            self.over = True
        finally:
            _signal.setitimer(_signal.ITIMER_REAL, 0)
            _signal.signal(_signal.SIGALRM, self.former)


class Excursion:
    """A private mount namespace for the calling process, in which it may also change its ids; then back, in any case.

    What it has afterwards as it had it before: mount namespace, root and working directory, umask, ids, securebits
    (capabilities(7)) and dumpable attribute. Signals wait until then, but for the alarm, which bounds the time.
    """

    def __enter__(self) -> None:
        flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        self.directories = os.open("/", flags), os.open(".", flags)
        self.home = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        self.ids = os.getresuid(), os.getresgid()
        self.bits = sys.prctl(sys.PR_GET_SECUREBITS)
        self.dumpable = sys.prctl(sys.PR_GET_DUMPABLE)
        self.umask = os.umask(0)
        self.signals = _signal.pthread_sigmask(_signal.SIG_SETMASK, _signal.valid_signals() - {_signal.SIGALRM})
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


def in_child(work: Callable[[], None], pid: int | None = None) -> None:
    """Do something in a child of this process, for which there is no way back.

    Args:
        pid: its number in its pid namespace.

    Raises:
        LauncherError: it failed there.
    """
    read, write = os.pipe()
    child = sys.clone3(0, sys.SIGCHLD, pid=pid)
    if child == 0:
        try:
            work()
        except BaseException as error:
            os.write(write, (str(error) or type(error).__name__).encode("utf-8", "replace"))
            os._exit(1)
        os._exit(0)
    os.close(write)
    said = os.read(read, 65536).decode("utf-8", "replace")
    os.close(read)
    if os.waitpid(child, 0)[1]:
        raise LauncherError(said or "a process of the launcher was killed")
