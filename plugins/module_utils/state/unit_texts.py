# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of a unit's file, as systemd reads it (systemd.syntax(7)), and what such a text starts."""

from __future__ import annotations

UPHOLDS = "Upholds"
PULLS = ("Requires", "Wants", "BindsTo", UPHOLDS)
ON_OCCASION = ("OnFailure", "OnSuccess")
TRIGGERS = {".automount": "", ".path": "Unit", ".socket": "Service", ".timer": "Unit"}
"""By the kind of units that start another one: the directive that names that, if it has one."""


def assignments(text: str) -> list[tuple[str, str, str]]:
    """Return section, key and value of each assignment in a text; each section begins with two empty words."""
    found = []
    section = begun = ""
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith(("#", ";")):  # also between the parts of a continued line
            continue
        line = begun + line
        begun = ""
        if line.endswith("\\"):
            begun = line[:-1] + " "
        elif line.startswith("["):
            section = line[1:-1] if line.endswith("]") else ""
            found.append((section, "", ""))
        elif "=" in line:
            key, _equals, value = line.partition("=")
            found.append((section, key.strip(), value.strip()))
    return found


def started_with(text: str, keys: tuple[str, ...] = PULLS) -> list[str]:
    """Return the names of the units that are started with the one of a text, because of these directives."""
    return [word for key in keys for word in _words(text, key)]


def started_after(text: str) -> list[str]:
    """Return the names of the units that are started when the one of a text has ended."""
    return [word for key in ON_OCCASION for word in _words(text, key)]


def triggered(name: str, text: str) -> list[str]:
    """Return the units that a socket, a timer or a path of this name and text starts; none for other units."""
    stem, dot, kind = name.rpartition(".")
    key = TRIGGERS.get(dot + kind)
    if key is None:
        return []
    named = [value for _section, found, value in assignments(text) if key and found == key and value]
    return named[-1:] or [stem + ".service", stem + "@.service", stem + ".mount"]


def _words(text: str, wanted: str) -> list[str]:
    return [
        word
        for section, key, value in assignments(text)
        if (section, key) == ("Unit", wanted)
        for word in value.split()
    ]
