# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container with a person in front of it: terminal, signals, exit status (S10)."""

from __future__ import annotations

import _signal
import os
import time

from ..inside import terminal
from ..launcher.courier import Courier, Shared
from ..launcher.process import KILL, PAUSE, Process, is_own_child
from ..launcher.specification import read_outline
from ..launcher.stop_signals import SCOPE_STOP, signal_number
from ..state.record import Status
from .container import Container
from .follower import Follower

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from ..launcher.contract import Mount


def exit_status(wait_status: int) -> int:
    """Return an exit status as a shell does: the process's status, or 128 plus the signal that killed it."""
    if os.WIFSIGNALED(wait_status):
        return 128 + os.WTERMSIG(wait_status)
    return os.WEXITSTATUS(wait_status)


def init_status(wait_status: int) -> int:
    """Return an init's exit status. A power-off (SIGINT) or reboot (SIGHUP) from inside is a success (reboot(2))."""
    if os.WIFSIGNALED(wait_status) and os.WTERMSIG(wait_status) in (1, 2):
        return 0
    return exit_status(wait_status)


def run_in_foreground(
    container: Container,
    system: str,
    extra_file_systems: list[Mount],
    timeout: float,
    explain: Callable[[Status], None],
) -> int:
    """Run a container until it ends, and again when it reboots. Return its exit status.

    A first SIGINT, SIGTERM or SIGHUP asks it to stop. A second one, or the end of the time limit, kills it.

    Raises:
        LauncherError: it cannot be started, or reboots itself too often.
    """
    from ..host.reboots import Reboots

    reboots = Reboots(container.name)
    while True:
        ended, asked = _run_once(container, system, extra_file_systems, timeout, explain)
        rebooted = os.WIFSIGNALED(ended) and os.WTERMSIG(ended) == _signal.SIGHUP  # reboot(2), in a pid namespace
        if asked or not rebooted or not reboots.again():
            return init_status(ended)


def _run_once(
    container: Container,
    system: str,
    extra_file_systems: list[Mount],
    timeout: float,
    explain: Callable[[Status], None],
) -> tuple[int, bool]:
    """Run a container until it ends. Return its wait status, and whether the caller had asked for its end."""
    output = _Output(os.isatty(0) and os.isatty(1))
    lock = container.lock(timeout)
    try:
        with lock:
            status = container.start(
                system, False, timeout, output.console, output.inside, extra_file_systems, output.leave
            )
            if container.cgroup.of_unit:
                from . import machined

                status = machined.registered(container, status)
        ended, asked = _supervise(container, system, status, output, timeout, explain)
        with lock:
            if container.process() is None:
                container.clear()
    except BaseException:
        lock.release()  # which a signal may have kept from being released
        if _is_own(container):  # else it has started nothing, and need not wait for who has the lock
            with lock:
                if _is_own(container):
                    container.stop(0)
        raise
    finally:
        output.close()
    return ended, asked


def _supervise(
    container: Container,
    system: str,
    status: Status,
    output: _Output,
    timeout: float,
    explain: Callable[[Status], None],
) -> tuple[int, bool]:
    """Watch over a container that was just started, until it has ended. Return what `_run_once` does."""
    supervisor = _Supervisor(Process.pin_child(int(status.pid or 0)), stop_signal(container), timeout)
    follower = Follower(container.run_directory, read_outline(system).host_name)
    try:
        return supervisor.relay(terminal.Relay(output.courier), lambda: explain(status)), supervisor.asked
    finally:
        follower.close()
        supervisor.process.close()


def _is_own(container: Container) -> bool:
    """Return whether the container is a child of this process, which has started it."""
    process = container.process(ended=True)
    if process is None:
        return False
    process.close()
    return is_own_child(process.pid)


class _Output:
    """A pipe for PID 1's output or, for a person, a pty of the host's, which is its console.

    Attributes:
        inside: what PID 1 gets; -1 when this process has left it.
        console: the path of the pty, if it is one.
        courier: of the host's end.
    """

    def __init__(self, interactive: bool) -> None:
        self.console: str | None = None
        if interactive:
            host, self.inside, self.console = terminal.open_on_host()
        else:
            host, self.inside = os.pipe()
        try:
            shared = Shared(host if interactive else None, [host], host if interactive else None)
            # A pty with nobody at its other side is at its end, and an init opens it now and then.
            keep = (host, self.inside) if interactive else (host,)
            self.courier = Courier(interactive, 1, lambda: shared, keep)
            self.courier.await_made()
        except BaseException:
            self.leave()
            raise
        finally:
            os.close(host)

    def leave(self) -> None:
        """Close what PID 1 has got; from the moment that it runs, root inside can hold that."""
        inside, self.inside = self.inside, -1  # first, for a signal may come at any moment
        if inside >= 0:
            os.close(inside)

    def close(self) -> None:
        """End the courier, and what a start that failed has left."""
        self.leave()
        self.courier.close()


def stop_signal(container: Container) -> int:
    """Return the number of the signal that asks the running container to stop."""
    return signal_number(str((container.record() or {}).get("stop_signal", "SIGTERM")))


class _Supervisor:
    """The handling of the caller's signals, which stop or kill the container."""

    def __init__(self, process: Process, stop_signal: int, timeout: float) -> None:
        self.process = process
        self.stop_signal = stop_signal
        self.timeout = timeout
        self.asked = False
        self.asked_by_host = False
        self.deadline = 0.0
        self.pending = 0

    def _on_time(self) -> None:
        """Send a pending signal once the init heeds it. Kill the init after the time limit."""
        if self.pending and self.process.heeds(self.pending):
            self.process.signal(self.pending)
            self.pending = 0
        if time.monotonic() >= self.deadline:
            self.process.signal(KILL)

    def relay(self, relay: terminal.Relay, on_ready: Callable[[], None]) -> int:
        """Copy the container's input and output until it has ended. Return its wait status.

        `on_ready` is called first, when signals are handled.
        """
        former = {}
        for number in (_signal.SIGHUP, SCOPE_STOP):
            former[number] = _signal.signal(number, lambda *_arguments: None)  # wakes the relay, as every signal does
        try:
            return relay.run(self.process, self._on_signal, on_ready)
        finally:
            _signal.setitimer(_signal.ITIMER_REAL, 0)
            for number, handler in former.items():
                _signal.signal(number, handler)

    def _on_signal(self, number: int) -> None:
        if number == _signal.SIGALRM:
            self._on_time()
            return
        by_host, self.asked_by_host = self.asked_by_host, number == SCOPE_STOP
        if self.asked:
            # When the host shuts down, its systemd stops the scope, and the terminal may be hung up beside.
            if not by_host and not self.asked_by_host:
                self.process.signal(KILL)
            return
        self.asked = True
        self.deadline = time.monotonic() + self.timeout
        passed_on = number == _signal.SIGINT and self.stop_signal == _signal.SIGTERM
        self.pending = number if passed_on else self.stop_signal
        _signal.signal(_signal.SIGALRM, lambda *_arguments: None)
        _signal.setitimer(_signal.ITIMER_REAL, 0.001, PAUSE)
