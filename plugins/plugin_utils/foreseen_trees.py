# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Trees that a task would make in check mode: a later task of the run finds none on the host, and that is no mistake.

The host cannot tell, so the controller notes them.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import typing as t
from pathlib import Path

from ..module_utils.launcher.paths import write_atomically

ARCHIVES = "\0archives"
"""What stands in place of a host for the archives that would be written on the controller, by their paths."""


def note_foreseen(directory: str, target: str, name: str, content: str | None) -> None:
    """Note that a tree would be made on a host, or, with None for its content, that it would be taken away.

    :param directory: the run's own, on the controller.
    :param target: the host that the task is for.
    :param content: that of the tree; empty where it is not known before.
    """
    place = _place(directory, target)
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(f"{place}.lock", "w", encoding="ascii") as lock:  # tasks of several hosts may be delegated to this one
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = foreseen_trees(directory, target)
        found.pop(name, None)
        if content is not None:
            found[name] = content
        write_atomically(str(place), json.dumps(found))


def foreseen_trees(directory: str, target: str) -> dict[str, str]:
    """Return the trees that would be made on a host, with their contents."""
    try:
        found: t.Any = json.loads(_place(directory, target).read_text("utf-8"))
    except FileNotFoundError:
        return {}
    return {str(name): str(content) for name, content in found.items()}


def _place(directory: str, target: str) -> Path:
    return Path(directory, "unshare-trees", hashlib.sha256(target.encode("utf-8", "replace")).hexdigest())
