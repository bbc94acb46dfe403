# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ids of a container on the host (S5), as a start has them; `state/id_ranges` chooses them."""

from __future__ import annotations

from .paths import read_text

COUNT = 65536  # ids of a container


class Identity:
    """The ids of a container: `count` ids from `base` on the host are 0 and up inside.

    Attributes:
        base: first host id.
        count: how many.
        nested: this launcher runs in a user namespace itself, and the ids are those of that namespace.
    """

    def __init__(self, base: int, count: int, nested: bool) -> None:
        self.base = base
        self.count = count
        self.nested = nested

    @property
    def map_line(self) -> str:
        """Return the line for `/proc/PID/uid_map` and `gid_map` (user_namespaces(7))."""
        return "0 %d %d\n" % (self.base, self.count)

    @property
    def maps_files(self) -> bool:
        """Return whether shared files need an id map to look inside as they do on the host."""
        return self.base != 0


def available() -> tuple[int, bool]:
    """Return how many ids from 0 up this user namespace has, and whether it is one below the host's own."""
    lines = [[int(field) for field in line.split()] for line in read_text("/proc/self/uid_map").splitlines()]
    if lines == [[0, 0, 4294967295]]:
        return 4294967295, False
    return next((count for inside, _outside, count in lines if inside == 0), 0), True
