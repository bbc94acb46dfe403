# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The control groups of a container: which there are, what is shown inside, and what becomes of who is in them."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.inside import questions
from ansible_collections.unshare.container.plugins.module_utils.launcher import cgroup as module
from ansible_collections.unshare.container.plugins.module_utils.launcher.cgroup import ControlGroup
from ansible_collections.unshare.container.plugins.module_utils.launcher.process import KILL

if t.TYPE_CHECKING:
    from .conftest import Machine, MakeMachine

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("host_unchanged")]

NAME = "test-control-groups"
UNIT = f"{NAME}.slice/{NAME}.service"


@contextlib.contextmanager
def sleeper(group: int | None = None) -> t.Iterator[subprocess.Popen[bytes]]:
    """Yield a process, in a control group."""
    process = subprocess.Popen(["sleep", "600"])
    try:
        if group is not None:
            write(group, "cgroup.procs", str(process.pid))
        yield process
    finally:
        process.kill()
        process.wait(20)


def write(group: int, file: str, text: str) -> None:
    descriptor = os.open(file, os.O_WRONLY, dir_fd=group)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


def read(group: int, file: str) -> str:
    with open(os.open(file, os.O_RDONLY, dir_fd=group)) as opened:
        return opened.read()


def remove(group: ControlGroup) -> None:
    """Take away what a test has left."""
    group.kill(20)
    group.wait_empty(20)
    group.remove()


@pytest.fixture(params=["alone", "of a unit", "of an older system"])
def group(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[ControlGroup]:
    """Control groups of each kind, made."""
    made = ControlGroup(NAME)
    unit = os.path.dirname(UNIT)
    if request.param == "of a unit":
        for path in (unit, UNIT):
            os.mkdir(path, dir_fd=made.hierarchy)
        os.makedirs(f"/run/unshare/{NAME}")
        made._unit = UNIT
    if request.param == "of an older system":
        for path in ("unshare", f"unshare/{NAME}"):
            with contextlib.suppress(FileExistsError):
                os.mkdir(path, dir_fd=made.hierarchy)
    else:
        os.close(made.create(0))
        made.close()  # another process knows no more than what there is
        made = ControlGroup(NAME)
    monkeypatch.setattr(module, "PINNED", 2)
    try:
        yield made
    finally:
        remove(made)
        if request.param == "of a unit":
            os.unlink(f"/run/unshare/{NAME}/cgroup")
            os.rmdir(f"/run/unshare/{NAME}")
            for path in (UNIT, unit):
                os.rmdir(path, dir_fd=made.hierarchy)
        made.close()


@pytest.fixture
def opened(group: ControlGroup) -> t.Iterator[list[int]]:
    """Yield the groups of processes that enter."""
    found = [group.open_inside(), group.open_out_of_reach(1)]
    yield found
    for descriptor in found:
        os.close(descriptor)


@pytest.mark.parametrize("how", ["kill", "kill_each"])
def test_all_are_killed_and_nobody_else(group: ControlGroup, opened: list[int], how: str) -> None:
    with contextlib.ExitStack() as stack:
        processes = [stack.enter_context(sleeper(each)) for each in opened * 3]
        launcher = None
        if group.of_unit:  # what starts it has a group of its own
            os.mkdir(f"{UNIT}/launcher", dir_fd=group.hierarchy)
            stack.callback(os.rmdir, f"{UNIT}/launcher", dir_fd=group.hierarchy)
            launcher = os.open(f"{UNIT}/launcher", os.O_RDONLY, dir_fd=group.hierarchy)
            stack.callback(os.close, launcher)
        other = stack.enter_context(sleeper(launcher))
        assert not group.wait_empty(0)
        assert getattr(group, how)(*([20] if how == "kill" else [])) in (True, None)
        assert group.wait_empty(20)
        assert [process.wait(20) for process in processes] == [-KILL] * len(processes)
        assert other.poll() is None
    group.remove()
    assert not group._has(group.path)


def test_the_whole_is_frozen_and_counted(group: ControlGroup, opened: list[int]) -> None:
    with contextlib.ExitStack() as stack:
        for each in opened:
            process = stack.enter_context(sleeper(each))
            place = Path(f"/proc/{process.pid}/cgroup").read_text().splitlines()[-1]
            assert place.startswith(f"0::/{group.whole}/")
            assert "populated 1" in group.read("cgroup.events")
        group._write(group.whole + "/cgroup.freeze", "1")
        events = group._open_events(group.whole)
        stack.callback(os.close, events)
        poll = select.poll()
        poll.register(events, select.POLLPRI)
        while b"frozen 1" not in os.pread(events, 4096, 0):
            assert poll.poll(20_000)
        assert all("frozen 1" in read(each, "cgroup.events") for each in opened)
        assert group.kill(20), "a frozen process is killed"


def test_a_hierarchy_that_is_mounted_from_another_place(group: ControlGroup, opened: list[int]) -> None:
    """As in a container that has the host's control group namespace: /proc tells other paths than the mount has."""
    if group.path == group.whole:
        pytest.skip("one is enough")
    below = ControlGroup(NAME)
    below._hierarchy = os.open(group.whole, os.O_RDONLY, dir_fd=group.hierarchy)
    below._made = "."
    with sleeper(opened[0]) as process:
        below.kill_each()
        assert process.wait(20) == -KILL
    below.close()


def test_who_is_not_there_any_more_is_not_killed(
    group: ControlGroup, opened: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number that was read is that of a process elsewhere when it is pinned."""
    with sleeper(opened[0]) as inside, sleeper() as elsewhere:
        processes = module.processes
        asked: list[int] = []

        def processes_before(descriptor: int) -> list[int]:
            asked.append(descriptor)
            first = asked.count(descriptor) == 1
            return processes(descriptor) + ([elsewhere.pid] if first else [])

        monkeypatch.setattr(module, "processes", processes_before)
        group.kill_each()
        assert inside.wait(20) == -KILL
        assert elsewhere.poll() is None


def test_limits_are_shown_inside(group: ControlGroup, monkeypatch: pytest.MonkeyPatch) -> None:
    if group.of_unit:
        pytest.skip("a unit's limits are systemd's to write")
    group.write("cgroup.max.depth", "7")
    for path in {group.whole, group.path}:
        assert group._read(f"{path}/cgroup.max.depth") == "7\n"
    written: list[str] = []
    monkeypatch.setattr(group, "_write", lambda path, _text: written.append(path))
    group.write("cpu.weight", "1")
    group.write("no.such.limit", "1")  # of a controller that could not be handed down
    assert written == [f"{group.whole}/cpu.weight", f"{group.whole}/no.such.limit"]
    monkeypatch.undo()


@pytest.fixture
def machine(make_machine: MakeMachine) -> Machine:
    made = make_machine(name=NAME)
    made.start()
    return made


def test_systemd_gives_who_enters_another_place(machine: Machine) -> None:
    """As it does for sessions of users, and for containers inside."""
    groups = machine.output("systemd-run", "--scope", "--quiet", "--unit=elsewhere", "cat", "/proc/self/cgroup")
    assert groups.splitlines()[-1] == "0::/system.slice/elsewhere.scope"


def test_entering_makes_no_group_that_is_not_needed(machine: Machine) -> None:
    def count() -> str:
        return machine.container.cgroup.read("cgroup.stat").splitlines()[0]

    questions.capture(machine.container, ["true"], 20)
    before = count()
    for _entry in range(20):
        questions.capture(machine.container, ["true"], 20)
    assert count() == before
    assert not machine.container.cgroup._has(f"{machine.container.cgroup.whole}/{module.ENTERED}")


def test_what_is_asked_for_in_vain_is_said_once(machine: Machine) -> None:
    """The second place is tried, and what is wrong with the command is said of that."""
    result = machine.run("no-such-program")
    assert result.returncode in (125, 126, 127)
    assert result.stderr.count("no-such-program") == 1


def test_no_controller_that_throttles_reads_and_writes_is_handed_down(make_machine: MakeMachine) -> None:
    """A task that is held back may hold locks of the kernel's that the host waits for, and no signal ends that wait."""
    machine = make_machine(name=NAME)
    machine.start()
    there = set(machine.container.cgroup.controllers())
    inside = machine.output("cat", "/sys/fs/cgroup/cgroup.controllers").split()
    assert set(inside) == there - {"io"}
    assert machine.output("find", "/sys/fs/cgroup", "-name", "io.max", "-o", "-name", "io.weight") == ""
