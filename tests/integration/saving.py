# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests of snapshots stand on: a container with two volumes, and what is asked of its snapshots."""

from __future__ import annotations

import typing as t
from pathlib import Path

from ansible_collections.unshare.container.plugins.module_utils.launcher.volumes import VOLUMES, volume_directory
from ansible_collections.unshare.container.plugins.module_utils.life.container import Container
from ansible_collections.unshare.container.plugins.module_utils.life.life_cycle import LifeCycle
from ansible_collections.unshare.container.plugins.module_utils.life.snapshot_request import SnapshotRequest
from ansible_collections.unshare.container.plugins.module_utils.life.snapshotting import Snapshotting
from ansible_collections.unshare.container.plugins.module_utils.life.starting import LauncherStarter
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout

from .conftest import Machine, heard, write_system

TWO = [{"name": "one", "path": "/srv/one"}, {"name": "two", "path": "/srv/two"}]


def reach(container: Container, state: str = "started", **options: t.Any) -> LifeCycle:
    cycle = LifeCycle(Layout(), container.name, container, timeout=60, **options)
    cycle.reach(state)
    return cycle


def ask(container: Container, state: str = "present", check: bool = False, **options: t.Any) -> dict[str, t.Any]:
    """Do what the module does, and return its result with its warnings."""
    request = SnapshotRequest(**{"timeout": 60.0, **options})
    making = Snapshotting(Layout(), container, LauncherStarter(container), request, check)
    result = making.reach(state)
    return {**result, "warnings": heard(making.warnings)}


def volume(container: Container, name: str) -> Path:
    return Path(volume_directory(container.name, name))


def snapshot_directory(container: Container) -> Path:
    return Path(container.directory, "snapshots")


def saved(container: Container, snapshot: str, name: str) -> Path:
    return snapshot_directory(container) / snapshot / VOLUMES / name


def two(container: Container) -> Machine:
    """Start a container that has two volumes."""
    system = write_system({"host_name": container.name}, container.name, volumes=TWO)
    reach(container, system=system)
    return Machine(container.name, system)


def is_frozen(container: Container) -> bool:
    return "frozen 1" in container.cgroup.read("cgroup.events")


def many_files(machine: Machine, count: int) -> None:
    machine.output(
        "python3", "-c", f"for n in range({count}):\n    with open('/srv/one/%d' % n, 'w') as f: f.write('x')"
    )
