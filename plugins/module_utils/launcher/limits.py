# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The limits of a container: how much of the host it may take, kept beside the container and written to cgroup2.

The limits belong to the container and not to its system: a changed limit is no reason to restart. Under a unit of
systemd they are the unit's, and systemd writes them.
"""

from __future__ import annotations

import os

from . import data
from .errors import LauncherError
from .paths import make_directory, read_text, write_atomically

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .cgroup import ControlGroup

FILE = "limits.json"
# Half of the lowest kernel.pid_max, as systemd gives its own containers: a fork bomb inside ends inside.
TASKS = 16384
PERIOD = 100000  # microseconds, the kernel's own default for cpu.max
UNBOUND = "max"


class Limit:
    """One limit: its controller, its files in cgroup2 (the first that exists is used), and its default value."""

    def __init__(self, controller: str, files: tuple[str, ...], default: str) -> None:
        self.controller = controller
        self.files = files
        self.default = default


LIMITS = {
    "memory_max": Limit("memory", ("memory.max",), UNBOUND),
    "memory_high": Limit("memory", ("memory.high",), UNBOUND),
    "cpu_quota": Limit("cpu", ("cpu.max",), "%s %d" % (UNBOUND, PERIOD)),
    "cpu_weight": Limit("cpu", ("cpu.weight",), "100"),
    "tasks_max": Limit("pids", ("pids.max",), UNBOUND),  # in truth `tasks` below
    # io.weight needs the kernel's cost model; the scheduler BFQ has a file of its own.
    "io_weight": Limit("io", ("io.weight", "io.bfq.weight"), "100"),
}

# The properties of a unit (systemd.resource-control(5)) that stand for the limits.
UNIT_PROPERTIES = {
    "memory_max": "MemoryMax=%d",
    "memory_high": "MemoryHigh=%d",
    "cpu_quota": "CPUQuota=%d%%",
    "cpu_weight": "CPUWeight=%d",
    "tasks_max": "TasksMax=%d",
    "io_weight": "IOWeight=%d",
}


def read(directory: str) -> dict[str, Any]:
    """Return the limits kept for the container whose directory this is: numbers, `cpu_quota` in percent of one CPU."""
    path = os.path.join(directory, FILE)
    text = read_text(path)
    if not text:
        return {}
    try:
        return data.parse(text, path)
    except ValueError as error:
        raise LauncherError("%s; declare the limits again" % error) from error


def write(directory: str, limits: dict[str, Any]) -> None:
    """Keep the limits, durably."""
    make_directory(directory, 0o700)
    write_atomically(os.path.join(directory, FILE), data.format_flat(limits), durable=True)


def tasks(limits: dict[str, Any]) -> int:
    """Return the bound on tasks, which every container has."""
    return int(limits.get("tasks_max", TASKS))


def memory(limits: dict[str, Any]) -> int | None:
    """Return the bytes of memory that a container may have before the kernel holds it back, or none."""
    found = [int(limits[name]) for name in ("memory_max", "memory_high") if name in limits]
    return min(found) if found else None


def text(name: str, limits: dict[str, Any]) -> str:
    """Return the value for the kernel's file of this limit."""
    if name == "tasks_max":
        return str(tasks(limits))
    if name not in limits:
        return LIMITS[name].default
    if name == "cpu_quota":
        return "%d %d" % (int(limits[name]) * PERIOD // 100, PERIOD)
    return str(limits[name])


def properties(limits: dict[str, Any]) -> list[str]:
    """Return the limits as assignments of a unit. The number of tasks is always bounded."""
    return [UNIT_PROPERTIES[name] % value for name, value in {"tasks_max": TASKS, **limits}.items()]


def all_properties(limits: dict[str, Any]) -> list[str]:
    """Return the assignments for a unit that runs: an empty value, which is the default, for each other limit."""
    others = [UNIT_PROPERTIES[name].partition("=")[0] + "=" for name in LIMITS if name not in {"tasks_max", *limits}]
    return properties(limits) + others


def not_kept(limits: dict[str, Any], controllers: list[str]) -> list[str]:
    """Return the requested limits that a control group with these controllers cannot enforce."""
    return [name for name in LIMITS if name in limits and LIMITS[name].controller not in controllers]


def warnings_of(names: list[str]) -> list[str]:
    """Return a warning for each limit that cannot be enforced."""
    return [
        "limits.%s: cannot be kept on this host: its unified control groups have no controller '%s' "
        "(version 1 holds it, or the kernel lacks it); boot with systemd.unified_cgroup_hierarchy=1"
        % (name, LIMITS[name].controller)
        for name in names
    ]


def apply(cgroup: ControlGroup, limits: dict[str, Any]) -> list[str]:
    """Write all limits, the default for those not requested. Return the names of those that cannot be enforced."""
    controllers = cgroup.read("cgroup.controllers").split()
    failed = not_kept(limits, controllers)
    for name, limit in LIMITS.items():
        if limit.controller in controllers and not _write(cgroup, limit, text(name, limits)) and name in limits:
            failed.append(name)
    return failed


def _write(cgroup: ControlGroup, limit: Limit, value: str) -> bool:
    for file in limit.files:
        if cgroup.has(file):
            cgroup.write(file, value)
            return True
    return False
