# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The last step of a restore: fresh copies of a snapshot's volumes take the places of the volumes.

Each volume is exchanged at once, but not all at the same moment. So the step is noted before it begins, and whoever
comes next finishes it: the next run for a snapshot, or a start, which has the container run with no mixture. What a
volume was stays until all have been exchanged.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from ..launcher import data, kinds
from ..launcher.errors import LauncherError
from ..launcher.kinds import ContractError, ContractRecord
from ..launcher.paths import make_directory, read_text, sync_directory, write_atomically
from ..launcher.volumes import RESTORING, VOLUMES
from .renaming import put_in_place

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

NOTE = "restore.json"  # in that: what is being done
FINISHED = ".gone-restored-%d"
DAMAGED = (
    "%s: is damaged: %s; the restore of a snapshot was interrupted, and cannot be finished: move that directory away"
)


class Restore(ContractRecord):
    """A restore that is not finished.

    Attributes:
        snapshot: which one.
        restart: whether the container ran before, and is to run again.
        ready: whether the container has stopped, so that the volumes are to be exchanged.
        volumes: the number of the inode of each fresh copy, by the name of the volume.
    """

    snapshot: str
    restart: bool
    ready: bool
    volumes: dict[str, int]

    KINDS = {
        "snapshot": kinds.text,
        "restart": kinds.boolean,
        "ready": kinds.boolean,
        "volumes": kinds.mapping_of(kinds.text, kinds.integer(0, "is no inode's number")),
    }


def note(snapshots: str, restore: Restore) -> None:
    """Note what is being done, durably.

    Args:
        snapshots: path of the directory of the container's snapshots.
    """
    _note(os.path.join(snapshots, RESTORING), restore)


def turn_into(snapshots: str, restore: Restore) -> None:
    """Turn a snapshot into a restore of it, which needs no copy. There is no snapshot of this name any more then.

    Args:
        snapshots: path of the directory of the container's snapshots, in which nothing is being restored.
        restore: with the numbers of the inodes in the snapshot.
    """
    path = Path(snapshots, restore.snapshot)
    _note(str(path), restore)
    path.rename(os.path.join(snapshots, RESTORING))
    sync_directory(snapshots)


def _note(directory: str, restore: Restore) -> None:
    text = data.format_nested(restore.write()) + "\n"
    write_atomically(os.path.join(directory, NOTE), text, durable=True)


def noted(snapshots: str) -> Restore | None:
    """Return the restore that was not finished; None where there is none, or nothing of it was noted.

    Raises:
        LauncherError: the note is damaged.
    """
    path = os.path.join(snapshots, RESTORING, NOTE)
    text = read_text(path)
    if not text:
        return None
    try:
        return Restore.read(data.parse(text, path))
    except (ValueError, ContractError) as error:
        raise LauncherError(DAMAGED % (path, error)) from error


def finish(directory: str, snapshots: str, before: Callable[[str], None] = lambda volume: None) -> None:
    """Exchange the volumes of a restore that is ready, as far as they are not. Do nothing for any other.

    The container does not run, and the caller holds its lock.

    Args:
        directory: the container's on the host.
        snapshots: of that, the directory of its snapshots.
        before: called before each volume.
    """
    restore = noted(snapshots)
    if restore is None or not restore.ready:
        return
    aside = os.path.join(snapshots, RESTORING)
    volumes = os.path.join(directory, VOLUMES)
    make_directory(volumes, 0o700)
    for name, inode in sorted(restore.volumes.items()):
        before(name)
        new, place = os.path.join(aside, VOLUMES, name), os.path.join(volumes, name)
        if _inode_of(place) != inode:
            if _inode_of(new) != inode:
                raise LauncherError(DAMAGED % (aside, "the fresh copy of the volume %s is not there" % name))
            put_in_place(Path(new), Path(place))
            sync_directory(volumes)
            sync_directory(os.path.dirname(new))
    Path(aside).rename(os.path.join(snapshots, FINISHED % time.time_ns()))
    sync_directory(snapshots)


def _inode_of(path: str) -> int:
    try:
        return os.lstat(path).st_ino
    except FileNotFoundError:
        return 0
