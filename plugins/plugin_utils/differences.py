# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The differences between systems that tasks show with `--diff`: each once in a run.

The task that puts a system on a host shows what it changes, and so does the one that switches a container to it, for
the system may be on the host already. The host cannot tell whether the same run has shown that. So the controller notes
which differences each host has shown.
"""

from __future__ import annotations

import hashlib
import json
import typing as t
from pathlib import Path

from ..module_utils.launcher.paths import write_atomically
from .vaulted import HIDDEN

SYSTEMS = "systems"
"""The key by which a host names the two systems of a difference (`state/system_diff`)."""

CHANGED = f"{HIDDEN} (changed)"


def shown_once(directory: str, target: str, found: list[t.Any], noted: bool) -> list[t.Any]:
    """Return the differences in FOUND that the run has not shown yet, without what only this module reads.

    :param directory: the run's own, on the controller.
    :param target: the host that the task is for.
    :param noted: whether they are going to be shown.
    """
    kept = Path(directory) / "unshare-differences"
    notes: set[Path] = set()
    result = []
    for entry in found:
        if not isinstance(entry, dict) or SYSTEMS not in entry:
            result.append(entry)
            continue
        note = kept / hashlib.sha256(f"{target}\0{entry[SYSTEMS]}".encode("utf-8", "replace")).hexdigest()
        if note in notes or not note.exists():
            notes.add(note)
            result.append(_environment_hidden({key: value for key, value in entry.items() if key != SYSTEMS}))
    for note in notes if noted else ():
        kept.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(str(note), "")
    return result


def _environment_hidden(entry: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return a difference in which a variable of the init is hidden on both sides when it is on one.

    What it was in a former system was a value of the vault then, and nobody knows any more.
    """
    if entry.get("after_header") != "settings":
        return entry
    sides = [_settings(entry.get(key)) for key in ("before", "after")]
    both = [_environment(side) for side in sides]
    names = {name for side in both for name, value in side.items() if HIDDEN in str(value)}
    if not names:
        return entry
    for name in names:
        former, new = both
        changed = former.get(name) != new.get(name)
        if name in former:
            former[name] = HIDDEN
        if name in new:
            new[name] = CHANGED if changed else HIDDEN
    before, after = [json.dumps(side, indent=2, sort_keys=True) + "\n" if side else "" for side in sides]
    return {**entry, "before": before, "after": after}


def _settings(text: t.Any) -> dict[str, t.Any]:
    try:
        settings = json.loads(text)
    except (TypeError, ValueError):
        return {}
    return settings if isinstance(settings, dict) else {}


def _environment(settings: dict[str, t.Any]) -> dict[str, t.Any]:
    init = settings.get("init")
    environment = init.get("environment") if isinstance(init, dict) else None
    return environment if isinstance(environment, dict) else {}
