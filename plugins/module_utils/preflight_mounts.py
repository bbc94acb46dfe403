# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host is asked of the mounts of a container before anything is written on it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .launcher import guarded, mount_table, mounts, reachable, targets
from .launcher.errors import LauncherError

if TYPE_CHECKING:
    from . import preflight


class Sources:
    """What the mounts of a specification share with the container, beside what the host runs."""

    def __init__(self, host: preflight.HostFacts, specification: dict[str, Any]) -> None:
        self.host = host
        self.store = str((specification.get("store") or {}).get("source") or "/usr")
        self.records = specification.get("file_systems") or []
        self.nesting = bool((specification.get("security") or {}).get("nesting"))
        self.runs: guarded.GuardedHost | None = None
        if not any(self._device(record) for record in self.records):
            return
        runs = {str(host.path(path)): what for path, what in guarded.RUNS.items()}
        if host.root == Path("/"):
            runs.update(guarded.interpreter(host.interpreter))
        self.runs = guarded.GuardedHost(runs, tuple(str(host.path(path)) for path in guarded.SECRET))

    def refusals(self) -> list[str]:
        """Return why the container cannot write to what it is meant to, one for each mount."""
        return [said for record in self.records for said in self._look(record, True)]

    def warnings(self) -> list[str]:
        """Return what the container can read that it should not, one for each mount."""
        return [said for record in self.records for said in self._look(record, False)]

    def _look(self, record: dict[str, Any], writable: bool) -> list[str]:
        flags, device = record.get("flags") or [], self._device(record)
        bound, read_only = "bind-mount" in flags, "read-only" in flags
        if self.runs is None or not device or (writable and read_only):
            return []
        if bound and not writable and not read_only:
            return []  # refused, or nothing to warn of; a file system can have parts that it only reads
        written, read = ([device], []) if bound else guarded.paths_of(record, device)
        if not all(answers(self.host, path) for path in written + read):
            return []  # the launcher asks at each start, within a time limit
        try:
            if bound:
                return self._look_at_bind(self.runs, record, device, writable)
            if writable:
                self.runs.refuse_writable_file_system(record, device)
                if self.nesting:
                    reachable.check_file_system(self.runs, record, device, True)
                return []
            return list(filter(None, [self.runs.warning_of_file_system(record, device)]))
        except LauncherError as error:
            return [str(error)]

    def _device(self, record: dict[str, Any]) -> str:
        """What is mounted, or nothing where that is the store, or new and empty."""
        device = guarded.device_of(record)
        shared = "bind-mount" in (record.get("flags") or []) or record.get("type") not in (*targets.IN_MEMORY, "mqueue")
        return device if record.get("device") and shared and device != self.store else ""

    def _look_at_bind(
        self, runs: guarded.GuardedHost, record: dict[str, Any], device: str, writable: bool
    ) -> list[str]:
        try:
            source = os.open(self.host.path(device), os.O_PATH | os.O_CLOEXEC)
        except OSError:
            return []  # said elsewhere when it has to be there
        try:
            if writable:
                runs.refuse_writable(source, device)
                if self.nesting:
                    reachable.check_bind(runs, source, device, str(record.get("mount_point")), True)
                return []
            return list(filter(None, [runs.warning(source, device)]))
        finally:
            os.close(source)


def answers(host: preflight.HostFacts, path: str) -> bool:
    """Whether a path can be looked at without waiting for a server (a network's file system, FUSE)."""
    real = os.path.normpath(host.path(path))
    return all(mount.point == "/" or mount.kind in mounts.OWN for mount in mount_table.way(mount_table.read(), real))


def mount_points(host: preflight.HostFacts, specification: dict[str, Any]) -> list[str]:
    """A mount point that lies in a read-only bind mount, the store for one, must be there: nobody can make it."""
    problems = []
    above: list[dict[str, Any]] = []
    for mount in specification.get("file_systems") or []:
        point = targets.plain_path(str(mount.get("mount_point")))
        around = [other for other in above if targets.is_below(point, str(other["mount_point"]))]
        above.append({**mount, "mount_point": point})
        if not around or mount.get("mount_may_fail") or not _is_there(host, mount):
            continue
        outer = max(around, key=lambda other: len(str(other["mount_point"])))
        if {"bind-mount", "read-only"} <= set(outer.get("flags") or []):
            rest = point[len(str(outer["mount_point"])) :]
            if _is_missing(host, str(outer["device"]), rest):
                problems.append(
                    f"nothing can be mounted at {point}: {outer['device']} is shared read-only, and has no {rest[1:]}: "
                    f"make {outer['device']}{rest} on the host, or use another mount point"
                )
    return problems


def _is_there(host: preflight.HostFacts, mount: dict[str, Any]) -> bool:
    """Whether a mount is not left out for the lack of its source."""
    if "bind-mount" not in (mount.get("flags") or []):
        return True
    device = str(mount.get("device"))
    return answers(host, device) and host.exists(device)


def _is_missing(host: preflight.HostFacts, directory: str, rest: str) -> bool:
    """Whether a path below a directory is not there; where a link leads inside of a container is not asked here."""
    path = host.path(directory)
    if not path.exists():
        return False
    for part in rest.strip("/").split("/"):
        path /= part
        if path.is_symlink():
            return False
        if not path.exists():
            return True
    return False
