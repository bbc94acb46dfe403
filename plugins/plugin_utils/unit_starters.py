# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What starts the units of a container: a unit that others are to start, none of which is ever started, is refused."""

from __future__ import annotations

import difflib
import typing as t

from ..module_utils.launcher.contract import File
from ..module_utils.state.declared_units import BASIC_TARGETS, UNITS_DIRECTORY, DeclaredUnits
from . import install_section
from .errors import DeclarationError
from .units import Unit

STARTED = (install_section.DEFAULT, *BASIC_TARGETS)
"""The targets that each start of a container reaches."""

_SUFFIX = ".target"
_USUAL = f"; what starts services in a container is {install_section.DEFAULT}"


def advice(name: str, known: t.Iterable[str] = ()) -> str:
    """Return what to write for a starter that starts nothing: the nearest of those that do, else the usual one.

    :param known: further targets that are declared.
    """
    stems = [target.removesuffix(_SUFFIX) for target in (*STARTED, *known) if target.endswith(_SUFFIX)]
    near = difflib.get_close_matches(name.removesuffix(_SUFFIX), stems, n=1, cutoff=0.75)
    if near:
        return f"; did you mean '{near[0]}{_SUFFIX}'?"
    return _USUAL


def refuse_left_out(units: t.Sequence[Unit], files: t.Mapping[str, t.Mapping[str, t.Any]]) -> None:
    """Refuse a unit that others are to start, none of which is ever started in a container.

    :param units: those that are declared.
    :param files: all the files of the container, by path.
    """
    below = {path: entry for path, entry in files.items() if path.startswith(UNITS_DIRECTORY)}
    declared = DeclaredUnits(
        {path: File(link=entry.get("link")) for path, entry in below.items()}, lambda path: _content(below[path])
    )
    targets = {unit.name for unit in units if unit.name.endswith(_SUFFIX)}
    never = {unit.name for unit in units if unit.left_to_others and unit.name in targets}
    left_out = declared.left_out(declared.wanted(lambda _name: False), never)
    there = {path.removeprefix(UNITS_DIRECTORY) for path in below}
    for unit in units:
        for name in left_out:
            if name == unit.name or (unit.is_template and _is_instance(name, unit)):
                _refuse(unit, left_out[name], there, targets)


def refuse_templates(units: t.Sequence[Unit], files: t.Mapping[str, t.Mapping[str, t.Any]], scripts: str) -> None:
    """Refuse a template whose [Install] says what starts it, where it names no instance and no other file does.

    :param units: those that are declared.
    :param files: all the files of the container, by path.
    :param scripts: what runs before the init.
    """
    for unit in units:
        if not unit.is_template or unit.wanted_by is not None or not install_section.says_what_starts(unit):
            continue
        install = install_section.section(unit) or {}
        stem = unit.name.removesuffix(unit.suffix)
        own = UNITS_DIRECTORY + unit.name
        others = (
            text for path, entry in files.items() if path != own for text in (path, str(entry.get("content", "")))
        )
        named = any(stem in text for text in (scripts, *others))
        starts = any(install.get(key) for key in install_section.STARTING)
        is_of_socket = f"{UNITS_DIRECTORY}{stem[:-1]}.socket" in files
        if starts and not any(install.get("DefaultInstance", ())) and not named and not is_of_socket:
            raise DeclarationError(
                unit.path,
                f"'{unit.name}' is a template with [Install], of which only instances run: name one with "
                f"DefaultInstance= there, require one, such as '{stem}NAME', in another service, "
                "or leave [Install] out",
            )


def _is_instance(name: str, template: Unit) -> bool:
    return name.startswith(template.name.removesuffix(template.suffix)) and name.endswith(template.suffix)


def _refuse(unit: Unit, starters: list[str], there: set[str], targets: set[str]) -> None:
    word = "wanted_by" if unit.wanted_by is not None else "[Install]"
    named = " and ".join(f"'{name}'" for name in starters)
    unknown = [name for name in starters if name not in there]
    why = "which no service provides" if unknown else "which nothing in a container starts"
    said = advice(unknown[0], targets) if unknown else _USUAL
    raise DeclarationError(unit.path, f"{unit.name} is started by {named} alone ({word}), {why}{said}")


def _content(entry: t.Mapping[str, t.Any]) -> bytes:
    return str(entry.get("content", "")).encode("utf-8", "surrogateescape") if "encoding" not in entry else b""
