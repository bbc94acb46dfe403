# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Many starts and stops, kills at moments that nothing announces, many containers at once: nothing is left.

`UNSHARE_FULL=1` does each as often as a release should; `UNSHARE_SEED` repeats the choices of a failed test.
"""

from __future__ import annotations

import contextlib
import functools
import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.life.container import Container

from .conftest import Host, Machine, MakeMachine, write_system
from .kills import Killer
from .lives import Remains, Run, host_unchanged, nothing_in_memory, reach, rounds, seeded

PREFIX = "test-kill"
pytestmark = [pytest.mark.root, pytest.mark.timeout(1200)]
__all__ = ["host_unchanged"]


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Return a directory of somebody's, with data in it."""
    path = tmp_path / "kept"
    path.mkdir()
    (path / "data").write_text("data")
    return path


@pytest.fixture
def machine(make_machine: MakeMachine, kept: Path) -> Machine:
    return make_machine(name=PREFIX, mappings=[mapping(kept)])


def mapping(path: Path) -> dict[str, t.Any]:
    return {"source": str(path), "target": "/kept", "writable": True}


def test_many_starts_and_stops(machine: Machine) -> None:
    remains = None
    for _round in range(rounds(30, 100)):
        assert reach(PREFIX, "started", machine.system, wait=False).changed
        assert reach(PREFIX, "stopped").changed
        nothing_in_memory(PREFIX)
        # What is kept on the disk, and what the first start imports, is there from the first round on.
        remains = remains or Remains(PREFIX)
        remains.check()


@pytest.mark.long
def test_kills_at_any_moment_leave_a_state_from_which_the_next_run_goes_on(machine: Machine, kept: Path) -> None:
    choices = seeded()
    killer = Killer(machine, choices)
    for number in range(rounds(30, 100)):
        killer.strike()
        print(number, killer.last)
        # What the next deployment does: stage the system, which may be gone or half removed, and start it.
        assert write_system({"host_name": PREFIX}, PREFIX, mappings=[mapping(kept)]) == machine.system
        cycle = reach(PREFIX, "started", machine.system)
        assert cycle.describe()["running"] == machine.system.name
        assert cycle.facts()["ready"]
        assert Container(PREFIX).failed_units() == []
        assert machine.output("cat", "/kept/data") == "data"
        if choices.random() < 0.5:
            reach(PREFIX, "stopped")
            nothing_in_memory(PREFIX)
    print(killer.done)
    reach(PREFIX, "absent")
    with contextlib.suppress(ChildProcessError):
        while True:  # each PID 1 that this process had started, and that another process has cleared away
            os.waitpid(-1, 0)
    nothing_in_memory(PREFIX)
    assert not os.path.exists(f"/var/lib/unshare/containers/{PREFIX}")
    assert (kept / "data").read_text() == "data"


def test_many_at_once(make_machine: MakeMachine) -> None:
    names = [f"{PREFIX}-{number}" for number in range(rounds(8, 20))]
    machines = [make_machine(name=name) for name in names]

    def live(machine: Machine) -> int:
        base = machine.start().uid_base
        assert machine.output("hostname").strip() == machine.name
        assert Container(machine.name).failed_units() == []
        return base or 0

    for _round in range(2):
        bases = [int(run.result(120)) for run in [Run(functools.partial(live, machine)) for machine in machines]]
        assert len(set(bases)) == len(bases)
        assert all(abs(one - other) >= 65536 for one in bases for other in bases if one != other)
        for run in [Run(machine.stop) for machine in machines]:
            assert run.result(120) == "True"
        for name in names:
            nothing_in_memory(name)


def test_runs_on_one_container_take_turns(machine: Machine) -> None:
    choices = seeded()
    for _round in range(rounds(4, 15)):
        states = [choices.choice(["started", "stopped", "restarted"]) for _run in range(4)]
        runs = [Run(functools.partial(reach, PREFIX, state, machine.system)) for state in states]
        for run in runs:
            run.result()
        assert reach(PREFIX, "started").describe()["state"] == "running"
        reach(PREFIX, "stopped")
        nothing_in_memory(PREFIX)


def test_other_containers_ends_and_starts_do_not_disturb(make_machine: MakeMachine) -> None:
    """The directories that all share go with the last container, and come with the first, at the same moment."""
    machines = [make_machine(name=f"{PREFIX}-{number}") for number in range(3)]

    def churn(machine: Machine) -> None:
        for _round in range(rounds(6, 20)):
            machine.start(wait=False)
            machine.stop(0.1)

    for run in [Run(functools.partial(churn, machine)) for machine in machines]:
        run.result(120)
    assert not {path for path in Host.control_groups() if PREFIX in path}
    assert not Host.listing("/run/unshare") & {machine.name for machine in machines}
