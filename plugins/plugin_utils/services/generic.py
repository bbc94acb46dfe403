# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Types for services that the registry does not know: `simple` adds to any type, `unit` runs a daemon."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from .. import checks, units
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
        checks.environment_name(name, f"{path}.environment")
        if not isinstance(text, str):
            raise DeclarationError(f"{path}.environment.{name}", "must be a string; quote it")
        checks.line(text, f"{path}.environment.{name}")
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
    for target in value["wanted_by"] or ():
        checks.unit_name(target, f"{path}.wanted_by")
    for index, program in enumerate(value["programs"]):
        checks.absolute_path(program, f"{path}.programs[{index}]")


def _unit_units(value: t.Any, context: Context) -> list[Unit]:
    stem = value["name"].removesuffix(".service")
    result: list[Unit] = []
    started_by_other = value["timer"] is not None or value["socket"] is not None
    wanted = value["wanted_by"] if value["wanted_by"] is not None else ([] if started_by_other else None)
    wanted_by = tuple(["multi-user.target"] if wanted is None else wanted)
    names = tuple(value["provision"]) or (stem,)
    common: dict[str, t.Any] = {
        "name": f"{stem}.service",
        "provision": names,
        "requirement": tuple(value["requirement"]),
        "wanted_by": wanted_by,
    }
    description = value["description"] or stem
    if value["text"] is not None:
        result.append(Unit(text=value["text"], **common))
    elif value["sections"] is not None:
        result.append(Unit(sections=value["sections"], **common))
    elif value["command"] is not None:
        service: dict[str, t.Any] = {"Type": "oneshot"} if value["timer"] is not None else {"Restart": "on-failure"}
        if value["environment"]:
            service["Environment"] = [units.quote_value(f"{k}={v}") for k, v in value["environment"].items()]
        service["ExecStart"] = units.command(value["command"], "command")
        service.update(value["service"])
        head = {"Description": description, **value["unit"]}
        result.append(Unit(sections={"Unit": head, "Service": service}, **common))
    for kind, section, target in (("timer", "Timer", "timers.target"), ("socket", "Socket", "sockets.target")):
        if value[kind] is not None:
            head = {"Description": f"{description} ({kind})"}
            sections = {"Unit": head, section: value[kind]}
            result.append(Unit(f"{stem}.{kind}", sections, wanted_by=(target,)))
    for name, form in value["units"].items():
        content = {"text": form} if isinstance(form, str) else {"sections": form}
        starter = {"timer": ["timers.target"], "socket": ["sockets.target"]}.get(name.rsplit(".", 1)[1], [])
        if not result and not starter:
            starter = ["multi-user.target"]
        mapping = {"name": name, "wanted_by": starter, **content}
        if not result:
            mapping.update(provision=[*value["provision"]], requirement=[*value["requirement"]])
        result.append(unit_from_mapping(mapping, ""))
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
