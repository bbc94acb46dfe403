# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The snapshots of a container on the disk: copies of its volumes, each complete from the moment that it has its name.

One is written aside, and renamed; it gets another name before it is removed. A name that begins with a dot is none of a
snapshot. It is what a run left that was killed, and the next run removes it.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Iterable, Iterator

from ..launcher import linux
from ..launcher.paths import (
    make_directory,
    read_text,
    remove_entries,
    remove_tree,
    sync_directory,
    write_atomically,
)
from ..launcher.volumes import RESTORING, SNAPSHOTS, VOLUMES
from .snapshot_record import SnapshotRecord
from .target import TargetError
from .tree_copy import TreeCopy, without_default_acl
from .volumes import snapshot_names

SNAPSHOT_FILE = "snapshot.json"
MAKING, GONE, LINKS = ".new-", ".gone-", "links"
UNKNOWN = "snapshot: container %r has no snapshot %r; %s"


class Snapshots:
    """The snapshots of one container.

    :param name: the container's.
    :param directory: the container's on the host.
    """

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.directory = directory
        self.path = directory / SNAPSHOTS

    def names(self) -> list[str]:
        """Return the names of all snapshots, also of those that cannot be read."""
        return snapshot_names(str(self.directory))

    def record(self, snapshot: str) -> SnapshotRecord:
        """Return what is noted of a snapshot.

        :raises TargetError: there is none of this name, or it is damaged, or of a later version.
        """
        there = self.names()
        if snapshot not in there:
            known = f"it has {', '.join(there)}" if there else "it has none"
            raise TargetError(UNKNOWN % (self.name, snapshot, known))
        path = str(self.path / snapshot / SNAPSHOT_FILE)
        record = SnapshotRecord.parse(read_text(path), path)
        lost = [volume for volume in record.volumes if not (self.path / snapshot / VOLUMES / volume).is_dir()]
        if lost:
            raise TargetError(f"{self.path / snapshot}: is damaged: it lacks {', '.join(lost)}; remove it")
        return record

    def readable(self) -> tuple[dict[str, SnapshotRecord], list[str]]:
        """Return what is noted of all snapshots that can be read, by their names, and why others cannot be."""
        found, problems = {}, []
        for snapshot in self.names():
            try:
                found[snapshot] = self.record(snapshot)
            except TargetError as error:
                problems.append(str(error))
        return found, problems

    def write_record(self, snapshot: str, record: SnapshotRecord) -> None:
        """Replace what is noted of a snapshot."""
        write_atomically(str(self.path / snapshot / SNAPSHOT_FILE), record.text(), durable=True)

    def inodes(self, snapshot: str) -> dict[str, int]:
        """Return the number of the inode of each volume in a snapshot, by the name of the volume.

        :raises TargetError: there is no such snapshot, or it is damaged.
        """
        return inodes_in(self.path / snapshot, self.record(snapshot).volumes)

    def clear(self) -> None:
        """Remove what was not finished. The caller holds the container's lock, and no restore is to be finished."""
        with contextlib.suppress(FileNotFoundError):
            left = [name for name in os.listdir(self.path) if name.startswith(".")]
            remove_entries(str(self.path), tuple(left))

    def remove(self, snapshot: str) -> None:
        """Remove a snapshot. One that is removed in part is none any more."""
        aside = self.path / (GONE + snapshot)
        (self.path / snapshot).rename(aside)
        sync_directory(str(self.path))
        remove_tree(str(aside))

    def remove_empty(self) -> None:
        """Remove the directory of the snapshots when there is none."""
        with contextlib.suppress(OSError):
            os.rmdir(self.path)

    @contextlib.contextmanager
    def aside(self, name: str) -> Iterator[Path]:
        """Make a directory in which a copy is made, for the length of a block, after which it has another name.

        It is removed when the block fails.
        """
        make_directory(str(self.path), 0o700)
        path = self.path / name
        path.mkdir(mode=0o700)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                without_default_acl(descriptor)
            finally:
                os.close(descriptor)
            yield path
        except BaseException:
            remove_tree(str(path))
            self.remove_empty()
            raise

    def making(self, snapshot: str) -> contextlib.AbstractContextManager[Path]:
        """Return the directory in which a snapshot is made, for the length of a block."""
        return self.aside(MAKING + snapshot)

    def restoring(self) -> contextlib.AbstractContextManager[Path]:
        """Return the directory in which fresh copies of a snapshot's volumes are made, for the length of a block."""
        return self.aside(RESTORING)

    def finish(self, snapshot: str, path: Path, record: SnapshotRecord) -> None:
        """Give a snapshot its name, when all that is in it is on the disk."""
        write_atomically(str(path / SNAPSHOT_FILE), record.text(), durable=True)
        path.rename(self.path / snapshot)
        sync_directory(str(self.path))


def inodes_in(copied: Path, names: Iterable[str]) -> dict[str, int]:
    """Return the number of the inode of each copy of a volume, by the name of the volume."""
    return {volume: (copied / VOLUMES / volume).stat().st_ino for volume in names}


def copy(source: Path, volume: str, target: Path) -> TreeCopy:
    """Copy a volume from one directory into another. Return what was copied."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    links = target / ("." + LINKS)
    links.mkdir(mode=0o700)
    with contextlib.ExitStack() as opened:
        from_, to, beside = (os.open(path, flags) for path in (source, target, links))
        for descriptor in (from_, to, beside):
            opened.callback(os.close, descriptor)
        done = TreeCopy(from_, to, beside, str(source / volume))
        done.run(volume)
    links.rmdir()
    return done


def write_out(directory: Path) -> None:
    """Have all that was written below a directory on the disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        linux.sync_file_system(descriptor)
    finally:
        os.close(descriptor)
