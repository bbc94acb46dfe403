# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A pseudo-terminal between the person at the host and a process in a container, in a session of its own.

The process never holds the host's own terminal, so that it can neither push input into it (TIOCSTI) nor outlive its
session there.
"""

from __future__ import annotations

import fcntl
import os
import select
import signal
import stat
import termios
import tty

from . import syscalls as sys
from .errors import LauncherError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

TIOCGPTPEER = 0x5441
TIOCSPTLCK = 0x40045431


def open_on_host() -> tuple[int, int, str]:
    """A new pty of the host: master, slave, and the slave's path."""
    master, slave = os.openpty()
    return master, slave, os.ttyname(slave)


def open_in_container(root: int) -> tuple[int, int]:
    """A new pty of the container whose root directory a descriptor names: master and slave.

    The multiplexer is opened only after it has been verified to be one: the tree is the container's to change
    (CVE-2025-52565).
    """
    resolve = sys.RESOLVE_IN_ROOT | sys.RESOLVE_NO_SYMLINKS | sys.RESOLVE_NO_MAGICLINKS
    path = sys.openat2(root, "dev/pts/ptmx", os.O_PATH, resolve)
    try:
        status = os.fstat(path)
        if not stat.S_ISCHR(status.st_mode) or status.st_rdev != os.makedev(5, 2):
            raise LauncherError("/dev/pts/ptmx: is not the pty multiplexer in this container; restart the container")
        master = os.open("/proc/self/fd/%d" % path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    finally:
        os.close(path)
    fcntl.ioctl(master, TIOCSPTLCK, b"\0\0\0\0")
    slave = fcntl.ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    return master, slave


def copy_size(source: int, target: int) -> None:
    """Give one terminal the window size of another."""
    try:
        fcntl.ioctl(target, termios.TIOCSWINSZ, fcntl.ioctl(source, termios.TIOCGWINSZ, bytes(8)))
    except OSError:
        pass  # the other end has closed


def carry(
    copies: list[tuple[int, int]],
    ended: int,
    wake: int | None = None,
    on_wake: Callable[[int], None] | None = None,
) -> None:
    """Copy bytes from one descriptor to another, for each pair, until a process has ended and its output is drained.

    Args:
        copies: pairs of (from, to). A pair that copies *from* standard input is closed at its end, and not drained.
        ended: pidfd of the process.
        wake: descriptor of `signal.set_wakeup_fd`; `on_wake` gets each signal's number.
    """
    targets = dict(copies)
    over = False
    while True:
        watched = list(targets) + ([] if over else [ended]) + ([wake] if wake is not None else [])
        readable = select.select(watched, [], [], 0 if over else None)[0]
        if over and not any(source in readable for source in targets if source != 0):
            return
        if wake is not None and wake in readable and on_wake is not None:
            for number in os.read(wake, 64):
                on_wake(number)
        over = over or ended in readable
        for source in [source for source in targets if source in readable]:
            if not _copy(source, targets[source]):
                target = targets.pop(source)
                if source == 0 and target not in targets:
                    os.close(target)


def _copy(source: int, target: int) -> bool:
    """Copy what can be read at once; false at the end of either side."""
    try:
        data = os.read(source, 65536)
    except OSError:
        data = b""  # EIO: the last slave of the pty was closed
    if not data:
        return False
    while data:
        try:
            data = data[os.write(target, data) :]
        except BlockingIOError:
            select.select([], [target], [])
        except BrokenPipeError:
            return False
    return True


class Relay:
    """Carries bytes between this process's standard streams and a pty, or from a pipe to standard output.

    Args:
        descriptor: the pty's master, or the reading end of a pipe.
        interactive: put the terminal on standard input into raw mode, and pass on what is typed.
    """

    def __init__(self, descriptor: int, interactive: bool) -> None:
        self.descriptor = descriptor
        self.interactive = interactive

    def run(self, ended: int, on_signal: Callable[[int], None] | None = None) -> None:
        """Carry until the process behind the pidfd `ended` has ended and its output is drained.

        Args:
            on_signal: called with SIGINT or SIGTERM when this process gets one.
        """

        def on_wake(number: int) -> None:
            if number == signal.SIGWINCH:
                if self.interactive:
                    copy_size(0, self.descriptor)
            elif on_signal is not None:
                on_signal(number)

        wake_read, wake_write = os.pipe()
        os.set_blocking(wake_write, False)
        former = {}
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGWINCH):
            former[number] = signal.signal(number, lambda *_: None)
        former_wake = signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        saved = termios.tcgetattr(0) if self.interactive else None
        try:
            if saved is not None:
                tty.setraw(0)
                copy_size(0, self.descriptor)
            copies = [(self.descriptor, 1)] + ([(0, self.descriptor)] if self.interactive else [])
            carry(copies, ended, wake_read, on_wake)
        finally:
            if saved is not None:
                termios.tcsetattr(0, termios.TCSADRAIN, saved)
            signal.set_wakeup_fd(former_wake)
            for number, handler in former.items():
                signal.signal(number, handler)
            os.close(wake_read)
            os.close(wake_write)
