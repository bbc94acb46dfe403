# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A system looked at before a container is started from it, and before the one that runs is stopped for that.

The host may have changed since the system was written: a source of a mapping is a link now, a program was removed,
another container has the port.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Collection, Iterable, NamedTuple

from ..host import claims, facts, health_units, looking, preflight, preflight_network, preflight_sources
from ..host.preflight_paths import UnitPaths
from ..host.preflight_programs import Programs
from ..host.preflight_units import NamesInUnits
from ..launcher.errors import LauncherError
from ..launcher.specification import read_spec
from ..state.system_damage import NO_MANIFEST, damages, summary_of_damages
from ..state.target import Layout, TargetError

if TYPE_CHECKING:
    from ..launcher.contract import Specification
    from ..launcher.network_records import Published

REMOVED = (
    "the unit %s runs %s, which the host has removed: install it again, or, where another one has taken its place, "
    "restart the container (state: restarted)"
)


class Examined(NamedTuple):
    """The reasons that keep a container from starting: its own, and what others have already.

    :ivar missing: those that an earlier task of the play may make: sources of required mappings, paths of units.
    :ivar warnings: what the start would say, such as of mappings that it would leave out.
    """

    problems: list[str]
    conflicts: list[str]
    missing: list[str] = []  # noqa: RUF012  a field of a tuple
    warnings: list[str] = []  # noqa: RUF012

    def needed(self) -> list[str]:
        """Return a warning of check mode for each that is missing."""
        return list(map(preflight_sources.needed, self.missing))

    def refuse(self, name: str) -> None:
        """Raise TargetError when there is anything that it cannot start with or without."""
        said = self.problems + self.missing + self.conflicts
        if said:
            raise TargetError(f"container {name!r} cannot be started, and is left as it is: {'; '.join(said)}")


def examine(
    layout: Layout,
    name: str,
    system: Path,
    without: Iterable[str] = (),
    units: Collection[str] = (),
    published: Iterable[Published] = (),
) -> Examined:
    """Return what keeps the container called `name` from starting from a system.

    One that is whole, and that this version does not know how to read, is its own launcher's business.

    :param without: containers that are to end in the same run, or to change.
    :param units: those that the container's health names.
    :param published: the ports that the host is to publish for it.
    """
    try:
        return Examined(*looking.in_time(lambda: _examine(layout, name, system, without, units, published)))
    except looking.Unanswered as error:
        return Examined([str(error)], [])


def _examine(
    layout: Layout,
    name: str,
    system: Path,
    without: Iterable[str],
    units: Collection[str],
    published: Iterable[Published],
) -> Examined:
    host = facts.HostFacts(layout.root)
    found = damages(system)
    known = found != [NO_MANIFEST]  # a former version has written none
    if found and known:
        said = f"the system {system} is damaged: {summary_of_damages(found)}"
        return Examined([f"{said}: stage it again with container_script, or name another generation"], [])
    try:
        specification = read_spec(str(system))
    except LauncherError as error:
        return Examined([] if known else [str(error)], [])
    problems, missing = preflight.problems(host, specification), preflight.missing_sources(host, specification)
    if problems:
        return Examined(problems, [], missing)

    programs = _programs(host, system, specification)
    paths = UnitPaths(programs)
    problems = programs.problems() + NamesInUnits(specification, programs.read, programs.texts).problems()
    problems += paths.refused
    if units and specification.init.systemd:
        unknown = health_units.missing_units(units, specification.files, specification.init.environment, programs.boot)
        problems += [f"health.units[{index}]: {text}" for index, text in unknown]
    conflicts = claims.conflicts(host, layout, name, specification, without, published)
    conflicts += preflight_network.conflicts(name, specification, without)
    return Examined(problems, conflicts, missing + paths.missing, preflight.warnings_of_start(host, specification))


def removed_programs(layout: Layout, system: Path, running: dict[str, list[str]]) -> list[str]:
    """Return one sentence for each program that units of a running system would lack when they are started again.

    :param running: unit to the programs that it runs now and that were replaced or removed, by their paths inside.
    """

    def look() -> list[str]:
        host = facts.HostFacts(layout.root)
        try:
            programs = _programs(host, system, read_spec(str(system)))
        except LauncherError:
            return []  # its own launcher's business
        found = programs.problems()
        for unit, paths in running.items():
            # What a unit runs by way of another program, no text says.
            gone = [path for path in paths if not programs.view.mode(path) and not any(path in said for said in found)]
            found += [REMOVED % (unit, path) for path in gone]
        return found

    try:
        said: list[str] = looking.in_time(look)
        return said
    except looking.Unanswered as error:
        return [str(error)]


def _programs(host: facts.HostFacts, system: Path, specification: Specification) -> Programs:
    """Return the programs of a system on the host's disk."""

    def read(path: str) -> bytes:
        try:
            return (system / "root" / path.lstrip("/")).read_bytes()
        except OSError:
            return b""  # damaged

    boot = (system / "boot").read_bytes().decode("utf-8", "replace") if (system / "boot").is_file() else ""
    return Programs(host, specification, read, boot)
