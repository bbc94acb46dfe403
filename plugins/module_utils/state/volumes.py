# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The volumes that this host keeps of a container: their directories, made at a start, and removed when that is asked.

Nothing else of the collection removes one (V6).
"""

from __future__ import annotations

import os

from ..launcher.names import is_name
from ..launcher.paths import make_directory, remove_entries
from ..launcher.volumes import DIRECTORY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..launcher.contract import Specification

IMPORTING = DIRECTORY + ".importing"
"""The directory beside it of volumes that an import unpacks, or of those that it has replaced: nobody needs either."""

KEPT = (
    "container %s: its volumes are kept in %s: %s; a container of this name that declares them finds their data, and "
    "remove_volumes: true removes them"
)


def prepare(directory: str, specification: Specification) -> None:
    """Make the directories of the volumes that a container has, as far as they are missing.

    Args:
        directory: the container's on the host.

    Raises:
        OSError: one cannot be made.
    """
    for mount in specification.file_systems:
        if mount.volume is not None:
            make_directory(os.path.join(directory, DIRECTORY), 0o700)
            make_directory(mount.source, 0o700)


def names(directory: str) -> list[str]:
    """Return the names of the volumes that this host has of a container, declared or not.

    Args:
        directory: the container's on the host.
    """
    try:
        found = os.listdir(os.path.join(directory, DIRECTORY))
    except FileNotFoundError:
        return []
    return sorted(filter(is_name, found))


def part_with(name: str, directory: str, asked: bool) -> list[str]:
    """Remove the volumes of a container that was removed, if that was asked. Return what to say of those that are kept.

    Args:
        name: the container's.
        directory: its directory on the host, which goes when nothing is in it.
        asked: whether they are to go, but nothing that is mounted there.

    Raises:
        LauncherError: something is mounted in one of them.
    """
    if asked:
        remove_entries(directory, (DIRECTORY, IMPORTING))
    left = names(directory)
    if left:
        return [KEPT % (name, os.path.join(directory, DIRECTORY), ", ".join(left))]
    for path in (os.path.join(directory, DIRECTORY), directory):
        try:
            os.rmdir(path)
        except OSError:
            pass  # it is not there, or holds what is somebody's
    return []
