# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks of a host that is to keep volumes for a container, and their sizes."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from ..launcher.errors import LauncherError
from ..launcher.paths import STATE_DIRECTORY
from ..launcher.volumes import VOLUMES
from ..state import quotas
from ..state.directory_quota import size_text
from . import id_maps
from .volume_options import GivenSize, GivenSizes

if TYPE_CHECKING:
    from ..launcher.contract import Specification
    from ..state.volume_sizes import VolumeSize
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


NOT_KEPT = "%s: the volume %s cannot be kept to %s here: %s; or say size_may_fail: true"
LEFT_OPEN = "%s: the volume %s is not kept to %s, as size_may_fail allows: %s"
HOLDS_MORE = "%s: the volume %s holds %s, which is more than %s: remove something from it, or declare more"
UNKNOWN_SIZE = "%s: how much the volume %s holds cannot be counted: %s"


class ExaminedSizes(NamedTuple):
    """The findings about the sizes of volumes.

    Attributes:
        problems: what is wrong.
        warnings: what a person should know.
        left_open: the volumes that are not kept to their size, as is allowed.
    """

    problems: list[str]
    warnings: list[str]
    left_open: list[str]


def as_given(sizes: dict[str, VolumeSize]) -> GivenSizes:
    """Return sizes that are kept as if they had been declared."""
    return {name: GivenSize(f"volumes[{name}].size", size) for name, size in sizes.items()}


def examine_sizes(
    directory: str, given: GivenSizes, kept: dict[str, VolumeSize], identity: bool = False, filtered: bool = True
) -> ExaminedSizes:
    """Return which volumes of a container this host cannot keep to their sizes, and which hold more already.

    :param directory: the container's on the host.
    :param given: the sizes that are declared.
    :param kept: those that are kept now: what has one of these was examined before, and may be over it since.
    :param identity: whether root inside is the host's root.
    :param filtered: whether the container has a filter of system calls.
    """
    found = ExaminedSizes([], [], [])
    for name, (place, wanted) in given.items():
        path = os.path.join(directory, VOLUMES, name)
        text = size_text(wanted.size)
        with quotas.opened(path) as quota:
            reason = quotas.refusal(quota, identity, filtered)
            if reason and not wanted.may_fail:
                found.problems.append(NOT_KEPT % (place, name, text, reason))
            elif reason:
                found.warnings.append(LEFT_OPEN % (place, name, text, reason))
                found.left_open.append(name)
            elif os.path.isdir(path) and kept.get(name) != wanted:
                try:
                    used = quota.used(settled=True)
                except (LauncherError, OSError) as error:
                    found.problems.append(UNKNOWN_SIZE % (place, name, error))
                    continue
                if used > wanted.size:
                    found.problems.append(HOLDS_MORE % (place, name, size_text(used), text))
    return found
