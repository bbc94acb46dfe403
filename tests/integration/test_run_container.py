# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""`run-container` by hand: options, signals, exit status, what it says (S3, S9, S10, S11, S14)."""

from __future__ import annotations

import os
import signal
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.tests import signals

from .conftest import DEFAULT_NAME

if t.TYPE_CHECKING:
    from ansible_collections.unshare.container.tests.integration.conftest import Machine, MakeMachine

pytestmark = pytest.mark.root


class Foreground:
    """A `run-container` in the foreground, with its standard error read line by line.

    Args:
        ignoring: whether its caller ignores signals.
        by: a command that runs it.
    """

    def __init__(self, machine: Machine, *arguments: str, ignoring: bool = False, by: t.Sequence[str] = ()) -> None:
        command = [*by, str(machine.system / "run-container"), *arguments]
        self.process = subprocess.Popen(
            signals.ignoring(*command) if ignoring else command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.said: list[str] = []

    def read_until(self, words: str) -> str:
        """Read standard error until a line has these words; that line."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if words in line:
                return line
        raise AssertionError(f"{words!r} was not said: {self.said}, exit status {self.process.wait(10)}")

    def end(self) -> int:
        """Wait for its end; the exit status."""
        _output, errors = self.process.communicate(timeout=60)
        self.said.append(errors)
        return self.process.returncode


def test_s9_s10_s11_by_hand(make_machine: MakeMachine, tmp_path: Path) -> None:
    machine = make_machine()
    shared = tmp_path / "data"
    shared.mkdir()
    (shared / "from-host").write_text("host\n")
    pid_file = tmp_path / "pid"
    running = Foreground(
        machine, "--share", f"{shared}=/data", f"--expose={tmp_path}=/exposed", "--pid-file", str(pid_file)
    )
    running.read_until("enter-container")
    pid = int(pid_file.read_text())
    assert f"PID {pid}" in "".join(running.said)
    assert "enter-container" in "".join(running.said)
    assert machine.output("cat", "/data/from-host") == "host\n"
    machine.output("sh", "-c", "echo inside > /data/from-inside")
    assert (shared / "from-inside").read_text() == "inside\n"
    assert (shared / "from-inside").stat().st_uid == shared.stat().st_uid
    assert "Read-only" in machine.run("touch", "/exposed/x").stderr
    running.process.send_signal(signal.SIGINT)
    assert running.end() == 0
    assert not os.path.exists(f"/proc/{pid}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_s10_signal_stops_services_by_their_own_commands(
    make_machine: MakeMachine, tmp_path: Path, number: signal.Signals
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    service = {
        "name": "careful",
        "command": ["/usr/bin/sleep", "infinity"],
        "service": {"ExecStop": "/bin/sh -c 'echo stopped >> /kept/log'"},
    }
    machine = make_machine(
        {"services": [{"type": "unit", "value": service}]},
        mappings=[{"source": str(kept), "target": "/kept", "writable": True}],
    )
    running = Foreground(machine)
    running.read_until("enter-container")
    with machine.container.lock(30):
        assert machine.container.await_ready(30)
    running.process.send_signal(number)
    assert running.end() == 0
    assert (kept / "log").read_text() == "stopped\n"


@pytest.mark.parametrize("ignoring", [False, True])
def test_s10_exit_status_is_that_of_another_init(make_machine: MakeMachine, ignoring: bool) -> None:
    init = {"argv": ["/bin/sh", "-c", "exit 7"], "ready": "exec", "stop_signal": "SIGTERM"}
    machine = make_machine(init=init)
    running = Foreground(machine, ignoring=ignoring)
    assert running.end() == 7


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_s10_a_signal_stops_it_though_its_caller_ignores_that(
    make_machine: MakeMachine, number: signal.Signals
) -> None:
    init = {"argv": ["/bin/sleep", "1000"], "ready": "exec", "stop_signal": "SIGKILL"}
    machine = make_machine(init=init)
    running = Foreground(machine, ignoring=True)
    running.read_until("enter-container")
    running.process.send_signal(number)
    assert running.end() == 128 + signal.SIGKILL


def test_a_command_learns_nothing_of_what_the_caller_ignores(make_machine: MakeMachine) -> None:
    machine = make_machine(name="test-run")
    subprocess.run(signals.ignoring(str(machine.system / "run-container"), "--detach"), check=True, timeout=60)
    command = ["sh", "-c", "grep SigIgn /proc/1/status /proc/self/status; exit 7"]
    result = subprocess.run(
        signals.ignoring(str(machine.system / "enter-container"), "--", *command),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 7, result.stderr
    first, own = (int(line.split()[-1], 16) for line in result.stdout.splitlines())
    assert own == 0
    assert not first >> (signal.SIGCHLD - 1) & 1


def test_s10_init_killed_by_a_signal(make_machine: MakeMachine) -> None:
    init = {"argv": ["/bin/sleep", "1000"], "ready": "exec", "stop_signal": "SIGKILL"}
    machine = make_machine(init=init)
    running = Foreground(machine)
    running.read_until("enter-container")
    running.process.send_signal(signal.SIGTERM)
    assert running.end() == 128 + signal.SIGKILL


def test_s3_missing_source_is_left_out_with_a_line(make_machine: MakeMachine) -> None:
    machine = make_machine(mappings=["/nowhere/at-all=/data"])
    status = machine.start()
    assert any("/nowhere/at-all" in line and "left out" in line for line in status.warnings)
    assert machine.run("test", "-e", "/data").returncode == 1


def test_s3_s14_missing_required_source_is_an_error_before_anything_runs(make_machine: MakeMachine) -> None:
    machine = make_machine(mappings=[{"source": "/nowhere/at-all", "target": "/data", "required": True}])
    result = subprocess.run(
        [str(machine.system / "run-container"), "--detach"], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 125
    assert "/nowhere/at-all" in result.stderr
    assert "/data" in result.stderr
    assert machine.container.status().state == "stopped"


def test_s11_help_and_wrong_options(make_machine: MakeMachine) -> None:
    script = str(make_machine().system / "run-container")
    told = subprocess.run([script, "--help"], capture_output=True, text=True, timeout=60, check=True)
    for option in ("--share", "--expose", "--pid-file", "--help"):
        assert option in told.stdout
    for wrong in (
        ["--shared=/x"],
        ["--share"],
        ["--share=relative"],
        ["--share=/x=/proc/y"],
        ["--expose=/x=/../y"],
        ["word"],
    ):
        result = subprocess.run([script, *wrong], capture_output=True, text=True, timeout=60, check=False)
        assert result.returncode == 125, wrong
        assert result.stderr.startswith("run-container: "), wrong
        assert "Traceback" not in result.stderr


def test_paths_with_spaces_quotes_and_newlines_work(make_machine: MakeMachine, tmp_path: Path) -> None:
    odd = tmp_path / "a b'\"#é"
    odd.mkdir()
    (odd / "file").write_text("odd\n")
    machine = make_machine(mappings=[{"source": str(odd), "target": "/srv/x y'\"#é"}])
    machine.start()
    assert machine.output("cat", "/srv/x y'\"#é/file") == "odd\n"


def test_second_start_says_what_runs(make_machine: MakeMachine) -> None:
    machine = make_machine()
    status = machine.start()
    result = subprocess.run(
        [str(machine.system / "run-container"), "--detach"], capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 125
    assert f"PID {status.pid}" in result.stderr
    assert machine.container.status().pid == status.pid


def test_a_second_writer_is_not_started(make_machine: MakeMachine, tmp_path: Path) -> None:
    """Nothing but `run-container` starts a container by hand, or at the boot of a host without systemd."""
    (tmp_path / "data/below").mkdir(parents=True)
    share = f"--share={tmp_path}/data/below=/shared"
    mapping = {"source": str(tmp_path / "data"), "target": "/data", "writable": True}
    first = make_machine(name=DEFAULT_NAME + "-first", mappings=[mapping])
    second = make_machine()

    def start(machine: Machine, *arguments: str) -> tuple[int, str]:
        command = [str(machine.system / "run-container"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return done.returncode, done.stderr

    first.start()
    for words in ((share,), (share, "--detach")):
        code, said = start(second, *words)
        assert code == 125
        assert f"container {first.name!r}, which runs, writes to {tmp_path}/data (at /data), and that contains" in said
        assert second.container.status().state == "stopped"
    first.stop()
    assert start(second, share, "--detach")[0] == 0
    code, said = start(first, "--detach")
    assert (code, first.container.status().state) == (125, "stopped")
    assert f"writes to {tmp_path}/data/below (at /shared), and that lies in {tmp_path}/data" in said
    assert second.container.status().state == "running"


def test_of_two_writers_that_start_at_once_one_is_started(make_machine: MakeMachine, tmp_path: Path) -> None:
    mapping = {"source": str(tmp_path), "target": "/data", "writable": True}
    init = {"argv": ["/bin/sh", "-c", "exec sleep 1000"], "ready": "exec", "stop_signal": "SIGKILL"}
    machines = [
        make_machine(name=f"{DEFAULT_NAME}-{name}", mappings=[mapping], init=init) for name in ("first", "second")
    ]
    for _round in range(15):
        started = [
            subprocess.Popen([str(machine.system / "run-container"), "--detach"], stderr=subprocess.PIPE, text=True)
            for machine in machines
        ]
        said = [process.communicate(timeout=60)[1] for process in started]
        assert sorted(process.returncode for process in started) == [0, 125], said
        assert sum("writes to" in text and "damage what is in it" in text for text in said) == 1, said
        running = [machine for machine in machines if machine.container.status().state == "running"]
        assert len(running) == 1
        running[0].stop()


def test_no_message_drives_the_terminal_of_who_reads_it(make_machine: MakeMachine) -> None:
    init = {"argv": ["/bin/sh", "-c", r"printf 'a\033]0;x\007\342\200\256b\n'; exit 3"], "ready": "notify"}
    machine = make_machine(init={**init, "systemd": False})
    command = [str(machine.system / "run-container"), "--detach"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 125
    assert done.stderr.endswith("its output ends:\na\\x1b]0;x\\x07\\u202eb\n")


def test_s8_output_of_another_init_is_kept_inside_while_nobody_watches(make_machine: MakeMachine) -> None:
    # Open for both, the pipe is never at its end.
    program = (
        "mkfifo /run/feed; exec 3<>/run/feed; "
        'while read -r line <&3; do echo "$CONTAINER_SYSTEM $HOME $TMPDIR $line"; touch /run/said; done'
    )
    init = {"argv": ["/bin/sh", "-c", program], "ready": "exec", "stop_signal": "SIGKILL"}
    machine = make_machine(init=init)
    machine.start()
    wait = "until [ -{} /run/{} ]; do :; done; "
    machine.output("sh", "-c", wait.format("p", "feed") + "echo first > /run/feed; " + wait.format("e", "said"))
    assert "/run/current-system /root /tmp first" in machine.logs()
    assert machine.container.status().state == "running"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_streams_hinder_nobody(make_machine: MakeMachine, closed: str) -> None:
    """As a program may be that cron or an init has started."""
    machine = make_machine(name="test-run")
    subprocess.run(["sh", "-c", f"exec {machine.system}/run-container --detach {closed}"], check=True, timeout=60)
    assert machine.output("hostname").strip() == "test-run"
    subprocess.run(["sh", "-c", f"exec {machine.system}/enter-container -- true {closed}"], check=True, timeout=60)
