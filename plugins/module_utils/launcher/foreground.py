# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container, or a command in one, with a person in front of it: terminal, signals, exit status (S10)."""

from __future__ import annotations

import os
import signal
import stat

from . import syscalls as sys
from . import terminal
from .container import Container
from .enter import Entry
from .process import KILL, Process, signal_number
from .start import Status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable


def exit_status(wait_status: int) -> int:
    """A shell's idea of how a process ended: its status, or 128 and the signal that killed it."""
    if os.WIFSIGNALED(wait_status):
        return 128 + os.WTERMSIG(wait_status)
    return os.WEXITSTATUS(wait_status)


def init_status(wait_status: int) -> int:
    """The exit status of an init: powering off (SIGINT) or rebooting (SIGHUP) from inside is a success (reboot(2))."""
    if os.WIFSIGNALED(wait_status) and os.WTERMSIG(wait_status) in (1, 2):
        return 0
    return exit_status(wait_status)


def run(
    container: Container,
    system: str,
    extra_file_systems: list[dict[str, Any]],
    timeout: float,
    explain: Callable[[Status], None],
) -> int:
    """Run a container until it ends; a first SIGINT or SIGTERM asks it to stop, its time limit or a second kills it."""
    interactive = os.isatty(0) and os.isatty(1)
    console = None
    if interactive:
        output_read, output_write, console = terminal.open_on_host()
    else:
        output_read, output_write = os.pipe()
    with container.lock(timeout):
        status = container.start(system, False, timeout, console, output_write, extra_file_systems)
        process = container.process()
    os.close(output_write)
    explain(status)
    if process is not None:
        stop_signal = signal_number(str((container.record() or {}).get("stop_signal", "SIGTERM")))
        _Supervisor(process, stop_signal, timeout).relay(terminal.Relay(output_read, interactive))
    ended = os.waitpid(int(status.pid or 0), 0)[1]
    with container.lock(timeout):
        if container.process() is None:
            container.clear()
    return init_status(ended)


class _Supervisor:
    """Turns the signals of the one who called into the container's end."""

    def __init__(self, process: Process, stop_signal: int, timeout: float) -> None:
        self.process = process
        self.stop_signal = stop_signal
        self.timeout = timeout
        self.asked = False

    def relay(self, relay: terminal.Relay) -> None:
        relay.run(self.process.descriptor, self._on_signal)
        self.process.close()

    def _on_signal(self, number: int) -> None:
        if self.asked:
            self.process.signal(KILL)
            return
        self.asked = True
        self.process.signal(number if self.stop_signal == signal.SIGTERM else self.stop_signal)
        signal.signal(signal.SIGALRM, lambda *_: self.process.signal(KILL))
        signal.setitimer(signal.ITIMER_REAL, self.timeout)


def enter(container: Container, command: list[str] | None, user: str) -> int:
    """Run a command, or a login shell, in a running container, with this process's streams; its exit status.

    The command gets pipes or a pty of the container's, never a file or a terminal of the host.
    """
    entry = Entry(container)
    if not (os.isatty(0) and os.isatty(1)):
        return _enter_with_pipes(entry, command, user)
    root = entry.open_root()
    master, slave = terminal.open_in_container(root)
    os.close(root)
    os.fchown(slave, entry.host_id(user), -1)
    child = entry.spawn(command, user, (slave, slave, slave), True)
    os.close(slave)
    terminal.Relay(master, True).run(sys.pidfd_open(child))
    return exit_status(os.waitpid(child, 0)[1])


def _enter_with_pipes(entry: Entry, command: list[str] | None, user: str) -> int:
    copies = []
    streams = []
    for number in (0, 1, 2):
        if stat.S_ISFIFO(os.fstat(number).st_mode):
            streams.append(number)
            continue
        read, write = os.pipe()
        streams.append(read if number == 0 else write)
        copies.append((0, write) if number == 0 else (read, number))
    child = entry.spawn(command, user, (streams[0], streams[1], streams[2]), False)
    for stream in streams:
        if stream > 2:
            os.close(stream)
    terminal.carry(copies, sys.pidfd_open(child))
    return exit_status(os.waitpid(child, 0)[1])
