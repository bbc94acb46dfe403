# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check mode's answers: whether what goes on running is well, and what a run would say of memory and of data."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from ..launcher import limits as kept_limits
from ..launcher.errors import LauncherError
from ..launcher.memory import Memory
from ..state import generations, volumes
from ..state.target import TargetError

if TYPE_CHECKING:
    from ..launcher.contract import Specification
    from .life_cycle import LifeCycle


def would_start_again(cycle: LifeCycle, state: str) -> bool:
    """Judge what runs and stays, as `reach(state)` does; return whether it ends by itself, and would be started again.

    :raises UnhealthyError: its services are not well.
    """
    if state in ("stopped", "absent") or cycle.to_start(state, cycle.planned_system(state)) is not None:
        return False
    try:
        cycle.check_health()
    except (LauncherError, TargetError, OSError):
        if not cycle.ends():
            raise
        return True
    return False


def would_remove(cycle: LifeCycle, state: str) -> list[str]:
    """Return what `reach(state)` would remove as no longer kept, where it would not change anything else."""
    if state == "absent":
        return []
    well = state != "stopped" and cycle.health is not None
    named = cycle.system is not None  # and so it is marked as used just now
    return generations.to_remove(cycle.layout, cycle.name, cycle.running_system(), cycle.keep, well, named)


def said_of_kept(cycle: LifeCycle, state: str) -> list[str]:
    """Return what `reach(state)`, which would change something, would say of the data that it keeps."""
    if state != "absent" or cycle.remove_volumes:
        return []
    return volumes.said_of_kept(cycle.name, str(cycle.layout.container(cycle.name)))


def data_to_go(cycle: LifeCycle, state: str) -> list[str]:
    """Return the volumes and snapshots that `reach(state)` removes with the container."""
    if state != "absent" or not cycle.remove_volumes:
        return []
    directory = str(cycle.layout.container(cycle.name))
    gone = [f"volume {name}" for name in volumes.volume_names(directory)]
    return gone + [f"snapshot {name}" for name in volumes.snapshot_names(directory)]


def memory_warnings(specification: Specification, limits: dict[str, Any]) -> list[str]:
    """Return what a start with these limits would say of file systems that take more memory than the container has."""
    memory = Memory(kept_limits.memory(limits))
    for mount in specification.file_systems:
        if mount.is_tmpfs:
            parts = [option.partition("=") for option in (mount.options or "").split(",") if option]
            with contextlib.suppress(LauncherError):  # which is said elsewhere
                memory.options(mount.mount_point, [(name, value if equals else None) for name, equals, value in parts])
    return memory.warnings
