# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The check of a host that is to keep volumes for a container."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from ..launcher.paths import STATE_DIRECTORY
from . import id_maps

if TYPE_CHECKING:
    from ..launcher.contract import Specification
    from .facts import HostFacts

NO_VOLUMES = (
    "volumes: the file system of %s cannot map ids, so that nobody inside could write to a volume there: put it on "
    "ext4, xfs or btrfs, or map a directory of another file system" % STATE_DIRECTORY
)


def refused(host: HostFacts, specification: Specification) -> list[str]:
    """Return why this host cannot keep the volumes of a container."""
    sources = [mount.source for mount in specification.file_systems if mount.volume is not None]
    if not sources:
        return []
    problems = [
        f"volumes: {source} is on this host, and no directory: move it away"
        for source in sources
        if not _is_directory_or_missing(host, source)
    ]
    is_mapped = specification.private_users != "identity" and host.root == host.root.parent
    return problems + ([NO_VOLUMES] if is_mapped and not id_maps.can_keep() else [])


def _is_directory_or_missing(host: HostFacts, path: str) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(host.path(path)).st_mode)
    except OSError:
        return True
