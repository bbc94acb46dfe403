# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is asked of the snapshots of a container."""

from __future__ import annotations

from typing import NamedTuple

from ..launcher.errors import LauncherError
from ..launcher.names import NO_NAME, is_name
from ..state.snapshot_record import labels_of
from ..state.target import TargetError


class SnapshotRequest(NamedTuple):
    """What is asked for.

    :param snapshot: its name; empty for one made of the time.
    :param labels: texts by their names; None where nothing is said of them.
    :param stop: whether a running container is stopped for it, and started again.
    :param keep: how many snapshots with these labels are kept.
    :param max_age: days for which they are kept.
    :param timeout: seconds to wait for another run, and for each stop and start.
    """

    snapshot: str = ""
    labels: dict[str, str] | None = None
    stop: bool = False
    keep: int | None = None
    max_age: int | None = None
    timeout: float = 30.0

    def check(self, state: str) -> None:
        """Raise TargetError when a state cannot be reached with this."""
        if self.snapshot and not is_name(self.snapshot):
            raise TargetError("snapshot: " + NO_NAME % (self.snapshot, "snapshot"))
        if not self.snapshot and state != "present":
            raise TargetError(f"snapshot: state: {state} needs the name of one")
        for key, value in (self.labels or {}).items():
            try:
                labels_of({key: value})
            except LauncherError as error:
                raise TargetError(f"labels.{key}: {str(error).rpartition(': ')[2]}; put it in quotes") from None
        for option, number in (("keep", self.keep), ("max_age", self.max_age)):
            if number is not None and (isinstance(number, bool) or number < 1):
                raise TargetError(f"{option}: {number} is no number from 1")
