# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The units that a system declares: which there are, what starts them, and what systemd says of their files.

A container's systemd sees the units in one directory alone, and all that is there comes from the specification. So
what is to run follows from that, without a word of the container's.
"""

from __future__ import annotations

import re

from .unit_texts import UPHOLDS, started_after, started_with, triggered

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Collection, Iterable, Mapping

    from ..launcher.contract import File

UNITS_DIRECTORY = "/etc/systemd/system/"
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
_TEMPLATE = re.compile(r"@\.[a-z]+$")
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
    """

    def __init__(self, files: Mapping[str, File], read: Callable[[str], bytes]) -> None:
        self.own: list[str] = []
        self.templates: list[str] = []
        self._aliases: dict[str, str] = {}
        self._stored: list[str] = []
        self._texts: dict[str, str] = {}  # by unit, or by what the drop-ins of a directory are for
        links: list[tuple[str, str]] = []
        for path in sorted(files):
            if not path.startswith(UNITS_DIRECTORY):
                continue
            link = files[path].link
            first, _slash, second = path[len(UNITS_DIRECTORY) :].partition("/")
            wanter, _dot, kind = first.rpartition(".")
            if kind in ("wants", "requires") and _is_unit(second):
                links.append((wanter, _instance(second, wanter)))
            elif second and (kind != "d" or not second.endswith(".conf")):
                continue
            elif link is None:
                if not second and _is_unit(first):
                    (self.templates if _TEMPLATE.search(first) else self.own).append(first)
                name = wanter if second else first
                said = self._texts.get(name, "")
                self._texts[name] = "%s\n%s\n" % (said, read(path).decode("utf-8", "replace"))
            elif not second and _is_unit(first):
                leads = link.rpartition("/")[2]
                if leads == first:
                    self._stored.append(first)
                else:
                    self._aliases[first] = leads
        self._default = self._aliases.get(BOOT_TARGET, BOOT_TARGET if BOOT_TARGET in self.own + self._stored else "")
        self._wants: dict[str, list[str]] = {}
        for wanter, name in links:
            self._wants.setdefault(self._real(wanter), []).append(self._real(name))

    def names(self) -> list[str]:
        """Return the units whose states decide whether all that was declared runs."""
        known = set(self.own).union(self._wants, *self._wants.values())
        found = self._follow(known | {self._default, *BASIC_TARGETS})
        return sorted(name for name in found if not _TEMPLATE.search(name))

    def wanted(self, active: Callable[[str], bool]) -> set[str]:
        """Return the units that are to be active.

        Args:
            active: whether a unit of the store is, which another one of the store may have started.
        """
        starting = {*self._wants, *self._texts.keys() & set(self._stored)}
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
        for wanter in self._texts.keys() - {*declared}:  # of which there are drop-ins alone
            for name in started_with(self._texts[wanter], (UPHOLDS,)):
                starters.setdefault(self._real(name), []).append(wanter)
        begun = [name for name in [*declared, *self._wants] if name not in starters and self.is_own(name)]
        begun += [name for name in self._stored if not name.endswith(".target")]
        begun += [name for name in self._wants if name.endswith((".slice", ".scope"))]
        for name in declared:
            text = self._texts[name]
            begun += [self._real(other) for other in started_after(text) + triggered(name, text)]
        possible = self._follow([*OCCASIONS, *(name for name in begun if name not in never)])
        return {
            name: sorted(starters[name])
            for name in sorted(starters)
            if self.is_own(name) and name not in wanted and name not in possible
        }

    def is_own(self, name: str) -> bool:
        """Return whether the system brings a unit itself, or the template of that."""
        return name in self.own or _template(name) in self.templates

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
        stem, _dot, kind = name.rpartition(".")
        prefixes = [stem[: found.end()] + "." + kind for found in re.finditer("-", stem)]
        before, _at, instance = stem.partition("@")
        means = {"i": instance, "I": instance, "p": before, "P": before, "n": name, "N": stem}
        result = []
        for place in dict.fromkeys([name, _template(name), *prefixes, kind]):
            for word in started_with(self._texts.get(place, "")):
                word = re.sub("%(.)", lambda found: means.get(found.group(1), found.group()), word)
                word = self._real(_instance(word, before + "." + kind))
                if self.is_own(word) or word in self._stored or word in self._wants:
                    result.append(word)
        return result


def _template(name: str) -> str:
    return re.sub("@.*(?=[.])", "@", name)


def _is_unit(name: str) -> bool:
    return _UNIT.fullmatch(name) is not None


def _instance(name: str, wanter: str) -> str:
    """Return the unit that a link among the wants of another starts: of a template, the instance named for that."""
    return _TEMPLATE.sub(lambda found: "@%s%s" % (wanter.rpartition(".")[0], found.group()[1:]), name)


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
