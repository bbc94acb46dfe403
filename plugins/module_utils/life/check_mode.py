# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check mode's answers: whether a container that goes on running is well, and what a start would say of its memory."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from ..launcher import limits as kept_limits
from ..launcher.errors import LauncherError
from ..launcher.memory import Memory
from ..state import generations
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


def memory_warnings(specification: Specification, limits: dict[str, Any]) -> list[str]:
    """Return what a start with these limits would say of file systems that take more memory than the container has."""
    memory = Memory(kept_limits.memory(limits))
    for mount in specification.file_systems:
        if mount.is_tmpfs:
            parts = [option.partition("=") for option in (mount.options or "").split(",") if option]
            with contextlib.suppress(LauncherError):  # which is said elsewhere
                memory.options(mount.mount_point, [(name, value if equals else None) for name, equals, value in parts])
    return memory.warnings
