# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Between entering a container and running its program our code opens, imports and trusts nothing from inside.

These tests do not know how that is brought about: they look at the system calls and at the descriptors of every process
that comes near a container, so that they hold for code that is not written yet.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.inside import enter, streams

from .eval_commands import Evaluator
from .tracing import TEXT, Process, Step, Steps, trace

if t.TYPE_CHECKING:
    from .conftest import Machine, MakeMachine

pytestmark = pytest.mark.root

NAME = "test-crossing"
HARMLESS = ("/", "MS_REC|MS_SHARED")
"""The root itself, which nobody inside can turn into a link."""


@pytest.fixture
def machine(make_machine: MakeMachine) -> Machine:
    users = [{"name": "alice", "home_directory": "/home/alice", "shell": "/bin/sh"}]
    return make_machine({"users": users}, name=NAME)


@pytest.fixture
def ending(make_machine: MakeMachine) -> Machine:
    """Return a container whose init ends by itself, with directories to make, one of them of a group's own."""
    init = {"argv": ["/usr/bin/true"], "ready": "exec"}
    return make_machine({"users": [{"name": "alice"}]}, name=NAME, init=init)


def refused(processes: list[Process]) -> list[tuple[str, str]]:
    """Return the calls of processes in a container that name a file by more than a name in a descriptor's directory."""
    inside = [process for process in processes if process.executes]
    assert inside, "no process came to a container"
    crossing = [process for process in processes if process.crosses and not process.executes]
    calls = [call for process in inside for call in process.inside()]
    # Who enters, and has another process go on, does nothing there itself.
    calls += [call for process in crossing for call in process.inside() if not _comes_back(process)]
    return [(name, text) for name, text in calls if "/" in text and text not in HARMLESS]


def _comes_back(process: Process) -> bool:
    """Return whether the process leaves for a mount namespace of its own, to build in, and joins the host's again."""
    names = [name for name, arguments, _result in process.calls if "CLONE_NEWNS" in arguments]
    return "unshare" in names


@pytest.mark.parametrize(
    "words",
    [
        ["--", "true"],
        ["--", "/usr/bin/true"],
        ["--", "sh", "-c", "exit 0"],
        ["--user=alice", "--", "true"],
        ["--user=alice"],
        ["--report=token", "--", "true"],
        [],
    ],
)
def test_entering_opens_nothing_by_a_path(machine: Machine, tmp_path: Path, words: list[str]) -> None:
    machine.start()
    script = str(machine.system / "enter-container")
    assert refused(trace(tmp_path, script, *words, input="exit 0\n")) == []


def test_accounts_are_not_read_by_the_hosts_root(machine: Machine, tmp_path: Path) -> None:
    """The file may be a link to one that only the host's root can read; who reads it is as confined as the command."""
    machine.start()
    words = [str(machine.system / "enter-container"), "--user=alice", "--", "true"]
    processes = trace(tmp_path, *words)
    outside = [process for process in processes if not process.executes]
    named = [text for process in outside for call in process.calls for text in TEXT.findall(call[1])]
    assert named
    assert not [text for text in named if text.endswith(("etc/passwd", "etc/group")) or text in ("passwd", "group")]


def test_a_script_is_run_without_a_path(machine: Machine, tmp_path: Path) -> None:
    machine.start()
    machine.output("sh", "-c", "printf '#!/bin/sh -e\\nexit 0\\n' > /tmp/script; chmod 755 /tmp/script")
    assert refused(trace(tmp_path, str(machine.system / "enter-container"), "--", "/tmp/script")) == []


def test_questions_open_nothing_by_a_path(machine: Machine, tmp_path: Path) -> None:
    """As health, information and the wait for readiness ask them, from within a module."""
    machine.start()
    question = (
        "from ansible_collections.unshare.container.plugins.module_utils.life import container\n"
        f"asked = container.Container({NAME!r})\n"
        "print(asked.failed_units(), asked.log_tail(5), asked.await_ready(20))\n"
    )
    assert refused(trace(tmp_path, sys.executable, "-c", question)) == []


def test_a_start_opens_nothing_by_a_path(ending: Machine, tmp_path: Path) -> None:
    """The container's init ends at once: the trace is of all that comes of the start."""
    assert refused(trace(tmp_path, str(ending.system / "run-container"))) == []


def test_a_single_command_opens_nothing_by_a_path(tmp_path: Path) -> None:
    program = (
        "from ansible_collections.unshare.container.tests.integration.eval_commands import Evaluator\n"
        "evaluate = Evaluator(0)\n"
        "try: assert evaluate('/usr/bin/true', closure='elf').code == 0\n"
        "finally: evaluate.close()\n"
    )
    assert refused(trace(tmp_path, sys.executable, "-c", program)) == []


class TestDescriptors:
    """Nothing of the host is open in a process of ours from the moment on that it is about to meet a container."""

    @pytest.fixture
    def held(self) -> t.Iterator[set[tuple[int, int]]]:
        """Files, directories and devices of the host that this process holds, at low and high numbers, inheritable."""
        paths = ["/", "/etc/shadow", "/dev/ptmx", "/proc/self/ns/mnt", "/run", "/var/lib", "/tmp"]
        with contextlib.ExitStack() as stack:
            for path in paths:
                descriptor = os.open(path, os.O_RDONLY | os.O_NOCTTY)
                stack.callback(os.close, descriptor)
                os.set_inheritable(descriptor, True)
                high = os.dup2(descriptor, descriptor + 100)
                stack.callback(os.close, high)
            yield {
                (status.st_dev, status.st_ino)
                for status in map(_status, range(Steps.HIGHEST))
                if status is not None and not stat.S_ISFIFO(status.st_mode)
            }

    def test_a_starting_init(self, make_machine: MakeMachine, tmp_path: Path, held: set[tuple[int, int]]) -> None:
        """Which makes the directories that lie in mappings."""
        users = [{"name": "alice", "home_directory": "/home/alice"}]
        mappings = [{"source": str(tmp_path), "target": "/home", "writable": True}]
        machine = make_machine({"users": users}, name=NAME, mappings=mappings)
        steps = Steps()
        with steps.recording():
            machine.start(wait=False)
        init = [step for step in steps.all() if step.process == 1]
        self._check(init, held)
        assert {"call make_directory_below", "call open_own_null", "call execute"} <= {step.function for step in init}

    @pytest.mark.parametrize("user", ["root", "alice"])
    def test_an_entering_process(self, machine: Machine, held: set[tuple[int, int]], user: str) -> None:
        machine.start()
        entry = enter.Entry(machine.container)
        steps = Steps()
        with steps.recording():
            entered = entry.spawn(["true"], user, streams.Pipes(1, 2))
        os.waitpid(entered.pid, 0)
        entered.courier.close()
        entry.close()
        entering = {step.process for step in steps.all() if step.function in ("call _join", "call execute")}
        found = [step for step in steps.all() if step.process in entering]
        self._check(found, held)
        assert {"call _join", "call find_in_path", "call execute"} <= {step.function for step in found}

    def test_a_single_command(self, held: set[tuple[int, int]]) -> None:
        evaluate = Evaluator(0)
        steps = Steps()
        try:
            with steps.recording():
                assert evaluate("/usr/bin/true").code == 0
        finally:
            evaluate.close()
        first = [step for step in steps.all() if step.process <= 2]
        self._check(first, held)
        assert "call execute" in {step.function for step in first}

    @staticmethod
    def _check(steps: list[Step], held: set[tuple[int, int]]) -> None:
        """From the end of `keep_only` on, which each must come to before it can see a file of a container."""
        names = [step.function for step in steps]
        assert "return keep_only" in names, names
        begun = names.index("return keep_only")
        early = {
            "call find",
            "call open_below",
            "call make_directory_below",
            "call open_found",
            "call _join",
            "call give_up",
        }
        assert not early & set(names[:begun])
        for step in steps[begun:]:
            for number, (_kind, device, inode) in step.descriptors.items():
                assert (device, inode) not in held, (step.function, number)


def _status(descriptor: int) -> os.stat_result | None:
    try:
        return os.fstat(descriptor)
    except OSError:
        return None
