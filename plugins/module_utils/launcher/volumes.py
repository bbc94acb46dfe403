# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes: directories of the host that belong to one container, and outlive it (V1).

A volume lies on disk with the ids of the inside, whatever ids its container has on this host. Only the host's root can
reach it.
"""

from __future__ import annotations

from . import kinds
from .kinds import ContractError, ContractRecord
from .names import is_name
from .paths import STATE_DIRECTORY

VOLUMES = "volumes"  # in the container's
SNAPSHOTS = "snapshots"  # beside that
SIZES_FILE = "sizes.json"  # beside them: how large volumes may be
SIZING = VOLUMES + ".sizing"  # and where one is made that is to have a size
RESTORING = ".restoring"  # in the directory of snapshots: a restore that is not finished


def _name(value: object) -> str:
    if not is_name(value):
        raise ContractError("is no name of a volume")
    return str(value)


class Volume(ContractRecord):
    """The volume that a mount is of, with the owner and the mode that a new one gets.

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


def volume_directory(container: str, volume: str) -> str:
    """Return the path of a container's volume on the host."""
    return "%s/containers/%s/%s/%s" % (STATE_DIRECTORY, container, VOLUMES, volume)
