# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The volumes of a container as they were before a switch, for as long as the switch is on trial.

They are a snapshot, made after the former system has stopped and before the new one starts. So it lacks nothing that
the former one has acknowledged. To go back is to have the snapshot be the volumes, without another copy. What a run
leaves that was killed is never put back by a later one: the container may have served for weeks meanwhile.
"""

from __future__ import annotations

from typing import Any

from ..launcher.errors import LauncherError
from ..state import generations, restoring, volumes
from ..state.restoring import Restore
from ..state.target import Layout, TargetError, message_of
from .snapshot_request import SnapshotRequest
from .snapshotting import Snapshotting
from .starting import Starter

LABELS = {"made": "before a switch"}
INTERRUPTED = (
    "container {name!r}: its volumes are as an interrupted run left them; snapshot {snapshot} has them as they were "
    "before that: container_snapshot (state: restored) goes back to it, or (state: absent) removes it"
)


class SavedState:
    """The snapshot with which a switch goes back to the former data as well.

    The caller of each method holds the starter's lock.

    :param container: the launcher's view of the container.
    :param starter: what stops and starts it.
    :param timeout: seconds to wait for another run, and for a stop.
    :param wanted: whether anything is to be done at all.
    :param warnings: where warnings for the user are added.
    """

    def __init__(
        self, layout: Layout, container: Any, starter: Starter, timeout: float, wanted: bool, warnings: list[str]
    ) -> None:
        request = SnapshotRequest(labels=LABELS, timeout=timeout)
        self._making = Snapshotting(layout, container, starter, request)
        self._snapshots = self._making.snapshots
        self._wanted = wanted
        self._snapshot = ""
        self.warnings = warnings

    def save(self) -> None:
        """Save the volumes, where a switch is on trial and this run has not saved them. The container does not run.

        :raises TargetError, LauncherError, OSError: they cannot be saved.
        """
        if not self._wanted or self._snapshot or not self._is_on_trial():
            return
        if not volumes.volume_names(str(self._making.directory)):
            return
        made = self._making.reach_held("present")
        self._snapshot = made["snapshot"]
        self.warnings += self._making.warnings

    def put_back(self) -> bool:
        """Have the volumes be what was saved, if anything was, and stop the container for that. Return whether it was.

        :raises TargetError, LauncherError, OSError: they cannot be put back. The next start goes on with that.
        """
        done = bool(self._snapshot)
        if done:
            self._exchange()
            self._forget([])
        for snapshot in self._left() if self._wanted else []:
            self.warnings.append(INTERRUPTED.format(name=self._making.name, snapshot=snapshot))
        return done

    def _exchange(self) -> None:
        rest, place = self._making.rest, str(self._snapshots.path)
        rest.starter.stop(rest.timeout)
        with rest.alone():
            inodes = self._snapshots.inodes(self._snapshot)
            restore = Restore(snapshot=self._snapshot, restart=False, ready=True, volumes=inodes)
            restoring.turn_into(place, restore)
            restoring.finish(str(self._making.directory), place)
        self._snapshot = ""

    def forget(self) -> None:
        """Remove what was saved before this switch, and before those that were interrupted: the new system is well."""
        if self._wanted:
            self._forget(self._left())

    def _is_on_trial(self) -> bool:
        """Return whether what is current may be undone."""
        layout, name = self._making.layout, self._making.name
        return generations.former_number(layout, name) not in (None, generations.current_number(layout, name))

    def _left(self) -> list[str]:
        records, _problems = self._snapshots.readable()
        return [snapshot for snapshot, record in records.items() if record.labels == LABELS]

    def _forget(self, snapshots: list[str]) -> None:
        """Remove snapshots, and what interrupted runs left. That this fails is no reason to undo a switch."""
        try:
            for snapshot in snapshots:
                self._snapshots.remove(snapshot)
            self._snapshots.clear()
            self._snapshots.remove_empty()
        except (LauncherError, TargetError, OSError) as error:
            self.warnings.append(message_of(error, self._making.name))
