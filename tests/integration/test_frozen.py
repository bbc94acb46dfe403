# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A container stands still while its data are read, and goes on afterwards, whoever was killed meanwhile (V4, V5)."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError, NotRunning
from ansible_collections.unshare.container.plugins.module_utils.life.frozen import Frozen
from ansible_collections.unshare.container.plugins.module_utils.state.record import FREEZE, FROZEN

from .conftest import Machine, running_machine
from .lives import Run, kill_pid, reach

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

NAME = "test-frozen"
COUNTING = "import itertools, os\nfor count in itertools.count():\n    os.pwrite(1, b'%020d' % count, 0)\n"


@pytest.fixture(scope="module")
def running() -> t.Iterator[Machine]:
    with running_machine(NAME) as machine:
        yield machine


@pytest.fixture
def machine(running: Machine) -> Machine:
    """Return the container, in which a process counts without pause."""
    reach(NAME, "started", running.system)
    running.output("sh", "-c", f'exec setsid python3 -c "{COUNTING}" </dev/null >/tmp/count 2>&1 &')
    await_counting(running)
    return running


def counted(machine: Machine) -> int:
    """Return how far it has counted; read from outside, for nobody can enter while it stands still."""
    file = Path(f"/proc/{machine.container.status().pid}/root/tmp/count")
    return int(file.read_text() or -1) if file.exists() else -1


def await_counting(machine: Machine) -> None:
    before, deadline = counted(machine), time.monotonic() + 20
    while counted(machine) == before:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def await_thawed(machine: Machine) -> None:
    group = machine.container.cgroup
    events = os.open(f"{group.whole}/cgroup.events", os.O_RDONLY, dir_fd=group.hierarchy)
    poll = select.poll()
    poll.register(events, select.POLLPRI)
    while b"frozen 0" not in os.pread(events, 4096, 0):
        assert poll.poll(20_000)
    os.close(events)


def is_noted(machine: Machine) -> bool:
    return os.path.exists(f"{machine.container.run_directory}/{FROZEN}")


@contextlib.contextmanager
def frozen_elsewhere(machine: Machine) -> t.Iterator[Run]:
    """Have another process freeze it, and wait."""
    read, write = os.pipe()

    def freeze() -> None:
        with machine.container.lock(30), Frozen(machine.container):
            os.write(write, b"frozen")
            signal.pause()

    run = Run(freeze)
    os.close(write)
    try:
        assert os.read(read, 6) == b"frozen"
        yield run
    finally:
        os.close(read)


def test_v4_it_stands_still_and_goes_on(machine: Machine) -> None:
    with machine.container.lock(30), Frozen(machine.container) as frozen:
        before = counted(machine)
        assert "frozen 1" in machine.container.cgroup.read("cgroup.events")
        assert is_noted(machine)
        time.sleep(0.3)  # that nothing happens takes time to see
        assert counted(machine) == before
    assert frozen.seconds >= 0.3
    await_counting(machine)
    assert not is_noted(machine)


def test_v4_it_goes_on_after_an_error(machine: Machine) -> None:
    with pytest.raises(ZeroDivisionError), Frozen(machine.container):
        _ = 1 // 0
    await_counting(machine)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_v4_it_goes_on_when_who_froze_it_was_killed(machine: Machine, number: int) -> None:
    with frozen_elsewhere(machine) as run:
        guards = run.children()
        # Its terminal's end, or its session's, comes to all that it has made.
        for pid in [*guards, run.pid]:
            os.kill(pid, number if pid == run.pid else signal.SIGHUP)
        run.end()
    await_thawed(machine)
    await_counting(machine)
    with machine.container.lock(30):
        assert not is_noted(machine)


def test_v4_it_goes_on_when_who_froze_it_was_killed_before_the_guard_ran(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where all processors are busy a child's first instruction may come after its parent's end."""
    real = Frozen._be_guard

    def late(frozen: Frozen, parent: int, read: int, hierarchy: int) -> t.NoReturn:
        pinned = os.pidfd_open(parent)
        select.select([pinned], [], [])
        real(frozen, parent, read, hierarchy)

    monkeypatch.setattr(Frozen, "_be_guard", late)
    with frozen_elsewhere(machine) as run:
        run.kill()
        run.end()
    await_thawed(machine)
    await_counting(machine)


@pytest.mark.parametrize("state", ["started", "stopped"])
def test_v4_it_goes_on_by_the_next_run_when_all_were_killed(machine: Machine, state: str) -> None:
    with frozen_elsewhere(machine) as run:
        for pid in [*run.children(), run.pid]:
            assert kill_pid(pid)
        run.end()
    assert "frozen 1" in machine.container.cgroup.read("cgroup.events")
    first = machine.container.status().pid
    began = time.monotonic()
    reach(NAME, state, machine.system, timeout=60)
    assert time.monotonic() - began < 45, "it was stopped in order, and was not killed for its time was over"
    assert machine.container.status().pid == (first if state == "started" else None)
    if state == "started":
        await_counting(machine)
    assert not is_noted(machine)


def test_v4_another_run_leaves_it_while_its_data_are_read(machine: Machine) -> None:
    """Where the host has systemd a run has one lock, and the launcher another."""
    with frozen_elsewhere(machine) as run:
        machine.container.thaw_left()
        assert "frozen 1" in machine.container.cgroup.read("cgroup.events")
        with pytest.raises(LauncherError, match="has held it"), machine.container.lock(0.1):
            pass
        run.kill()
        run.end()
    await_thawed(machine)


def test_v4_data_that_may_be_of_several_moments_are_none(machine: Machine) -> None:
    frozen = Frozen(machine.container).__enter__()
    machine.container.cgroup.write(FREEZE, "0")
    await_thawed(machine)
    with pytest.raises(LauncherError, match="somebody has let its processes go on"):
        frozen.__exit__(None, None, None)
    await_counting(machine)


def test_v4_one_that_does_not_stand_still_in_time_goes_on(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when it waits for a broken disk: which the kernel is not asked for here."""
    monkeypatch.setattr(Frozen, "_await", lambda _frozen, _deadline: False)
    with pytest.raises(LauncherError, match=r"do not all stand still within 5 s.*stop: true"):
        Frozen(machine.container, 5).__enter__()
    await_counting(machine)
    assert not is_noted(machine)


def test_v4_one_that_does_not_run_is_refused(machine: Machine) -> None:
    machine.stop()
    with pytest.raises(NotRunning):
        Frozen(machine.container).__enter__()
