# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Automount points on the way to what is mapped (autofs, also systemd's): triggered before the host is left.

An automounter mounts in its own mount namespace, the host's. What it mounts for somebody in a private one never gets
there, and who waits for it gets `ELOOP`.
"""

from __future__ import annotations

import os
import time

from . import mount_table, records
from .errors import LauncherError
from .excursion import in_child
from .mapped import AUTOMOUNT
from .targets import is_below, plain_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from .contract import Mount

SILENT = "%s: the automounter of %s has not mounted it for %g s; does its server run?"


def trigger(given: list[Mount], deadline: float) -> list[str]:
    """Have what the records map mounted by its automounter; return warnings.

    Args:
        given: the records.
        deadline: until when (time.monotonic) the automounter may take.

    Raises:
        LauncherError: it has not answered in time. A record with `mount_may_fail` gets a warning instead.
    """
    sources = [record for record in given if record.is_bind]
    if not sources:
        return []
    points = [mount.point for mount in mount_table.read_kind(AUTOMOUNT)]
    warnings = []
    for record in sources:
        path = plain_path(record.source)
        around = [point for point in points if is_below(path, point)]
        if not around:
            continue
        began = time.monotonic()
        try:
            in_child(_opener(path), (deadline - began) * (records.PATIENCE if record.mount_may_fail else 1))
        except TimeoutError:
            message = SILENT % (path, max(around, key=len), round(time.monotonic() - began, 1))
            if not record.mount_may_fail:
                raise LauncherError(message) from None
            warnings.append(message)
    return warnings


def _opener(path: str) -> Callable[[], None]:
    return lambda: touch(path)


def touch(path: str) -> None:
    """Open a path so that an automount point at its end is triggered, too, which `O_PATH` alone does not."""
    try:
        os.close(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
    except OSError:
        pass  # what mounts it says why
