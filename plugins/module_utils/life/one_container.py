# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The request for one container, and its result, for the module of one container and for that of all of a host."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Iterable

from ..host import published, time_limits, volume_options
from ..host.boot import Boot, known_specification
from ..host.container_options import TASK_OPTIONS
from ..host.limits import parse_limits
from ..launcher.errors import Held, LauncherError
from ..state import generations, holds
from ..state.system_damage import damages
from ..state.target import Layout, TargetError, message_of
from . import check_mode, health, software
from .healing import Healing
from .kept_network import KeptNetwork
from .kept_sizes import KeptSizes
from .life_cycle import LifeCycle
from .refreshing import Refreshing
from .starting import starter
from .unhealthy import UnhealthyError

if TYPE_CHECKING:
    from ..launcher.contract import Specification
    from .examination import Examined


def check(options: dict[str, Any], place: str = "") -> None:
    """Refuse option values that TASK_OPTIONS accepts and that are of no use. Turn time limits into floats.

    :param place: where the options are, for the error; empty for those of a module itself.
    :raises OptionError: naming the key.
    """
    time_limits.check_time_limits(options, TASK_OPTIONS, place)
    if options.get("health"):
        health.check_health(options["health"], f"{place}.health" if place else "health")
    inside = f"{place}." if place else ""
    published.parse_ports(options.get("ports") or [], f"{inside}ports")
    published.parse_nameservers(options.get("nameservers") or [], f"{inside}nameservers")
    volume_options.parse_sizes(options.get("volumes"), f"{inside}volumes")


class OneContainer:
    """A container, and the options of a module for it.

    :param container: the launcher's view of it (`life.container.Container`).
    :param system: the directory of the system to make current; None for the one that is.
    :param options: by TASK_OPTIONS, with the defaults filled in.
    :param roll_back: whether a switch to a system that is not well is undone.
    :param restart_outdated: whether units of it that run outdated software are restarted, where it goes on running.
    :raises TargetError, LimitError: when an option is of no use.
    :ivar specification: that of a system which this run would stage, in check mode.
    :ivar shown: whether the result of this run has the difference of its systems already.
    :ivar without: containers that are to end in the same run, or to change; what they have now is no matter.
    :ivar beside: containers that the same run makes, or keeps.
    :ivar earlier: those of them that are there when the run comes to this one.
    """

    def __init__(
        self,
        layout: Layout,
        container: Any,
        system: Path | None,
        options: dict[str, Any],
        roll_back: bool,
        restart_outdated: bool = False,
    ) -> None:
        if options["keep_generations"] < 1:
            raise TargetError("keep_generations: at least 1, the current one, is kept")
        if options["roll_back_state"] and not roll_back:
            raise TargetError("roll_back_state: needs roll_back: true, without which no switch is undone")
        self.state = str(options["state"])
        self.name = str(container.name)
        self.container = container
        self.healing_warnings: list[str] = []
        self.boot = Boot(
            layout,
            self.name,
            container,
            enabled=options["enabled"],
            limits=None if options["limits"] is None else parse_limits(options["limits"]),
            after=options["after"],
            requires=options["requires"],
            restart=options["restart"],
            timeout=options["timeout"],
            system=system,
        )
        self.network = KeptNetwork(layout, self.name, container, options["ports"], options["nameservers"])
        self.sizes = KeptSizes(layout, self.name, container, options["volumes"])
        self.cycle = LifeCycle(
            layout,
            self.name,
            container,
            starter(container, self.boot.systemd),
            system=system,
            wait=options["wait"],
            timeout=self.boot.timeout,
            allow_failed_units=options["allow_failed_units"],
            health=options["health"],
            roll_back=roll_back,
            roll_back_state=options["roll_back_state"],
            generation=options["generation"],
            keep=options["keep_generations"],
            remove_volumes=options["remove_volumes"],
            settle=self._settle,
            examine=lambda system: self._examine(system).refuse(self.name),
        )
        self.refreshing = Refreshing(self.cycle, container, restart_outdated)
        self.shown = False
        self.specification: Specification | None = None
        self.without: Iterable[str] = ()
        self.beside: Iterable[str] = ()
        self.earlier: Iterable[str] = ()

    def _settle(self, state: str) -> bool:
        """Keep the settings that stand beside the systems. Return whether one of them changed."""
        changed = [self.boot.apply(state), self.network.apply(state), self.sizes.apply(state)]
        return any(changed)

    def _examine(self, system: Path) -> Examined:
        from . import examination  # much code, of which a run that starts nothing needs none

        # The health of a declaration is that of its system, and not of one to go back to.
        units = () if self.state == "rolled_back" else (self.cycle.health or {}).get("units", ())
        published = self.network.wanted().ports
        return examination.examine(self.cycle.layout, self.name, system, self.without, units, published)

    def refuse_strangers(self, check: bool, staging: bool = False) -> None:
        """Refuse to require containers which the host does not have, before anything changes; warn of an order.

        :param check: whether that is but a warning, for an earlier task may be one that makes them.
        :param staging: whether a later run brings the container into its state, and those before it.
        :raises TargetError: naming the options.
        """
        if self.state == "absent":
            return
        # One that is to be stopped comes first, and starts when the others are there.
        made = self.beside if self.state == "stopped" else self.earlier if check or staging else ()
        strangers = self.boot.required_strangers(made)
        warnings = self.boot.ordered_strangers(self.beside) + (strangers if check else [])
        self.cycle.warnings += [f"container {self.name!r}: {said}" for said in warnings]
        if check:
            return
        if strangers:
            raise TargetError(f"container {self.name!r} is left as it is: {'; '.join(strangers)}")

    def _examine_network(self, check: bool) -> None:
        """Refuse ports that could not be published. The examination of a system to start asks who has them already.

        :param check: whether what others have is but a warning.
        :raises TargetError: naming the ports.
        """
        if self.state in ("stopped", "absent"):
            return
        cycle = self.cycle
        system = cycle.planned_system(self.state) or cycle.layout.current_system(self.name)
        problems = self.network.problems(self.specification or known_specification(system))
        if self.state == "rolled_back":
            cycle.warnings += problems  # the ports are of a later declaration, and this is the way back from that
        else:
            self.network.refuse(problems)
        conflicts = self.network.conflicts(self.without) if self.stays else []
        if check:
            cycle.warnings += conflicts
        else:
            self.network.refuse(conflicts)

    def _examine_kept(self, check: bool) -> None:
        """Refuse ports, and sizes of volumes, that could not be kept."""
        self._examine_network(check)
        # What is over its size, or on a host that has lost its quotas, can be stopped all the same.
        if self.state not in ("stopped", "absent") or self.sizes.would_change(self.state):
            system = self.cycle.planned_system(self.state) or self.cycle.layout.current_system(self.name)
            specification = self.specification or known_specification(system)
            self.sizes.examine(specification, system if self.specification is None else None)

    def examine_before(self, check: bool) -> None:
        """Refuse a system that is on the host already and could not be started now.

        :param check: whether what others have is but a warning, for an earlier task may be one that ends them; and so
            are sources of mappings that such a task may make, and damage of a system that the options name. What the
            start would leave out is a warning, too.
        :raises TargetError: it could not be started.
        """
        self._examine_kept(check)
        planned = self.cycle.planned_system(self.state)
        starting = self.cycle.to_start(self.state, planned)
        if check and starting is not None:
            specification = self.specification or known_specification(starting)
            if specification is not None:
                self.cycle.warnings += check_mode.memory_warnings(specification, self.boot.wanted_limits())
        if starting is not None and starting.is_dir():
            examined = self._examine(starting)
            if check:
                # The task that stages the system would have written it anew.
                named = planned is not None and planned == self.cycle.system
                mended = examined.problems if named and damages(starting) else []
                needed = examined.needed()
                self.cycle.warnings += mended + needed + examined.conflicts + examined.warnings
                problems = [] if mended else examined.problems
                examined = examined._replace(problems=problems, missing=[], conflicts=[])
            examined.refuse(self.name)

    def _refuse_held(self, check: bool) -> None:
        """Refuse to start a container that moves to another host, or from one. Raise Held.

        :param check: whether that is but a warning, for an earlier task may be about to finish the move.
        """
        cycle = self.cycle
        if cycle.to_start(self.state, cycle.planned_system(self.state)) is None:
            return
        said = holds.refusal(str(cycle.layout.container(self.name)))
        if said is not None and not check:
            raise Held(f"container {self.name}: {said}")
        cycle.warnings += [f"container {self.name}: {said}"] if said is not None else []

    def foresee(self, check: bool) -> None:
        """Refuse what could not be done, before anything ends that this container is to take the place of.

        :raises TargetError, LauncherError, OSError: as `bring` does before it changes anything.
        """
        self.cycle.plan(self.state)
        self._refuse_held(check)
        self.examine_before(check)

    def foresee_refreshing(self, check: bool) -> bool:
        """Return whether outdated units of the container are to be restarted.

        :raises TargetError: they would lack programs then, and `check` does not say that this is but a warning.
        """
        if self.state in ("stopped", "absent", "restarted") or not self.stays or not self._incarnation():
            return False
        found = self.refreshing.look()
        self.refreshing.refuse(check)
        return found

    @property
    def would_end(self) -> bool:
        """Return whether bringing the container into its state would change it."""
        return self.cycle.would_change(self.state)

    @property
    def stays(self) -> bool:
        """Return whether it goes on as it is."""
        return self.cycle.to_start(self.state, self.cycle.planned_system(self.state)) is None

    @property
    def warnings(self) -> list[str]:
        """Return the warnings for the user, each once."""
        return list(
            dict.fromkeys(
                self.cycle.warnings
                + self.boot.warnings
                + self.sizes.warnings
                + self.healing_warnings
                + self.refreshing.warnings
            )
        )

    def bring(self, check: bool, diff: bool) -> dict[str, Any]:
        """Bring the container into its state, or with `check` find out what would change. Return a module's result.

        :raises TargetError, LauncherError, OSError: when that cannot be done.
        """
        cycle, boot = self.cycle, self.boot
        former = generations.current_number(cycle.layout, self.name)
        tasks, incarnation = boot.tasks(), self._incarnation()
        data = check_mode.data_to_go(cycle, self.state)
        before = {**cycle.describe(), **boot.describe(), **self.network.describe(), **self.sizes.describe()}
        planned = cycle.plan(self.state)
        content = self._difference(before, planned) if diff and not self.shown else []
        # What is kept for a container goes with it, and is not made for one that is not there.
        settled = "absent" if planned["state"] == "absent" else self.state
        if settled != "absent":
            self.refuse_strangers(check)
        outdated = self.foresee_refreshing(check)
        if check:
            self._refuse_held(check)
            self.examine_before(check)
            changed = cycle.would_change(self.state) or boot.would_change(settled)
            changed = changed or self.network.would_change(settled) or self.network.is_behind()
            changed = changed or self.sizes.would_change(settled)
            after = {**planned, **boot.plan(settled), **self.network.plan(settled), **self.sizes.plan(settled)}
            stays = before["running"] is not None and before["running"] == after["running"]
            stays = stays and self.state != "restarted"
            if stays and check_mode.would_start_again(cycle, self.state):
                changed, stays = True, False
            healed, stale = self._heal(check=True) if stays else ([], [])
            removed = [] if changed else check_mode.would_remove(cycle, self.state)
            cycle.warnings += check_mode.said_of_kept(cycle, self.state) if changed else []
        else:
            self._examine_kept(check=False)
            follows = self.network.would_change(settled) or self.network.is_behind()
            cycle.reach(self.state)
            changed = self._settle(settled) or cycle.changed
            after = {**cycle.describe(), **boot.describe(), **self.network.describe(), **self.sizes.describe()}
            stays = incarnation is not None and incarnation == self._incarnation()
            if stays and follows:
                cycle.warnings += self.network.follow()
                changed = True
            healed, stale = self._heal(check=False) if after["running"] is not None else ([], [])
            removed = [] if changed else cycle.removed
        boot.explain(settled)
        self.sizes.explain()
        if stays:
            boot.explain_tasks(tasks)
        refreshing = self.refreshing
        former_outdated = refreshing.outdated
        if stays and outdated:
            refreshing.act(check)
        refreshed = refreshing.restarted if stays else []
        for what, found, left in (
            ("stale", stale, []),
            ("no_longer_kept", removed, []),
            ("data", data, []),
            ("outdated_units", former_outdated if refreshed else [], refreshing.outdated),
        ):
            if found:
                changed = True
                before, after = {**before, what: found}, {**after, what: left}
        result: dict[str, Any] = {"changed": changed, "name": self.name, "state": after["state"]}
        if after["current"]:
            result["system"] = str(cycle.layout.systems / after["current"])
            store = software.store_of(cycle.layout.systems / after["current"])
            if store is not None:
                result["store"] = store
        if after["state"] != "absent":
            result.update(boot.facts())
        if not check or not changed:
            result.update(cycle.facts())
            result.update(self.network.facts())
        if former is not None and result.get("generation", former) != former:
            result["former_generation"] = former
        if healed:
            result["healed"] = healed
        if stays:
            refreshing.explain()
            result["outdated_units"] = refreshing.outdated
        if refreshed:
            result["restarted_units"] = refreshed
        if diff and changed:
            title = f"container {self.name}"
            entry = {"before": before, "after": after, "before_header": title, "after_header": title}
            result["diff"] = [*content, entry] if content else entry
        return result

    def _difference(self, before: dict[str, Any], planned: dict[str, Any]) -> list[dict[str, str]]:
        """Return how the system that is to be current differs from the one that is, or else from the one that runs.

        One that a task is yet to stage, in check mode, is compared by that task.
        """
        from ..state import system_diff  # a run without --diff needs none of it

        wanted, former = planned["current"], before["current"]
        if former == wanted:
            former = before["running"] or wanted
        if wanted is None or former == wanted:
            return []
        systems = self.cycle.layout.systems
        return system_diff.between(systems / former if former else None, systems / wanted)

    def _incarnation(self) -> tuple[Any, ...] | None:
        """Return what tells this run of the container from its next one; None when it does not run."""
        status = self.container.status()
        return (status.pid, status.started) if status.state == "running" else None

    def _heal(self, check: bool) -> tuple[list[str], list[str]]:
        """Have the running container see what the host has now. Return what was mended, and what had been stale then.

        In `check` mode both are what would be mended. What cannot be is a warning: the container is as well as before.
        """
        try:
            with contextlib.nullcontext() if check else self.container.lock(self.boot.timeout):
                if self.container.status().state != "running":
                    return [], []
                healing = Healing(self.container)
                healing.look()
                done = healing.stale if check else healing.heal(self.boot.timeout)
        except (LauncherError, OSError) as error:
            self.healing_warnings.append(message_of(error, self.name))
            return [], []
        self.healing_warnings += healing.warnings
        return done, healing.stale if done else []


def failure(error: Exception, name: str) -> dict[str, Any]:
    """Return the result of a module that `error` has ended, for the container called `name`."""
    result: dict[str, Any] = {"failed": True, "msg": message_of(error, name)}
    if isinstance(error, UnhealthyError):
        result.update(error.facts, changed=error.changed, failed_units=error.failed_units)
        if error.rolled_back_to is not None:
            result["rolled_back_to"] = error.rolled_back_to
    return result
