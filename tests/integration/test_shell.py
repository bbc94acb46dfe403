# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A shell for humans: what the hint of a start says, typed at a terminal."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time
import typing as t

import pytest

from .conftest import Machine, running_machine, write_system

pytestmark = pytest.mark.root

NAME = "test-shell"
PATIENCE = 20.0  # seconds


@pytest.fixture(scope="module")
def machine() -> t.Iterator[Machine]:
    """Yield a container that runs, with a user called alice."""
    with running_machine(NAME, users=[{"name": "alice", "uid": 1000, "shell": "/bin/bash"}]) as made:
        yield made


class Terminal:
    """A terminal with a program in it, as a person sees it."""

    def __init__(self, *command: str, rows: int = 33, columns: int = 101) -> None:
        self.master, slave = os.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.process = subprocess.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            env={"PATH": os.environ["PATH"], "TERM": "xterm-256color"},
        )
        self.seen = ""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self.master, text.encode())

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until this is on the screen, and forget what was before."""
        deadline = time.monotonic() + PATIENCE
        while not (found := re.search(pattern, self.seen)):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.master], [], [], left)[0]:
                raise AssertionError(f"{pattern!r} did not come; there is {self.seen!r}")
            try:
                self.seen += os.read(self.master, 65536).decode("utf-8", "replace")
            except OSError:
                raise AssertionError(f"{pattern!r} did not come before the end; there is {self.seen!r}") from None
        self.seen = self.seen[found.end() :]
        return found

    def answer(self, command: str) -> str:
        """Return what a command prints in a line between marks that its own text does not hold."""
        self.type(f"printf '<%s>\\n' \"$({command})\"\r")
        return self.wait_for(r"<([^%>]*)>\r\n").group(1)

    def end(self) -> int:
        """Wait for the program; its exit status. The terminal is as it was."""
        status = self.process.wait(PATIENCE)
        assert termios.tcgetattr(self.slave) == self.before
        os.close(self.master)
        os.close(self.slave)
        return status


@pytest.fixture
def shell(machine: Machine) -> Terminal:
    """Return a login shell of the container's root."""
    terminal = Terminal(str(machine.system / "enter-container"))
    terminal.wait_for(r"[#$] ")
    return terminal


def test_the_hint_works_as_printed() -> None:
    name = "test-shell-hint"
    system = write_system({"host_name": name}, name)
    machine = Machine(name, system)
    try:
        started = subprocess.run([system / "run-container", "--detach"], capture_output=True, text=True, timeout=60)
        assert started.returncode == 0, started.stderr
        hints = re.findall(r"'([^']+)'", started.stderr)
        assert len(hints) == 1
        for hint in hints:
            terminal = Terminal("/bin/sh", "-c", hint)
            terminal.wait_for(r"[#$] ")
            assert terminal.answer("hostname; cat /proc/1/comm") == f"{name}\r\nsystemd"
            terminal.type("exit 3\r")
            assert terminal.end() == 3
    finally:
        machine.destroy()


def test_it_is_a_login_with_a_terminal_of_the_containers_own(shell: Terminal) -> None:
    assert shell.answer("echo $0 $TERM $HOME $PWD") == "-bash xterm-256color /root /root"
    assert shell.answer("stty size") == "33 101"
    assert re.fullmatch(r"/dev/pts/\d+", shell.answer("tty"))
    assert shell.answer("stat -c %U $(tty)") == "root"
    assert shell.answer("tput colors") == "256"
    shell.type("exit 7\r")
    assert shell.end() == 7


def test_the_size_follows_the_window(shell: Terminal) -> None:
    shell.type("trap 'echo now-$(stty size)' WINCH; echo rea''dy\r")
    shell.wait_for("ready")
    shell.resize(50, 132)
    shell.process.send_signal(signal.SIGWINCH)
    shell.type("\r")
    shell.wait_for(r"now-50 132")
    shell.type("exit\r")
    assert shell.end() == 0


def test_control_c_ends_the_command_and_not_the_shell(shell: Terminal) -> None:
    shell.type("sh -c 'echo $0goes; exec cat' it-\r")
    shell.wait_for("it-goes")
    shell.type("\x03")
    shell.wait_for(r"\^C[^#$]*[#$] ")
    assert shell.answer("echo $?") == "130"
    shell.type("exit\r")
    assert shell.end() == 0


JOB = """
import os, signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCONT])
os.write(1, b"it-%s" % b"goes")
signal.sigwait([signal.SIGCONT])
os.write(1, b"it-goes-on")
print("it-has-read", input())
"""


def test_jobs_are_stopped_and_brought_back(shell: Terminal, machine: Machine) -> None:
    machine.shell("cat >/tmp/job", input=JOB)
    shell.type("python3 /tmp/job\r")
    shell.wait_for("it-goes")
    shell.type("\x1a")
    shell.wait_for(r"Stopped[^#$]*[#$] ")
    shell.type("fg\r")
    shell.wait_for("it-goes-on")
    shell.type("words\r")
    shell.wait_for(r"it-has-read words[^#$]*[#$] ")
    assert shell.answer("echo $?; jobs") == "0"
    shell.type("exit\r")
    assert shell.end() == 0


def test_a_shell_of_a_user(machine: Machine) -> None:
    terminal = Terminal(str(machine.system / "enter-container"), "--user", "alice")
    terminal.wait_for(r"[#$] ")
    assert (
        terminal.answer("id -un; pwd; stat -c %U $(tty); echo $SHELL") == "alice\r\n/home/alice\r\nalice\r\n/bin/bash"
    )
    terminal.type("sh -c 'echo $0goes; exec cat' it-\r")
    terminal.wait_for("it-goes")
    terminal.type("\x03")
    terminal.wait_for(r"\^C[^#$]*[#$] ")
    assert terminal.answer("echo $?") == "130"
    terminal.type("exit\r")
    assert terminal.end() == 0


def test_a_command_at_a_terminal(machine: Machine) -> None:
    terminal = Terminal(str(machine.system / "enter-container"), "--", "sh", "-c", "stty size; exit 9")
    terminal.wait_for("33 101")
    assert terminal.end() == 9


def test_much_output_at_the_end_is_all_there(machine: Machine) -> None:
    terminal = Terminal(str(machine.system / "enter-container"), "--", "sh", "-c", "seq 20000; echo last")
    terminal.wait_for(r"\r\n20000\r\nlast")
    assert terminal.end() == 0


def test_a_terminal_that_closes_ends_the_shell(shell: Terminal, machine: Machine) -> None:
    pid = int(shell.answer("echo $$"))
    os.close(shell.master)
    os.close(shell.slave)
    shell.process.wait(PATIENCE)
    deadline = time.monotonic() + PATIENCE
    while machine.run("test", "-e", f"/proc/{pid}").returncode == 0:
        assert time.monotonic() < deadline
