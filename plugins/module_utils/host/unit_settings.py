# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The units that a system starts, as their texts say (systemd.unit(5)): their settings, drop-ins and instances.

A container's systemd sees the units in one directory alone, and all that is there comes from the specification.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Callable, Collection, NamedTuple

from ..state.declared_units import UNITS_DIRECTORY, DeclaredUnits

if TYPE_CHECKING:
    from ..launcher.contract import File, Specification

    Read = Callable[[str], bytes]
    Settings = list[tuple[str, str]]

STARTS = ("ExecStart", "ExecStartPre", "ExecStartPost")
PULLS = ("Requires", "BindsTo", "Wants", "Upholds")
BINDS, NEEDS = ("BindsTo",), ("Requires", "Requisite")
"""Dependencies without which a unit does not run, and those without which only the boot starts it."""

ACTIVATES = {"socket": "Service", "timer": "Unit", "path": "Unit"}
"""The types of units that start another one, with the setting that names it."""

FROM_FILES = ("service", "socket", "target", "timer", "path")
"""The types of units that are there only when a file is."""

OTHERWISE = re.compile(
    r"(Condition|Assert)\w+|Root(Directory|Image)|Bind(ReadOnly)?Paths|TemporaryFileSystem|(Mount|Extension)Images"
    r"|ExtensionDirectories"
)
"""Directives with which a unit may not run, or its program may be another file than the one that is seen here."""

_INSTANCE = re.compile(r"@(?P<instance>.*)(?=[.][a-z]+$)")
_WORD = re.compile(r"\s*(?:\"(?P<double>[^\"]*)\"|'(?P<single>[^']*)'|(?P<plain>\S+))(?=\s|$)")
_SPECIFIER = re.compile("%(.?)")


class Command(NamedTuple):
    """The program of a unit: the path or the name that is run, and whether it may fail."""

    program: str
    may_fail: bool


class UnitSettings:
    """The units among the files of a specification.

    :param read: gives the content of a file of the system.
    :param stored: gives the content of a unit of the store, by its path; empty when it is not there.
    """

    def __init__(self, specification: Specification, read: Read, stored: Read = lambda path: b"") -> None:
        self.files = specification.files
        self.declared = DeclaredUnits(self.files, read)
        self.read = read
        self.stored = stored
        self._settings: dict[str, Settings] = {}

    def started(self) -> list[str]:
        """Return the units that the boot starts, or what the boot starts may start later, sorted."""
        found: set[str] = set()
        pending = [*self.declared.wanted(lambda name: True), *self._triggers()]
        while pending:
            name = pending.pop()
            if name and name not in found:
                found.add(name)
                pending += [other for key in PULLS for other in self.named(name, key)] + self.triggered(name)
        return sorted(found)

    def _triggers(self) -> list[str]:
        names = [path[len(UNITS_DIRECTORY) :] for path in self.files if path.startswith(UNITS_DIRECTORY)]
        return [name for name in names if "/" not in name and name.rpartition(".")[2] in ACTIVATES and "@." not in name]

    def triggered(self, name: str) -> list[str]:
        """Return the unit that a socket, a timer or a path starts; a list of one, or none."""
        stem, _dot, kind = name.rpartition(".")
        if kind not in ACTIVATES:
            return []
        settings = dict(self.settings(name, stored=True))
        other = settings.get(ACTIVATES[kind])
        if kind == "socket" and settings.get("Accept", "").lower() in ("1", "yes", "y", "true", "t", "on"):
            return [f"{stem.partition('@')[0]}@.service"]
        expanded = _expanded(other, name) if other else f"{stem}.service"
        return [expanded] if expanded else []

    def is_there(self, name: str) -> bool:
        """Return whether systemd finds a unit, or needs no file for it."""
        return is_there(name, self.files)

    def is_own(self, name: str) -> bool:
        """Return whether the system brings a unit itself, or a drop-in for it."""
        return self.declared.is_own(name) or bool(self._drop_ins(name))

    def is_instance(self, name: str) -> bool:
        """Return whether a unit is an instance of a template."""
        return _INSTANCE.search(name) is not None

    def instances(self, name: str, among: list[str]) -> list[str]:
        """Return the units that have the same template as an instance."""
        return [other for other in among if self.is_instance(other) and _template(other) == _template(name)]

    def named(self, name: str, key: str) -> list[str]:
        """Return the units that a setting of a unit names, each with its instance."""
        words = [word for other, value in self.settings(name) if other == key for word in value.split()]
        prefix = name.rpartition(".")[0].partition("@")[0]
        expanded = [_expanded(word, name) for word in words]
        return [
            _INSTANCE.sub(lambda at: at.group() if at["instance"] else f"@{prefix}", each) for each in expanded if each
        ]

    def is_plain(self, name: str) -> bool:
        """Return whether a unit runs whenever it is started, with the files that are seen here."""
        return not any(OTHERWISE.fullmatch(key) and value for key, value in self.settings(name, stored=True))

    def commands(self, name: str) -> list[Command]:
        """Return the commands without which a unit does not start, as far as its text says them plainly."""
        found: dict[str, list[Command]] = {key: [] for key in STARTS}
        for key, value in self.settings(name):
            if key in found and not value:
                found[key] = []
            elif key in found:
                found[key] += _commands(value, name)
        return list(dict.fromkeys(command for key in STARTS for command in found[key]))

    def programs_of_any(self, name: str) -> list[str]:
        """Return the programs of a unit, or those that all instances of its template have."""
        each = [name, _INSTANCE.sub("@a", name), _INSTANCE.sub("@b", name)]
        found = [{command.program for command in self.commands(unit)} for unit in each]
        return sorted(found[0].intersection(*found[1:]))

    def values(self, name: str, key: str) -> list[str]:
        """Return the words of a setting that takes a list, an empty one of which forgets those before."""
        found: list[str] = []
        for other, value in self.settings(name):
            if other == key:
                found = found + value.split() if value else []
        return [word for word in (_expanded(word, name) for word in found) if word]

    def value(self, name: str, key: str) -> str:
        """Return the last value of a setting; empty when there is none, or it is not known."""
        return _expanded(dict(self.settings(name)).get(key, ""), name) or ""

    def settings(self, name: str, stored: bool = False) -> Settings:
        """Return the settings of a unit in their order, those of a section for its installation left out.

        :param stored: also those that the store's file of this unit has.
        """
        if name not in self._settings:
            self._settings[name] = self._own_settings(name)
        return (_parsed(self._stored_text(name)) if stored else []) + self._settings[name]

    def _own_settings(self, name: str) -> Settings:
        found: Settings = []
        for path in (f"{UNITS_DIRECTORY}{each}" for each in (self._alias_of(name), _template(name))):
            entry = self.files.get(path)
            if entry is not None:
                found += _parsed(self.read(path)) if entry.link is None else []
                break
        for path in self._drop_ins(name):
            found += _parsed(self.read(path))
        return found

    def _alias_of(self, name: str) -> str:
        """Return the unit that a link among the units leads to; the same when it is none, or leads into the store."""
        for _times in range(8):
            link = self._link(f"{UNITS_DIRECTORY}{name}")
            if link is None or ("/" in link and not link.startswith(UNITS_DIRECTORY)):
                break
            name = link.rpartition("/")[2]
        return name

    def _link(self, path: str) -> str | None:
        entry: File | None = self.files.get(path)
        return None if entry is None else entry.link

    def _stored_text(self, name: str) -> bytes:
        for each in (self._alias_of(name), _template(name)):
            link = self._link(f"{UNITS_DIRECTORY}{each}")
            if link is not None and link.startswith("/"):
                return self.stored(link)
        return b""

    def _drop_ins(self, name: str) -> list[str]:
        """Return the drop-ins of a unit, in the order in which systemd reads them."""
        stem, _dot, kind = name.rpartition(".")
        directories = [name, _template(name)]
        parts = stem.partition("@")[0].split("-")
        directories += [f"{'-'.join(parts[:count])}-.{kind}" for count in range(len(parts) - 1, 0, -1)]
        found: dict[str, str] = {}
        for directory in dict.fromkeys([*directories, kind]):
            above = f"{UNITS_DIRECTORY}{directory}.d/"
            for path in self.files:
                rest = path[len(above) :]
                if path.startswith(above) and "/" not in rest and rest.endswith(".conf") and not self._link(path):
                    found.setdefault(rest, path)
        return [found[rest] for rest in sorted(found)]


def is_there(name: str, files: Collection[str]) -> bool:
    """Return whether systemd finds a unit among the paths of a system's files, or needs no file for it."""
    if name.rpartition(".")[2] not in FROM_FILES:
        return True
    return any(f"{UNITS_DIRECTORY}{each}" in files for each in (name, _template(name)))


def _template(name: str) -> str:
    """Return the template of an instance; the name itself of any other unit."""
    return _INSTANCE.sub("@", name)


def _parsed(content: bytes) -> Settings:
    """Return the settings in the text of a unit, in their order; what is no setting is left to systemd."""
    found: Settings = []
    section = pending = ""
    for line in content.decode("utf-8", "replace").split("\n"):
        if line.lstrip()[:1] in ("#", ";"):
            continue
        line = pending + line
        pending = ""
        if line.endswith("\\"):
            pending = line[:-1] + " "
            continue
        text = line.strip()
        if text.startswith("[") and text.endswith("]"):
            section = text[1:-1]
        key, equals, value = text.partition("=")
        if equals and section != "Install" and not section.startswith("X-"):
            found.append((key.strip(), value.strip()))
    return found


def _expanded(text: str, name: str) -> str | None:
    """Return a text with its specifiers (of systemd.unit(5)) expanded, or None when that takes the container's word."""
    stem = name.rpartition(".")[0]
    prefix, _at, instance = stem.partition("@")
    known = {"%": "%", "n": name, "N": stem, "p": prefix, "j": prefix.rpartition("-")[2]}
    if instance:
        known["i"] = instance
    if instance and not set("-\\") & set(instance):
        known["I"] = instance
    if any(found not in known for found in _SPECIFIER.findall(text)):
        return None
    return _SPECIFIER.sub(lambda found: known[found[1]], text)


def _commands(value: str, name: str) -> list[Command]:
    """Return the commands of a line, up to the first that is not known from here."""
    found: list[Command] = []
    first, position = True, 0
    while True:
        match = _WORD.match(value, position)
        if match is None:
            return found
        position = match.end()
        if not first:
            first = match["plain"] == ";"
            continue
        first = False
        word = next(text for text in match.groups() if text is not None)
        program = word.lstrip("@-:+!|")
        path = None if set("\"'$\\") & set(program) else _expanded(program, name)
        if not path:
            return found
        found.append(Command(path, "-" in word[: len(word) - len(program)]))
