# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The mappings that a service does not see, for its unit gives it a view of the file system of its own.

The container has them, and so has whoever enters it. Only the service finds an empty directory, or none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..launcher import targets
from ..state.unit_texts import YES

if TYPE_CHECKING:
    from ..launcher.contract import Specification
    from .unit_settings import UnitSettings

TEMPORARY_DIRECTORIES = ("/tmp", "/var/tmp")
"""The directories that PrivateTmp= replaces (systemd.exec(5))."""

HOMES = ("/home", "/root", "/run/user")
BOUND = ("BindPaths", "BindReadOnlyPaths")
MANAGERS = "systemd-"
"""The beginning of the names of systemd's own services, which need nothing of a mapping."""


def hidden_mappings(specification: Specification, texts: UnitSettings) -> list[str]:
    """Return a warning for each mapping and each cause that hides it from services which the container starts."""
    services = [name for name in texts.started() if name.endswith(".service") and not name.startswith(MANAGERS)]
    found = []
    for mount in specification.file_systems:
        point = targets.plain_path(mount.mount_point)
        if mount.type in targets.IN_MEMORY:
            continue
        causes: dict[str, list[str]] = {}
        for name in services:
            cause = _cause(texts, name, point)
            if cause:
                causes.setdefault(cause, []).append(name)
        for cause, names in causes.items():
            setting = "DynamicUser=yes, which implies PrivateTmp=yes" if cause == "DynamicUser" else f"{cause}=yes"
            # With DynamicUser= systemd takes no other value.
            other = f"BindPaths={point}" if cause == "DynamicUser" else f"{cause}=no"
            found.append(
                f"the mapping to {point} is not seen by {', '.join(names)}, of which the unit has {setting}: use "
                f"another target, or {other} in a drop-in of the unit"
            )
    return found


def _cause(texts: UnitSettings, name: str, point: str) -> str:
    """Return the setting of a service that hides a mount point from it; nothing where it sees that."""
    settings = texts.settings(name, stored=True)
    last = {key: value.lower() for _section, key, value in settings}
    if any(_binds(value, point) for _section, key, value in settings if key in BOUND):
        return ""
    if any(point != above and targets.is_below(point, above) for above in TEMPORARY_DIRECTORIES):
        if last.get("DynamicUser") in YES:
            return "DynamicUser"
        if last.get("PrivateTmp") in (*YES, "disconnected"):
            return "PrivateTmp"
    named = any(point in value for _section, key, value in settings if key not in ("Description", "Documentation"))
    if named and last.get("ProtectHome") in (*YES, "tmpfs") and any(targets.is_below(point, above) for above in HOMES):
        return "ProtectHome"
    return ""


def _binds(value: str, point: str) -> bool:
    """Return whether a value of BindPaths= brings a mount point into the service's view."""
    for word in value.split():
        parts = word.lstrip("-+").split(":")
        place = parts[1] if len(parts) > 1 and parts[1] else parts[0]
        if targets.is_below(point, place.rstrip("/") or "/"):
            return True
    return False
