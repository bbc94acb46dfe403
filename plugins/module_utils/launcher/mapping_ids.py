# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ids of a mapping: which of those on disk is which inside (V2).

Usually each id on disk is the same inside. A mapping that says whose it is has a map of its own, in which the owner of
its source is the declared user inside, in both directions, and so for the group. An id has one counterpart, so two ids
have lost theirs then: the user's number on disk, and the owner's number inside. They get each other. So the ids of the
container stay one to one with as many on disk: whatever another account writes there it finds again, and root inside
has power over the same ids on disk as without.

The exception is 0. On disk it is root of the host, and inside the root of the container, and neither may become
somebody else because another id has taken its place: root's files on disk would belong to an ordinary account inside,
or an ordinary account of the host would own what root inside relies on. So with 0 in the pair nothing else is moved,
and the two ids have no counterpart: on disk one is nobody's inside, which a warning says. What belongs to root on disk
is made another's only where nothing can be written (`refusal`).
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Tuple

    from .contract import Mount
    from .owners import Owners

    Ids = Tuple[int, int]  # of a user and a group
    Extents = List[Tuple[int, int, int]]  # the first on disk, the first inside, how many

NOBODY = 65534
OF_ROOT = (
    "%s: belongs to root on the host, and to nobody else inside that could write to it: give it to an account of the "
    "host (chown -R %d:%d %s), map an empty directory of root's, or leave out `owner` of the mapping"
)
GROUP_STAYS = (
    "%s: its group on the host is root's, which stays root's inside and does not become %d: give it another group on "
    "the host (chgrp %d %s), or say `group: root` in the mapping"
)
CANNOT_MAP = (
    "%s: its file system cannot map ids, so it cannot have the `owner` and `group` inside that its mapping says: "
    "put it on ext4, xfs or btrfs, or leave these out"
)


class IdMap:
    """Ids of one kind, of users or of groups.

    Args:
        count: how many the container has.
        disk: one on disk.
        inside: the one that it is inside.

    Attributes:
        extents: runs of ids that are one to one, by those on disk.
    """

    def __init__(self, count: int, disk: int = 0, inside: int = 0) -> None:
        self.count = count
        self.extents: Extents = [(0, 0, count)]
        if disk == inside:
            return
        self.extents = [(disk, inside, 1)]
        if disk < count and 0 not in (disk, inside):
            self.extents.append((inside, disk, 1))
        first = 0
        for gap in (*sorted(each for each in (disk, inside) if each < count), count):
            if gap > first:
                self.extents.append((first, first, gap - first))
            first = gap + 1
        self.extents.sort()

    def inside(self, disk: int) -> int | None:
        """Return what an id on disk is inside; None where it is nobody's."""
        return next(
            (inside + disk - first for first, inside, size in self.extents if first <= disk < first + size), None
        )

    def on_disk(self, inside: int) -> int | None:
        """Return what an id inside is on disk; None where it can have nothing there."""
        return next((first + inside - own for first, own, size in self.extents if own <= inside < own + size), None)

    def line(self, base: int) -> str:
        """Return the text for a map (user_namespaces(7)) of ids on disk to those of the host that the container has."""
        return "".join("%d %d %d\n" % (disk, base + inside, size) for disk, inside, size in self.extents)


class MappingIds:
    """The ids of a mapping.

    Args:
        count: how many ids the container has.
        disk: the owner and the group of the source on the host.
        uid, gid: what these are inside; None for the same.
    """

    def __init__(self, count: int, disk: Ids = (0, 0), uid: int | None = None, gid: int | None = None) -> None:
        self.count = count
        self.disk = disk
        self.uid = uid
        self.gid = gid if disk[1] or gid == 0 else None  # `GROUP_STAYS`
        self.users = self._map(count, disk[0], self.uid)
        self.groups = self._map(count, disk[1], self.gid)

    @staticmethod
    def _map(count: int, disk: int, inside: int | None) -> IdMap:
        return IdMap(count) if inside is None else IdMap(count, disk, inside)

    @property
    def is_usual(self) -> bool:
        """Return whether each id is the same on disk and inside."""
        return self.uid in (None, self.disk[0]) and self.gid in (None, self.disk[1])

    def lines(self, base: int) -> tuple[str, str]:
        """Return the lines of the uid map and the gid map of a user namespace for an id-mapped mount.

        Args:
            base: the first id of the container on the host.
        """
        return self.users.line(base), self.groups.line(base)

    def without_counterpart(self, uid: int, gid: int) -> list[int]:
        """Return which of a user and a group on disk is nobody's inside."""
        return [number for number, map_ in ((uid, self.users), (gid, self.groups)) if map_.inside(number) is None]

    def inside(self, status: os.stat_result) -> Ids:
        """Return owner and group of a file on disk as the container sees them."""
        found = self.users.inside(status.st_uid), self.groups.inside(status.st_gid)
        return NOBODY if found[0] is None else found[0], NOBODY if found[1] is None else found[1]

    def on_disk(self, uid: int, gid: int) -> Ids:
        """Return what a user and a group of the container are on disk; the same where they can have nothing there."""
        found = self.users.on_disk(uid), self.groups.on_disk(gid)
        return uid if found[0] is None else found[0], gid if found[1] is None else found[1]


def has_owner(record: Mount) -> bool:
    """Return whether a mapping says whose it is inside."""
    return record.uid is not None or record.gid is not None


def with_own_ids(record: Mount, owners: Owners) -> Mount:
    """Return a mapping with the ids that its owner and group have in this container."""
    if not has_owner(record):
        return record
    uid = None if record.uid is None else owners.user(record.uid)
    return record.replacing(uid=uid, gid=None if record.gid is None else owners.group(record.gid))


def refusal(record: Mount, disk: Ids) -> str | None:
    """Return why the source of a writable mapping, which is no empty directory of root's, cannot have its owner.

    Args:
        disk: its owner and group on the host.
    """
    if record.read_only or not record.uid or disk[0]:
        return None
    return OF_ROOT % (record.source, record.uid, record.gid or record.uid, record.source)


def group_warning(record: Mount, disk: Ids) -> str | None:
    """Return the warning for a source whose group is root's on the host, and should be another inside."""
    if not record.gid or disk[1]:
        return None
    return GROUP_STAYS % (record.source, record.gid, record.gid, record.source)
