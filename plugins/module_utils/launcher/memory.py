# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sizes of the file systems that a container has in memory.

What lies in a tmpfs is memory of the container's. Who fills one shall find it full (`ENOSPC`) before the container's
limit of memory is met, for then the kernel kills processes, which gives nothing of that back. So a share of the memory
(`size=10%`) is one of the limit, where the container has one.
"""

from __future__ import annotations

import os

from . import targets
from .errors import LauncherError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Tuple

    Options = List[Tuple[str, "str | None"]]

# Of each tmpfs of a container's own. A root inside may fill these; the bounds are those of systemd for nested roots and
# temporary files.
ROOT_OPTIONS = {"mode": "0755", "size": "10%", "nr_inodes": "400k"}
RUN_OPTIONS = {"mode": "0755", "size": "20%", "nr_inodes": "800k"}
TEMPORARY_OPTIONS = {"mode": "1777", "size": "10%", "nr_inodes": "1m"}
SHARED_MEMORY_SIZE = "65536k"  # C12
DEFAULT_SIZE = "50%"  # the kernel's own
SMALLEST = 4 << 20  # of a share, in bytes: the files of the system itself have to find room

_UNITS = " kmgtpe"


def with_defaults(options: Options, defaults: dict[str, str]) -> Options:
    """Return the options of a tmpfs with those defaults that it does not state itself."""
    stated = {name for name, _value in options}
    if "nr_blocks" in stated:
        stated.add("size")
    return options + [(name, value) for name, value in defaults.items() if name not in stated]


class Memory:
    """The memory that a container may use.

    Args:
        limit: in bytes, or none.

    Attributes:
        warnings: what was declared larger than all of the container's memory, a line each.
    """

    def __init__(self, limit: int | None) -> None:
        physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        self.limit = None if limit is None else min(limit, physical)
        self.warnings: list[str] = []

    def options(self, point: str, options: Options) -> Options:
        """Return the options of a tmpfs at a mount point, its size in bytes where the container has a limit."""
        if self.limit is None:
            return options
        return [
            (name, self._size(point, value) if name == "size" and value is not None else value)
            for name, value in with_defaults(options, {"size": DEFAULT_SIZE})
        ]

    def _size(self, point: str, size: str) -> str:
        limit = self.limit or 0
        if size[-1:] == "%" and size[:-1].isdigit():
            return "%d" % max(limit * int(size[:-1]) // 100, SMALLEST)
        stated = bytes_of(size)
        if point == targets.SHARED_MEMORY and size == SHARED_MEMORY_SIZE:
            return "%d" % min(stated, limit // 2)
        if stated == 0 or stated >= limit:  # 0 is no bound at all
            self.warnings.append(
                "%s: its size (%s) is not below the container's limit of memory (%d bytes): "
                "who fills it makes the kernel kill processes; declare a smaller one" % (point, size, limit)
            )
        return size


def bytes_of(size: str) -> int:
    """Return the number of a size as tmpfs(5) has it, which is no share."""
    unit = _UNITS.find(size[-1:].lower()) if size else -1
    number = size[:-1] if unit > 0 else size
    if not number.isascii() or not number.isdigit():
        raise LauncherError("'%s' is no size" % size)
    return int(number) << 10 * max(unit, 0)
