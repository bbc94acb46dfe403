# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""systemd units as data: sections that become text, with names that requirements can refer to."""

from __future__ import annotations

import dataclasses
import re
import typing as t

from ..module_utils.state import unit_texts
from . import checks
from .errors import DeclarationError
from .validation import describe

Sections = dict[str, dict[str, t.Any]]

_ESCAPES = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
_KEY = re.compile(r"[A-Za-z][A-Za-z0-9-]*")


@dataclasses.dataclass(frozen=True)
class Unit:
    """A unit of the container.

    `provision`: the names under which services may require it; those beyond the first become aliases.
    `requirement`: names of other services. `wanted_by`: the targets that start it; None for what its
    [Install] says, or that of its kind. `left_to_others`: nothing is said of what starts it, and nothing does.
    `sections`: directives, each a string, number, boolean, or a list of them (one line each). `text` replaces the
    sections when it is given.
    """

    name: str
    sections: Sections = dataclasses.field(default_factory=dict)
    text: str | None = None
    provision: tuple[str, ...] = ()
    requirement: tuple[str, ...] = ()
    wanted_by: tuple[str, ...] | None = None
    path: str = ""
    left_to_others: bool = False

    @property
    def suffix(self) -> str:
        """Return the kind of unit, with its dot."""
        return self.name[self.name.rindex(".") :]

    @property
    def is_template(self) -> bool:
        """Return whether only instances of it run, such as NAME@INSTANCE.service."""
        return unit_texts.is_template(self.name)

    def settings(self, section: str) -> list[tuple[str, str, str]] | None:
        """Return section, key and value of each assignment in a section of the unit; None when it has no such section.

        Values of sections that are declared are taken as they are: who renders them refuses what is wrong.
        """
        if self.text is not None:
            found = [item for item in unit_texts.assignments(self.text) if item[0] == section]
            return [item for item in found if item[1]] if found else None
        declared = self.sections.get(section)
        if not isinstance(declared, dict):
            return None
        return [(section, key, item.strip()) for key, value in declared.items() for item in _as_list(value)]


def _value(value: t.Any, path: str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, str):
        return checks.line(value, path)
    raise DeclarationError(path, "must be a string, a number, a boolean, or a list of them")


def render(sections: Sections, path: str) -> str:
    """Return the text of a unit. Newlines and other control characters in values are refused."""
    parts = []
    for section, directives in sections.items():
        if not re.fullmatch(r"[A-Z][A-Za-z0-9-]*", section) or not isinstance(directives, dict):
            raise DeclarationError(f"{path}.{section}", "is not a section ([Unit], [Service], …) with directives")
        lines = [f"[{section}]", *assignments(directives, f"{path}.{section}")]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def assignments(directives: dict[str, t.Any], path: str) -> list[str]:
    """Return the lines of a section. Raise DeclarationError for a name or a value that systemd does not accept."""
    lines = []
    for key, value in directives.items():
        if not _KEY.fullmatch(key):
            raise DeclarationError(f"{path}.{key}", "is not the name of a directive")
        for item in value if isinstance(value, list) else [value]:
            if item is not None:
                lines.append(f"{key}={_value(item, f'{path}.{key}')}")
    return lines


def quote(word: str) -> str:
    """Return WORD as one argument of ExecStart=: quoted, with `%` and `$` literal, on one line."""
    escaped = _escaped(word).replace("$", "$$")
    return escaped if re.fullmatch(r"[A-Za-z0-9_@./:=,+%$-]+", escaped) else f'"{escaped}"'


def quote_value(text: str) -> str:
    """Return an assignment of Environment=, quoted, with `%` literal (`$` is literal there), on one line."""
    return f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    """Return TEXT as it stands between double quotes: systemd reads the escapes of C, and `%%` as `%`."""
    text = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return re.sub(r"[\x01-\x1f\x7f]", lambda found: _ESCAPES.get(found[0], f"\\x{ord(found[0]):02x}"), text)


def command(value: t.Any, path: str) -> str:
    """Return the ExecStart= of a command. A list is quoted word by word, a string is in systemd's own syntax.

    Raise DeclarationError for anything else.
    """
    if isinstance(value, str):
        checks.line(value, path)
        text = value.lstrip(unit_texts.PREFIXES)
        if not text.startswith("/"):
            raise DeclarationError(path, f"'{value}' must begin with the absolute path of a program")
        return value
    if not isinstance(value, list) or not value:
        what = "an empty list" if value == [] else describe(value)
        raise DeclarationError(path, f"must be a command: a string, or a list of strings, not {what}")
    words = [checks.text(word, f"{path}[{index}]") for index, word in enumerate(value)]
    checks.absolute_path(words[0], f"{path}[0]")
    return " ".join(quote(_without_nul(word, f"{path}[{index}]")) for index, word in enumerate(words))


def assignment(name: str, value: t.Any, path: str) -> str:
    """Return an assignment of Environment=. Refuse what no variable of systemd can hold."""
    checks.environment_name(name, path)
    checks.line(checks.text(value, path).replace("\n", "").replace("\t", ""), path)
    return quote_value(f"{name}={value}")


def _without_nul(word: str, path: str) -> str:
    if "\0" in word:
        raise DeclarationError(path, "holds a NUL, with which an argument ends")
    return word


def program(value: str | list[str]) -> str | None:
    """Return the program that a command runs, or None when it cannot be determined."""
    words = [value] if isinstance(value, list) else unit_texts.command_lines(value)
    first = words[0][0].lstrip("" if isinstance(value, list) else unit_texts.PREFIXES) if words else ""
    return None if not first or set("%$") & set(first) else first


def with_order(unit: Unit, requires: t.Iterable[str]) -> Sections:
    """Return the unit's sections, with a description, and Requires= and After= for the units in REQUIRES."""
    for name, directives in unit.sections.items():
        if not isinstance(directives, dict):
            raise DeclarationError(f"{unit.path}.{name}", "is not a section ([Unit], [Service], …) with directives")
    sections = {name: dict(directives) for name, directives in unit.sections.items()}
    head = {"Description": unit.name}
    head.update(sections.pop("Unit", {}))
    needed = " ".join(requires)
    if needed:
        for key in ("Requires", "After"):
            head[key] = " ".join([*_as_list(head.get(key)), needed])
    return {"Unit": head, **sections}


def _as_list(value: t.Any) -> list[str]:
    return [str(item) for item in (value if isinstance(value, list) else [value]) if item is not None]
