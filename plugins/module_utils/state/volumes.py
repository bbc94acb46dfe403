# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The volumes that this host keeps of a container: their directories, made at a start, and removed when that is asked.

Nothing else of the collection removes one (V6). The same holds for the snapshots of volumes, which are beside them.
"""

from __future__ import annotations

import os

from ..launcher import linux
from ..launcher.errors import LauncherError
from ..launcher.names import is_name
from ..launcher.paths import HOLD_FILE, NEW, make_directory, remove_entries
from ..launcher.volumes import RESTORING, SIZES_FILE, SIZING, SNAPSHOTS, VOLUMES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable

    from ..launcher.contract import Specification

IMPORTING = VOLUMES + ".importing"
"""The directory beside it of volumes that an import unpacks, or of those that it has replaced: nobody needs either.

One that was killed leaves it. Whoever has the lock by which runs take turns removes it.
"""

LEFT_BEHIND = (
    "container %s: its volumes are kept in %s: %s; a container of this name that declares them finds their data, and "
    "remove_volumes: true removes them"
)
NOT_REMOVED = (
    "%s is not removed: %s; an import has left it, and nobody needs it: remove it, after chattr -i where that is needed"
)
SNAPSHOTS_LEFT = (
    "container %s: its snapshots are kept in %s: %s; container_snapshot restores or removes one, and remove_volumes: "
    "true removes all"
)


def prepare(directory: str, specification: Specification) -> list[str]:
    """Make the directories of the volumes that a container has, as far as they are missing, and keep to their sizes.

    The container does not run, and the caller holds its lock.

    Args:
        directory: the container's on the host.

    Returns:
        Warnings.

    Raises:
        LauncherError: a restore was interrupted, and cannot be finished; or a size cannot be kept.
        OSError: one cannot be made.
    """
    snapshots = os.path.join(directory, SNAPSHOTS)
    if os.path.lexists(os.path.join(snapshots, RESTORING)):
        from . import restoring  # which hardly any start needs

        restoring.finish(directory, snapshots)
    for mount in specification.file_systems:
        if mount.volume is not None:
            make_directory(os.path.join(directory, VOLUMES), 0o700)
            make_directory(mount.source, 0o700)
    if os.path.lexists(os.path.join(directory, SIZING)):
        remove_entries(directory, (SIZING,))  # of a start that was killed
    if not os.path.exists(os.path.join(directory, SIZES_FILE)):
        return []
    from . import quotas  # which few containers have

    return quotas.enforce(directory, specification)


def volume_names(directory: str) -> list[str]:
    """Return the names of the volumes that this host has of a container, declared or not.

    Args:
        directory: the container's on the host.
    """
    return _names(os.path.join(directory, VOLUMES))


def refuse_mounts(directory: str, names: Iterable[str]) -> None:
    """Refuse to replace volumes of which one is mounted by the host: nothing can take the place of a mount.

    Args:
        directory: the container's on the host.
        names: of volumes that may be there.

    Raises:
        LauncherError: naming the volume.
    """
    for name in names:
        try:
            descriptor = os.open(os.path.join(directory, VOLUMES, name), os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            if linux.is_root_of_mount(descriptor):
                raise LauncherError("volume %s: something is mounted there: unmount it" % name)
        finally:
            os.close(descriptor)


def snapshot_names(directory: str) -> list[str]:
    """Return the names of the snapshots that this host has of a container.

    Args:
        directory: the container's on the host.
    """
    return _names(os.path.join(directory, SNAPSHOTS))


def _names(directory: str) -> list[str]:
    try:
        found = os.listdir(directory)
    except FileNotFoundError:
        return []
    return sorted(filter(is_name, found))


def leftovers(directory: str) -> list[str]:
    """Return the paths of what interrupted runs have left beside a container's volumes, and the next ones remove.

    What a run needs that goes on now looks the same.

    Args:
        directory: the container's on the host.
    """
    found = [os.path.join(directory, name) for name in (IMPORTING, SIZING)]
    snapshots = os.path.join(directory, SNAPSHOTS)
    try:
        names = sorted(os.listdir(snapshots))
    except FileNotFoundError:
        names = []
    found += [os.path.join(snapshots, name) for name in names if name[0] == "." and name != RESTORING]
    return [path for path in found if os.path.lexists(path)]


def clear(directory: str) -> list[str]:
    """Remove what an import that was killed has left. Return warnings.

    The caller holds the lock by which runs take turns.

    Args:
        directory: the container's on the host.
    """
    if not os.path.lexists(os.path.join(directory, IMPORTING)):
        return []
    try:
        remove_entries(directory, (IMPORTING,))
    except (LauncherError, OSError) as error:
        return [NOT_REMOVED % (os.path.join(directory, IMPORTING), error)]
    return []


def said_of_kept(name: str, directory: str) -> list[str]:
    """Return what to say of volumes and snapshots that stay when their container is removed.

    Args:
        name: the container's.
        directory: its directory on the host.
    """
    return [
        text % (name, os.path.join(directory, place), ", ".join(found))
        for text, place, found in (
            (LEFT_BEHIND, VOLUMES, volume_names(directory)),
            (SNAPSHOTS_LEFT, SNAPSHOTS, snapshot_names(directory)),
        )
        if found
    ]


def part_with(name: str, directory: str, asked: bool) -> list[str]:
    """Remove volumes and snapshots of a container that was removed, if that was asked. Return what to say of the kept.

    Args:
        name: the container's.
        directory: its directory on the host, which goes when nothing is in it.
        asked: whether they are to go, but nothing that is mounted there.

    Raises:
        LauncherError: something is mounted in one of them.
    """
    remove_entries(directory, (IMPORTING, *((SNAPSHOTS, VOLUMES, SIZING) if asked else ())))
    left = said_of_kept(name, directory)
    if left:
        return left
    # What an interrupted run left there; and last, when there is nothing more to hold, that it moves.
    remove_entries(directory, (SNAPSHOTS, SIZING, HOLD_FILE + NEW, HOLD_FILE))
    for path in (os.path.join(directory, VOLUMES), directory):
        try:
            os.rmdir(path)
        except OSError:
            pass  # it is not there, or holds what is somebody's
    return []
