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
from .targets import is_below, plain_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict

    Below = Dict[str, str]  # mount points on the host, each with the device and the part of it that are mounted there

FILE = "mapped"  # in the container's runtime directory
AUTOMOUNT = "autofs"
ABSENT = "-"
MISSING = "%s: does not exist on the host, so %s is left out"
MISSING_REQUIRED = "%s: the source of the mapping to %s does not exist"


class Mapped:
    """One mapping of a container, as it was mounted or left out.

    Attributes:
        record: how it is mounted.
        identity: which file of the host was mounted: device and inode; empty when there was none.
        below: what was mounted below it.
    """

    def __init__(self, record: Mount, identity: str, below: Below) -> None:
        self.record = record
        self.identity = identity
        self.below = below

    def line(self) -> str:
        """Return it in one line, which `parse` reads."""
        record = self.record
        words = [record.mount_point, record.source, ",".join(record.flags), record.propagation, self.identity or ABSENT]
        for point, mounted in sorted(self.below.items()):
            words += [point, mounted]
        return " ".join(map(_escape, words))


def _escape(word: str) -> str:
    for code, character in reversed(mount_table.ESCAPES):
        word = word.replace(character, code)
    return word


def parse(text: str) -> list[Mapped]:
    """Return what the lines of a note say; what is damaged is left out."""
    found = []
    for line in text.split("\n"):
        words = [mount_table.unescape(word) for word in line.split(" ")]
        if len(words) < 5:
            continue
        point, source, flags, propagation, identity = words[:5]
        record = Mount(
            device=source,
            mount_point=point,
            type="none",
            flags=flags.split(",") if flags else [],
            propagation=propagation,
        )
        below = dict(zip(words[5::2], words[6::2]))
        found.append(Mapped(record, "" if identity == ABSENT else identity, below))
    return found


def identity_of(descriptor: int) -> str:
    """Return which file a descriptor names, as long as somebody has it open or mounted."""
    status = os.fstat(descriptor)
    return "%d:%d" % (status.st_dev, status.st_ino)


def below(table: list[mount_table.MountTableEntry], source: str, apart_from: str = "") -> Below:
    """Return what is mounted below a path, the topmost at each point.

    What an automounter mounts comes and goes, and is left out.

    Args:
        apart_from: a directory of which nothing counts.
    """
    place = plain_path(source)
    automatic = [mount.point for mount in table if mount.kind == AUTOMOUNT and is_below(mount.point, place)]
    found = {}
    for mount in table:
        if mount.point == place or not is_below(mount.point, place):
            continue
        if (apart_from and is_below(mount.point, apart_from)) or any(is_below(mount.point, at) for at in automatic):
            continue
        found[mount.point] = "%s %s" % (mount.device, mount.part)
    return found
