# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""S10: signals that come between any two lines of a start in the foreground undo that start."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import types
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import cgroup, courier
from ansible_collections.unshare.container.plugins.module_utils.life import container as container_module
from ansible_collections.unshare.container.plugins.module_utils.life import foreground, main
from ansible_collections.unshare.container.plugins.module_utils.state import locks

from .lives import Run, host_unchanged, nothing_in_memory, rounds, seeded

if t.TYPE_CHECKING:
    from .conftest import Machine, MakeMachine

PREFIX = "test-interrupted"
pytestmark = pytest.mark.root
__all__ = ["host_unchanged"]

INIT = {"argv": ["/bin/sh", "-c", "trap 'exit 0' TERM; while :; do sleep 1 & wait; done"], "ready": "exec"}
FILES = {module.__file__ for module in (cgroup, container_module, courier, foreground, locks)}
"""Those whose lines are counted: what holds the lock, and what the container's end depends on."""


@pytest.fixture
def machine(make_machine: MakeMachine) -> Machine:
    return make_machine(name=PREFIX, init={**INIT, "stop_signal": "SIGTERM"})


def interrupted_at(machine: Machine, line: int, signals: tuple[int, ...] = ()) -> int:
    """Start a container in the foreground, and send it signals at a line. Return how many lines there were."""
    seen = 0

    def trace(frame: types.FrameType, event: str, _argument: object) -> t.Any:
        nonlocal seen
        if frame.f_code.co_filename not in FILES:
            return None
        if event == "line":
            seen += 1
            if seen == line:
                sys.settrace(None)
                for number in signals:
                    os.kill(os.getpid(), number)
        return trace

    def explain(_status: object) -> None:
        sys.settrace(None)
        os.kill(os.getpid(), signal.SIGTERM)

    def run() -> int:
        signal.signal(signal.SIGINT, main._interrupt)
        signal.signal(signal.SIGTERM, main._interrupt)
        sys.settrace(trace)
        with contextlib.suppress(SystemExit):
            foreground.run_in_foreground(machine.container, str(machine.system), [], 20, explain)
        sys.settrace(None)
        return seen

    return int(Run(run).result())


@pytest.mark.parametrize("signals", [(signal.SIGINT,), (signal.SIGINT, signal.SIGTERM)])
def test_signals_between_any_two_lines_undo_the_start(machine: Machine, signals: tuple[int, ...]) -> None:
    """Of two, such as of a terminal that goes and of who began it there, the second keeps nothing from being undone."""
    lines = interrupted_at(machine, 0)
    nothing_in_memory(machine.name)
    assert lines > 100
    chance = seeded()
    for line in sorted(chance.sample(range(1, lines + 1), min(lines, rounds(25, lines)))):
        interrupted_at(machine, line, signals)
        try:
            nothing_in_memory(machine.name)
        except AssertionError as error:
            raise AssertionError(f"at line {line} of {lines}: {error}") from error


@pytest.mark.parametrize(
    ("of_init", "number"),
    [("SIGTERM", signal.SIGTERM), ("SIGRTMIN+4", signal.SIGRTMIN + 4), ("SIGPWR", signal.SIGPWR)],
)
def test_the_signal_of_its_unit_ends_a_start(
    make_machine: MakeMachine, tmp_path: Path, of_init: str, number: int
) -> None:
    """It is that of the init, which is the main process of the unit from then on that it runs."""
    machine = make_machine(name=PREFIX, init={**INIT, "stop_signal": of_init})
    manager = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")}
    command = [str(machine.system / "run-container"), "--service", "--timeout=300"]
    waits = re.compile(r"-> FLOCK +\w+ +\w+ (\d+) ")
    with subprocess.Popen(command, env=manager) as start:
        children = Path(f"/proc/{start.pid}/task/{start.pid}/children")
        try:
            with machine.container.lock(5):
                while not set(waits.findall(Path("/proc/locks").read_text())) & set(children.read_text().split()):
                    assert start.poll() is None
                start.send_signal(number)
            assert start.wait(30) == 128 + number
        finally:
            start.kill()
    nothing_in_memory(machine.name)


def test_a_signal_ends_a_start_that_waits_for_its_turn(machine: Machine) -> None:
    def run() -> None:
        signal.signal(signal.SIGTERM, main._interrupt)
        foreground.run_in_foreground(machine.container, str(machine.system), [], 300, print)

    with machine.container.lock(5):
        start = Run(run)
        waits = re.compile(rf"-> FLOCK .* {start.pid} ")
        while not waits.search(Path("/proc/locks").read_text()):
            assert start.process.wait(0.01) is False
        start.process.signal(signal.SIGTERM)
        assert start.end(30)[1].startswith(f"SystemExit: {128 + signal.SIGTERM}")
    nothing_in_memory(machine.name)
