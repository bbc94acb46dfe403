# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes: directories of the host that belong to one container, and outlive it (V1).

A volume lies on disk with the ids of the inside, whatever ids its container has on this host. Only the host's root can
reach it. Root inside writes what is in it, and may give it to anybody inside; so what is declared of it is done once,
while nothing is in it.
"""

from __future__ import annotations

import os

from . import kinds
from .kinds import ContractError, ContractRecord
from .names import is_name
from .ownership import is_empty
from .paths import STATE_DIRECTORY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .owners import Owners

DIRECTORY = "volumes"  # in the container's
OTHER_OWNER = (
    "volume %s: is of %d:%d inside, and was declared to be of %d:%d; it stays so, for there is something in it: give "
    "all of it another owner inside (chown -R), or declare the one that it has"
)


def _name(value: object) -> str:
    if not is_name(value):
        raise ContractError("is no name of a volume")
    return str(value)


class Volume(ContractRecord):
    """What is mounted from a volume, beside where.

    Attributes:
        name: of the volume, which is the name of its directory.
        uid, gid: its owner inside, when it is new.
        mode: in octal digits, when it is new.
    """

    name: str
    uid: int = 0
    gid: int = 0
    mode: str = "0755"

    KINDS = {"name": _name, "uid": kinds.identifier, "gid": kinds.identifier, "mode": kinds.mode}


def directory_of(container: str, volume: str) -> str:
    """Return the path of a container's volume on the host."""
    return "%s/containers/%s/%s/%s" % (STATE_DIRECTORY, container, DIRECTORY, volume)


def give(source: int, volume: Volume, owners: Owners) -> str | None:
    """Give an empty volume the owner and the mode that are declared. Return a warning when another has what is in it.

    Args:
        source: descriptor (`O_PATH`) of its directory.
        owners: the ids of accounts that are others than declared.
    """
    wanted = owners.user(volume.uid), owners.group(volume.gid)
    directory = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=source)
    try:
        if is_empty(directory):
            os.fchown(directory, *wanted)
            os.fchmod(directory, int(volume.mode, 8))
            return None
        status = os.fstat(directory)
        found = status.st_uid, status.st_gid
        return None if found == wanted else OTHER_OWNER % (volume.name, *found, *wanted)
    finally:
        os.close(directory)
