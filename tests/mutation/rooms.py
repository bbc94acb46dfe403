# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which modules are tried, by rooms, and which are not: what `rooms.toml` says."""

from __future__ import annotations

import pathlib
import tomllib
import typing as t

NOT_PURE = "not_pure"
"""The key of the modules that are not tried."""

_CONFIGURED: dict[str, t.Any] = tomllib.loads(pathlib.Path(__file__).with_name("rooms.toml").read_text("utf-8"))
_ROOMS: dict[str, dict[str, t.Any]] = {name: entry for name, entry in _CONFIGURED.items() if name != NOT_PURE}


class RoomError(Exception):
    """`rooms.toml` and the tree do not agree; a line for each fault."""


def least_scores() -> dict[str, int]:
    """Return the score that each room must have, in percent."""
    return {name: entry["least"] for name, entry in _ROOMS.items()}


def modules_of_rooms(tree: pathlib.Path) -> dict[str, list[str]]:
    """Return the modules of each room, as paths below TREE; a module belongs to the first that names it.

    Raises:
        RoomError: a module is in no room and not named as one that is not pure, or a pattern names none.
    """
    reasons = {entry["reason"]: entry for entry in _CONFIGURED[NOT_PURE]}
    patterns = [(name, pattern) for name, entry in {**_ROOMS, **reasons}.items() for pattern in entry["modules"]]
    found: dict[str, list[str]] = {name: [] for name in _ROOMS}
    used = set()
    faults = []
    for path in sorted((tree / "plugins").rglob("*.py")):
        module = path.relative_to(tree)
        first = next(((name, pattern) for name, pattern in patterns if module.match(pattern)), None)
        if first is None:
            faults.append(f"{module}: in no room, and not named as one that is not pure")
            continue
        used.add(first)
        if first[0] in found:
            found[first[0]].append(str(module))
    faults += [
        f"{name}: no module is named by {pattern!r}" for name, pattern in patterns if (name, pattern) not in used
    ]
    if faults:
        raise RoomError("\n".join(f"rooms.toml: {fault}" for fault in faults))
    return found
