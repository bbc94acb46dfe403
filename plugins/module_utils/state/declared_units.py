# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The units that a system declares: which there are, what starts them, and what systemd says of their files.

A container's systemd sees the units in one directory alone, and all that is there comes from the specification. So
what is to run follows from that, without a word of the container's.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Mapping

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
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]+\.(?:automount|mount|path|scope|service|slice|socket|swap|target|timer)")
_TEMPLATE = re.compile(r"@\.[a-z]+$")
_IN_FILE = re.compile(r"(?P<file>/\S+?):(?:(?P<line>\d+):)? (?P<said>.+)")
_IGNORED = re.compile(r"\bignoring\b", re.IGNORECASE)
_UNKNOWN = re.compile(r"Unknown (?:key|lvalue|section)")


class DeclaredUnits:
    """The units among the files of a specification.

    Attributes:
        own: names of those that the system brings itself; the others it has from the store.
        templates: names of those among these of which systemd knows instances alone.
    """

    def __init__(self, files: Mapping[str, File]) -> None:
        self.own: list[str] = []
        self.templates: list[str] = []
        self._wants: dict[str, list[str]] = {}
        self._default = ""
        for path in sorted(files):
            if not path.startswith(UNITS_DIRECTORY):
                continue
            link = files[path].link
            first, _slash, second = path[len(UNITS_DIRECTORY) :].partition("/")
            if first == BOOT_TARGET and not second:
                self._default = (link or first).rpartition("/")[2]
            wanter, _dot, kind = first.rpartition(".")
            if kind in ("wants", "requires") and _is_unit(second):
                self._wants.setdefault(wanter, []).append(_instance(second, wanter))
            elif not second and link is None and _is_unit(first):
                (self.templates if _TEMPLATE.search(first) else self.own).append(first)

    def names(self) -> list[str]:
        """Return the units whose states decide whether all that was declared runs."""
        known = set(self.own).union(self._wants, *self._wants.values())
        return sorted(name for name in known | {self._default, *BASIC_TARGETS} if name and not _TEMPLATE.search(name))

    def wanted(self, active: Callable[[str], bool]) -> set[str]:
        """Return the units that are to be active.

        Args:
            active: whether a unit of the store is, which another one of the store may have started.
        """
        found: set[str] = set()
        pending = [self._default, *BASIC_TARGETS] + [
            name for name in self._wants if name not in self.own and active(name)
        ]
        while pending:
            name = pending.pop()
            if name and name not in found:
                found.add(name)
                pending += self._wants.get(name, [])
        return found

    def is_own(self, name: str) -> bool:
        """Return whether the system brings a unit itself, or the template of that."""
        return name in self.own or re.sub("@.*(?=[.])", "@", name) in self.templates


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


def _ignored(lines: list[str]) -> list[str]:
    found = [line for line in lines if _IN_FILE.fullmatch(line) and _IGNORED.search(line)]
    return [line for line in dict.fromkeys(found) if line.startswith(UNITS_DIRECTORY)]


def lines_on(unit: str, lines: list[str]) -> list[str]:
    """Return the lines of systemd's log in which a unit is named, each once."""
    named = re.compile(r"(?<![A-Za-z0-9:_.\\@-])%s(?![A-Za-z0-9_@-])" % re.escape(unit))
    return [line for line in dict.fromkeys(lines) if named.search(line)]
