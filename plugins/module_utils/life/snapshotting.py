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
from typing import Any, Callable, ContextManager, Dict

from ..launcher.errors import LauncherError
from ..launcher.volumes import SNAPSHOTS, VOLUMES
from ..state import restoring, volumes
from ..state.restoring import Restore
from ..state.snapshot_record import SnapshotRecord, no_longer_kept
from ..state.snapshots import Snapshots, copy, write_out
from ..state.target import Layout, TargetError, message_of
from . import examination, strangers
from .container import ON_DISK
from .frozen import Frozen
from .snapshot_request import SnapshotRequest
from .starting import LauncherStarter, Starter

Result = Dict[str, Any]

NO_VOLUMES = "container {name!r}: has no volumes on this host, so that nothing is to be saved: declare some (volumes)"
RUNS = (
    "container {name!r}: runs, and its volumes cannot be replaced meanwhile: with stop: true it is stopped for that, "
    "and started again; or stop it before"
)
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
        self.starter = starter
        self.request = request
        self.check = check
        self.name = str(container.name)
        self.directory = layout.container(self.name)
        self.snapshots = Snapshots(self.name, self.directory)
        self.warnings: list[str] = []
        self.changed = False
        self._restart = False
        self._not_started = ""

    def reach(self, state: str) -> Result:
        """Bring the snapshot into `state`: present, absent or restored. Return a module's result.

        :raises TargetError, LauncherError, OSError: when that cannot be done.
        """
        self.request.check(state)
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
        if self.check:
            return act[state]()
        with self.starter.lock(self.request.timeout):
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
        self.warnings.append(str(error))

    def _settle(self, state: str) -> None:
        """Finish a restore that was interrupted, or go back, and remove what interrupted runs left."""
        former = restoring.noted(str(self.snapshots.path))
        if former is not None and former.ready:
            if self._runs():
                raise TargetError(UNFINISHED.format(name=self.name, snapshot=former.snapshot))
            with self._alone():
                restoring.finish(str(self.directory), str(self.snapshots.path))
            self.changed = True
            self.warnings.append(f"the restore of {former.snapshot} was interrupted, and is finished now")
        if former is not None and former.restart and not self._runs():
            self._restart = True
            if state != "restored":
                self.warnings.append(STOPPED.format(name=self.name, snapshot=former.snapshot))
        self.snapshots.clear()

    def _runs(self) -> bool:
        return bool(self.container.status().state == "running")

    def _alone(self) -> ContextManager[Any]:
        """Return the lock that keeps everybody else from starting the container, where the run's own is another."""
        own = isinstance(self.starter, LauncherStarter)
        held: ContextManager[Any] = contextlib.nullcontext() if own else self.container.lock(self.request.timeout)
        return held

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
            how, made, paused, size, files = self._read(running, saved, path / VOLUMES)
            write_out(path)
            record = SnapshotRecord(
                container=self.name,
                made=made,
                system=system,
                labels=self.request.labels or {},
                consistent=how,
                volumes=saved,
                size=size,
                files=files,
                seconds=round(time.monotonic() - began, 3),
                paused_seconds=round(paused, 3),
            )
            self.snapshots.finish(snapshot, path, record)
        self._tell_start(f"snapshot {snapshot}: is made")
        return record

    def _tell_start(self, done: str) -> None:
        """Raise TargetError when the container has not started again after what is done."""
        if self._not_started:
            raise TargetError(f"{done}, but the container does not start again: {self._not_started}")

    def _read(self, running: bool, saved: list[str], target: Path) -> tuple[str, float, float, int, int]:
        """Copy the volumes while nothing of the container changes them.

        :return: how, when that was, for how many seconds it took part in nothing, the bytes and the files.
        """
        if running and self.request.stop:
            self._examine()
            began = time.monotonic()
            try:
                self.starter.stop(self.request.timeout)
                made = time.time()
                with self._alone():
                    size, files = self._copy(self.directory / VOLUMES, saved, target, say=True)
            except BaseException as error:
                self._start_after(error)
                raise
            try:
                self._start()
            except (LauncherError, TargetError, OSError) as error:
                self._not_started = message_of(error, self.name)  # what was saved is kept all the same
            return "stopped", made, time.monotonic() - began, size, files
        with self._alone():
            if not running:
                made = time.time()
                size, files = self._copy(self.directory / VOLUMES, saved, target, say=True)
                return "was not running", made, 0.0, size, files
            with Frozen(self.container) as frozen:
                made = time.time()
                size, files = self._copy(self.directory / VOLUMES, saved, target, say=True)
        return "frozen", made, frozen.seconds, size, files

    def _copy(self, source: Path, names: list[str], target: Path, say: bool = False) -> tuple[int, int]:
        """Copy volumes from one directory into another. Return the bytes and the files that were read."""
        size = files = 0
        for volume in names:
            done = copy(source, volume, target)
            size, files = size + done.size, files + done.files
            for count, text in ((done.sockets, SOCKETS_LEFT_OUT), (done.devices, NODES_LEFT_OUT)):
                if count and say:
                    self.warnings.append(text.format(volume=volume, count=count))
        return size, files

    def _retain(self, snapshot: str, record: SnapshotRecord | None) -> list[str]:
        """Remove the snapshots that are no longer kept. Return their names."""
        request = self.request
        if request.keep is None and request.max_age is None:
            return []
        found, problems = self.snapshots.readable()
        self.warnings += problems
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
        running = self._runs()
        if running and not self.request.stop:
            raise TargetError(RUNS.format(name=self.name))
        current = self.layout.current_system(self.name)
        if current is not None and record.system and record.system != current.name:
            said = OTHER_SYSTEM.format(snapshot=snapshot, former=record.system, current=current.name)
            self.warnings.append(said)
        there = volumes.volume_names(str(self.directory))
        untouched = [volume for volume in there if volume not in record.volumes]
        began = time.monotonic()
        paused = 0.0
        if not self.check:
            paused = self._put_back(snapshot, record, running)
        self.changed = True
        told = {**_told(record), "seconds": round(time.monotonic() - began, 3), "paused_seconds": round(paused, 3)}
        result = {"snapshot": snapshot, **told, "untouched": untouched, "removed": []}
        before = {volume: "as it is" if volume in there else "absent" for volume in record.volumes}
        after = dict.fromkeys(record.volumes, f"of the snapshot {snapshot}")
        return self._result(result, before={"volumes": before}, after={"volumes": after})

    def _put_back(self, snapshot: str, record: SnapshotRecord, running: bool) -> float:
        """Replace the volumes. Return for how many seconds a running container did not run."""
        restart = running or self._restart
        if restart:
            self._examine()
        began = time.monotonic()
        place = str(self.snapshots.path)
        with self._space_for(self.snapshots.path), self.snapshots.restoring() as path:
            (path / VOLUMES).mkdir(mode=0o700)
            self._copy(self.snapshots.path / snapshot / VOLUMES, record.volumes, path / VOLUMES)
            write_out(path)
            inodes = {volume: (path / VOLUMES / volume).stat().st_ino for volume in record.volumes}
            restore = Restore(snapshot=snapshot, restart=restart, ready=False, volumes=inodes)
            restoring.note(place, restore)
            began = time.monotonic()
            try:
                if running:
                    self.starter.stop(self.request.timeout)
                restoring.note(place, restore.replacing(ready=True))
            except BaseException as error:
                if running:
                    self._start_after(error)
                raise
        with self._alone():
            restoring.finish(str(self.directory), place)
        if restart:
            try:
                self._start()
            except (LauncherError, TargetError, OSError) as error:
                self._not_started = message_of(error, self.name)
        paused = time.monotonic() - began if restart else 0.0
        self.snapshots.clear()
        self._tell_start(f"snapshot {snapshot}: is restored")
        return paused

    # What both have in common.

    def _examine(self) -> None:
        """Refuse to stop what could not be started again."""
        system = self.layout.current_system(self.name)
        if system is None:
            raise strangers.without_system(self.name)
        examination.examine(self.layout, self.name, system).refuse(self.name)

    def _start(self) -> None:
        system = self.layout.current_system(self.name)
        if system is None:
            raise strangers.without_system(self.name)
        self.warnings += self.starter.start(system, True, self.request.timeout)

    def _start_after(self, error: BaseException) -> None:
        """Start what was stopped for something that has failed; that is what is to be said."""
        if self._runs():
            return
        try:
            self._start()
        except (LauncherError, TargetError, OSError) as second:
            said = message_of(error, self.name) if isinstance(error, Exception) else "interrupted"
            raise TargetError(f"{said}\nNor does it start again: {message_of(second, self.name)}") from error

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
