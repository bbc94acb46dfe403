# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The units that a container's health names: does its system have them?

systemd inside boots with the units of one directory alone, and all that is there comes from the system. So what is
missing is known before a start, on the controller and on the host alike.
"""

from __future__ import annotations

import re
from typing import Collection, Mapping

from ..state.declared_units import MADE_AT_RUN_TIME, UNITS_DIRECTORY
from .unit_settings import FROM_FILES, is_there

UNIT_PATH, GENERATORS = "SYSTEMD_UNIT_PATH", "SYSTEMD_GENERATOR_PATH"
BRINGS_UNITS = "etc/systemd"
"""A script in which this stands may make units itself."""

_TYPED = re.compile(r".*[.](automount|device|mount|path|scope|service|slice|socket|swap|target|timer)")
_PATTERN = re.compile(r"[*?\[/]")


def missing_units(
    units: Collection[str], files: Collection[str], environment: Mapping[str, str], boot: str
) -> list[tuple[int, str]]:
    """Return the places among UNITS of those that the system does not have, each with what is to be said of it.

    :param files: the paths of the system's files.
    :param environment: that of the container's systemd.
    :param boot: the text of the script that prepares the root, or of the parts that a declaration adds to it.
    """
    generators = (environment.get(GENERATORS) or "/nosuch") + "/"
    places = [path for path in environment.get(UNIT_PATH, "").split(":") if path not in MADE_AT_RUN_TIME]
    if places != [UNITS_DIRECTORY[:-1]] or BRINGS_UNITS in boot:
        return []  # it may have units from elsewhere
    if any(path.startswith(generators) for path in files):
        return []
    found = []
    for index, unit in enumerate(units):
        name = unit if _TYPED.fullmatch(unit) else f"{unit}.service"  # as systemctl(1) reads it
        if not _PATTERN.search(unit) and not is_there(name, files):
            found.append((index, _said(name, files)))
    return found


def _said(name: str, files: Collection[str]) -> str:
    import difflib  # for this error alone

    paths = [path[len(UNITS_DIRECTORY) :] for path in files if path.startswith(UNITS_DIRECTORY)]
    units = sorted(path for path in paths if path.rpartition(".")[2] in FROM_FILES and "/" not in path)
    near = difflib.get_close_matches(name, units, n=1)
    meant = f"; did you mean {near[0]!r}?" if near else "."
    return (
        f"the container has no unit {name!r}{meant} Correct the name, or declare the service that brings it. "
        "For a unit that is made at run time use health.commands"
    )
