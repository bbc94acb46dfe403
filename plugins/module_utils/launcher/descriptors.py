# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The descriptors that a process keeps when it comes near a container: the few that are named, and no other.

A path of the container's can lead through `/proc/self/fd` to whatever the resolving process has open (CVE-2024-21626).
"""

from __future__ import annotations

import fcntl
import os

from . import linux

FIRST_FREE = 3  # descriptors from here on are clear of the standard streams


def keep_only(*wanted: int | None) -> list[int]:
    """Close all descriptors of this process but the given ones; its standard streams become a closed pipe.

    The streams stay open so that no descriptor that is opened later is taken for a standard stream.

    Args:
        wanted: descriptors; `None` or a negative number stands for one that is not there.

    Returns:
        Where each of them is now, in their order: at `FIRST_FREE` or above, close-on-exec; -1 for what is not there.
    """
    there = {descriptor for descriptor in wanted if descriptor is not None and descriptor >= 0}
    # Close first: a new number has to be below the limit of this process, whose parent may have opened more.
    close_all_but(there)
    moved = {descriptor: fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, FIRST_FREE) for descriptor in there}
    close_all_but(set(moved.values()))
    occupy_streams()
    return [-1 if descriptor is None else moved.get(descriptor, -1) for descriptor in wanted]


def occupy_streams() -> None:
    """Let the standard streams that are closed be ends of a closed pipe, or what is opened next would be taken for one.

    Reading from them gives nothing, and writing to them is an error.
    """
    taken = list(os.pipe())  # the lowest that are free
    os.dup2(taken[0], taken[1])
    while taken[-1] < FIRST_FREE:
        taken.append(os.dup(taken[0]))
    for descriptor in taken:
        if descriptor >= FIRST_FREE:
            os.close(descriptor)


def close_all_but(keep: set[int]) -> None:
    """Close every descriptor of this process but these."""
    start = 0
    for descriptor in sorted(keep):
        if descriptor > start:
            linux.close_range(start, descriptor - 1)
        start = descriptor + 1
    linux.close_range(start)
