# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks: directories held by flock(2), which the kernel lets go of when the holder ends, however it ends.

Whoever can open a directory for reading can hold it, and keep its owner waiting. So none that is locked is readable to
any user of the host but root, one from before that rule included.
"""

from __future__ import annotations

import fcntl
import os
import stat
import time

from .errors import LauncherError
from .excursion import Alarm
from .paths import RUN_DIRECTORY, STATE_DIRECTORY, make_directory
from .trees import identity

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .container import Container

MODE = 0o711  # of a directory that is locked: its files can be reached by name
READ_OR_WRITE = 0o066
ALLOCATION_TIMEOUT = 30.0  # seconds; who chooses an id range holds the lock for a moment


def open_to_lock(directory: str) -> int:
    """Open a directory that is to be locked, and close it to all but its owner; a descriptor."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    mode = stat.S_IMODE(os.fstat(descriptor).st_mode)
    if mode & READ_OR_WRITE:
        try:
            os.fchmod(descriptor, mode & ~READ_OR_WRITE)
        except BaseException:
            os.close(descriptor)
            raise
    return descriptor


def holder(descriptor: int) -> str:
    """Say who holds the directory, by the PID where the kernel tells it (proc_locks(5)): for a message."""
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


def _acquire(descriptor: int, what: str, timeout: float, deadline: float) -> None:
    """Hold the directory. Raises LauncherError when somebody else has it until the deadline (time.monotonic())."""
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


class Lock:
    """The lock of one container: the runtime directory itself, so that it leaves no file.

    A directory that was removed meanwhile is made anew. On the way out the directory goes when nothing is in it.
    """

    def __init__(self, container: Container, timeout: float) -> None:
        self.container = container
        self.directory = container.run_directory
        self.timeout = timeout
        self.descriptor = -1

    def __enter__(self) -> None:
        try:
            self._enter(time.monotonic() + self.timeout)
        except OSError as error:
            raise LauncherError("container %s: cannot be locked: %s" % (self.container.name, error)) from error

    def _enter(self, deadline: float) -> None:
        while True:
            make_directory(self.directory, MODE)
            try:
                self.descriptor = open_to_lock(self.directory)
            except FileNotFoundError:
                continue
            try:
                _acquire(self.descriptor, "container %s" % self.container.name, self.timeout, deadline)
            except BaseException:
                os.close(self.descriptor)
                self.descriptor = -1
                raise
            if _same(self.descriptor, self.directory):
                return
            os.close(self.descriptor)

    def __exit__(self, *_error: object) -> None:
        if self.descriptor < 0:
            return  # let go of in between, and not got back
        if _same(self.descriptor, self.directory):
            try:
                os.rmdir(self.directory)
                os.rmdir(RUN_DIRECTORY)
            except OSError:
                pass  # it holds the state of a running container, or another's
        os.close(self.descriptor)
        self.descriptor = -1
        self.container.cgroup.close()


class AllocationLock:
    """Held while an id range is chosen, so that two containers never get the same."""

    def __enter__(self) -> None:
        containers = os.path.join(STATE_DIRECTORY, "containers")
        make_directory(containers, 0o700)
        self.descriptor = open_to_lock(containers)
        try:
            _acquire(self.descriptor, containers, ALLOCATION_TIMEOUT, time.monotonic() + ALLOCATION_TIMEOUT)
        except BaseException:
            os.close(self.descriptor)
            raise

    def __exit__(self, *_error: object) -> None:
        os.close(self.descriptor)


def _same(descriptor: int, path: str) -> bool:
    """Whether the path still names the open directory."""
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    return identity(descriptor) == (there.st_dev, there.st_ino)
