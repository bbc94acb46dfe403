# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Declarations of one run that have one container's name: the second one would replace the first.

The host cannot tell: in check mode it has neither, and a name that was given may stand for a new host name. So the
controller notes which host name each container of each host has in this run.
"""

from __future__ import annotations

import hashlib
import typing as t
from pathlib import Path

from ..module_utils.launcher.paths import write_atomically


def namesake_in_run(directory: str, target: str, name: t.Any, host_name: t.Any) -> str | None:
    """Note the host name of a container of a run; return why it is not the one that this run knows, or None.

    :param directory: the run's own, on the controller.
    :param target: the host that the task is for.
    """
    if not isinstance(name, str) or not isinstance(host_name, str):
        return None  # which is for others to refuse
    kept = Path(directory) / "unshare-names"
    note = kept / hashlib.sha256(f"{target}\0{name}".encode("utf-8", "replace")).hexdigest()
    try:
        known = note.read_text("utf-8")
    except FileNotFoundError:
        kept.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(str(note), host_name)
        return None
    if known.lower() == host_name.lower():
        return None
    return (
        f"this run has two declarations of the container {name!r} on this host, {known!r} and {host_name!r}, and each "
        "would replace the other: the name is a host name up to its first dot, or was given. Set "
        "system_container_name: (in 'containers', the key) to another name for one of them"
    )
