# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Limits that hold: a fork bomb inside ends inside; what the host's control groups cannot keep is said."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import limits

if t.TYPE_CHECKING:
    from .conftest import Machine, MakeMachine

pytestmark = pytest.mark.root

# Forks as two users, so that no bound of a single one is taken for the container's; all children wait for the end.
FORK_BOMB = """
import os, sys
read, write = os.pipe()
made, refused = [], None
for user in (0, 1234, 0):
    for count in range(int(sys.argv[1])):
        try:
            child = os.fork()
        except OSError as error:
            refused = error.errno
            break
        if child == 0:
            os.setuid(user)
            os.close(write)
            os.read(read, 1)
            os._exit(0)
        made.append(child)
os.close(write)
for child in made:
    os.waitpid(child, 0)
print(len(made), refused)
"""


def bomb(machine: Machine, size: int) -> tuple[int, str]:
    """Return how many processes were made at once, and the error that stopped it."""
    made, refused = machine.output("python3", "-c", FORK_BOMB, str(size)).split()
    return int(made), refused


def test_a_fork_bomb_ends_inside(make_machine: MakeMachine) -> None:
    machine = make_machine(name="test-limits-tasks")
    limits.write(machine.container.directory, {"tasks_max": 120})
    machine.start()
    made, refused = bomb(machine, 100)
    assert refused == "11"  # EAGAIN
    assert 60 < made < 120
    assert machine.run("true").returncode == 0, "the container did not recover"
    assert machine.output("bash", "-c", "ulimit -u").strip() != "120"  # the bound is no process's own


def test_every_container_has_a_bound_of_tasks(make_machine: MakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TASKS", 150)
    machine = make_machine(name="test-limits-default")
    machine.start()
    made, refused = bomb(machine, 100)
    assert refused == "11"
    assert made < 150


def test_what_is_asked_is_kept_or_said(make_machine: MakeMachine) -> None:
    machine = make_machine(name="test-limits-said")
    disks = {"io_read_bandwidth": {"/": 1 << 30}, "io_write_iops": {"/": 10000}}
    asked = {"memory_max": 512 << 20, "swap_max": 0, "cpu_quota": 150, "cpu_weight": 50, "cpuset": "0", **disks}
    limits.write(machine.container.directory, asked)
    warnings = machine.start().warnings
    controllers = machine.container.cgroup.read("cgroup.controllers").split()
    for name in asked:
        limit = limits.LIMITS[name]
        said = [warning for warning in warnings if warning.startswith(f"limits.{name}: cannot be kept")]
        if limit.controller in controllers and machine.container.cgroup.has(limit.files[0]):
            held = machine.container.cgroup.read(limit.files[0]).strip()
            if limit.key:
                assert f"{limit.key}={disks[name]['/']}" in held.split()
            else:
                assert held == limits.text(name, asked)
            assert not said
        else:
            assert len(said) == 1, warnings


def test_memory(make_machine: MakeMachine) -> None:
    machine = make_machine(name="test-limits-memory")
    machine.start()
    if not machine.container.cgroup.has("memory.max"):
        pytest.skip("this host's unified control groups have no controller for memory")
    take = "import sys; block = bytearray(200 << 20); print(len(block))"
    assert machine.output("python3", "-c", take).strip() == str(200 << 20)
    limits.apply(machine.container.cgroup, {"memory_max": 128 << 20})  # while it runs
    assert machine.run("python3", "-c", take).returncode == 137
    assert machine.run("true").returncode == 0
