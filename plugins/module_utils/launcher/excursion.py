# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Leaving a mount namespace or other namespaces and coming back, in one process.

Another process for it would cost a quarter of a launch. The way back is tried before leaving. A process that does not
find it later all the same ends at once: it must never act on the host's files from another namespace. Work that has no
way back, or may not end, is done in a child.
"""

from __future__ import annotations

import _signal
import os
import select
import time

from . import linux, mount_calls
from .descriptors import close_all_but, occupy_streams
from .errors import LauncherError
from .handshake import write_all
from .loading import load_again
from .process import KILL, Process, milliseconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, NoReturn

ONE_THREAD = 3  # links of /proc/self/task: two, and one for each thread
STRANDED = 125  # exit status, that of an error of the launcher's


class Alarm:
    """A time limit for calls that have none of their own: `TimeoutError` interrupts them (setitimer(2)).

    A timer that the process had set before is set again afterwards. It rings then if it was to ring meanwhile.
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
        # Who called this process may have blocked it, and what is blocked in a process stays so in what that executes.
        self.blocked = _signal.pthread_sigmask(_signal.SIG_UNBLOCK, [_signal.SIGALRM])
        self.began = time.monotonic()
        # Again and again, for the first may come when the call has not begun yet.
        self.former_timer = _signal.setitimer(_signal.ITIMER_REAL, self.seconds, 0.05)

    def __exit__(self, *_error: object) -> None:
        try:
            self.over = True
        finally:
            _signal.setitimer(_signal.ITIMER_REAL, 0)
            _signal.pthread_sigmask(_signal.SIG_SETMASK, self.blocked)
            _signal.signal(_signal.SIGALRM, self.former)
            left, interval = self.former_timer
            if left:
                left = max(0.001, left - (time.monotonic() - self.began))
                _signal.setitimer(_signal.ITIMER_REAL, left, interval)


class Excursion:
    """A private mount namespace for the calling process, in which it may also change its ids, and the way back.

    Afterwards the process has as before: mount namespace, root and working directory, umask, ids, securebits
    (capabilities(7)), dumpable attribute, and the signal at its parent's death. Signals are blocked until then.

    Only for a process with one thread (others would see its ids, and share its directory no more), and only where
    `possible` says so.
    """

    def __init__(self) -> None:
        self.descriptors: list[int] = []
        self.signals: set[int] | None = None

    def possible(self) -> bool:
        """Return whether this process can go and come back, after a try; if so, the way is open."""
        try:
            if os.stat("/proc/self/task").st_nlink != ONE_THREAD:
                return False
            self._open("/proc/self/ns/mnt", os.O_RDONLY)
            self._open("/", os.O_PATH | os.O_DIRECTORY)
            self._open(".", os.O_PATH | os.O_DIRECTORY)
            self._come_back()
            os.fchdir(self.descriptors[2])
            return True
        except OSError:
            self._close()
            return False

    def _open(self, path: str, flags: int) -> None:
        self.descriptors.append(os.open(path, flags | os.O_CLOEXEC))

    def _close(self) -> None:
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors = []

    def _come_back(self) -> None:
        """Return to the mount namespace, and to the root in it."""
        namespace, root = self.descriptors[:2]
        linux.setns(namespace, linux.CLONE_NEWNS, home=True)
        os.fchdir(root)
        os.chroot(".")

    def __enter__(self) -> None:
        self.ids = os.getresuid(), os.getresgid()
        self.bits = linux.prctl(linux.PR_GET_SECUREBITS)
        self.dumpable = linux.prctl(linux.PR_GET_DUMPABLE)
        self.death_signal = linux.parent_death_signal()
        self.signals = _signal.pthread_sigmask(_signal.SIG_BLOCK, [])
        try:
            _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
            linux.unshare(linux.CLONE_NEWNS)
        except BaseException:
            self._heed_signals()
            self._close()
            raise
        try:
            self.umask = os.umask(0)
            os.chdir("/")
            mount_calls.make_private("/")
        except BaseException:
            self._return()
            raise

    def __exit__(self, *_error: object) -> None:
        self._return()

    def _return(self) -> None:
        try:
            os.setresuid(*self.ids[0])
            os.setresgid(*self.ids[1])
            if linux.prctl(linux.PR_GET_SECUREBITS) != self.bits:
                linux.prctl(linux.PR_SET_SECUREBITS, self.bits)
            if self.dumpable == 1:
                linux.prctl(linux.PR_SET_DUMPABLE, 1)
            if self.death_signal:
                linux.prctl(linux.PR_SET_PDEATHSIG, self.death_signal)
            self._come_back()
            load_again()
            os.umask(self.umask)
        except BaseException as error:
            strand("the host's mount namespace", error)
        try:
            self._heed_signals()  # a server may have to answer for the directory, and may not
        finally:
            try:
                os.fchdir(self.descriptors[2])
            except OSError:
                pass  # it is on the host again, in its root directory; the other one can be entered no more
            self._close()

    def _heed_signals(self) -> None:
        if self.signals is not None:
            _signal.pthread_sigmask(_signal.SIG_SETMASK, self.signals)


class NoWayBack(LauncherError):
    """A process that may leave one of its namespaces and not enter it again (setns(2)): it lacks the rights on it.

    The network of a container that shares its host's is such a namespace.
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
        ("net", linux.CLONE_NEWNET),
        ("ipc", linux.CLONE_NEWIPC),
        ("cgroup", linux.CLONE_NEWCGROUP),
        ("pid", linux.CLONE_NEWPID),
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
            linux.setns(self.pidfd, self.flags)  # all of them, or none
        except BaseException:
            self._close()
            raise

    def __exit__(self, *_error: object) -> None:
        try:
            for home, flag in self.homes:
                linux.setns(home, flag)
        except BaseException as error:
            strand("the host's namespaces", error)
        self._close()

    @staticmethod
    def _try(home: int, flag: int, name: str) -> None:
        try:
            linux.setns(home, flag)
        except PermissionError as error:
            raise NoWayBack(name) from error

    def _close(self) -> None:
        for home, _flag in self.homes:
            os.close(home)


def strand(where: str, error: BaseException) -> NoReturn:
    """End this process, which cannot come back. Report that to whoever reads standard error."""
    try:
        poll = select.poll()
        poll.register(2, select.POLLOUT)
        if poll.poll(0):
            text = "the launcher cannot come back to %s, and ends: %s\n" % (where, error)
            os.write(2, text.encode("utf-8", "replace"))
    finally:
        os._exit(STRANDED)


def in_child(
    work: Callable[[], str | None],
    seconds: float | None,
    keep: tuple[int | None, ...],
    pid: int | None = None,
) -> str:
    """Do work in a child of this process, and return its result: work that has no way back, or may not end.

    Args:
        seconds: how long it may take; `None` for work that waits for nobody.
        keep: the descriptors that it needs. The others are closed, its standard streams too: a child that the kernel
            does not let end is left behind, and must hold no lock, and no pipe whose end somebody waits for.
        pid: its number in its pid namespace; only for a process with one thread.

    Raises:
        TimeoutError: it took longer, and was killed.
        LauncherError: it failed.
    """
    read, write = os.pipe()
    try:
        # As Python forks: the other threads of this process are not in the child, nor is what they ask of Python.
        child = os.fork() if pid is None else linux.clone3(0, linux.SIGCHLD, pid=pid)
        if child == 0:
            _be_child(work, read, write, keep)
        os.close(write)
        write = -1
        said = _read_in_time(read, child, seconds)
    finally:
        for descriptor in (read, write):
            if descriptor >= 0:
                os.close(descriptor)
    if said[:1] != "+":
        raise LauncherError(said[1:] or "a process of the launcher was killed")
    return said[1:]


def _be_child(work: Callable[[], str | None], read: int, write: int, keep: tuple[int | None, ...]) -> NoReturn:
    try:
        os.close(read)
        close_all_but({write, *(descriptor for descriptor in keep if descriptor is not None)})
        occupy_streams()
        linux.prctl(linux.PR_SET_PDEATHSIG, KILL)
        poll = select.poll()
        poll.register(write, 0)
        if not poll.poll(0):  # somebody reads: the caller has not ended before that
            try:
                said = "+" + (work() or "")
            except BaseException as error:
                said = "-" + (str(error) or type(error).__name__)
            write_all(write, said.encode("utf-8", "replace"))
    finally:
        os._exit(0)


def _read_in_time(read: int, child: int, seconds: float | None) -> str:
    """Return what a child writes until its end. Raise TimeoutError after `seconds`; end the child in any case."""
    poll = select.poll()
    poll.register(read, select.POLLIN)
    try:
        deadline = None if seconds is None else time.monotonic() + seconds
        said = b""
        while True:
            if not poll.poll(None if deadline is None else milliseconds(deadline - time.monotonic())):
                raise TimeoutError()
            part = os.read(read, 65536)
            if not part:
                return said.decode("utf-8", "replace")
            said += part
    finally:
        _end(child)


def _end(child: int) -> None:
    """End a child. When the kernel does not let it end, leave it alone."""
    try:
        process = Process.pin_child(child)
    except OSError:
        return  # it has been ended for that, and what it has written is there
    process.end()
    process.close()


def close_in_child(descriptor: int) -> None:
    """Close a descriptor whose closing may wait for somebody inside: a child has it last, and is killed.

    A dying process waits for no connection that lingers (socket(7), SO_LINGER), and nobody waits for it if the kernel
    lets it wait for something else.
    """
    read, write = os.pipe()
    try:
        child = os.fork()
        if child == 0:
            _be_child(_signal.pause, read, write, (descriptor,))
        os.close(descriptor)
        _end(child)
    finally:
        os.close(read)
        os.close(write)
