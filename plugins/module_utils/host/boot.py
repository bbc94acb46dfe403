# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The settings that a host keeps beside a container's systems: the start at boot, and the resource limits.

With systemd every container has a unit, and is started and stopped through that. So systemd and this collection never
disagree, and a host that shuts down stops its containers in order. A link in the unit directory makes the boot start
the container. On a host without systemd this module can only name the command to call at boot.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any, Dict, Iterable

from ..launcher import limits as kept_limits
from ..launcher.contract import Specification
from ..launcher.errors import LauncherError
from ..launcher.paths import RUNTIME_UNIT_DIRECTORY, UNIT_DIRECTORY, write_atomically
from ..launcher.specification import read_spec
from ..launcher.stop_signals import signal_number
from ..state.system_content import check_name
from ..state.target import Layout, TargetError, explain
from . import held_limits, ports
from .container_options import OPTIONS
from .limits import Limits
from .network_units import NetworkUnits
from .systemd_units import (
    BOOT_DROP_IN,
    LIMITS_DROP_IN,
    TEMPLATE_UNIT,
    WANTS,
    Systemd,
    UnitOptions,
    limits_drop_in,
    quoted,
    template,
    unit_of,
)
from .unit_by_hand import paths_of_host, units_by_hand

Files = Dict[Path, str]
IDLE = ("after", "requires", "restart")
"""The options that only systemd keeps."""


class Boot:
    """The settings of one container that outlive its systems. A setting of None stays as it is, or has its default.

    :param container: the launcher's view of it.
    :param enabled: whether the host's boot starts it.
    :param limits: parsed limits.
    :param after: containers that are started before it.
    :param requires: containers without which it does not run.
    :param restart: of `systemd_units.RESTARTS`, for when it ends by itself.
    :param timeout: seconds for becoming ready, and for stopping.
    :param system: the system that is to be current; None for the one that is.
    """

    def __init__(
        self,
        layout: Layout,
        name: str,
        container: Any,
        enabled: bool | None = None,
        limits: Limits | None = None,
        after: list[str] | None = None,
        requires: list[str] | None = None,
        restart: str | None = None,
        timeout: float | None = None,
        systemd: Any = None,
        system: Path | None = None,
    ) -> None:
        self.layout = layout
        self.name = name
        self.container = container
        self.enabled = enabled
        self.limits = limits
        self.given: dict[str, Any] = {"timeout": timeout, "restart": restart}
        for option, names in (("after", after), ("requires", requires)):
            self.given[option] = None if names is None else tuple(check_name(other) for other in names)
            if name in (names or []):
                raise TargetError(f"container {name!r} cannot be started after itself")
        self.system = system
        self._specifications: dict[Path, Specification] = {}
        self.systemd = systemd if systemd is not None else Systemd(layout.root)
        self.unit = unit_of(name)
        self.by_hand = units_by_hand(name)
        self.directory = layout.root / UNIT_DIRECTORY[1:]
        if not enabled and self.directory.is_dir() and not os.access(self.directory, os.W_OK):
            self.directory = layout.root / RUNTIME_UNIT_DIRECTORY[1:]
        self.template = self.directory / TEMPLATE_UNIT
        self.drop_in = self.directory / f"{self.unit}.d" / BOOT_DROP_IN
        self.limits_drop_in = self.drop_in.with_name(LIMITS_DROP_IN)
        self.wanted = self.directory / WANTS / self.unit
        self.shared = NetworkUnits(self.directory, layout.root)
        self.warnings: list[str] = []

    # What is, and what will be.

    def is_enabled(self) -> bool:
        """Return whether the host's boot starts the container."""
        return self.systemd.present and self.wanted.is_symlink()

    @property
    def timeout(self) -> float:
        """Return the seconds for becoming ready, and for stopping: the value given, else the value in the unit."""
        return self._unit_options().timeout

    def describe(self) -> dict[str, Any]:
        """Return the settings in the form that a diff shows: the unit, and those limits that were asked for."""
        shown = self._shown(self.is_enabled(), _text(self.drop_in), self._kept())
        not_held = self._not_held()
        return dict(shown, limits_not_held=not_held) if not_held else shown

    def plan(self, state: str) -> dict[str, Any]:
        """Return what `describe` will return after `apply(state)`."""
        if state == "absent":
            return self._shown(False, "", {})
        return self._shown(self._will_be_enabled(), self._drop_in(), self.wanted_limits())

    def would_change(self, state: str) -> bool:
        """Return whether `apply(state)` would change anything."""
        if state == "absent":
            return self._has_files()
        lacks = any(_text(path) != text for path, text in self._files().items())
        return lacks or self._lacks_links() or self.describe() != self.plan(state)

    def _lacks_links(self) -> bool:
        return bool(self.systemd.present and not self.shared.are_linked())

    def facts(self) -> dict[str, Any]:
        """Return the part of a module's result that these settings make."""
        return {"enabled": self._will_be_enabled(), "boot_command": self.command(), "limits": self.wanted_limits()}

    def command(self) -> str:
        """Return the command to call at boot on a host where nothing starts the container by itself."""
        return f"{self.layout.current(self.name)}/run-container --detach"

    # Doing it.

    def apply(self, state: str) -> bool:
        """Apply the settings, before the container is started; return whether anything changed."""
        changed = self.would_change(state)
        if state == "absent":
            if changed:
                self._forget()
            return changed
        if changed:
            if self.systemd.present:
                self._apply_unit()
            self._apply_limits()
        return changed

    def required_strangers(self, made: Iterable[str] = ()) -> list[str]:
        """Return what is wrong with `requires`: containers that this host does not have, so that this never starts.

        :param made: containers that count as made, though they are not.
        """
        said = "this host has no container {!r}; declare it before this one, or take it out of the list"
        return [f"requires: {said.format(name)}" for name in self._strangers("requires", made)]

    def ordered_strangers(self, made: Iterable[str] = ()) -> list[str]:
        """Return a warning for each container of `after` that this host does not have; the order waits for it.

        :param made: containers that count as made, or that the same run makes after this one.
        """
        said = "this host has no container {!r} yet; the order counts once it has"
        return [f"after: {said.format(name)}" for name in self._strangers("after", made)]

    def _strangers(self, option: str, made: Iterable[str]) -> list[str]:
        known = set(made)
        return [
            name
            for name in dict.fromkeys(self.given[option] or ())
            if self.systemd.present and name not in known and not self.layout.generations(name).is_dir()
        ]

    def tasks(self) -> int:
        """Return the bound on tasks that is kept for the container."""
        return kept_limits.tasks(self._kept())

    def explain_tasks(self, former: int) -> None:
        """Collect a warning where a container that goes on running does not get another bound on tasks now.

        :param former: the bound that was kept.
        """
        if self.limits is None or kept_limits.tasks(self.limits) == former or self.container.cgroup.of_unit:
            return
        if not self.container.cgroup.has("pids.max"):
            self.warnings.append(
                "limits.tasks_max: this host can set it only at a start; it is kept from the next start on"
            )

    def explain(self, state: str) -> None:
        """Collect warnings about settings that cannot take effect on this host."""
        if state == "absent":
            return
        idle = [option for option in IDLE if self.given[option] not in (None, (), OPTIONS[option]["default"])]
        if idle and not self.systemd.present:
            self.warnings.append(
                f"{', '.join(idle)}: without effect for container {self.name!r}, for this host's init is not systemd, "
                "which would see to it"
            )
        limits = self.wanted_limits()
        if limits:
            controllers = self.container.cgroup.controllers()
            missing = kept_limits.not_kept(limits, controllers)
            self.warnings += kept_limits.warnings_of([name for name in missing if name != "tasks_max"], controllers)
            self.warnings += kept_limits.unfit(limits, controllers)
        if self.enabled and not self.systemd.present:
            self.warnings.append(self._no_unit())
        elif self.systemd.present and state != "stopped" and not self._runs_in_unit():
            how = "by hand" if self.systemd.active_transients(self.by_hand) else "before it had a unit"
            self.warnings.append(
                f"container {self.name!r} was started {how}, and runs outside of its unit until its next start; "
                "state: restarted moves it there now"
            )

    def _no_unit(self) -> str:
        place = "have the host's init call at boot"
        if (self.layout.root / "run/openrc").is_dir():
            place = f"write into the executable file /etc/local.d/unshare-{self.name}.start"
        return (
            f"enabled: nothing starts container {self.name!r} at boot, for this host's init is not systemd; "
            f"{place}: {self.command()}"
        )

    def _runs_in_unit(self) -> bool:
        status = self.container.status()
        return status.state != "running" or self.systemd.is_active(self.unit)

    def _apply_limits(self) -> None:
        """Have a running container held to its limits, then keep them: what is interrupted is done by the next run."""
        cgroup = self.container.cgroup
        running = self.container.status().state == "running"
        unit, former = self._unit_of_run(), self._kept()
        limits = None if self.limits == former else self.limits
        if limits is not None and running and not cgroup.of_unit:
            kept_limits.apply(cgroup, limits)
        elif limits is not None and unit != self.unit:  # no file of ours has this unit's limits
            self.systemd.limit(unit, kept_limits.all_properties(limits))
        if running and cgroup.of_unit:
            self.warnings += held_limits.bring(cgroup, held_limits.of_unit(self.systemd, unit))
            if limits is not None:
                kept_limits.apply_disks(cgroup, limits, former)
        if limits is not None:
            kept_limits.write(str(self.layout.container(self.name)), limits)

    def _unit_of_run(self) -> str:
        """Return the unit in which the container runs, if it runs in one: its own, or that of a start by hand."""
        by_hand = self.systemd.active_transients(self.by_hand) if self.systemd.present else []
        return next(iter(by_hand), self.unit)

    def _not_held(self) -> list[str]:
        """Return the limits of its unit to which the running container is not held; systemd is asked when in doubt."""
        if not self.systemd.present or self.container.status().state != "running":
            return []
        cgroup, kept = self.container.cgroup, self._kept()
        usual = {name: kept_limits.text(name, kept) for name in held_limits.PROPERTIES}
        if not cgroup.of_unit or not held_limits.not_held(cgroup, usual):
            return []
        texts = held_limits.of_unit(self.systemd, self._unit_of_run())
        return [
            f"{name}: {held or 'none'} in place of {texts[name] or 'none'}"
            for name, held in held_limits.not_held(cgroup, texts).items()
        ]

    def _apply_unit(self) -> None:
        try:
            shared = self._lacks_links() or any(_text(path) != text for path, text in self.shared.files().items())
            if shared:
                self.shared.unlink()  # so that the next run goes on where this one may be interrupted
            for path, text in self._files().items():
                if _text(path) != text:
                    if not path.parent.is_dir():
                        path.parent.mkdir(parents=True)
                        path.parent.chmod(0o755)  # systemd-networkd is another user
                    write_atomically(str(path), text, 0o644)
            if self.is_enabled() and not self._will_be_enabled():
                self.wanted.unlink()
            elif self._will_be_enabled() and not self.is_enabled():
                self.wanted.parent.mkdir(parents=True, exist_ok=True)
                self.wanted.symlink_to("/" + str(self.template.relative_to(self.layout.root)))
            self.systemd.reload()
            if shared:
                self.warnings += self.shared.begin(self.systemd)
                self.shared.link()
                self.systemd.reload()
        except OSError as error:
            raise TargetError(f"the unit {self.unit} cannot be written: {explain(error)}") from error

    def _forget(self) -> None:
        """Remove the container's own files, and the template when no container needs it any more."""
        with contextlib.suppress(FileNotFoundError):
            self.wanted.unlink()
        for path in (self.drop_in, self.limits_drop_in):
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
        with contextlib.suppress(OSError):  # an administrator's own drop-ins stay
            self.drop_in.parent.rmdir()
        if self._is_orphan():
            self.shared.remove(self.systemd)
            self.template.unlink()
        if self.systemd.present:
            self.systemd.reload()

    # Texts.

    def _files(self) -> Files:
        """Return the text of each of the unit's files, by path."""
        if not self.systemd.present:
            return {}
        return {
            self.template: template(self.systemd.version()),
            **self.shared.files(),
            self.drop_in: self._drop_in(),
            self.limits_drop_in: limits_drop_in(kept_limits.by_disk(self.wanted_limits())),
        }

    def _will_be_enabled(self) -> bool:
        return self.is_enabled() if self.enabled is None else bool(self.systemd.present and self.enabled)

    def _drop_in(self) -> str:
        """Return the text of the drop-in: the options given, and for the rest those in the file."""
        return self._unit_options().text()

    def _unit_options(self) -> UnitOptions:
        given = {option: value for option, value in self.given.items() if value is not None}
        spec = self._specification(self.system) or self._specification(self.layout.current_system(self.name))
        sources = self._sources(spec)
        if sources is not None:
            given["mounts"] = tuple(map(quoted, sources))
        if spec is not None:
            given["stop_signal"] = signal_number(spec.init.stop_signal)
            given["online"] = any(ports.is_of_host(port.address) for port in spec.ports)
        return UnitOptions.read(_text(self.drop_in))._replace(**given)

    def _specification(self, system: Path | None) -> Specification | None:
        """Return as `known_specification`; what a system says never changes, so it is read once."""
        spec = None if system is None else self._specifications.get(system) or known_specification(system)
        if system is not None and spec is not None:
            self._specifications[system] = spec
        return spec

    def _sources(self, spec: Specification | None) -> list[str] | None:
        """Return the paths of the host without which a start would have other files, or None when that is not known.

        A system that a run goes back to is not known before it is current.
        """
        if spec is None:
            return None
        return paths_of_host(spec)

    def _kept(self) -> Limits:
        return kept_limits.read(str(self.layout.container(self.name)))

    def wanted_limits(self) -> Limits:
        """Return the limits that are kept for the container from now on."""
        return self._kept() if self.limits is None else self.limits

    def _has_files(self) -> bool:
        if not self.systemd.present:
            return False
        return self.wanted.is_symlink() or self.drop_in.exists() or self.limits_drop_in.exists() or self._is_orphan()

    def _is_orphan(self) -> bool:
        """Return whether no container needs the template: there is no other drop-in and no active unit."""
        if not self.template.exists():
            return False
        drop_ins = self.directory.glob(f"{unit_of('*')}.d/{BOOT_DROP_IN}")
        others = [path for path in drop_ins if path != self.drop_in]
        return not others and not self.systemd.active_instances()

    def _shown(self, enabled: bool, unit: str, limits: Limits) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        if self.systemd.present:
            shown.update(enabled=enabled, unit=unit.rstrip("\n").split("\n") if unit else [])
        if self.limits is not None:
            shown["limits"] = dict(limits)
        return shown


def known_specification(system: Path | None) -> Specification | None:
    """Return the specification of a system, or None where there is none that can be read; a start then says why."""
    try:
        return None if system is None else read_spec(str(system))
    except LauncherError:
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError:
        return ""
