# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The sizes that were declared for volumes. They are kept beside the container, so that a change is no restart (V3)."""

from __future__ import annotations

import os

from ..launcher import data, kinds
from ..launcher.errors import LauncherError
from ..launcher.kinds import ContractError, ContractRecord
from ..launcher.paths import make_directory, read_text, remove_file, write_atomically
from ..launcher.volumes import SIZES_FILE

DAMAGED = "%s: %s; declare the container's volumes again"


class VolumeSize(ContractRecord):
    """The size of a volume.

    Attributes:
        size: how many bytes it may hold.
        may_fail: whether the container runs where the host cannot keep to that.
    """

    size: int
    may_fail: bool = False

    KINDS = {"size": kinds.integer(1, "is no size"), "may_fail": kinds.boolean}


class _Sizes(ContractRecord):
    volumes: dict[str, VolumeSize]

    KINDS = {"volumes": kinds.mapping_of(kinds.container_name, VolumeSize.read)}


def read(directory: str) -> dict[str, VolumeSize]:
    """Return the sizes that are kept for the container whose directory this is, by the volumes' names.

    Raises:
        LauncherError: they are damaged.
    """
    path = os.path.join(directory, SIZES_FILE)
    text = read_text(path)
    if not text:
        return {}
    try:
        return _Sizes.read(data.parse(text, path)).volumes
    except (ContractError, ValueError) as error:
        raise LauncherError(DAMAGED % (path, error)) from error


def write(directory: str, sizes: dict[str, VolumeSize]) -> None:
    """Keep the sizes, durably."""
    path = os.path.join(directory, SIZES_FILE)
    if not sizes:
        remove_file(path)
        return
    make_directory(directory, 0o700)
    text = data.format_nested(_Sizes(volumes=sizes).write()) + "\n"
    write_atomically(path, text, durable=True)
