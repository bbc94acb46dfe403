# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Trial of whether the ids of a file system can be mapped, with a mount that nobody ever sees."""

from __future__ import annotations

import contextlib
import errno
import os
import select
from typing import Iterator

from ..launcher import linux, lookup, mount_table, mounts
from ..launcher.identity import available
from ..launcher.paths import STATE_DIRECTORY
from ..launcher.process import KILL
from ..launcher.targets import is_below

ALWAYS = ("ext4", "xfs")
"""Since the oldest kernel on which containers run."""

OWN_RANGES = 0x70000000
"""From here on are the ids of containers."""

MAP = f"0 {OWN_RANGES} 65536\n"
NESTED_MAP = "1 1 1\n"
"""Of a user namespace in another one, which has no ids beyond its own."""


def can_map(source: int, path: str, own: bool = False) -> bool:
    """Return whether the ids of what a descriptor names, and of all that is mounted below it, can be mapped.

    Where that cannot be tried, it is left to the start to find out.

    :param path: of what the descriptor names, without links.
    :param own: whether to a map of the mapping's own, which is needed in a user namespace as well.
    """
    table = mount_table.read()
    kinds = {mount.kind for mount in mount_table.way(table, path)[-1:]}
    kinds |= {mount.kind for mount in table if is_below(mount.point, path)}
    nested = available()[1]
    if not own and nested:  # in a user namespace nothing is mapped again
        return True
    if kinds <= set(ALWAYS) and not nested:
        return True
    try:
        return _try(source, NESTED_MAP if nested else MAP)
    except OSError:
        return True


def can_keep() -> bool:
    """Return whether what is kept for containers, in their directories on this host, can be mounted with mapped ids."""
    path = STATE_DIRECTORY
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    directory = lookup.open_root(path)
    try:
        return can_map(directory, os.path.realpath(path))
    finally:
        os.close(directory)


def _try(source: int, text: str) -> bool:
    """Make a detached copy of the mount with an id map.

    :raises OSError: that could not be tried.
    """
    with user_namespace(text) as namespace:
        try:
            mount = mounts.bind(source, 0, namespace)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EPERM):
                raise
            return False
        os.close(mount)
        return True


@contextlib.contextmanager
def user_namespace(text: str = MAP) -> Iterator[int]:
    """Give the descriptor of a user namespace with an id map; without one its ids are those from OWN_RANGES on.

    :raises OSError: none can be made.
    """
    ready, told = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        _be_namespace(parent, told)
    os.close(told)
    try:
        if os.read(ready, 1) != b"1":
            raise OSError(errno.EPERM, "no user namespace can be made")
        for name in ("uid_map", "gid_map"):
            with open(f"/proc/{child}/{name}", "w", encoding="ascii") as file:
                file.write(text)
        with open(f"/proc/{child}/ns/user", "rb") as namespace:
            yield namespace.fileno()
    finally:
        os.close(ready)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, KILL)
        os.waitpid(child, 0)


def _be_namespace(parent: int, told: int) -> None:
    """Hold a user namespace of its own, until it is killed."""
    try:
        linux.end_with(parent)
        linux.unshare(linux.CLONE_NEWUSER)
        os.write(told, b"1")
        select.select([], [], [])
    finally:
        os._exit(1)
