# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The paths of the host that a container writes to, by its specification alone."""

from __future__ import annotations

from . import file_systems, targets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .contract import Mount, Specification

SOCKETS = (".sock", ".socket", "/socket")
"""Suffix of the names of sockets, by custom. Any number of containers may use one."""


def written(specification: Specification) -> dict[str, str]:
    """Return the paths of the host that a container writes to, by the mount points at which it does.

    Of a file system from several paths it is the first. What may be a socket is left out.
    """
    found = {}
    for mount in specification.file_systems:
        paths = paths_written(mount)
        if paths and not paths[0].endswith(SOCKETS):
            found[mount.mount_point] = paths[0]
    return found


def paths_written(mount: Mount) -> list[str]:
    """Return the paths of the host that are written to by a mount."""
    if mount.read_only or mount.source in targets.NETWORK_FILES:
        return []
    if mount.is_bind:
        return [targets.plain_path(mount.source)]
    if mount.type in (*targets.IN_MEMORY, "mqueue"):
        return []
    return file_systems.paths_of(mount.type, mount.source, mount.options)[0]
