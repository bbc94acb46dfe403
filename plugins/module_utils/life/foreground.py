# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container, or a command in one, with a person in front of it: terminal, signals, exit status (S10)."""

from __future__ import annotations

import _signal
import os
import time

from ..inside import terminal
from ..inside.enter import Entered, Entry
from ..inside.streams import Pipes, Terminal
from ..launcher import network_files
from ..launcher.courier import Courier, Shared, size_of
from ..launcher.errors import LauncherError, NotRunning, TooMuch
from ..launcher.printable import one_line, print_warning
from ..launcher.process import KILL, PAUSE, SCOPE_STOP, Process
from ..launcher.specification import read_outline
from ..launcher.stop_signals import signal_number
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
    try:
        with container.lock(timeout):
            status = container.start(
                system, False, timeout, output.console, output.inside, extra_file_systems, output.leave
            )
            if container.cgroup.of_unit:
                from . import machined

                status = machined.registered(container, status)
        pid = int(status.pid or 0)
        supervisor = _Supervisor(Process.pin_child(pid), stop_signal(container), timeout)
        follower = Follower(container.run_directory, read_outline(system).host_name)
        try:
            ended = supervisor.relay(terminal.Relay(output.courier), lambda: explain(status))
        except BaseException:
            with container.lock(timeout):
                container.stop(0)
            raise
        finally:
            follower.close()
            supervisor.process.close()
    finally:
        output.close()
    with container.lock(timeout):
        if container.process() is None:
            container.clear()
    return ended, supervisor.asked


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
        if self.inside >= 0:
            os.close(self.inside)
            self.inside = -1

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


def enter(container: Container, command: list[str] | None, user: str, start: bool = True) -> int:
    """Run a command, or a login shell, in a running container, with this process's streams. Return its exit status.

    The command gets pipes or a pty of the container's, never a file, a pipe or a terminal of the host.

    Args:
        start: start a container again that has rebooted itself.
    """
    entry = _entry(container, start)
    at_terminal = os.isatty(0) and os.isatty(1)
    try:
        entered = entry.spawn(command, user, Terminal(size_of(0)) if at_terminal else Pipes(0, 1, 2))
    finally:
        entry.close()
    if entered.warning:
        _warn(entered.warning)
    status = _run_at_terminal(entered) if at_terminal else _run_piped(entered)
    if entered.courier.is_given_up:
        _warn(
            "some of its output may be missing; a process inside holds the pipe or terminal, and does not let go of it"
        )
    return exit_status(status)


def _run_at_terminal(entered: Entered) -> int:
    """Serve a command that has a pty of its own. Return its wait status."""
    try:
        process = Process.pin_child(entered.pid)
        try:
            return terminal.Relay(entered.courier).run(process, process.signal)
        finally:
            process.close()
    finally:
        entered.courier.close()


def _warn(text: str) -> None:
    print_warning("enter-container", text)


def enter_for_program(
    container: Container,
    command: list[str],
    user: str,
    token: str,
    discard: bool,
    skip: bool,
    start: bool = True,
    limit: int | None = None,
) -> int:
    """Run a command as `enter` does, for a program that must tell entering from the command's doings. Return 0.

    Lines on standard error say what happened; they begin with the caller's token, which the command never learns. A
    newline goes before each, since the line before it may not have been ended:

        TOKEN entered          the command runs
        TOKEN exit STATUS      it has ended, and its output is written
        TOKEN ended MESSAGE    it said too much, and was ended
        TOKEN error MESSAGE    it was not run

    Args:
        discard: read standard input to its end in any case.
        skip: leave out what standard input holds before a line that is the token: a password that was not asked for.
        start: start a container again that has rebooted itself.
        limit: how many bytes its standard output may have, and its standard error.
    """
    try:
        line = b""
        while skip and line != token.encode():
            line = _read_line()
        entry = _entry(container, start)
        try:
            entered = entry.spawn(command, user, Pipes(0, 1, 2))
        finally:
            entry.close()
        _say(token, "entered")
        _say(token, "exit %d" % exit_status(_run_piped(entered, discard, limit)))
    except (LauncherError, OSError) as error:
        _say(token, "%s %s" % ("ended" if isinstance(error, TooMuch) else "error", error))
        if discard:
            terminal.discard_input()
    return 0


def _entry(container: Container, start: bool) -> Entry:
    """Return the way into a container; with `start` one that has rebooted itself is started again first."""
    entry = _open_entry(container, start)
    try:
        network_files.refresh(container.run_directory, entry.outline.host_name)
    except (LauncherError, OSError):
        pass  # files of the host's keep nobody out
    return entry


def _open_entry(container: Container, start: bool) -> Entry:
    try:
        return Entry(container, lowered=True)
    except NotRunning:
        from . import again

        if not start:
            again.refuse(container)
        if not start or not again.bring_back(container):
            raise
        return Entry(container, lowered=True)


def _read_line() -> bytes:
    """Read a line of standard input and not one byte more. Return it without its newline."""
    line = b""
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            raise LauncherError("standard input ended before the expected line")
        line += byte
    return line[:-1]


def _say(token: str, text: str) -> None:
    os.write(2, ("\n%s %s\n" % (token, one_line(text))).encode("utf-8", "replace"))


def _run_piped(entered: Entered, discard: bool = False, limit: int | None = None) -> int:
    """Copy the streams of a command, and pass signals on, until it has ended. Return its wait status.

    Raises:
        TooMuch: as `Carrier.run`.
        SystemExit: a signal came when it had ended, and its output was still to be written.
    """
    former = {}
    try:
        process = Process.pin_child(entered.pid)
        carrier = terminal.Carrier(process, entered.courier, discard, limit)

        def pass_on(number: int, _frame: object) -> None:
            if carrier.status is not None:
                raise SystemExit(128 + number)
            process.signal(number)

        for number in (_signal.SIGHUP, _signal.SIGINT, _signal.SIGTERM):
            former[number] = _signal.signal(number, pass_on)
        try:
            return carrier.run()
        finally:
            process.close()
    finally:
        for number, handler in former.items():
            _signal.signal(number, handler)
        entered.courier.close()
