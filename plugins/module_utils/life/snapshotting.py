# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The verbs of snapshots: present, absent, restored; what the container does meanwhile, and how a run reports it.

A container that runs is frozen, or stopped, while its data are read. So a snapshot is what a power failure at one
moment would have left, over all volumes. To restore one, fresh copies are made while the container runs; it is stopped
for their last step alone (`state/restoring`).
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any, Callable, Dict

from ..launcher.volumes import SNAPSHOTS, VOLUMES
from ..state import holds, quotas, restoring, volumes
from ..state.restoring import Restore
from ..state.snapshot_record import SnapshotRecord, no_longer_kept
from ..state.snapshots import Snapshots, copy, inodes_in, write_out
from ..state.target import Layout, TargetError
from . import strangers
from .at_rest import AtRest
from .container import ON_DISK
from .snapshot_request import SnapshotRequest
from .starting import Starter

Result = Dict[str, Any]

NO_VOLUMES = "container {name!r}: has no volumes on this host, so that nothing is to be saved: declare some (volumes)"
UNFINISHED = (
    "container {name!r}: a restore of {snapshot} was interrupted, and the container runs: stop it, and run this again"
)
STOPPED = "container {name!r}: was stopped for a restore of {snapshot} that was interrupted, and does not run: start it"
SOCKETS_LEFT_OUT = "volume {volume}: {count} sockets are not in the snapshot: whoever listens makes them again"
NODES_LEFT_OUT = (
    "volume {volume}: {count} devices are not in the snapshot: a container has those that are declared (devices)"
)
OTHER_SYSTEM = (
    "snapshot {snapshot}: was taken with the system {former}, and {current} is current: state: rolled_back of "
    "system_container goes back to it, if the data need it"
)
MOVES = "container {name!r}: its volumes are not replaced: {said}"
NOT_SPACE = (28, 122)  # ENOSPC, EDQUOT
FULL = "{place}: no space is left for the copy ({error}); nothing was changed: make room, or remove snapshots"


class Snapshotting:
    """The snapshots of one container, and what is asked of them.

    :param container: the launcher's view of the container.
    :param starter: what stops and starts it.
    :param check: whether only to find out what would change.
    """

    def __init__(
        self, layout: Layout, container: Any, starter: Starter, request: SnapshotRequest, check: bool = False
    ) -> None:
        self.layout = layout
        self.container = container
        self.rest = AtRest(layout, container, starter, request.stop, request.timeout)
        self.request = request
        self.check = check
        self.name = str(container.name)
        self.directory = layout.container(self.name)
        self.snapshots = Snapshots(self.name, self.directory)
        self._found: list[str] = []
        self.changed = False
        self._restart = False

    @property
    def warnings(self) -> list[str]:
        """Return what the user is to be told."""
        return self._found + self.rest.warnings

    def reach(self, state: str) -> Result:
        """Bring the snapshot into `state`: present, absent or restored. Return a module's result.

        :raises TargetError, LauncherError, OSError: when that cannot be done.
        """
        self.request.check(state)
        with contextlib.nullcontext() if self.check else self.rest.lock():
            return self.reach_held(state)

    def reach_held(self, state: str) -> Result:
        """Do what `reach` does. The caller holds the lock by which runs take turns, except in check mode.

        :raises TargetError, LauncherError, OSError: when that cannot be done.
        """
        act: dict[str, Callable[[], Result]] = {
            "present": self._present,
            "absent": self._absent,
            "restored": self._restored,
        }
        there = self._is_there()
        if not there and state == "absent":
            return self._result({"snapshot": self.request.snapshot, "removed": []})
        if not there:
            self._lack(strangers.unknown(self.layout, self.name, "snapshot"))
            return self._result({"snapshot": self.request.snapshot or _new_name([]), "removed": []}, changed=True)
        if not self.check:
            self._settle(state)
        return act[state]()

    def _is_there(self) -> bool:
        """Return whether the host has anything of the container."""
        kept = (*ON_DISK, VOLUMES, SNAPSHOTS)
        return any(os.path.lexists(self.directory / entry) for entry in kept)

    def _lack(self, error: TargetError) -> None:
        """Refuse what is not there; in check mode an earlier task may be about to make it."""
        if not self.check:
            raise error
        self._found.append(str(error))

    def _settle(self, state: str) -> None:
        """Finish a restore that was interrupted, or go back, and remove what interrupted runs left."""
        former = restoring.noted(str(self.snapshots.path))
        if former is not None and former.ready:
            if self.rest.runs():
                raise TargetError(UNFINISHED.format(name=self.name, snapshot=former.snapshot))
            with self.rest.alone():
                restoring.finish(str(self.directory), str(self.snapshots.path))
            self.changed = True
            self._found.append(f"the restore of {former.snapshot} was interrupted, and is finished now")
        if former is not None and former.restart and not self.rest.runs():
            self._restart = True
            if state != "restored":
                self._found.append(STOPPED.format(name=self.name, snapshot=former.snapshot))
        self.snapshots.clear()

    # Present.

    def _present(self) -> Result:
        snapshot = self.request.snapshot or _new_name(self.snapshots.names())
        former = self.snapshots.names()
        record: SnapshotRecord | None = None
        if snapshot in former:
            record = self._relabelled(snapshot, self.snapshots.record(snapshot))
        else:
            saved = volumes.volume_names(str(self.directory))
            if not saved:
                self._lack(TargetError(NO_VOLUMES.format(name=self.name)))
            self.rest.warn_of_missing()
            if not self.check:
                record = self._save(snapshot, saved)
            self.changed = True
        removed = self._retain(snapshot, record)
        result = {"snapshot": snapshot, **(_told(record) if record is not None else {}), "removed": removed}
        made = [] if snapshot in former else [snapshot]
        return self._result(result, before={"snapshots": removed}, after={"snapshots": made})

    def _relabelled(self, snapshot: str, record: SnapshotRecord) -> SnapshotRecord:
        """Give a snapshot that is there other labels, if that is asked."""
        wanted = self.request.labels
        if wanted is None or wanted == record.labels:
            return record
        self.changed = True
        changed = record.replacing(labels=wanted)
        if not self.check:
            self.snapshots.write_record(snapshot, changed)
        return changed

    def _save(self, snapshot: str, saved: list[str]) -> SnapshotRecord:
        began = time.monotonic()
        status = self.container.status()
        running = status.state == "running"
        current = self.layout.current_system(self.name)
        system = os.path.basename(status.system or "") if running else current.name if current else ""
        with self._space_for(self.snapshots.path), self.snapshots.making(snapshot) as path:
            (path / VOLUMES).mkdir(mode=0o700)
            how, size, files = self._read(saved, path / VOLUMES)
            write_out(path)
            record = SnapshotRecord(
                container=self.name,
                made=self.rest.began,
                system=system,
                labels=self.request.labels or {},
                consistent=how,
                volumes=saved,
                size=size,
                files=files,
                seconds=round(time.monotonic() - began, 3),
                paused_seconds=round(self.rest.seconds, 3),
            )
            self.snapshots.finish(snapshot, path, record)
        self.rest.tell_start(f"snapshot {snapshot}: is made")
        return record

    def _read(self, saved: list[str], target: Path) -> tuple[str, int, int]:
        """Copy the volumes while nothing of the container changes them. Return how, the bytes and the files."""
        with self.rest.reading() as how:
            size, files = self._copy(self.directory / VOLUMES, saved, target, say=True)
        return how, size, files

    def _copy(self, source: Path, names: list[str], target: Path, say: bool = False) -> tuple[int, int]:
        """Copy volumes from one directory into another. Return the bytes and the files that were read."""
        size = files = 0
        for volume in names:
            done = copy(source, volume, target)
            size, files = size + done.size, files + done.files
            for count, text in ((done.sockets, SOCKETS_LEFT_OUT), (done.devices, NODES_LEFT_OUT)):
                if count and say:
                    self._found.append(text.format(volume=volume, count=count))
        return size, files

    def _retain(self, snapshot: str, record: SnapshotRecord | None) -> list[str]:
        """Remove the snapshots that are no longer kept. Return their names."""
        request = self.request
        if request.keep is None and request.max_age is None:
            return []
        found, problems = self.snapshots.readable()
        self._found += problems
        wanted = request.labels if request.labels is not None else record.labels if record is not None else {}
        removed = no_longer_kept(found, snapshot, wanted, request.keep, request.max_age, time.time())
        for other in [] if self.check else removed:
            self.snapshots.remove(other)
        self.changed = self.changed or bool(removed)
        return removed

    # Absent.

    def _absent(self) -> Result:
        snapshot = self.request.snapshot
        there = snapshot in self.snapshots.names()
        if there and not self.check:
            self.snapshots.remove(snapshot)
            self.snapshots.remove_empty()
        self.changed = self.changed or there
        gone = [snapshot] if there else []
        result = {"snapshot": snapshot, "removed": gone}
        return self._result(result, before={"snapshots": gone}, after={"snapshots": []})

    # Restored.

    def _restored(self) -> Result:
        snapshot = self.request.snapshot
        try:
            record = self.snapshots.record(snapshot)
        except TargetError as error:
            if snapshot in self.snapshots.names():
                raise  # it is there, and no earlier task mends it
            self._lack(error)
            return self._result({"snapshot": snapshot, "removed": []}, changed=True)
        self.rest.refuse(self._restart)
        volumes.refuse_mounts(str(self.directory), record.volumes)
        self._refuse_volumes(snapshot, record)
        current = self.layout.current_system(self.name)
        if current is not None and record.system and record.system != current.name:
            said = OTHER_SYSTEM.format(snapshot=snapshot, former=record.system, current=current.name)
            self._found.append(said)
        there = volumes.volume_names(str(self.directory))
        untouched = [volume for volume in there if volume not in record.volumes]
        began = time.monotonic()
        if not self.check:
            self._put_back(snapshot, record)
        self.changed = True
        told = {
            **_told(record),
            "seconds": round(time.monotonic() - began, 3),
            "paused_seconds": round(self.rest.seconds, 3),
        }
        result = {"snapshot": snapshot, **told, "untouched": untouched, "removed": []}
        before = {volume: "as it is" if volume in there else "absent" for volume in record.volumes}
        after = dict.fromkeys(record.volumes, f"of the snapshot {snapshot}")
        return self._result(result, before={"volumes": before}, after={"volumes": after})

    def _refuse_volumes(self, snapshot: str, record: SnapshotRecord) -> None:
        """Refuse to replace the volumes of a container that moves, or by what is larger than they may be."""
        moving = holds.refusal(str(self.directory))
        if moving is not None:
            self._lack(TargetError(MOVES.format(name=self.name, said=moving)))
        saved = str(self.snapshots.path / snapshot / VOLUMES)
        found = quotas.larger_trees(str(self.directory), saved, record.volumes)
        if found:
            raise TargetError(f"snapshot {snapshot}: is not restored: {'; '.join(found)}")

    def _put_back(self, snapshot: str, record: SnapshotRecord) -> None:
        """Replace the volumes."""
        place = str(self.snapshots.path)
        with contextlib.ExitStack() as stopped:
            with self._space_for(self.snapshots.path), self.snapshots.restoring() as path:
                (path / VOLUMES).mkdir(mode=0o700)
                self._copy(self.snapshots.path / snapshot / VOLUMES, record.volumes, path / VOLUMES)
                write_out(path)
                inodes = inodes_in(path, record.volumes)
                restart = self.rest.runs() or self._restart
                restore = Restore(snapshot=snapshot, restart=restart, ready=False, volumes=inodes)
                restoring.note(place, restore)
                stopped.enter_context(self.rest.stopped(restart))
                restoring.note(place, restore.replacing(ready=True))
            restoring.finish(str(self.directory), place)
        self.snapshots.clear()
        self.rest.tell_start(f"snapshot {snapshot}: is restored")

    # What both have in common.

    @contextlib.contextmanager
    def _space_for(self, place: Path) -> Any:
        """Explain that a copy found no space."""
        try:
            yield
        except OSError as error:
            if error.errno not in NOT_SPACE:
                raise
            raise TargetError(FULL.format(place=place, error=error.strerror)) from error

    def _result(
        self, result: Result, before: Result | None = None, after: Result | None = None, changed: bool = False
    ) -> Result:
        kept = {*self.snapshots.names(), *(after or {}).get("snapshots", [])} - {*result["removed"]}
        found = {
            "name": self.name,
            "path": str(self.snapshots.path / result["snapshot"]),
            "kept": sorted(kept),
            **result,
        }
        found["changed"] = self.changed or changed
        if found["changed"] and before is not None and after is not None:
            title = f"snapshots of container {self.name}"
            found["diff"] = {"before": before, "after": after, "before_header": title, "after_header": title}
        return found


def _new_name(there: list[str]) -> str:
    """Return a name for a snapshot, made of the time."""
    name = time.strftime("%Y%m%dt%H%M%Sz", time.gmtime())
    further = (f"{name}-{number}" for number in range(2, len(there) + 3))
    return name if name not in there else next(other for other in further if other not in there)


def _told(record: SnapshotRecord) -> Result:
    """Return what a result tells of a snapshot."""
    keys = ("system", "labels", "consistent", "volumes", "size", "files", "seconds", "paused_seconds", "made")
    return {key: getattr(record, key) for key in keys}
