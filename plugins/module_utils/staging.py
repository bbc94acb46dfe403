# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Putting a system on a host: the host and the store are looked at first, then it is written, whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from . import launcher, preflight, store, system_diff
from .distribution import DEBIAN_PACKAGES
from .launcher import main as _launcher_main  # noqa: F401  Ansible sends what is imported: all of the launcher
from .launcher import seccomp
from .system_content import SystemContent
from .systems import Systems
from .target import Layout, TargetError

NO_FILTER = (
    "the system-call filter could not be made, because libseccomp is not on this host; "
    f"the container will run without it. Install the package {DEBIAN_PACKAGES.libseccomp}"
)


class Staged:
    """What became of a system.

    :param content: the system.
    :param path: its directory, or where it would be.
    :param changed: whether it was not there yet.
    :param difference: what changes from the current system, when that was asked for.
    :param warnings: what a person should know.
    """

    def __init__(self, content: SystemContent, path: Path) -> None:
        self.content = content
        self.path = path
        self.changed = not path.is_dir()
        self.difference: list[dict[str, str]] = []
        self.warnings: list[str] = []


def stage(
    system: dict[str, Any],
    boot: str,
    secrets: dict[str, str] | None,
    name: str | None,
    root: Path,
    check: bool,
    diff: bool,
) -> Staged:
    """Have a system on the host below `root`.

    :param system: what the filter `system_files` makes, with the content of secret files in `secrets`.
    :param name: the container's name; None for the one in `system`.
    :param check: whether only to say what would be done; a missing program is a warning then, for it may be one that
        an earlier task would have installed.
    :raises TargetError: when the system, the host or the store stand in the way.
    """
    host = preflight.HostFacts(root)
    content = SystemContent(system, boot, launcher.sources(), host.interpreter, secrets, name)
    preflight.check_host(host, content.specification())
    layout = Layout(root)
    systems = Systems(layout)
    staged = Staged(content, systems.path(content))
    staged.warnings += preflight.warnings(host, content.spec)
    view = store.StoreView(content.spec, system["files"], content.host_files, root)
    try:
        store.check_programs(view, system.get("programs") or [])
    except TargetError as error:
        if not check:
            raise
        staged.warnings.append(str(error))
    if diff and staged.changed:
        before = system_diff.of_directory(layout.current_system(content.name))
        staged.difference = system_diff.differences(before, system_diff.of_content(content))
    if not check:
        try:
            seccomp_filter = seccomp.compile_filter(content.specification())
        except OSError as error:
            raise TargetError(f"libseccomp cannot make the system-call filter: {error}; nothing was changed") from error
        if seccomp_filter is None:
            staged.warnings.append(NO_FILTER)
        systems.write(content, seccomp_filter)
    return staged
