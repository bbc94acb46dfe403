# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The limits of a container: how much of the host it may take, kept beside the container and written to cgroup2.

The limits belong to the container and not to its system: a changed limit is no reason to restart. Under a unit of
systemd they are the unit's, and systemd writes them.
"""

from __future__ import annotations

import errno
import os

from . import data, devices
from .paths import make_directory, read_kept, read_text, write_atomically

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .cgroup import ControlGroup

FILE = "limits.json"
# Half of the lowest kernel.pid_max, as systemd gives its own containers: a fork bomb inside ends inside.
TASKS = 16384
PERIOD = 100000  # microseconds, the kernel's own default for cpu.max
UNBOUND = "max"
DISKS = "io.max"
ONLINE = "/sys/devices/system/cpu/online"
UNKNOWN = (errno.EINVAL, errno.ERANGE, errno.ENODEV)  # the kernel has no such processor, or no such disk


class Limit:
    """One limit: its controller, its files in cgroup2 (the first that exists is used), and its default value.

    A limit with a key has a value for each path, and its file has a line for each disk.
    """

    def __init__(self, controller: str, files: tuple[str, ...], default: str, key: str = "") -> None:
        self.controller = controller
        self.files = files
        self.default = default
        self.key = key


LIMITS = {
    "memory_max": Limit("memory", ("memory.max",), UNBOUND),
    "memory_high": Limit("memory", ("memory.high",), UNBOUND),
    "swap_max": Limit("memory", ("memory.swap.max",), UNBOUND),
    "cpu_quota": Limit("cpu", ("cpu.max",), "%s %d" % (UNBOUND, PERIOD)),
    "cpu_weight": Limit("cpu", ("cpu.weight",), "100"),
    "cpuset": Limit("cpuset", ("cpuset.cpus",), ""),
    "tasks_max": Limit("pids", ("pids.max",), UNBOUND),  # in truth `tasks` below
    # io.weight needs the kernel's cost model; the scheduler BFQ has a file of its own.
    "io_weight": Limit("io", ("io.weight", "io.bfq.weight"), "100"),
    "io_read_bandwidth": Limit("io", (DISKS,), UNBOUND, "rbps"),
    "io_write_bandwidth": Limit("io", (DISKS,), UNBOUND, "wbps"),
    "io_read_iops": Limit("io", (DISKS,), UNBOUND, "riops"),
    "io_write_iops": Limit("io", (DISKS,), UNBOUND, "wiops"),
}

# The properties of a unit (systemd.resource-control(5)) that stand for the limits.
UNIT_PROPERTIES = {
    "memory_max": "MemoryMax=%d",
    "memory_high": "MemoryHigh=%d",
    "swap_max": "MemorySwapMax=%d",
    "cpu_quota": "CPUQuota=%d%%",
    "cpu_weight": "CPUWeight=%d",
    "cpuset": "AllowedCPUs=%s",
    "tasks_max": "TasksMax=%d",
    "io_weight": "IOWeight=%d",
    "io_read_bandwidth": "IOReadBandwidthMax=%s %d",
    "io_write_bandwidth": "IOWriteBandwidthMax=%s %d",
    "io_read_iops": "IOReadIOPSMax=%s %d",
    "io_write_iops": "IOWriteIOPSMax=%s %d",
}


def read(directory: str) -> dict[str, Any]:
    """Return the limits kept for the container whose directory this is, as `host/limits` parses them."""
    return read_kept(os.path.join(directory, FILE), "declare the limits again")


def write(directory: str, limits: dict[str, Any]) -> None:
    """Keep the limits, durably."""
    import json

    make_directory(directory, 0o700)
    write_atomically(os.path.join(directory, FILE), json.dumps(limits, sort_keys=True) + "\n", durable=True)


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
    lines = []
    for name, value in {"tasks_max": TASKS, **limits}.items():
        values = sorted(value.items()) if isinstance(value, dict) else [value]
        lines += [UNIT_PROPERTIES[name] % item for item in values]
    return lines


def all_properties(limits: dict[str, Any]) -> list[str]:
    """Return the assignments for a unit that runs: an empty value, which is the default, for each other limit."""
    others = [UNIT_PROPERTIES[name].partition("=")[0] + "=" for name in LIMITS if name not in {"tasks_max", *limits}]
    return properties(limits) + others


def not_kept(limits: dict[str, Any], controllers: list[str]) -> list[str]:
    """Return the requested limits that a control group with these controllers cannot enforce."""
    return [name for name in LIMITS if name in limits and LIMITS[name].controller not in controllers]


def warnings_of(names: list[str], controllers: list[str]) -> list[str]:
    """Return a warning for each limit that a host with these controllers cannot enforce."""
    return ["limits.%s: cannot be kept on this host: %s" % (name, _reason(name, controllers)) for name in names]


def _reason(name: str, controllers: list[str]) -> str:
    limit = LIMITS[name]
    if limit.controller in controllers:
        return "its kernel has no file %s for that" % limit.files[0]
    return (
        "its unified control groups have no controller '%s' (version 1 holds it, or the kernel lacks it); "
        "boot with systemd.unified_cgroup_hierarchy=1" % limit.controller
    )


def unfit(limits: dict[str, Any], controllers: list[str]) -> list[str]:
    """Return a warning for each processor and each disk in the limits that this host does not have."""
    found = []
    if "cpuset" in limits and LIMITS["cpuset"].controller in controllers:
        present = read_text(ONLINE).strip()
        absent = sorted(processors(limits["cpuset"]) - processors(present)) if present else []
        if absent:
            said = "limits.cpuset: cannot be kept on this host: it has no processor %d, only %s"
            found.append(said % (absent[0], present))
    for name in _of_disks(limits):
        if LIMITS[name].controller in controllers:
            for path in limits[name]:
                reason = _disk(path)[1]
                if reason:
                    found.append("limits.%s: cannot be kept on this host: '%s' %s" % (name, path, reason))
    return found


def processors(text: str) -> set[int]:
    """Return the processors in a list such as `0-3,6`."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _dash, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def apply(cgroup: ControlGroup, limits: dict[str, Any]) -> list[str]:
    """Write all limits, the default for those not requested. Return the names of those that cannot be enforced.

    A processor or a disk that this host does not have is left out; `unfit` names it.
    """
    controllers = cgroup.read("cgroup.controllers").split()
    failed = not_kept(limits, controllers)
    for name, limit in LIMITS.items():
        if limit.controller not in controllers or limit.key:
            continue
        if not _write(cgroup, limit, text(name, limits)) and name in limits:
            failed.append(name)
    if LIMITS["io_read_iops"].controller in controllers:
        failed += apply_disks(cgroup, limits)
    return failed


def apply_disks(cgroup: ControlGroup, limits: dict[str, Any], former: dict[str, Any] | None = None) -> list[str]:
    """Write the line of each disk, one without bounds for those that have none any more. Return what has no file.

    Args:
        former: the limits until now, where others write to the group, too: systemd, which forgets no line of a unit
            that runs, and has bounds of the administrator's. By default every disk is the limits' own.
    """
    asked = _of_disks(limits)
    if not cgroup.has(DISKS):
        return asked
    keys = [limit.key for limit in LIMITS.values() if limit.key]
    if former is None:
        known = data.first_words(cgroup.read(DISKS))
    else:
        known = [_disk(path)[0] for name in _of_disks(former) for path in former[name]]
    lines = {number: dict.fromkeys(keys, UNBOUND) for number in known if number}
    for name in asked:
        for path, bound in by_disk(limits)[name].items():
            number = _disk(path)[0]
            if number:
                lines.setdefault(number, dict.fromkeys(keys, UNBOUND))[LIMITS[name].key] = str(bound)
    for number, line in sorted(lines.items()):
        _try(cgroup, DISKS, " ".join([number, *("%s=%s" % pair for pair in line.items())]))
    return []


def by_disk(limits: dict[str, Any]) -> dict[str, Any]:
    """Return the limits with one path for each disk, the first that leads to it, and the lowest bound for that.

    systemd writes all bounds of a path at once. Those of another path to the same disk would be gone.
    """
    first: dict[str, str] = {}
    merged = dict(limits)
    for name in _of_disks(limits):
        merged[name] = {}
        for path, bound in limits[name].items():
            number = _disk(path)[0]
            known = first.setdefault(number, path) if number else path
            merged[name][known] = min(bound, merged[name].get(known, bound))
    return merged


def _of_disks(limits: dict[str, Any]) -> list[str]:
    return [name for name, limit in LIMITS.items() if limit.key and name in limits]


def _disk(path: str) -> tuple[str, str]:
    """Return the number of a path's disk, and why there is none."""
    try:
        number = devices.whole_disk(path)
    except OSError as error:
        return "", "is not there: %s" % error.strerror
    return (number, "") if number else ("", "is on no disk, or on several at once")


def _write(cgroup: ControlGroup, limit: Limit, value: str) -> bool:
    for file in limit.files:
        if cgroup.has(file):
            _try(cgroup, file, value)
            return True
    return False


def _try(cgroup: ControlGroup, file: str, value: str) -> None:
    try:
        cgroup.write(file, value or "\n")  # nothing at all is not written
    except OSError as error:
        if error.errno not in UNKNOWN:
            raise
