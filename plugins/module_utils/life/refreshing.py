# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Outdated software of a container that goes on running: what of it is outdated, and a restart of these units alone.

A container whose services would not come up again is left as it is: the software that they run is in memory alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..inside import restarting
from ..launcher.errors import LauncherError
from ..state.target import TargetError, message_of

if TYPE_CHECKING:
    from .life_cycle import LifeCycle

OUTDATED = (
    "container %r: outdated software: the host has replaced or removed files of the store that are still run by: %s; %s"
)
ALONE = (
    "restart these units inside, or the container (state: restarted), or have all such units of the host restarted "
    "(containers_restart_outdated: true, or rollout_restart_outdated: true)"
)
LEFT = "sessions, and commands that somebody has entered, go on with it until they end"
FAILED = "container %r: systemd says that not all of these units could be restarted: %s"
REFUSED = "container %r: nothing was restarted, though its software is outdated (%s): %s"


class Refreshing:
    """The outdated units of the container of a life cycle.

    :param restarts: whether the run restarts them.
    :ivar outdated: those that are left, by name.
    :ivar restarted: those that were restarted, or in check mode would be.
    """

    def __init__(self, cycle: LifeCycle, container: Any, restarts: bool) -> None:
        self.cycle = cycle
        self.container = container
        self.restarts = restarts
        self.outdated: list[str] = []
        self.restarted: list[str] = []
        self.warnings: list[str] = []
        self._lacking: list[str] = []

    def look(self) -> bool:
        """Find out which units are outdated, and which of them are to be restarted. Return whether any is to be."""
        try:
            found = self.container.outdated_units()
        except (LauncherError, OSError) as error:
            self.warnings.append(message_of(error, self.cycle.name))
            return False
        self.outdated = list(found)
        ours = restarting.restartable(self.outdated)
        self.restarted = ours if self.restarts and self.cycle.has_systemd() else []
        self._lacking = self._examine({unit: found[unit].programs for unit in ours}) if found else []
        return bool(self.restarted)

    def _examine(self, running: dict[str, list[str]]) -> list[str]:
        from . import examination  # much code, of which most runs need none

        system = self.cycle.running_system()
        return [] if system is None else examination.removed_programs(self.cycle.layout, system, running)

    def refuse(self, check: bool) -> None:
        """Refuse a restart after which services would lack programs.

        :param check: whether that is but a warning, for an earlier task may be one that installs them.
        :raises TargetError: naming the units and the programs.
        """
        if not self.restarted or not self._lacking:
            return
        said = REFUSED % (self.cycle.name, ", ".join(self.outdated), "; ".join(self._lacking))
        if not check:
            raise TargetError(said)
        self.warnings.append(said)

    def act(self, check: bool) -> None:
        """Restart what is to be restarted, and see that the container is well; in check mode find out what is left.

        :raises UnhealthyError, LauncherError, TargetError, OSError: it is not.
        """
        cycle = self.cycle
        if check:
            self.outdated = [unit for unit in self.outdated if unit not in self.restarted]
            return
        with cycle.starter.lock(cycle.timeout):
            cycle.changed = True
            well = restarting.restart(self.container, self.restarted, cycle.timeout)
            cycle.check_health()
        if not well:
            self.warnings.append(FAILED % (cycle.name, ", ".join(self.restarted)))
        self.outdated = list(self.container.outdated_units())
        self._lacking = []

    def explain(self) -> None:
        """Collect the warning about units that stay outdated."""
        if self.outdated:
            said = "; ".join([LEFT if self.restarted else ALONE, *self._lacking])
            self.warnings.append(OUTDATED % (self.cycle.name, ", ".join(self.outdated), said))
