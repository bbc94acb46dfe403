# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container whose processes all stand still, for as long as its data are read, and go on afterwards in any case.

The control group's freezer stops them between two instructions (cgroups(7), `cgroup.freeze`). So what is read is what
a power failure at that moment would have left, which databases recover from. Root inside can neither prevent that nor
end it: it does not control the group that is frozen.

Three let the processes go on: this process; a child of it, when this one was killed; and whoever takes a lock of the
container's next, when both were (`state/record`).
"""

from __future__ import annotations

import _signal
import os
import select
import time

from ..launcher import data
from ..launcher.descriptors import close_all_but, occupy_streams
from ..launcher.errors import LauncherError, NotRunning
from ..launcher.paths import write_atomically
from ..launcher.process import Process, boot_id, milliseconds, start_time
from ..state.record import FREEZE, FROZEN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from ..state.record import RecordedContainer

SECONDS = 10.0  # in which all processes stand still, unless one waits for broken hardware, or for a file system of FUSE
NOT_FROZEN = (
    "container %s: its processes do not all stand still within %g s, for one waits in the kernel; they go on: stop the "
    "container for this (stop: true)"
)
WENT_ON = (
    "container %s: somebody has let its processes go on while its data were read, so that what was read may be of "
    "several moments: try again"
)


class Frozen:
    """A running container, frozen for the length of a block. The caller holds its lock.

    Args:
        timeout: seconds in which its processes are to stand still.

    Attributes:
        seconds: how long they stood still, when the block is over.

    Raises:
        NotRunning: on entry: it does not run.
        LauncherError: on entry: they do not stand still in time, and go on; at the end: somebody else let them go on.
    """

    def __init__(self, container: RecordedContainer, timeout: float = SECONDS) -> None:
        self.container = container
        self.timeout = timeout
        self.seconds = 0.0
        self._lifeline = -1
        self._guard: Process | None = None

    def __enter__(self) -> Frozen:
        if self.container.status().state != "running":
            raise NotRunning("container %s: does not run" % self.container.name)
        hierarchy = self.container.cgroup.hierarchy  # opened here, for the child has it, too
        self._begin_guard(hierarchy)
        try:
            self._note()
            self._began = time.monotonic()
            self.container.cgroup.write(FREEZE, "1")
            if not self._await(self._began + self.timeout):
                raise LauncherError(NOT_FROZEN % (self.container.name, self.timeout))
        except BaseException:
            self._thaw()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        try:
            went_on = kind is None and not self._await(0)
        finally:
            self._thaw()
        self.seconds = time.monotonic() - self._began
        if went_on:
            raise LauncherError(WENT_ON % self.container.name)

    def _note(self) -> None:
        """Note who has frozen it, for those who find it so."""
        own = {"pid": os.getpid(), "start_time": start_time(os.getpid()), "boot_id": boot_id()}
        path = os.path.join(self.container.run_directory, FROZEN)
        write_atomically(path, data.format_flat(own))

    def _await(self, deadline: float) -> bool:
        """Wait until all processes stand still, until the deadline (time.monotonic). Return whether they do."""
        group = self.container.cgroup
        path = group.whole + "/cgroup.events"
        events = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=group.hierarchy)
        try:
            poll = select.poll()
            poll.register(events, select.POLLPRI)
            while b"frozen 1" not in os.pread(events, 4096, 0):
                if not poll.poll(milliseconds(deadline - time.monotonic())):
                    return b"frozen 1" in os.pread(events, 4096, 0)
            return True
        finally:
            os.close(events)

    def _thaw(self) -> None:
        """Let the processes go on, and end the child that would."""
        try:
            self.container.thaw()
        finally:
            lifeline, self._lifeline = self._lifeline, -1
            os.close(lifeline)
            if self._guard is not None:
                self._guard.wait(None)  # it has no more to do than this process has just done
                self._guard.reap()
                self._guard.close()
                self._guard = None

    def _begin_guard(self, hierarchy: int) -> None:
        """Begin a child that lets the processes go on when this process ends without having done so."""
        parent = os.getpid()  # for the child, which may run for the first time after the end of this process
        read, self._lifeline = os.pipe()
        try:
            former = _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
            try:
                child = os.fork()
                if child == 0:
                    self._be_guard(parent, read, hierarchy)
            finally:
                _signal.pthread_sigmask(_signal.SIG_SETMASK, former)
            self._guard = Process.pin_child(child)
        except BaseException:
            os.close(self._lifeline)
            raise
        finally:
            os.close(read)

    def _be_guard(self, parent: int, read: int, hierarchy: int) -> NoReturn:
        """Wait for the parent's end, heeding no signal, nor what ends its terminal or its group of processes."""
        try:
            os.setsid()
            close_all_but({read, hierarchy})
            occupy_streams()
            os.read(read, 1)  # nobody writes: it returns when the parent has closed its end, or has ended
            self.container.thaw(of=parent)
        finally:
            os._exit(0)
