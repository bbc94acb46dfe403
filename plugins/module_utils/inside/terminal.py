# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A pseudo-terminal between the person at the host and a process in a container, in a session of its own.

The process never holds the host's own terminal, so that it can neither push input into it (TIOCSTI) nor outlive its
session there.
"""

from __future__ import annotations

import _signal
import errno
import fcntl
import os
import select
import stat
import termios
import time

from ..launcher import linux
from ..launcher.courier import HELD_SECONDS, Copier, Courier, Flow, size_of
from ..launcher.errors import LauncherError, TooMuch
from ..launcher.excursion import in_child
from ..launcher.process import KILL, PAUSE, Process, has_entered, leave, milliseconds, reap_left, wait_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

TIOCGPTPEER = 0x5441
TIOCSPTLCK = 0x40045431
NONE_LEFT = (errno.ENOSPC, errno.EIO)  # what opening a multiplexer fails with (fs/devpts of the kernel, new and old)
OPEN_TIMEOUT = 2.0  # seconds in which a container's pty must be there, or the host's is taken
REAP_PAUSE = 0.2  # seconds between two looks for children that a command has given to this process
DRAIN_SECONDS = 10.0  # after so long, a courier that nobody seems to hold is not waited for either
NO_PTY = "the container has no pty left"
NOT_ITS_OWN = "%s, so this is one of the host's; programs that ask for the terminal's name find none"
NONE_AT_ALL = (
    "container %s: no pty is left on the host (%s), and %s; end what holds them, raise kernel.pty.max, or enter "
    "without a terminal, as in 'enter-container COMMAND | cat'"
)


def open_on_host() -> tuple[int, int, str]:
    """Open a new pty of the host; return its master, its slave, and the slave's path."""
    master, slave = os.openpty()
    return master, slave, os.ttyname(slave)


def open_in_container(root: int, seconds: float) -> tuple[int, int]:
    """Return a new pty of a container, master and slave.

    A child opens it and hands it over: the way to it may lead over a file system of root inside, which never answers.

    Args:
        root: descriptor of the container's root directory.
        seconds: how long that may take.

    Raises:
        LauncherError: the container gives none.
    """
    import array
    import socket

    ours, theirs = socket.socketpair()
    with ours, theirs:

        def work() -> str:
            try:
                ends = _open_in_container(root)
            except OSError as error:
                if error.errno in NONE_LEFT:
                    raise LauncherError(NO_PTY) from None
                raise LauncherError("/dev/pts of the container gives no pty (%s)" % error) from None
            theirs.sendmsg([b"2"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", ends))])
            return ""

        try:
            in_child(work, seconds, (root, theirs.fileno()))
        except TimeoutError:
            raise LauncherError("/dev/pts of the container does not answer within %g s" % seconds) from None
        ends = array.array("i", [-1, -1])
        room = socket.CMSG_SPACE(2 * ends.itemsize)
        for _level, _kind, data in ours.recvmsg(1, room, socket.MSG_CMSG_CLOEXEC)[1]:
            ends = array.array("i", data)
        return ends[0], ends[1]


def _open_in_container(root: int) -> tuple[int, int]:
    """Open a pty by its place in the container's tree; return its master and slave.

    The multiplexer is opened only after it has been verified to be one: the tree is the container's to change
    (CVE-2025-52565).
    """
    resolve = linux.RESOLVE_IN_ROOT | linux.RESOLVE_NO_SYMLINKS | linux.RESOLVE_NO_MAGICLINKS
    path = linux.openat2(root, "dev/pts/ptmx", os.O_PATH, resolve)
    try:
        status = os.fstat(path)
        if not stat.S_ISCHR(status.st_mode) or status.st_rdev != os.makedev(5, 2):
            raise LauncherError("/dev/pts/ptmx of the container is not the pty multiplexer")
        master = os.open("/proc/self/fd/%d" % path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    finally:
        os.close(path)
    fcntl.ioctl(master, TIOCSPTLCK, b"\0\0\0\0")
    slave = fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    return master, slave


def open_for(root: int, name: str, owner: int) -> tuple[int, int, str]:
    """Open a new pty for a command that enters container `name`: the container's or, where that gives none, the host's.

    Return its master, its slave, and a warning or "".

    It belongs to the host id `owner`, root inside, who gives it to the command's user. For that its group must be one
    of the container's, too, as that of the container's own ptys is.

    Root inside can take all ptys that containers share, by a devpts of its own as well, and can mount whatever it likes
    over /dev/pts. Those that the kernel reserves for the host (kernel.pty.reserve) it cannot. A pty of the host's is
    new for this command, as the container's would be, and not the caller's terminal: what is pushed into it comes out
    in the container.

    Raises:
        LauncherError: the host has none left either.
    """
    try:
        return (*_give(open_in_container(root, OPEN_TIMEOUT), owner, -1), "")
    except (LauncherError, OSError) as error:
        why = str(error)
    try:
        master, slave, _path = open_on_host()
    except OSError as error:
        raise LauncherError(NONE_AT_ALL % (name, error, why)) from error
    return (*_give((master, slave), owner, owner), NOT_ITS_OWN % why)


def _give(ends: tuple[int, int], owner: int, group: int) -> tuple[int, int]:
    """Give a pty to a uid and a gid, and return its master and slave; close both when that fails."""
    try:
        os.fchown(ends[1], owner, group)
        return ends
    except BaseException:
        for end in ends:
            os.close(end)
        raise


class Carrier(Copier):
    """A copier of bytes between this process's standard streams and a courier, until a process has ended.

    No direction waits for another, so a process that writes before it has read all causes no deadlock. Nor does this
    wait for anything that root inside decides. It lets go of the process as soon as that has ended, since PID 1 waits
    for this, and until its own end of the children that the process has given to this one. Of the output it takes what
    was there by then, whoever else holds the other end. For that it waits once, however often a byte comes meanwhile;
    only the time in which its own reader takes nothing does not count.

    Args:
        process: a child.
        courier: of its streams: the input, if it has one, comes from standard input, and the outputs go to standard
            output and error.
        discard: read standard input to its end, and drop what nobody wants of it, so that the sender sees no error.
        limit: how many bytes each output may have.

    Attributes:
        status: the wait status of the process, once it has ended.
        given_up: set it to leave out what is still to be drained.
    """

    def __init__(self, process: Process, courier: Courier, discard: bool = False, limit: int | None = None) -> None:
        copies = [(0, courier.input)] if courier.input >= 0 else []
        super().__init__(copies + [(source, number) for number, source in enumerate(courier.outputs, 1)])
        self.limit = limit or 0
        for flow in self.flows:
            flow.room = limit if flow.source != 0 else None
        self.process = process
        self.courier = courier
        self.discard = discard
        self.status: int | None = None
        self.given_up = False
        self.drained = 0.0  # seconds since the process's end in which only the courier was waited for

    def run(self, wake: int | None = None, on_wake: Callable[[int], None] | None = None) -> int:
        """Copy until the end. Return the wait status of the process.

        Args:
            wake: descriptor of `signal.set_wakeup_fd`; `on_wake` gets each signal's number.

        Raises:
            TooMuch: an output is longer than the limit; the process is killed, and not waited for.
        """
        more = {} if wake is None else {wake: select.POLLIN}
        while True:
            if self.status is None:
                ready = self.wait({**more, self.process.descriptor: select.POLLIN}, None)
            else:
                ready = self._drain(more)
                reap_left()
            if wake is not None and ready.pop(wake, 0) and on_wake is not None:
                for number in os.read(wake, 64):
                    on_wake(number)
            if ready.pop(self.process.descriptor, 0):
                self._end()
            self.carry(ready)
            if self.status is not None and (self.given_up or not self.flows):
                return self.status

    def has_read(self, flow: Flow) -> None:
        """End the process when there was too much."""
        if flow.room is not None and flow.room < 0:
            self.process.signal(KILL)
            leave(self.process.pid)
            raise TooMuch("its output was longer than the %d bytes that were asked for, so it was ended" % self.limit)

    def _end(self) -> None:
        """Let go of the process, which has ended, of its input, and of what others write from now on."""
        for flow in list(self.flows):
            if flow.source == 0 and flow.target >= 0:
                flow.pending = b""
                self.close(flow)
        self.status = wait_status(self.process.pid)
        self.courier.end()

    def _drain(self, more: dict[int, int]) -> dict[int, int]:
        """Return what is ready. Give up the output that is still to come when somebody inside has held it for long."""
        waiting = [flow for flow in self.flows if flow.source != 0]
        if not waiting or any(flow.pending for flow in waiting):
            return self.wait(more, REAP_PAUSE if has_entered() else None)
        if self.drained > DRAIN_SECONDS or (self.drained > HELD_SECONDS and self.courier.is_held()):
            self.courier.is_given_up = True
            for flow in waiting:
                self.close(flow)
            return {}
        began = time.monotonic()
        try:
            return self.wait(more, PAUSE)
        finally:
            self.drained += time.monotonic() - began

    def close(self, flow: Flow) -> None:
        """End a flow, so that the reader of standard input inside sees its end."""
        if flow not in self.flows:
            return
        self.flows.remove(flow)
        if flow.source != 0 or flow.target < 0:
            return
        self.courier.close_input()
        if self.discard and flow.open:
            self.flows.append(Flow(0, -1))


def discard_input() -> None:
    """Read standard input to its end, so that the sender sees no error; reap meanwhile what a command has given."""
    poll = select.poll()
    poll.register(0, select.POLLIN)
    while True:
        reap_left()
        if poll.poll(milliseconds(REAP_PAUSE) if has_entered() else None) and not os.read(0, 65536):
            return


class Relay:
    """A relay of bytes between this process's standard streams and a pty, or from a pipe to standard output.

    Args:
        courier: of the pty or pipe. With an input it is a pty: the terminal on standard input is put into raw mode.
    """

    def __init__(self, courier: Courier) -> None:
        self.courier = courier
        self.interactive = courier.input >= 0

    def run(
        self, process: Process, on_signal: Callable[[int], None], on_ready: Callable[[], None] | None = None
    ) -> int:
        """Copy until a child has ended and its output is drained. Return its wait status.

        Args:
            on_signal: called with SIGINT or SIGTERM when this process gets one. After the end they end the draining.
            on_ready: called once signals are heeded, before the first byte.
        """
        carrier = Carrier(process, self.courier)

        def on_wake(number: int) -> None:
            if number == _signal.SIGWINCH:
                if self.interactive:
                    self.courier.resize(size_of(0))
            elif carrier.status is None:
                on_signal(number)
            elif number != _signal.SIGALRM:
                carrier.given_up = True

        saved = termios.tcgetattr(0) if self.interactive else None
        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        former = {}
        for number in (_signal.SIGINT, _signal.SIGTERM, _signal.SIGWINCH):
            former[number] = _signal.signal(number, lambda *_: None)
        former_wake = _signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        try:
            if on_ready is not None:
                on_ready()
            if saved is not None:
                import tty

                tty.setraw(0)
                self.courier.resize(size_of(0))
            return carrier.run(wake_read, on_wake)
        finally:
            if saved is not None:
                termios.tcsetattr(0, termios.TCSADRAIN, saved)
            _signal.set_wakeup_fd(former_wake)
            for number, handler in former.items():
                _signal.signal(number, handler)
            os.close(wake_read)
            os.close(wake_write)
