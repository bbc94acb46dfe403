# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks: directories held by flock(2). The kernel releases a lock when its holder ends, however it ends.

Whoever can open a directory for reading can hold it, and keep its owner waiting. So nobody but the host's root can read
a directory that is locked, not even root inside a container with which it is shared read-only: root there owns it, but
its mode gives the owner no right to read it, and its group is one that no container has, so that no capability counts
(capabilities(7), CAP_DAC_OVERRIDE). A directory that an older version made is corrected.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time

from ..launcher.cgroup import UNMAPPED
from ..launcher.errors import LauncherError
from ..launcher.excursion import Alarm
from ..launcher.paths import RUN_DIRECTORY, STATE_DIRECTORY, make_directory
from ..launcher.process import Uninterrupted
from ..launcher.trees import identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

MODE = 0o311  # of a directory that is locked: its files can be reached by name
READ = 0o400
READ_OR_WRITE = 0o066
NETWORK_LOCK = RUN_DIRECTORY + ".network"
ALLOCATION_TIMEOUT = 30.0  # seconds for which one holder may have what each holds for a moment


def open_to_lock(directory: str) -> int:
    """Open a directory that is to be locked, and make it unreadable to all but the host's root. Return a descriptor."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        keep_from_containers(descriptor, READ_OR_WRITE)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def keep_from_containers(descriptor: int, also: int) -> None:
    """Make what is locked unreadable to root inside any container.

    On a host that is a container itself, and all of whose ids the containers there have, that cannot be.

    Args:
        also: further permissions that nobody has.
    """
    status = os.fstat(descriptor)
    forbidden = also
    if _give_to_nobodys_group(descriptor, status):
        forbidden |= READ
    if status.st_mode & forbidden:
        os.fchmod(descriptor, stat.S_IMODE(status.st_mode) & ~forbidden)


def _give_to_nobodys_group(descriptor: int, status: os.stat_result) -> bool:
    """Give an open file to a group that no container has. Return whether it belongs to that."""
    if status.st_gid == UNMAPPED:
        return True
    try:
        os.fchown(descriptor, -1, UNMAPPED)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EPERM):
            raise
        return False
    return True


def _make(directory: str) -> None:
    """Make a directory that is to be locked, unreadable to root inside from the beginning.

    It takes over the group of the directory in which it is made, which is set-group-ID (inode(7)).
    """
    above = os.path.dirname(directory)
    make_directory(above)
    status = os.stat(above)
    if not status.st_mode & stat.S_ISGID:
        descriptor = os.open(above, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            if _give_to_nobodys_group(descriptor, status):
                os.fchmod(descriptor, stat.S_IMODE(status.st_mode) | stat.S_ISGID)
        finally:
            os.close(descriptor)
    make_directory(directory, MODE)


def holder(descriptor: int) -> str:
    """Return who holds the directory, for a message: by the PID when the kernel tells it (proc_locks(5))."""
    status = os.fstat(descriptor)
    place = "%02x:%02x:%d" % (os.major(status.st_dev), os.minor(status.st_dev), status.st_ino)
    try:
        with open("/proc/locks", encoding="ascii") as locks:
            for line in locks:
                fields = line.split()
                if fields[1] == "FLOCK" and fields[5] == place and int(fields[4]) > 0:
                    return "another process (PID %s)" % fields[4]
    except OSError:
        pass
    return "another process"


def _hold(descriptor: int, what: str, timeout: float, deadline: float) -> None:
    """Hold the directory. Raise LauncherError when another process has it until the deadline (time.monotonic())."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return
    except BlockingIOError:
        pass
    try:
        with Alarm(deadline - time.monotonic()):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
    except TimeoutError:
        message = "%s: %s has held it for %g s; wait for that, or end it" % (what, holder(descriptor), timeout)
        raise LauncherError(message) from None


def _hold_in_turn(descriptor: int, what: str) -> None:
    """Hold what each holds for a moment, however many there are before: wait while it goes from one to another.

    Raises:
        LauncherError: one process has had it at the ends of two periods of `ALLOCATION_TIMEOUT` seconds.
    """
    first = ""
    while True:
        try:
            _hold(descriptor, what, ALLOCATION_TIMEOUT, time.monotonic() + ALLOCATION_TIMEOUT)
            return
        except LauncherError:
            last = holder(descriptor)
            if last == first:
                raise
            first = last


class Lock:
    """The lock of one container: its runtime directory itself, so that no file is left. As a context, it is held.

    Args:
        name: the container's.
        directory: what is locked.
        timeout: seconds to wait for another holder.
        close: closes what is open of the container, whenever the lock was given back.
        begin: puts right what a holder left that was killed, whenever the lock was taken.
    """

    def __init__(
        self,
        name: str,
        directory: str,
        timeout: float,
        close: Callable[[], None],
        begin: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.directory = directory
        self.timeout = timeout
        self.close = close
        self.begin = begin
        self.descriptor = -1

    def __enter__(self) -> None:
        try:
            self.acquire()
        except BaseException:
            self.release()
            raise

    def __exit__(self, *_error: object) -> None:
        self.release()

    def acquire(self) -> None:
        """Take the lock. Make a directory that was removed meanwhile again.

        Raises:
            LauncherError: another holder keeps it for longer than the time limit, or it cannot be made.
        """
        try:
            self._acquire(time.monotonic() + self.timeout)
            self._begin()
        except OSError as error:
            raise LauncherError("container %s: cannot be locked: %s" % (self.name, error)) from error

    def _begin(self) -> None:
        try:
            self.begin()
        except BaseException:
            self.release()
            raise

    def _acquire(self, deadline: float) -> None:
        while True:
            try:
                with Uninterrupted():
                    _make(self.directory)
                    self.descriptor = open_to_lock(self.directory)
                _hold(self.descriptor, "container %s" % self.name, self.timeout, deadline)
                if is_same(self.descriptor, self.directory):
                    return
            except FileNotFoundError:
                pass
            except BaseException:
                self._remove_unheld()
                raise
            self._close()

    def _remove_unheld(self) -> None:
        """Remove a directory that was made when a signal came, and that nobody holds. It is held for that."""
        with Uninterrupted():
            self._close()
            try:
                descriptor = open_to_lock(self.directory)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if is_same(descriptor, self.directory):
                        os.rmdir(self.directory)
                        os.rmdir(RUN_DIRECTORY)
                finally:
                    os.close(descriptor)
            except OSError:
                pass  # it is not there, or another's, or holds what is left of a container

    def _close(self) -> None:
        with Uninterrupted():
            if self.descriptor >= 0:
                os.close(self.descriptor)
            self.descriptor = -1

    def release(self) -> None:
        """Give the lock back, if it is held, and remove the directory when it is empty."""
        with Uninterrupted():
            if self.descriptor < 0:
                return  # given back in between, and not taken again
            if is_same(self.descriptor, self.directory):
                try:
                    os.rmdir(self.directory)
                    os.rmdir(RUN_DIRECTORY)
                except OSError:
                    pass  # it holds the state of a running container, or another's
            self._close()
            self.close()


class AllocationLock:
    """The lock for what no two containers may have: an id range, a directory to write to. It is held for a moment."""

    def __enter__(self) -> None:
        containers = os.path.join(STATE_DIRECTORY, "containers")
        while True:
            make_directory(containers, 0o700)
            try:
                self.descriptor = open_to_lock(containers)
            except FileNotFoundError:
                continue  # the last container has just been removed
            try:
                _hold_in_turn(self.descriptor, containers)
                if is_same(self.descriptor, containers):
                    return
            except BaseException:
                os.close(self.descriptor)
                raise
            os.close(self.descriptor)

    def __exit__(self, *_error: object) -> None:
        os.close(self.descriptor)


class NetworkLock:
    """The lock for changing what the containers of this host share of its network: bridges, and the packet filter.

    It is a file that nobody but the host's root can open. A program that gets its descriptor holds it until it ends.
    """

    def __enter__(self) -> NetworkLock:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self.descriptor = os.open(NETWORK_LOCK, flags, 0o600)
        try:
            _hold_in_turn(self.descriptor, NETWORK_LOCK)
        except BaseException:
            os.close(self.descriptor)
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        os.close(self.descriptor)


def is_same(descriptor: int, path: str) -> bool:
    """Return whether the path still names the open directory."""
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    return identity(descriptor) == (there.st_dev, there.st_ino)
