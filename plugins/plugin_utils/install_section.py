# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The starters and other names of a unit: those declared beside it, else its [Install], as `systemctl enable` does."""

from __future__ import annotations

import typing as t

from ..module_utils.state import unit_texts
from . import base_units, checks
from .errors import DeclarationError
from .units import Unit

STARTERS = {".socket": "sockets.target", ".timer": "timers.target", ".path": "paths.target"}
"""The target that starts a unit of which nothing is said, by its kind; that of other kinds is DEFAULT."""

DEFAULT = "multi-user.target"
_LINKS = {"WantedBy": "wants", "RequiredBy": "requires", "UpheldBy": "upholds"}
STARTING = tuple(_LINKS)
"""The directives of [Install] that name what starts a unit."""

_SAME = {"graphical.target": DEFAULT, "default.target": DEFAULT}
"""Targets that a machine comes up to, and a container does as DEFAULT."""


def section(unit: Unit) -> dict[str, list[str]] | None:
    """Return the words of a unit's [Install] by directive, or None when it has no such section."""
    settings = unit.settings("Install")
    if settings is None:
        return None
    return {key: unit_texts.listed(settings, key) for _section, key, _value in settings}


def says_what_starts(unit: Unit) -> bool:
    """Return whether a unit's [Install] names what starts it, or says that nothing does."""
    return not _LINKS.keys().isdisjoint(section(unit) or {})


def links(unit: Unit, place: str = "") -> dict[str, t.Any]:
    """Return the files below /etc by which targets start UNIT, and its aliases. Raise DeclarationError.

    :param place: of the [Install], by default of a unit that is declared by its text or its sections.
    """
    install = section(unit) or {}
    place = place or f"{unit.path}.{'sections.Install' if unit.text is None else 'text'}"
    for key in (*_LINKS, "Alias", "DefaultInstance"):
        for word in install.get(key, []):
            if "%" in word:
                raise DeclarationError(place, f"{key}={word}: specifiers are not replaced here; write the name out")
    instance = install.get("DefaultInstance", [""])[-1:] or [""]
    started = _instance(unit, instance[0])
    result: dict[str, t.Any] = {}
    for name in install.get("Alias", []):
        checks.unit_name(name, place)
        if not name.endswith(unit.suffix) or (Unit(name).is_template and not unit.is_template):
            raise DeclarationError(place, f"Alias={name}: is not of the kind of {unit.name}")
        if name != unit.name:
            result[f"systemd/system/{name}"] = base_units.link(unit.name)
    for kind, targets in _starters(unit, install).items():
        for target in targets:
            target = _SAME.get(checks.unit_name(target, place), target)
            if started is not None and kind == "upholds":
                result[f"systemd/system/{target}.d/upholds-{started}.conf"] = {
                    "content": f"[Unit]\nUpholds={started}\n"  # a systemd before 254 reads no links of this kind
                }
            elif started is not None:
                result[f"systemd/system/{target}.{kind}/{started}"] = base_units.link(f"../{unit.name}")
    return result


def _instance(unit: Unit, default: str) -> str | None:
    """Return the name under which targets start UNIT; None for a template that has no instance."""
    if not unit.is_template:
        return unit.name
    if not default:
        if unit.wanted_by:
            raise DeclarationError(
                f"{unit.path}.wanted_by",
                f"'{unit.name}' is a template, of which only instances run: name one with DefaultInstance= in "
                f"[Install], or require one, such as '{unit.name.replace(unit.suffix, 'NAME')}', in another service",
            )
        return None
    return f"{unit.name[: -len(unit.suffix)]}{default}{unit.suffix}"


def _starters(unit: Unit, install: dict[str, list[str]]) -> dict[str, t.Sequence[str]]:
    if unit.wanted_by is not None:
        return {"wants": unit.wanted_by}
    if says_what_starts(unit):
        return {kind: install.get(key, []) for key, kind in _LINKS.items()}
    return {"wants": (STARTERS.get(unit.suffix, DEFAULT),)}
