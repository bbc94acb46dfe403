# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A command in a running container, with a person or a program in front of it: streams, signals, exit status (S10)."""

from __future__ import annotations

import _signal
import os

from ..inside import terminal
from ..inside.enter import Entered, Entry
from ..inside.streams import Pipes, Terminal
from ..launcher import network_files
from ..launcher.courier import size_of
from ..launcher.errors import LauncherError, NotRunning, TooMuch
from ..launcher.printable import one_line, print_warning
from ..launcher.process import Process
from .container import Container
from .foreground import exit_status


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
