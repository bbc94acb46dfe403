# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of a zone's containers in the files of names of each (N6).

One file for each zone has a line for each address of each container there, `ADDRESS NAME NAME.ZONE`. A container's own
text has what its declaration says, and its own names. Its runtime directory also says in which zones it is, and which
lines there are its own. What it sees is its own text, and the other lines of its zones. A name that its own text has is
its own text's.
"""

from __future__ import annotations

import os

from .paths import NAMES_DIRECTORY, read_text

OWN_LINES = (
    "zones"  # in the runtime directory: `ZONE` for each of its zones, `ZONE LINE` for each line of its own there
)
HOSTS, TOLD = "hosts", "told"  # of a zone: its lines, and which file of them its containers have been told last


def zone_directory(zone: str) -> str:
    """Return the directory that has the files of a zone, by its key."""
    return os.path.join(NAMES_DIRECTORY, zone)


def names_in(text: str) -> set[str]:
    """Return the names, in lower case, that a text of hosts(5) has."""
    found: set[str] = set()
    for line in text.lower().split("\n"):
        found.update(line.partition("#")[0].split()[1:])
    return found


def lines_in(text: str) -> list[str]:
    """Return the lines of a text of these files, with their ends."""
    return [line + "\n" for line in text.split("\n")[:-1]]


class ZoneLines:
    """The lines of zones, each read once for the containers whose files are made."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, set[str]]] = {}

    def seen_by(self, own: str, own_lines: str) -> str:
        """Return what a container sees beside its own text.

        Args:
            own: its own text.
            own_lines: of its zones, as its runtime directory has them.
        """
        known = names_in(own)
        zones: dict[str, str] = {}
        for line in lines_in(own_lines):
            zone, _blank, rest = line.partition(" ")
            zone = zone.rstrip("\n")
            zones[zone] = zones.get(zone, "") + rest
        return "".join(self._others(zone, mine, known) for zone, mine in zones.items())

    def _others(self, zone: str, mine: str, known: set[str]) -> str:
        text, folded = self._lines(zone)
        for line in lines_in(mine):  # of a thousand lines, each for a thousand containers: no loop over them
            text = text[len(line) :] if text.startswith(line) else text.replace("\n" + line, "\n", 1)
        if known & folded <= names_in(mine):
            return text
        return "".join([_without(line, known) for line in lines_in(text)])

    def _lines(self, zone: str) -> tuple[str, set[str]]:
        if zone not in self._known:
            text = read_text(os.path.join(zone_directory(zone), HOSTS))
            self._known[zone] = text, names_in(text)
        return self._known[zone]


def _without(line: str, known: set[str]) -> str:
    """Return a line without the names that are known, in lower case, already; nothing where none is left."""
    address, *names = line.split()
    left = [name for name in names if name.lower() not in known]
    return "%s %s\n" % (address, " ".join(left)) if left else ""
