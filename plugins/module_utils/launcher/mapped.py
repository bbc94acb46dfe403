# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Notes of what a start found at the sources of its mappings, to be compared with what is there later.

A bind mount keeps what it was made of: a directory that was renamed, a file system that was unmounted, and nothing of
what is mounted below it later. So a running container can lack what its declaration says, and nothing in it shows that.
"""

from __future__ import annotations

import os

from . import mount_table
from .contract import Mount
from .mapping_ids import has_owner
from .targets import is_below, plain_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict

    from .mapping_ids import Ids

    Below = Dict[str, str]  # mount points on the host, each with the device and the part of it that are mounted there

FILE = "mapped"  # in the container's runtime directory
AUTOMOUNT = "autofs"
ABSENT = "-"
ESCAPED = {ord(character): code for code, character in mount_table.ESCAPES}
NONE = (None, None, None, None)  # the ids of a mapping that says nothing of its owner
MISSING = "%s: does not exist on the host, so %s is left out"
MISSING_REQUIRED = "%s: the source of the mapping to %s does not exist"


class Mapped:
    """One mapping of a container, as it was mounted or left out.

    Attributes:
        record: how it is mounted.
        identity: which file of the host was mounted: device and inode; empty when there was none.
        below: what was mounted below it.
        disk: its owner and group on the host then, where the record says whose it is inside.
    """

    def __init__(self, record: Mount, identity: str, below: Below, disk: Ids | None = None) -> None:
        self.record = record
        self.identity = identity
        self.below = below
        self.disk = disk if has_owner(record) else None

    def line(self) -> str:
        """Return it in one line, which `parse` reads."""
        record = self.record
        words = [record.mount_point, record.source, ",".join(record.flags), record.propagation, self.identity or ABSENT]
        if has_owner(record):  # so the words are even in number, and odd without
            ids = (record.uid, record.gid, *(self.disk or (None, None)))
            words.append(":".join(ABSENT if number is None else "%d" % number for number in ids))
        for point, mounted in sorted(self.below.items()):
            words += [point, mounted]
        return " ".join([word.translate(ESCAPED) for word in words])


def parse(text: str) -> list[Mapped]:
    """Return what the lines of a note say; what is damaged is left out."""
    found = []
    for line in text.split("\n"):
        words = [mount_table.unescape(word) for word in line.split(" ")]
        if len(words) < 5:
            continue
        point, source, flags, propagation, identity = words[:5]
        ids = _ids(words.pop(5)) if len(words) % 2 == 0 else NONE
        if ids is None:
            continue
        uid, gid, *disk = ids
        record = Mount(
            device=source,
            mount_point=point,
            type="none",
            flags=flags.split(",") if flags else [],
            propagation=propagation,
            uid=uid,
            gid=gid,
        )
        below = dict(zip(words[5::2], words[6::2]))
        known = None if disk[0] is None or disk[1] is None else (disk[0], disk[1])
        found.append(Mapped(record, "" if identity == ABSENT else identity, below, known))
    return found


def _ids(word: str) -> tuple[int | None, ...] | None:
    """Return the four ids of a mapping's note, each of which may be none; None for what is damaged."""
    numbers = word.split(":")
    if len(numbers) != len(NONE) or not all(number == ABSENT or number.isdecimal() for number in numbers):
        return None
    return tuple(None if number == ABSENT else int(number) for number in numbers)


def identity_of(status: os.stat_result) -> str:
    """Return which file has this status (stat(2)), as long as somebody has it open or mounted."""
    return "%d:%d" % (status.st_dev, status.st_ino)


def below(mounted: mount_table.Mounted, source: str, apart_from: str = "") -> Below:
    """Return what is mounted below a path, the topmost at each point.

    What an automounter mounts comes and goes, and is left out.

    Args:
        mounted: the mounts of the host.
        apart_from: a directory of which nothing counts.
    """
    place = plain_path(source)
    those = mounted.of(place)
    if not those:
        return {}
    automatic = [mount.point for mount in mounted.mounts if mount.kind == AUTOMOUNT and is_below(mount.point, place)]
    found = {}
    for mount in those:
        if (apart_from and is_below(mount.point, apart_from)) or any(is_below(mount.point, at) for at in automatic):
            continue
        found[mount.point] = "%s %s" % (mount.device, mount.part)
    return found
