# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Information about a container. Nothing here changes one, and what cannot be learned of one hides nothing else."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Callable, Protocol

from ..inside.outdated import Outdated
from ..inside.units import Judgement
from ..launcher import mount_table
from ..launcher.errors import LauncherError
from ..launcher.names import is_name
from ..launcher.network_records import Published
from ..launcher.specification import read_outline
from ..state import generations, quotas, volumes
from ..state.network_record import NetworkRecord
from ..state.target import Layout, TargetError
from . import software
from .container import ON_DISK

LOG_LIMIT = 256 * 1024
"""Bytes of a log that are returned at most, its end."""

MOUNTS_SIZE, MOUNTS_LIMIT = 4 << 20, 4096
"""Bytes that are read of a list of mounts, and how many are returned: root inside can make any number."""

SHOWN = ("name", "kind", "parent", "host_name", "mac", "addresses", "gateways")
"""The fields of each interface that a report has."""


class InspectedContainer(Protocol):
    """The questions about a container that the launcher answers."""

    cgroup: Any

    def record(self) -> dict[str, Any] | None:
        """Return the record of the last start, or None."""

    def status(self) -> Any:
        """Return the status: whether the container runs, and as what."""

    def judge(self, timeout: float) -> Judgement:
        """Return whether all that was declared runs."""

    def outdated_units(self, timeout: float) -> dict[str, Outdated]:
        """Return the units that run software which the host has replaced, by their names."""

    def log_tail(self, lines: int, unit: str | None, timeout: float) -> str:
        """Return the end of the container's log."""


def names(layout: Layout, run_directory: Path) -> list[str]:
    """Return the names of all containers of this host: those deployed, and those that somebody runs by hand."""
    found: set[str] = set()
    for directory in (layout.containers, run_directory):
        try:
            found.update(entry.name for entry in os.scandir(directory) if entry.is_dir(follow_symlinks=False))
        except OSError:
            continue  # there is none
    return sorted(name for name in found if is_name(name))


class Information:
    """The information about one container.

    :param proc: where the kernel's view of processes is.
    :param timeout: seconds that each question to the container's own programs may take.
    :param log_lines: how many lines of the log's end to return.
    """

    def __init__(
        self,
        layout: Layout,
        name: str,
        container: InspectedContainer,
        proc: Path = Path("/proc"),
        timeout: float = 5.0,
        log_lines: int = 0,
    ) -> None:
        self.layout = layout
        self.name = name
        self.container = container
        self.proc = proc
        self.timeout = timeout
        self.log_lines = log_lines
        self.errors: list[str] = []

    def gather(self) -> dict[str, Any]:
        """Return all information. What could not be learned is None, and a message in `errors` says why.

        Nothing stays open: a report may be one of thousands.
        """
        try:
            return self._gather()
        finally:
            self.container.cgroup.close()

    def _gather(self) -> dict[str, Any]:
        status = self._try("its state", self.container.status)
        running = status is not None and status.state == "running"
        facts: dict[str, Any] = {"name": self.name, "state": self._state(status)}
        facts.update(
            self._try("its generations", self._generations) or {"system": None, "store": None, "generations": []}
        )
        facts["volumes"] = self._try("its volumes", self._volumes)
        directory = str(self.layout.container(self.name))
        facts["leftovers"] = self._try("what interrupted runs have left", lambda: volumes.leftovers(directory))
        facts["ready"] = bool(running and status.ready)
        for key in ("pid", "uid_base", "uid_count", "boot_seconds", "started"):
            facts[key] = getattr(status, key) if running else None
        facts["running_system"] = status.system if running else None
        facts["uptime_seconds"] = (
            max(0.0, round(time.time() - status.started, 3)) if running and status.started else None
        )
        facts.update(self._network() if running else dict.fromkeys(("interfaces", "addresses", "ports")))
        facts["memory"] = self._try("its memory", self._memory) if running else None
        facts["cpu"] = self._try("its use of the processors", self._processors) if running else None
        found = self._try("its mounts", lambda: self._mounts(status.pid)) if running else None
        facts["mounts"], facts["mounts_truncated"] = found or (None, False)
        asked = running and self._try("its system", lambda: self._has_systemd(status.system))
        judgement = self._try("its units", lambda: self.container.judge(self.timeout)) if asked else None
        facts["failed_units"] = judgement.units if judgement is not None else None
        facts["problems"] = judgement.texts() if judgement is not None else None
        outdated = self._try("its software", lambda: self.container.outdated_units(self.timeout)) if running else None
        facts["outdated_units"] = None if outdated is None else list(outdated)
        facts["outdated"] = None if outdated is None else {unit: found.files for unit, found in outdated.items()}
        facts["log"] = self._try("its log", self._log) if running and self.log_lines else None
        facts["errors"] = self.errors
        return facts

    def _try(self, what: str, ask: Callable[[], Any]) -> Any:
        try:
            return ask()
        except (LauncherError, TargetError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            self.errors.append(f"{what} cannot be read: {error}")
            return None

    def _state(self, status: Any) -> str:
        if status is None:
            return "unknown"
        if status.state == "running":
            return "running"
        directory = self.layout.container(self.name)
        return "stopped" if any(os.path.lexists(directory / entry) for entry in ON_DISK) else "absent"

    def _volumes(self) -> list[dict[str, Any]]:
        directory = str(self.layout.container(self.name))
        paths = {name: os.path.join(directory, volumes.VOLUMES, name) for name in volumes.volume_names(directory)}
        found: list[dict[str, Any]] = []
        for name, path in paths.items():
            with quotas.opened(path) as quota:
                counted = quota.is_enlisted()
                size, used = (quota.limit() or None, quota.used()) if counted else (None, None)
            found.append({"name": name, "path": path, "size": size, "used": used})
        return found

    def _generations(self) -> dict[str, Any]:
        current = self.layout.current_system(self.name)
        number = generations.current_number(self.layout, self.name)
        found = [
            {
                "number": each,
                "system": str(generations.system_of(self.layout, self.name, each)),
                "current": each == number,
                "well": generations.was_well(self.layout, self.name, each),
                "store": software.store_of(generations.system_of(self.layout, self.name, each)),
            }
            for each in generations.numbers(self.layout, self.name)
        ]
        store = software.store_of(current)
        return {"system": str(current) if current else None, "store": store, "generations": found}

    def _network(self) -> dict[str, list[Any] | None]:
        """Return the interfaces of a network of its own, their addresses, and the ports that the host publishes."""
        record = self._try("its network", lambda: NetworkRecord.read(self.name))
        interfaces = [{key: getattr(item, key) for key in SHOWN} for item in record.interfaces] if record else []
        ports = [{key: getattr(port, key) for key in Published.KINDS} for port in record.ports] if record else []
        return {"interfaces": interfaces, "addresses": record.addresses() if record else [], "ports": ports}

    def _memory(self) -> dict[str, int | None] | None:
        """Return memory in bytes, or None when the host keeps the memory controller in version 1."""
        current = self._number("memory.current")
        if current is None:
            return None
        return {
            "current": current,
            "peak": self._number("memory.peak"),
            "maximum": self._number("memory.max"),
            "swap": self._number("memory.swap.current"),
        }

    def _number(self, file: str) -> int | None:
        text = self.container.cgroup.read(file).strip()
        return int(text) if text.isdigit() else None

    def _processors(self) -> dict[str, float] | None:
        """Return processor time in seconds (cgroup v2, cpu.stat), or None."""
        counters = dict(line.split(None, 1) for line in self.container.cgroup.read("cpu.stat").splitlines())
        if "usage_usec" not in counters:
            return None
        wanted = (("usage_seconds", "usage_usec"), ("user_seconds", "user_usec"), ("system_seconds", "system_usec"))
        return {name: int(counters[key]) / 1e6 for name, key in wanted}

    def _mounts(self, pid: int) -> tuple[list[dict[str, Any]], bool]:
        """Return the mounts of the container's first process (proc_pid_mountinfo(5)), and whether some are left out."""
        found, whole = mount_table.read_some(str(self.proc / str(pid) / "mountinfo"), MOUNTS_SIZE)
        return [mount(each) for each in found[:MOUNTS_LIMIT]], not whole or len(found) > MOUNTS_LIMIT

    def _has_systemd(self, system: str) -> bool:
        return read_outline(system).init.systemd

    def _log(self) -> str:
        return self.container.log_tail(self.log_lines, None, self.timeout)[-LOG_LIMIT:]


def mount(found: mount_table.MountTableEntry) -> dict[str, Any]:
    """Return a mount in the form of the module's result."""
    return {
        "target": found.point,
        "source": found.source,
        "root": found.part,
        "type": found.kind,
        "options": found.options,
    }
