# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The units that a system declares: which there are, what starts them, and what systemd says of their files.

A container's systemd boots with the units of one directory alone, and all that is there comes from the specification.
So what is to run follows from that, without a word of the container's.
"""

from __future__ import annotations

import re

from . import unit_texts
from .unit_texts import instance_for, is_template

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Collection, Iterable, Mapping

    from ..launcher.contract import File
    from .unit_texts import Settings

UNITS_DIRECTORY = "/etc/systemd/system/"
# What systemd-run(1) and `systemctl set-property --runtime` have systemd write. No boot finds anything there, but
# systemd forgets what it does not find again when it is reloaded.
MADE_AT_RUN_TIME = ("/run/systemd/system.control", "/run/systemd/transient")
UNIT_PLACES = ":".join((*MADE_AT_RUN_TIME, UNITS_DIRECTORY[:-1]))
BOOT_TARGET = "default.target"
# What every boot starts, as the distribution's own targets say (bootup(7)).
BASIC_TARGETS = (
    "basic.target",
    "local-fs.target",
    "paths.target",
    "slices.target",
    "sockets.target",
    "swap.target",
    "sysinit.target",
    "timers.target",
)
# What is started on an occasion, some of which a container never has (systemd.special(7)).
OCCASIONS = (
    "ctrl-alt-del.target",
    "emergency.target",
    "exit.target",
    "final.target",
    "halt.target",
    "hibernate.target",
    "hybrid-sleep.target",
    "initrd.target",
    "kexec.target",
    "poweroff.target",
    "reboot.target",
    "rescue.target",
    "shutdown.target",
    "sigpwr.target",
    "sleep.target",
    "suspend-then-hibernate.target",
    "suspend.target",
    "umount.target",
)
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]+\.(?:automount|mount|path|scope|service|slice|socket|swap|target|timer)")
_LINKS = 8  # of units among each other that are followed
_IGNORED = re.compile(r"\bignor(?:ing|ed)\b", re.IGNORECASE)
_UNKNOWN = re.compile(r"Unknown (?:key|lvalue|section)|Support for option ")
# What systemd says of values that it takes nevertheless.
_TAKEN = re.compile(r"\b(?:obsolete|deprecated|legacy|updating|unsafe|not safe|will be removed)\b", re.IGNORECASE)


class DeclaredUnits:
    """The units among the files of a specification.

    Args:
        files: those of the specification, by path.
        read: gives the content of one that is no link.

    Attributes:
        own: names of those that the system brings itself; the others it has from the store.
        templates: names of those among these of which systemd knows instances alone.
        links: the target of each link among the units, by the name of the link.
    """

    def __init__(self, files: Mapping[str, File], read: Callable[[str], bytes]) -> None:
        self.own: list[str] = []
        self.templates: list[str] = []
        self.links: dict[str, str] = {}
        self._read = read
        self._settings: dict[str, Settings] = {}
        self._drop_ins: dict[str, dict[str, str]] = {}  # by their directory and name, the path
        links: list[tuple[str, str]] = []
        for path in sorted(files):
            if not path.startswith(UNITS_DIRECTORY):
                continue
            link = files[path].link
            first, _slash, second = path[len(UNITS_DIRECTORY) :].partition("/")
            wanter, _dot, kind = first.rpartition(".")
            if kind in ("wants", "requires") and _is_unit(second):
                links.append((wanter, instance_for(second, wanter)))
            elif second:
                if kind == "d" and second.endswith(".conf") and "/" not in second and link is None:
                    self._drop_ins.setdefault(wanter, {})[second] = path
            elif link is not None:
                self.links[first] = link
            elif _is_unit(first):
                (self.templates if is_template(first) else self.own).append(first)
        self._aliases: dict[str, str] = {}
        self._stored: list[str] = []
        for first in filter(_is_unit, self.links):
            leads = self.links[first].rpartition("/")[2]
            if leads == first:
                self._stored.append(first)
            elif _is_unit(leads):  # else it is masked
                self._aliases[first] = leads
        self._default = self._aliases.get(BOOT_TARGET, BOOT_TARGET if BOOT_TARGET in self.own + self._stored else "")
        self._wants: dict[str, list[str]] = {}
        for wanter, name in links:
            self._wants.setdefault(self._real(wanter), []).append(self._real(name))

    def names(self) -> list[str]:
        """Return the units whose states decide whether all that was declared runs."""
        known = set(self.own).union(self._wants, *self._wants.values())
        found = self._follow(known | {self._default, *BASIC_TARGETS})
        return sorted(name for name in found if not is_template(name))

    def settings(self, name: str) -> Settings:
        """Return the settings of a unit by its own file and all its drop-ins, in the order in which systemd reads them.

        The store's file of a unit is not among them.
        """
        if name not in self._settings:
            self._settings[name] = [setting for path in self._paths(name) for setting in self._of_file(name, path)]
        return self._settings[name]

    def _of_file(self, name: str, path: str) -> Settings:
        return unit_texts.of_unit(name, self._read(path).decode("utf-8", "replace"))

    def shared_drop_ins(self) -> list[str]:
        """Return the paths of the drop-ins that are read for all units of a type."""
        types = [each for each in self._drop_ins if "." not in each]
        return sorted(path for each in types for path in self._drop_ins[each].values())

    def shared_origin(self, name: str, keys: Collection[str], word: str) -> str:
        """Return the drop-in that other units read as well, and by which a unit has a word in one of these settings.

        It is empty where the unit's own file, or a drop-in of its own, is the last that has it.
        """
        origin = ""
        for path in self._paths(name):
            if any(key in keys and word in value for _section, key, value in self._of_file(name, path)):
                origin = path
        directory = origin[len(UNITS_DIRECTORY) :].rpartition("/")[0]
        is_shared = directory and directory[: -len(".d")] not in (name, unit_texts.template_of(name))
        return origin if is_shared else ""

    def _paths(self, name: str) -> list[str]:
        """Return the files of a unit among those of the specification, in the order in which systemd reads them."""
        paths = []
        for each in (self.followed(name), unit_texts.template_of(name)):
            if each in self.links or each in self.own + self.templates:
                paths = [] if each in self.links else [UNITS_DIRECTORY + each]
                break
        drop_ins: dict[str, str] = {}
        for directory in unit_texts.drop_in_directories(name):
            for file, path in self._drop_ins.get(directory, {}).items():
                drop_ins.setdefault(file, path)
        return paths + [drop_ins[file] for file in sorted(drop_ins)]

    def followed(self, name: str) -> str:
        """Return the unit that a link among the units leads to; the name when it is none, or leads into the store."""
        for _times in range(_LINKS):
            link = self.links.get(name)
            if link is None or ("/" in link and not link.startswith(UNITS_DIRECTORY)):
                break
            name = link.rpartition("/")[2]
        return name

    def wants(self, name: str) -> list[str]:
        """Return the units that links of the system have a unit start."""
        return list(self._wants.get(self._real(name), []))

    def has_drop_ins(self, name: str) -> bool:
        """Return whether the system brings drop-ins that are read for a unit."""
        return any(directory in self._drop_ins for directory in unit_texts.drop_in_directories(name))

    def wanted(self, active: Callable[[str], bool]) -> set[str]:
        """Return the units that are to be active.

        Args:
            active: whether a unit of the store is, which another one of the store may have started.
        """
        starting = {*self._wants, *self._drop_ins.keys() & set(self._stored)}
        stored = [name for name in starting if name not in self.own and active(name)]
        return self._follow([self._default, *BASIC_TARGETS, *stored])

    def left_out(self, wanted: Collection[str], never: Collection[str] = ()) -> dict[str, list[str]]:
        """Return the units that others are to start which nothing starts: by name, those others.

        A unit of which nothing says what starts it may be started by hand, by a message or by another program. What
        it starts is not left out.

        Args:
            wanted: the units that are to be active.
            never: further units that nothing starts.
        """
        starters: dict[str, list[str]] = {}
        for wanter, names in self._wants.items():
            for name in names:
                starters.setdefault(name, []).append(wanter)
        declared = self.own + self.templates
        for wanter in self._drop_ins.keys() - {*declared}:
            for name in unit_texts.dependencies(wanter, self.settings(wanter), (unit_texts.UPHOLDS,)):
                starters.setdefault(self._real(name), []).append(wanter)
        begun = [name for name in [*declared, *self._wants] if name not in starters and self.is_own(name)]
        begun += [name for name in self._stored if not name.endswith(".target")]
        begun += [name for name in self._wants if name.endswith((".slice", ".scope"))]
        for name in declared:
            settings = self.settings(name)
            after = unit_texts.dependencies(name, settings, unit_texts.ON_OCCASION)
            begun += [self._real(other) for other in [*after, unit_texts.triggered(name, settings)] if other]
        possible = self._follow([*OCCASIONS, *(name for name in begun if name not in never)])
        return {
            name: sorted(starters[name])
            for name in sorted(starters)
            if self.is_own(name) and name not in wanted and name not in possible
        }

    def is_own(self, name: str) -> bool:
        """Return whether the system brings a unit itself, or the template of that."""
        return name in self.own or unit_texts.template_of(name) in self.templates

    def _real(self, name: str) -> str:
        """Return the name of the unit that a name stands for."""
        return self._aliases.get(name, name)

    def _follow(self, names: Iterable[str]) -> set[str]:
        """Return units, and all that are started with them."""
        found: set[str] = set()
        pending = [*names]
        while pending:
            name = pending.pop()
            if name and name not in found:
                found.add(name)
                pending += self._wants.get(name, [])
                pending += self._pulled(name)
        return found

    def _pulled(self, name: str) -> list[str]:
        """Return the units that a unit's file and its drop-ins start with it, as far as there are such units."""
        pulled = unit_texts.dependencies(name, self.settings(name), unit_texts.PULLS)
        found = [self._real(word) for word in pulled]
        return [word for word in found if self.is_own(word) or word in self._stored or word in self._wants]


def _is_unit(name: str) -> bool:
    return _UNIT.fullmatch(name) is not None


def ignored_values(lines: list[str]) -> list[str]:
    """Return what systemd says of values in the files of units that it cannot read, and so ignores."""
    return [line for line in _ignored(lines) if not _UNKNOWN.search(line)]


def ignored_names(lines: list[str]) -> list[str]:
    """Return what systemd says of directives and sections in the files of units that it does not know."""
    return [line for line in _ignored(lines) if _UNKNOWN.search(line)]


def unit_of_file(line: str) -> str:
    """Return the unit whose file or drop-in a line of systemd's is about."""
    name = _in_file(line)[0][len(UNITS_DIRECTORY) :].partition("/")[0]
    return name[:-2] if name.endswith(".d") else name


def _ignored(lines: list[str]) -> list[str]:
    """Return the lines about a place in the declared files: not every one has a word such as `ignoring`."""
    found = []
    for line in dict.fromkeys(lines):
        file, number, said = _in_file(line) if line.startswith(UNITS_DIRECTORY) else ("", "", "")
        if file and (_IGNORED.search(line) or (number and not _TAKEN.search(said))):
            found.append(line)
    return found


def _in_file(line: str) -> tuple[str, str, str]:
    """Return the file, the number of the line, and what is said of it (`/path:7: said`); nothing for another line.

    Such a line may be a container's word, of any length: no expression that goes back and forth in it reads it.
    """
    place, _colon, said = line.partition(": ")
    file, _colon, number = place.rpartition(":")
    if not (number.isascii() and number.isdigit()):
        file, number = place, ""
    if not said or not file.startswith("/") or file.split() != [file]:
        return "", "", ""
    return file, number, said
