# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The life cycle of a container: the steps to a requested state.

A container is restarted for one reason only: it runs another system than the current one. Both are names of systems, so
the comparison is exact. The launcher starts and stops; this module decides when, and what to do when a switch fails:
with `roll_back`, a switch is on trial until the container is well, and undone when it is not.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any, Callable, Protocol

from ..inside.units import GOING_DOWN, Judgement
from ..launcher.errors import LauncherError, NotReady
from ..launcher.specification import read_outline
from ..state import generations, holds, volumes
from ..state.record import Status
from ..state.systems import Systems
from ..state.target import Layout, TargetError, message_of, remove_empty
from . import failure_report, software, strangers
from .container import ON_DISK
from .health import DEFAULTS, await_health
from .saved_state import SavedState
from .starting import LauncherStarter, Starter
from .unhealthy import UnhealthyError


class ContainerView(Protocol):
    """The questions that the life cycle has about a container."""

    def status(self) -> Status:
        """Return whether the container runs, and as what."""

    def judge(self) -> Judgement:
        """Return whether all that was declared runs."""

    def log_tail(self, lines: int, unit: str | None = None) -> str:
        """Return the end of its log, or of one unit's."""


class LifeCycle:
    """One container, and the state that is requested of it.

    :param starter: the object that starts and stops it, by default the launcher.
    :param system: the system to run; None for the current one.
    :param wait: whether to wait until it is ready, and to judge its units.
    :param timeout: seconds, for becoming ready and for stopping each.
    :param allow_failed_units: whether a failed unit is no error.
    :param health: the checks after a start, as in `container_options.HEALTH`. None stands for its defaults.
    :param roll_back: whether a switch to another system is undone when the container is not well with it.
    :param roll_back_state: whether its volumes go back with it.
    :param generation: the generation that `rolled_back` goes back to; None for the last one before the current.
    :param keep: how many generations are kept.
    :param remove_volumes: whether its volumes go with a container that is to be absent.
    :param settle: applies the settings that are kept beside the systems, before a start; returns whether one changed.
    :param examine: refuses a system from which the container cannot be started, before anything is changed for it.
    :param await_health: returns a container's complaints at the end of the time limit of `health`.
    """

    def __init__(
        self,
        layout: Layout,
        name: str,
        container: ContainerView,
        starter: Starter | None = None,
        system: Path | None = None,
        wait: bool = True,
        timeout: float = 30.0,
        allow_failed_units: bool = False,
        health: dict[str, Any] | None = None,
        roll_back: bool = False,
        roll_back_state: bool = False,
        generation: int | None = None,
        keep: int = generations.GENERATIONS_KEPT,
        remove_volumes: bool = False,
        settle: Callable[[str], bool] = lambda state: False,
        await_health: Callable[[Any, dict[str, Any]], list[str]] = await_health,
        examine: Callable[[Path], None] = lambda system: None,
    ) -> None:
        self.layout = layout
        self.name = name
        self.container = container
        self.starter = starter or LauncherStarter(container)
        self.system = system
        self.wait = wait
        self.timeout = timeout
        self.allow_failed_units = allow_failed_units
        self.health = DEFAULTS if health is None and (wait or roll_back) else health
        self.roll_back = roll_back
        self.generation = generation
        self.keep = keep
        self.remove_volumes = remove_volumes
        self.settle = settle
        self.await_health = await_health
        self.examine = examine
        self.changed = False
        self._switched = False
        self.removed: list[str] = []  # the generations and systems that were no longer to be kept
        self.warnings: list[str] = []
        self.saved = SavedState(layout, container, self.starter, timeout, roll_back_state, self.warnings)
        self.failed_units: list[str] | None = None
        """The units that do not do what was declared, once they were asked for."""

    def describe(self) -> dict[str, Any]:
        """Return the state in the form that a diff shows: the current system, and the running one."""
        current = self.layout.current_system(self.name)
        status = self.container.status()
        running = status.state == "running"
        return {
            "state": "running" if running else "stopped" if self.exists() else "absent",
            "current": current.name if current else None,
            "running": os.path.basename(status.system or "") if running else None,
        }

    def facts(self) -> dict[str, Any]:
        """Return the facts of the running container; an empty mapping when it does not run."""
        status = self.container.status()
        if status.state != "running":
            return {}
        facts: dict[str, Any] = {
            "pid": status.pid,
            "uid_base": status.uid_base,
            "uid_count": status.uid_count,
            "boot_seconds": status.boot_seconds,
            "ready": status.ready,
            "generation": generations.current_number(self.layout, self.name),
            "shell": str(self.layout.current(self.name) / "enter-container"),
        }
        if self.failed_units is not None:
            facts["failed_units"] = self.failed_units
        return facts

    def exists(self) -> bool:
        """Return whether anything of the container is on the host."""
        return any(os.path.lexists(self.layout.container(self.name) / entry) for entry in ON_DISK)

    def plan(self, state: str) -> dict[str, Any]:
        """Return what `describe` will return after `reach(state)`. Change nothing, and need nothing on the host."""
        if state == "absent":
            return {"state": "absent", "current": None, "running": None}
        self._refuse_stranger(state)
        before = self.describe()
        wanted = self.system.name if self.system is not None else before["current"]
        if state == "rolled_back":
            number = generations.find(self.layout, self.name, self.generation)
            wanted = generations.system_of(self.layout, self.name, number).name
        if state == "stopped":
            exists = before["state"] != "absent" or self.system is not None
            return {"state": "stopped" if exists else "absent", "current": wanted, "running": None}
        if wanted is None:
            raise strangers.without_system(self.name)
        return {"state": "running", "current": wanted, "running": wanted}

    def would_change(self, state: str) -> bool:
        """Return whether `reach(state)` would change anything."""
        if state == "absent":
            return self._remains()
        return self.describe() != self.plan(state) or state == "restarted"

    def reach(self, state: str) -> None:
        """Bring the container into `state`: started, stopped, restarted, rolled_back or absent.

        :raises TargetError, LauncherError, OSError: when that fails.
        :raises UnhealthyError: when its services are not well, or a switch that could not be finished was undone.
        """
        self._refuse_stranger(state)
        if state == "absent" and self.system is None and not self._remains():
            return
        with self.starter.lock(self.timeout):
            if state == "absent":
                self._remove()
                return
            number, system = self._target(state)
            starting = self.to_start(state, system)
            if starting is not None:
                holds.refuse(self.name, str(self.layout.container(self.name)))
                self.examine(starting)
            if state == "stopped":  # what it is switched to is on trial until it runs
                self._switch(number, system)
                self.changed = self.settle(state) or self.changed
                self.changed = self.starter.stop(self.timeout) or self.changed
            else:
                try:
                    self._switch(number, system)
                    self.changed = self.settle(state) or self.changed
                    self._run_well(restart=state == "restarted")
                except Exception as error:  # whatever it is: what was not seen to be well is not kept
                    self._undo(error)
                    raise
                if self.health is not None:
                    generations.note_well(self.layout, self.name)
                generations.end_trial(self.layout, self.name)
                self.saved.forget()
            self._prune()

    def running_system(self) -> Path | None:
        """Return the system that runs."""
        status = self.container.status()
        return self.layout.systems / os.path.basename(status.system or "") if status.system else None

    def planned_system(self, state: str) -> Path | None:
        """Return the system that `reach(state)` would make current, or None for the one that is."""
        return self._target(state)[1] if state == "rolled_back" else self.system

    def to_start(self, state: str, system: Path | None) -> Path | None:
        """Return the system that `reach(state)` would start: `system`, or else the current one; None for no start."""
        wanted = system or self.layout.current_system(self.name)
        if state in ("stopped", "absent") or wanted is None:
            return None
        status = self.container.status()
        runs = status.state == "running" and os.path.basename(status.system or "") == wanted.name
        return wanted if state == "restarted" or not runs else None

    def _target(self, state: str) -> tuple[int, Path | None]:
        """Return the generation to go back to, or 0, and the system to make current, or None to keep the current one.

        :raises TargetError: there is no such generation or system.
        """
        if state == "rolled_back":
            self._refuse_stranger(state)
            number = generations.find(self.layout, self.name, self.generation)
            return number, generations.system_of(self.layout, self.name, number)
        if self.system is None:
            return 0, None
        return 0, generations.check_system(self.layout, self.name, self.system)

    def _switch(self, number: int, system: Path | None) -> None:
        """Make a system current: that of generation `number`, or a new generation when that is 0."""
        if system is None or self.layout.current_system(self.name) == system:
            return
        if self.roll_back:
            generations.begin_trial(self.layout, self.name)
        if number:
            generations.point(self.layout, self.name, number)
        else:
            generations.switch(self.layout, self.name, system)
        self.changed = self._switched = True

    def _run_well(self, restart: bool) -> None:
        """Run it and look at its health; what was found running and ends meanwhile, by itself, is started again."""
        found = self.container.status().state == "running" and not restart
        try:
            self._run(restart)
            self.check_health()
        except (LauncherError, TargetError, OSError):
            if not found or self.changed or not self.ends():
                raise
            self.starter.stop(self.timeout)  # which waits for its end
            self._run(restart=False)
            self.check_health()

    def ends(self) -> bool:
        """Return whether it has ended, or is about to."""
        if self.container.status().state != "running":
            return True
        try:
            return self.has_systemd() and self.container.judge().state == GOING_DOWN
        except LauncherError:
            return self.container.status().state != "running"

    def _run(self, restart: bool) -> None:
        current = self.layout.current_system(self.name)
        if current is None:
            raise strangers.without_system(self.name)
        status = self.container.status()
        if status.state == "running" and (restart or os.path.basename(status.system or "") != current.name):
            self.starter.stop(self.timeout)
            self.changed = True
            status = self.container.status()
        if status.state != "running":
            self.changed = True
            self.saved.save()
            try:
                self.warnings += self.starter.start(current, self.wait, self.timeout)
            except NotReady as error:
                raise self._unhealthy(str(error)) from error
        elif self.wait:
            self._await_ready(status)

    def _await_ready(self, status: Status) -> None:
        """Wait for a container that an earlier run has started without waiting."""
        if status.ready or not self.has_systemd():
            return
        if not self.starter.await_ready(self.timeout):
            raise self._unhealthy(f"container {self.name!r} runs but is not ready after {self.timeout:g} s")

    def check_health(self) -> None:
        """Judge what runs. Raise UnhealthyError, LauncherError, TargetError, OSError."""
        systemd = self.has_systemd()
        if self.health is not None:
            judged = systemd and not self.allow_failed_units and (self.wait or self.health["running"])
            steady = self.health["steady"] if self.changed else 0.0  # what has long run need not prove itself anew
            complaints = self.await_health(self.container, dict(self.health, running=judged, steady=steady))
            if complaints:
                raise self._unhealthy(f"container {self.name!r} is not well: {'; '.join(complaints)}")
            if judged:
                self.failed_units = []
        if systemd and self.wait and self.allow_failed_units:
            judgement = self.container.judge()
            self.failed_units = judgement.units
            if judgement.problems:
                self.warnings.append(f"container {self.name!r} is not well: {judgement.summary()}")
        if systemd and self.health is None and not self.changed and self.ends():
            raise TargetError(f"container {self.name!r} is going down")

    def _undo(self, error: Exception) -> None:
        """Go back to the generation before the switch that led to `error`, when a switch is on trial.

        :raises UnhealthyError: afterwards, with what went wrong and what runs now.
        """
        former = generations.former_number(self.layout, self.name)
        if not self.roll_back or former is None:
            if self.roll_back and self._switched and len(generations.numbers(self.layout, self.name)) > 1:
                raise self._nowhere_to_go(error) from error
            return
        units = error.failed_units if isinstance(error, UnhealthyError) else []
        self.changed, self.failed_units = True, None
        said, put_back = message_of(error, self.name), False
        try:
            generations.point(self.layout, self.name, generations.find(self.layout, self.name, former))
            put_back = self.saved.put_back()
            self._run(restart=False)
            generations.end_trial(self.layout, self.name)
        except Exception as second:
            message = f"{said}\nGoing back to generation {former} failed, too: {message_of(second, self.name)}"
            raise UnhealthyError(message, True, units, self._known()) from error
        message = f"{said}\nRolled back: generation {former} runs again{', with its volumes as they were' * put_back}"
        raise UnhealthyError(message, True, units, self._known(), former) from error

    def _nowhere_to_go(self, error: Exception) -> UnhealthyError:
        units = error.failed_units if isinstance(error, UnhealthyError) else []
        number = generations.current_number(self.layout, self.name)
        message = f"{message_of(error, self.name)}\nNot rolled back: no generation before {number} has ever been well"
        return UnhealthyError(message, self.changed, units, self._known())

    def _known(self) -> dict[str, Any]:
        """Return the result of `facts` for an error message; an empty mapping when that fails."""
        try:
            return self.facts()
        except (LauncherError, OSError):
            return {}

    def has_systemd(self) -> bool:
        """Return whether the current system's init is systemd, so that it has units and a journal."""
        current = self.layout.current_system(self.name)
        return current is not None and read_outline(str(current)).init.systemd

    def _unhealthy(self, message: str) -> UnhealthyError:
        """Return the error that says why, and then shows the log of what is to blame; no log is worth another error."""
        units: list[str] = []
        with contextlib.suppress(LauncherError, TargetError, OSError):
            if self.has_systemd() and self.container.status().state == "running":
                found = failure_report.FailureReport(message, self.container)
                message, units = found.text(), found.units
        return UnhealthyError(message, self.changed, units, self._known())

    def _prune(self) -> None:
        self.warnings += volumes.clear(str(self.layout.container(self.name)))
        running = self.running_system()
        self.removed = generations.to_remove(self.layout, self.name, running, self.keep)
        if generations.prune(self.layout, self.name, running, self.keep):
            self.warnings += software.collect(self.layout)

    def _refuse_stranger(self, state: str) -> None:
        """Raise TargetError for a state of a container of which this host has nothing, unless that is meant."""
        try:
            if state != "absent" and self.system is None and not self._remains():
                raise strangers.unknown(self.layout, self.name, state)
        except OSError:
            pass  # whoever may not look there is told so by what comes next

    def _remains(self) -> bool:
        """Return whether there is anything for `absent` to remove."""
        systems = Systems(self.layout).of_container(self.name)
        directory = str(self.layout.container(self.name))
        volumes_left = self.volumes() or volumes.snapshot_names(directory) or holds.is_noted(directory)
        kept = self.remove_volumes and volumes_left
        left = self.exists() or bool(systems) or bool(kept)
        return left or self.container.status().state == "running"

    def volumes(self) -> list[str]:
        """Return the names of the volumes that this host has of the container."""
        return volumes.volume_names(str(self.layout.container(self.name)))

    def _remove(self) -> None:
        self.starter.stop(self.timeout)
        self.starter.remove(self.timeout)
        systems = Systems(self.layout)
        systems.remove(systems.of_container(self.name))
        self.warnings += software.collect(self.layout)
        self.warnings += volumes.part_with(self.name, str(self.layout.container(self.name)), self.remove_volumes)
        remove_empty(self.layout)
        self.changed = True
