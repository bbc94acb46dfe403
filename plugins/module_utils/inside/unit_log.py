# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The reader of systemd's early log in a container, which finds the lines about each unit.

The log is the container's own word. So this host bounds it itself, whatever reads it inside, and goes through it once:
the time that this takes grows with the length of the log, and not with the number of units, or of lines about each.
"""

from __future__ import annotations

import re

from ..state.declared_units import ignored_values, unit_of_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Container

EARLY_LIMIT = 65536  # characters of the log, its end
LINE_LIMIT = 2048  # characters of a line: systemd writes no longer one (LINE_MAX)
UNIT_NAME_LIMIT = 255  # characters of a unit's name (UNIT_NAME_MAX)

_NAME = re.compile(r"[A-Za-z0-9:_.\\@-]+")
# What may follow a name in such a word, as in `a.service: Failed`.
_FOLLOWING = re.compile(r"[:.\\]|$")


class UnitLog:
    """The lines of systemd's in a log, each once.

    Args:
        text: as PID 1 writes to the kernel's log (`<28>systemd[1]: …`).
    """

    def __init__(self, text: str) -> None:
        lines = [line[:LINE_LIMIT] for line in text[-EARLY_LIMIT:].split("\n")]
        lines = [line.partition(">")[2] if line[:1] == "<" else line for line in lines]
        said = [line.partition(": ")[2] for line in lines if line.startswith("systemd[1]: ")]
        self._lines = list(dict.fromkeys(said))
        self._ignored: dict[str, list[str]] = {}
        for line in ignored_values(self._lines):
            self._ignored.setdefault(unit_of_file(line), []).append(line)

    def ignored(self, name: str) -> list[str]:
        """Return the lines about values that systemd ignores in the file of a unit, or of its template, or drop-ins."""
        return [line for each in _files_of(name) for line in self._ignored.get(each, [])]

    def others_with_ignored(self, names: list[str]) -> list[str]:
        """Return the units that have such values and are not among those named, nor a template of one, sorted."""
        return sorted(self._ignored.keys() - {each for name in names for each in _files_of(name)})

    def naming(self, names: Container[str]) -> dict[str, list[str]]:
        """Return the lines that name one of these units, by unit."""
        found: dict[str, list[str]] = {}
        for line in self._lines:
            named = {name for word in _NAME.findall(line) for name in _names_in(word) if name in names}
            for name in named:
                found.setdefault(name, []).append(line)
        return found


def _files_of(name: str) -> tuple[str, ...]:
    """Return the names of the files of a unit: its own, and that of its template."""
    before, at, instance = name.partition("@")
    _instance, dot, kind = instance.rpartition(".")
    template = before + at + dot + kind
    return (name, template) if at and dot and template != name else (name,)


def _names_in(word: str) -> list[str]:
    """Return what a word may name: its beginnings of a name's length, up to what may follow a name."""
    return [word[: found.start()] for found in _FOLLOWING.finditer(word[: UNIT_NAME_LIMIT + 1])]
