# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The settings of the units that a system starts, with those that the store's file of a unit has."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Callable, Collection, NamedTuple

from ..state import unit_texts
from ..state.declared_units import UNITS_DIRECTORY, DeclaredUnits

if TYPE_CHECKING:
    from ..launcher.contract import Specification
    from ..state.unit_texts import Settings

    Read = Callable[[str], bytes]

STARTS = ("ExecStart", "ExecStartPre", "ExecStartPost")
BINDS, NEEDS = ("BindsTo",), ("Requires", "Requisite")
"""Dependencies without which a unit does not run, and those without which only the boot starts it."""

FROM_FILES = ("service", "socket", "target", "timer", "path")
"""The types of units that are there only when a file is."""

OTHERWISE = re.compile(
    r"(Condition|Assert)\w+|Root(Directory|Image)|Bind(ReadOnly)?Paths|TemporaryFileSystem|(Mount|Extension)Images"
    r"|ExtensionDirectories"
)
"""Directives with which a unit may not run, or its program may be another file than the one that is seen here."""


class Command(NamedTuple):
    """The program of a unit: the path or the name that is run, and whether it may fail."""

    program: str
    may_fail: bool


class UnitSettings:
    """The settings of the units among the files of a specification, with the store's where they decide.

    :param read: gives the content of a file of the system.
    :param stored: gives the content of a unit of the store, by its path; empty when it is not there.
    """

    def __init__(self, specification: Specification, read: Read, stored: Read = lambda path: b"") -> None:
        self.files = specification.files
        self.declared = DeclaredUnits(self.files, read)
        self.stored = stored
        self._started: list[str] | None = None

    def started(self) -> list[str]:
        """Return the units that the boot starts, or what the boot starts may start later, sorted."""
        if self._started is None:
            self._started = self._all_started()
        return list(self._started)

    def _all_started(self) -> list[str]:
        found: set[str] = set()
        pending = [*self.declared.wanted(lambda name: True), *self._triggers()]
        while pending:
            name = pending.pop()
            if name and name not in found:
                found.add(name)
                pending += [*self.named(name, unit_texts.PULLS), self.triggered(name)]
        return sorted(found)

    def _triggers(self) -> list[str]:
        names = [*self.declared.own, *self.declared.links]
        return [name for name in names if name.rpartition(".")[2] in unit_texts.TRIGGERS and "@." not in name]

    def triggered(self, name: str) -> str:
        """Return the unit that a socket, a timer or a path starts; empty for other units."""
        return unit_texts.triggered(name, self.settings(name, stored=True))

    def is_there(self, name: str) -> bool:
        """Return whether systemd finds a unit, or needs no file for it."""
        return is_there(name, self.files)

    def is_own(self, name: str) -> bool:
        """Return whether the system brings a unit itself, or a drop-in for it."""
        return self.declared.is_own(name) or self.declared.has_drop_ins(name)

    def called(self, name: str, word: str, *keys: str) -> str:
        """Return what a unit is called in a message: with the drop-in of many units by which it has a word.

        :param keys: the settings that the word is looked for in.
        """
        origin = self.declared.shared_origin(name, keys, word)
        return f"the unit {name} (by {origin})" if origin else f"the unit {name}"

    def instances(self, name: str, among: list[str]) -> list[str]:
        """Return the units that have the same template as an instance."""
        template = unit_texts.template_of(name)
        return [other for other in among if unit_texts.is_instance(other) and unit_texts.template_of(other) == template]

    def named(self, name: str, keys: tuple[str, ...]) -> list[str]:
        """Return the units that settings of a unit name, each with its instance."""
        return unit_texts.dependencies(name, self.settings(name), keys)

    def is_plain(self, name: str) -> bool:
        """Return whether a unit runs whenever it is started, with the files that are seen here."""
        return not any(OTHERWISE.fullmatch(key) and value for _section, key, value in self.settings(name, stored=True))

    def commands(self, name: str) -> list[Command]:
        """Return the commands without which a unit does not start, as far as its text says them plainly."""
        found = self._commands(name)
        return list(dict.fromkeys(command for key in STARTS for command in found[key]))

    def runs_before(self, name: str, program: str) -> bool:
        """Return whether a unit runs another program before one, or starts after a unit that the system brings."""
        found = self._commands(name)
        order = [command.program for key in ("ExecStartPre", *STARTS) for command in found[key]]
        if program in order[1:] and order[0] != program:
            return True
        started = self.started()
        return any(
            other in started and other.endswith(".service") and self.declared.is_own(other)
            for other in self.named(name, ("After",))
        )

    def _commands(self, name: str) -> dict[str, list[Command]]:
        found: dict[str, list[Command]] = {key: [] for key in STARTS}
        for _section, key, value in self.settings(name):
            if key in found and not value:
                found[key] = []
            elif key in found:
                found[key] += _commands(value, name)
        return found

    def programs_of_any(self, name: str) -> list[str]:
        """Return the programs of a unit, or those that all instances of its template have."""
        template = unit_texts.template_of(name)
        each = [name, template.replace("@.", "@a."), template.replace("@.", "@b.")]
        found = [{command.program for command in self.commands(unit)} for unit in each]
        return sorted(found[0].intersection(*found[1:]))

    def values(self, name: str, key: str) -> list[str]:
        """Return the words of a setting that takes a list, an empty one of which forgets those before."""
        found = (unit_texts.expanded(word, name) for word in unit_texts.listed(self.settings(name), key))
        return [word for word in found if word]

    def value(self, name: str, key: str) -> str:
        """Return the last value of a setting; empty when there is none, or it is not known."""
        return unit_texts.expanded(unit_texts.last(self.settings(name), key), name) or ""

    def is_true(self, name: str, key: str) -> bool:
        """Return whether a setting is true."""
        return unit_texts.is_true(self.settings(name), key)

    def is_false(self, name: str, key: str) -> bool:
        """Return whether a setting is said to be false."""
        return unit_texts.last(self.settings(name), key).lower() in unit_texts.NO

    def settings(self, name: str, stored: bool = False) -> Settings:
        """Return the settings of a unit, in their order.

        :param stored: also those that the store's file of this unit has.
        """
        own = self.declared.settings(name)
        return self._stored_settings(name) + own if stored else own

    def _stored_settings(self, name: str) -> Settings:
        for each in (self.declared.followed(name), unit_texts.template_of(name)):
            link = self.declared.links.get(each, "")
            if link.startswith("/"):
                return unit_texts.of_unit(name, self.stored(link).decode("utf-8", "replace"))
        return []


def is_there(name: str, files: Collection[str]) -> bool:
    """Return whether systemd finds a unit among the paths of a system's files, or needs no file for it."""
    if name.rpartition(".")[2] not in FROM_FILES:
        return True
    return any(f"{UNITS_DIRECTORY}{each}" in files for each in (name, unit_texts.template_of(name)))


def _commands(value: str, name: str) -> list[Command]:
    """Return the commands of a value, up to the first whose program is not known from here."""
    found: list[Command] = []
    for first, *_arguments in unit_texts.command_lines(value):
        program = first.lstrip(unit_texts.PREFIXES)
        path = None if "$" in program else unit_texts.expanded(program, name)
        if not path:
            break
        found.append(Command(path, "-" in first[: len(first) - len(program)]))
    return found
