# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check mode's answers about a container that goes on running: whether it is well, and what is no longer kept of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..launcher.errors import LauncherError
from ..state import generations
from ..state.target import TargetError

if TYPE_CHECKING:
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
