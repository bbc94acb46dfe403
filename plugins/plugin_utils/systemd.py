# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The `systemd` type: units are gathered, their requirements resolved, and written below /etc/systemd/system."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from . import base_units, checks, install_section, unit_starters
from .errors import DeclarationError, suggestion
from .service_types import Context, Contribution, Placed, placed_list
from .units import Unit, render, with_order
from .validation import Spec, describe, validate

_UNIT: Spec = {
    "name": {"type": "str", "required": True},
    "sections": {"type": "dict"},
    "text": {"type": "str"},
    "provision": {"type": "list", "elements": "str", "default": []},
    "requirement": {"type": "list", "elements": "str", "default": []},
    "wanted_by": {"type": "list", "elements": "str"},
}


def unit_from_mapping(value: t.Any, path: str) -> Unit:
    """Return the unit that a mapping declares: its name, and its sections or its complete text."""
    if isinstance(value, Unit):
        return value
    if not isinstance(value, dict):
        raise DeclarationError(path, f"must be a unit (a mapping), not {describe(value)}")
    checked = validate(value, _UNIT, path)
    if (checked["sections"] is None) == (checked["text"] is None):
        raise DeclarationError(path, "needs exactly one of `sections` and `text`")
    checks.unit_name(checked["name"], f"{path}.name")
    for target in checked["wanted_by"] or ():
        checks.unit_name(target, f"{path}.wanted_by")
    return Unit(
        name=checked["name"],
        sections=checked["sections"] or {},
        text=checked["text"],
        provision=tuple(checked["provision"]),
        requirement=tuple(checked["requirement"]),
        wanted_by=None if checked["wanted_by"] is None else tuple(checked["wanted_by"]),
        path=path,
    )


def combine(value: t.Any, contributions: list[Contribution], context: Context, path: str) -> list[Unit]:
    """Return all units. A unit's name must be unique, and may not be one of the base system."""
    units = []
    seen: dict[str, str] = {}
    own = [Contribution(value or [], path, "systemd"), *contributions]
    for contribution in own:
        for item, place in placed_list([], [contribution], path):
            unit = unit_from_mapping(item, place)
            if unit.name in seen:
                where = seen[unit.name]
                raise DeclarationError(contribution.path, f"the unit '{unit.name}' is already defined by {where}")
            if unit.name in base_units.UNITS:
                raise DeclarationError(contribution.path, f"the unit '{unit.name}' belongs to the base system")
            seen[unit.name] = contribution.path
            units.append(unit if unit.path else _placed(unit, contribution.path))
    return units


def _placed(unit: Unit, path: str) -> Unit:
    return dataclasses.replace(unit, path=path)


def providers(units: list[Unit]) -> dict[str, Unit]:
    """Return which unit provides each name; two of them for one name are an error."""
    provided: dict[str, Unit] = {}
    for unit in units:
        for name in dict.fromkeys((unit.name, *unit.provision)):
            if name in provided:
                other = provided[name]
                raise DeclarationError(
                    unit.path, f"'{name}' is provided by {unit.name} and by {other.name} ({other.path})"
                )
            provided[name] = unit
    return provided


def resolve(units: list[Unit], met_by_host: t.Collection[str]) -> dict[str, list[str]]:
    """Return the units that each unit requires, by name. Refuse unknown requirements and cycles.

    A name that only a dropped bare-metal service provides counts as met: the host meets it.
    """
    provided = providers(units)
    required: dict[str, list[str]] = {}
    for unit in units:
        needed = []
        for name in unit.requirement:
            instance = _instance(name, provided)
            if instance is not None:
                needed.append(instance)
            elif name in provided:
                needed.append(provided[name].name)
                if provided[name].is_template:
                    raise DeclarationError(unit.path, f"requires the template '{name}': require '{name}INSTANCE'")
            elif name in base_units.TARGETS:
                needed.append(base_units.TARGETS[name])
            elif name in base_units.UNITS:
                needed.append(name)
            elif name not in met_by_host:
                known = [item for item in provided if "." not in item] + list(base_units.TARGETS)
                raise DeclarationError(
                    unit.path, f"requires '{name}', which no service provides" + suggestion(name, known)
                )
        required[unit.name] = list(dict.fromkeys(needed))
    _refuse_cycles(required, {unit.name: unit for unit in units})
    return required


def _instance(name: str, provided: dict[str, Unit]) -> str | None:
    """Return the unit's name of an instance (`NAME@INSTANCE`) whose template is provided, and None for others."""
    stem, at, instance = name.partition("@")
    template = provided.get(f"{stem}@")
    if template is None or not at or not instance or name in provided:
        return None
    return name if name.endswith(template.suffix) else name + template.suffix


def _refuse_cycles(required: dict[str, list[str]], units: dict[str, Unit]) -> None:
    done: set[str] = set()
    for start in required:
        trail: list[tuple[str, t.Iterator[str]]] = [(start, iter(required[start]))]
        active = [start]
        while trail:
            name, rest = trail[-1]
            following = next((item for item in rest if item in required and item not in done), None)
            if following is None:
                trail.pop()
                active.pop()
                done.add(name)
            elif following in active:
                circle = " → ".join([*active[active.index(following) :], following])
                raise DeclarationError(units[following].path, f"the services require each other in a circle: {circle}")
            else:
                trail.append((following, iter(required[following])))
                active.append(following)


def _refuse_unknown_starters(units: list[Unit]) -> None:
    """Refuse a unit that is wanted by one that no container has: nothing would start it."""
    names = {unit.name for unit in units} | {name + unit.suffix for unit in units for name in unit.provision}
    known = {*names, *base_units.UNITS, *base_units.ELSEWHERE, base_units.REBOOT_MARK, "default.target"}
    for unit in units:
        for target in unit.wanted_by or ():
            if target not in known and re.sub("@.*(?=[.])", "@", target) not in names:
                advice = unit_starters.advice(target, names)
                raise DeclarationError(
                    unit.path, f"{unit.name} is wanted by '{target}', which no service provides{advice}"
                )


def files(units: list[Unit], context: Context) -> dict[str, t.Any]:
    """Return the files below /etc of the base system and of UNITS: texts, aliases, and links from the targets."""
    result = dict(
        base_units.base_files(context.log, syslog="syslog" in context.types, oom_score_adj=context.oom_score_adj)
    )
    required = resolve(units, context.met_by_host)
    _refuse_unknown_starters(units)
    for unit in units:
        sections = with_order(unit, required[unit.name])
        text = unit.text if unit.text is not None else render(sections, f"{unit.path}.sections")
        result[f"systemd/system/{unit.name}"] = Placed({"content": text}, unit.path)
        if unit.text is not None and required[unit.name]:
            names = " ".join(required[unit.name])
            drop_in = f"[Unit]\nRequires={names}\nAfter={names}\n"
            result[f"systemd/system/{unit.name}.d/requirement.conf"] = {"content": drop_in}
        for name in unit.provision:
            alias = name + unit.suffix
            checks.unit_name(alias, unit.path)
            if alias != unit.name and Unit(alias).is_template == unit.is_template:
                result[f"systemd/system/{alias}"] = {"link": unit.name}
        for path, entry in install_section.links(unit).items():
            if path in result and result[path] != entry:
                raise DeclarationError(unit.path, f"/etc/{path} is already there, by another unit or its alias")
            result[path] = entry
    return result
