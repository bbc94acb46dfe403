# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Putting a system on a host: the host and the store are looked at first, then it is written, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..host import facts, preflight, store, system_filter
from ..launcher.errors import LauncherError
from ..launcher.specification import read_spec
from ..state import library, system_diff
from ..state.system_content import SystemContent
from ..state.system_damage import damages, summary_of_damages
from ..state.systems import Systems
from ..state.target import Layout, TargetError
from . import main as _library_main  # noqa: F401  Ansible sends what is imported: all of the library


class Staged:
    """What became of a system.

    :param content: the system.
    :param path: its directory, or where it would be.
    :param changed: whether it was not there yet, or was damaged.
    :param difference: what changes from the current system, when that was asked for.
    :param warnings: what a person should know.
    """

    def __init__(self, content: SystemContent, path: Path) -> None:
        self.content = content
        self.path = path
        self.damages = damages(path) if os.path.lexists(path) else []
        self.changed = bool(self.damages) or not os.path.lexists(path)
        self.difference: list[dict[str, str]] = []
        self.warnings: list[str] = []


def refuse_namesake(system: dict[str, Any], name: str | None, root: Path) -> None:
    """Refuse a system whose container's name, made of its host name, is that of a container with another host name.

    :raises TargetError: naming both, and the way out.
    """
    name = name or str(system["name"])
    current = Layout(root).current_system(name)
    try:
        known = read_spec(str(current)).host_name if current is not None else ""
    except (LauncherError, OSError):
        return  # it is damaged, or gone
    new = str((system.get("spec") or {}).get("host_name", ""))
    if not known or known.lower() == new.lower() or known.partition(".")[0].lower() != name:
        return
    raise TargetError(
        f"the container {name!r} of this host is that of {known!r}, and {new!r} would replace it: the name is a host "
        "name up to its first dot. Set system_container_name: to another name where this is another container, "
        f"to {name!r} where it is the same one under a new host name"
    )


def stage(
    system: dict[str, Any],
    boot: str,
    secrets: dict[str, str] | None,
    name: str | None,
    root: Path,
    check: bool,
    diff: bool,
) -> Staged:
    """Have a system on the host below `root`, whole.

    :param system: what the filter `system_files` makes, with the content of secret files in `secrets`.
    :param name: the container's name; None for the one in `system`.
    :param check: whether only to say what would be done; a missing program is a warning then, for it may be one that
        an earlier task would have installed.
    :raises TargetError: when the system, the host or the store stand in the way.
    """
    host = facts.HostFacts(root)
    content = SystemContent(system, boot, library.sources(), host.interpreter, secrets, name)
    preflight.check_host(host, content.specification)
    layout = Layout(root)
    systems = Systems(layout)
    seccomp_filter = system_filter.compiled(content.specification.security)
    staged = Staged(content, systems.path(content, seccomp_filter))
    staged.warnings += preflight.warnings(host, content.specification) + system_filter.warnings(seccomp_filter)
    if staged.damages:
        done = "would be" if check else "was"
        staged.warnings.append(
            f"the system {staged.path} was found damaged, and {done} written anew: "
            f"{summary_of_damages(staged.damages)}. "
            "What has been started from it since it was damaged may need a restart"
        )
    view = store.StoreView(content.specification, root)
    try:
        store.check_programs(view, system.get("programs") or [])
    except TargetError as error:
        if not check:
            raise
        staged.warnings.append(str(error))
    if diff and staged.changed:
        before = system_diff.of_directory(layout.current_system(content.name))
        staged.difference = system_diff.differences(before, system_diff.of_content(content, seccomp_filter))
    if not check:
        systems.write(content, seccomp_filter)
    return staged
