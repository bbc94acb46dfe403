# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Types for services that the registry does not know: `simple` adds to any type, `unit` runs a daemon."""

from __future__ import annotations

import dataclasses
import typing as t
from collections.abc import Mapping

from ...module_utils.state import unit_texts
from .. import checks, install_section, units
from ..errors import DeclarationError
from ..service_types import REQUIRED, Context, Contribute, ServiceType, needs
from ..systemd import unit_from_mapping
from ..units import Unit
from ..validation import Spec, describe

_SIMPLE: Spec = {
    "name": {"type": "str"},
    "target": {"type": "str", "required": True},
    "value": {"type": "raw", "required": True},
}
_UNIT: Spec = {
    "name": {"type": "str", "required": True},
    "description": {"type": "str"},
    "command": {"type": "raw"},
    "environment": {"type": "dict", "default": {}},
    "service": {"type": "dict", "default": {}},
    "unit": {"type": "dict", "default": {}},
    "sections": {"type": "dict"},
    "text": {"type": "str"},
    "timer": {"type": "dict"},
    "socket": {"type": "dict"},
    "units": {"type": "dict", "default": {}},
    "provision": {"type": "list", "elements": "str", "default": []},
    "requirement": {"type": "list", "elements": "str", "default": []},
    "wanted_by": {"type": "list", "elements": "str"},
    "packages": {"type": "list", "elements": "str", "default": []},
    "programs": {"type": "list", "elements": "str", "default": []},
}


def _simple_targets(value: t.Any) -> Mapping[str, Contribute]:
    added = value["value"]
    return {value["target"]: lambda _value, _context: added}


def _verify_unit(value: t.Any, path: str) -> None:
    stem = value["name"].removesuffix(".service")
    checks.unit_name(f"{stem}.service", f"{path}.name")
    forms = [key for key in ("command", "sections", "text") if value[key] is not None]
    if len(forms) > 1 or (not forms and not value["units"]):
        raise DeclarationError(path, "needs exactly one of `command`, `sections` and `text` (or `units`)")
    if not forms and (value["timer"] is not None or value["socket"] is not None):
        raise DeclarationError(path, "a timer or a socket needs something to start: `command`, `sections` or `text`")
    if "command" in forms:
        units.command(value["command"], f"{path}.command")
    for name, text in value["environment"].items():
        units.assignment(name, text, f"{path}.environment.{name}")
    for key in ("service", "unit", "timer", "socket"):
        units.assignments(value[key] or {}, f"{path}.{key}")
    if "sections" in forms:
        units.render(value["sections"], f"{path}.sections")
    for name, form in value["units"].items():
        checks.unit_name(name, f"{path}.units")
        if not isinstance(form, (str, dict)):
            raise DeclarationError(f"{path}.units.{name}", f"must be sections or text, not {describe(form)}")
        if isinstance(form, dict):
            units.render(form, f"{path}.units.{name}")
        content: dict[str, t.Any] = {"sections": form} if isinstance(form, dict) else {"text": form}
        install_section.links(Unit(name, **content), f"{path}.units.{name}")
    for target in value["wanted_by"] or ():
        checks.unit_name(target, f"{path}.wanted_by")
    _verify_template(value, path)
    for index, program in enumerate(value["programs"]):
        checks.absolute_path(program, f"{path}.programs[{index}]")


def _verify_template(value: t.Any, path: str) -> None:
    if _stem(value).endswith("@") and not _accepts(value):
        for key in ("timer", "socket"):
            if value[key] is not None:
                way = ", for each connection one with `Accept: true`" if key == "socket" else ""
                said = f"starts a unit, and '{value['name']}' is a template, of which only instances run{way}"
                raise DeclarationError(f"{path}.{key}", said)
    name = f"{_stem(value).removesuffix('@')}@" if _accepts(value) else _stem(value)
    wanted_by = None if value["wanted_by"] is None else tuple(value["wanted_by"])
    install_section.links(
        Unit(f"{name}.service", value["sections"] or {}, value["text"], wanted_by=wanted_by, path=path)
    )


def _stem(value: t.Any) -> str:
    return t.cast(str, value["name"].removesuffix(".service"))


def _accepts(value: t.Any) -> bool:
    """Return whether the socket starts an instance of the service for each connection."""
    socket = Unit(f"{_stem(value)}.socket", {"Socket": value["socket"] or {}})
    return unit_texts.is_true(socket.settings("Socket") or [], "Accept")


def _wanted_by(value: t.Any, first: Unit) -> tuple[str, ...] | None:
    """Return the targets that start the service's first unit; None for what the unit itself says, or its kind."""
    if value["wanted_by"] is not None:
        return tuple(value["wanted_by"])
    started_by_other = value["timer"] is not None or value["socket"] is not None
    return () if started_by_other and not install_section.says_what_starts(first) else None


def _unit_units(value: t.Any, context: Context) -> list[Unit]:
    stem = _stem(value)
    per_connection = _accepts(value)
    if per_connection:
        stem = stem.removesuffix("@")
    result: list[Unit] = []
    names = tuple(value["provision"]) or (stem,)
    common: dict[str, t.Any] = {
        "name": f"{stem}@.service" if per_connection else f"{stem}.service",
        "provision": () if per_connection else names,
        "requirement": tuple(value["requirement"]),
    }
    description = value["description"] or stem
    if value["text"] is not None:
        result.append(Unit(text=value["text"], **common))
    elif value["sections"] is not None:
        result.append(Unit(sections=value["sections"], **common))
    elif value["command"] is not None:
        service: dict[str, t.Any] = {"Type": "oneshot"} if value["timer"] is not None else {"Restart": "on-failure"}
        if per_connection:
            service = {}  # who connects again gets another instance
        if value["environment"]:
            service["Environment"] = [units.assignment(k, v, "environment") for k, v in value["environment"].items()]
        service["ExecStart"] = units.command(value["command"], "command")
        service.update(value["service"])
        head = {"Description": description, **value["unit"]}
        result.append(Unit(sections={"Unit": head, "Service": service}, **common))
    if result:
        result[0] = dataclasses.replace(result[0], wanted_by=_wanted_by(value, result[0]))
    for kind, section in (("timer", "Timer"), ("socket", "Socket")):
        if value[kind] is not None:
            head = {"Description": f"{description} ({kind})"}
            provision = names if per_connection and kind == "socket" else ()
            result.append(Unit(f"{stem}.{kind}", {"Unit": head, section: value[kind]}, provision=provision))
    for name, form in value["units"].items():
        content = {"text": form} if isinstance(form, str) else {"sections": form}
        mapping = {"name": name, **content}
        if not result:
            mapping.update(provision=[*value["provision"]], requirement=[*value["requirement"]])
        unit = unit_from_mapping(mapping, "")
        if result and unit.suffix not in install_section.STARTERS and not install_section.says_what_starts(unit):
            unit = dataclasses.replace(unit, wanted_by=(), left_to_others=True)
        result.append(unit)
    return result


def _unit_programs(value: t.Any, context: Context) -> dict[str, t.Any]:
    programs = list(value["programs"])
    found = units.program(value["command"]) if value["command"] is not None else None
    if found and found not in programs:
        programs.insert(0, found)
    return needs(value["name"], programs, value["packages"])


TYPES = (
    ServiceType(
        "simple",
        "Adds `value` to the service of type `target`.",
        spec=_SIMPLE,
        default=REQUIRED,
        extensions=_simple_targets,
        contributed_at=lambda path, target: f"{path}.value.value",
    ),
    ServiceType(
        "unit",
        "A daemon from a command, from sections, or from the text of a unit; with timers and sockets.",
        spec=_UNIT,
        default=REQUIRED,
        verify=_verify_unit,
        extensions={"systemd": _unit_units, "system": _unit_programs},
    ),
)
