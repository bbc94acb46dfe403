# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The limits that the control group of a running unit holds, and those that its unit has.

When systemd has read a unit's files again, it knows the new limits. Whether it also writes them into the control group
of a unit that runs depends on its version: 252 does, 257 does not. So they are written here as well, as systemd has
them, drop-ins of the administrator's included, and what the group holds is read back.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from ..launcher import limits as kept_limits

if TYPE_CHECKING:
    from .systemd_units import Systemd

PAGE = os.sysconf("SC_PAGE_SIZE")
DEFAULT = "default "
UNBOUND = ("infinity", "18446744073709551615")
UNSET = ("[not set]", "18446744073709551615")
PROPERTIES = {
    "memory_max": "MemoryMax",
    "memory_high": "MemoryHigh",
    "swap_max": "MemorySwapMax",
    "cpu_quota": "CPUQuotaPerSecUSec",
    "cpu_weight": "CPUWeight",
    "cpuset": "AllowedCPUs",
    "tasks_max": "TasksMax",
    "io_weight": "IOWeight",
}
"""The properties of a unit, as `systemctl show` names them, that stand for the limits, but for those of disks."""

PERIOD = "CPUQuotaPeriodUSec"
NUMBER = r"([0-9]{1,20}|max)( [0-9]{1,20})?"
CPUSET = r"([0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*)?"
_UNITS = {"us": 1, "ms": 1000, "s": 1000000, "min": 60000000, "h": 3600000000, "d": 86400000000}
"""Units of the spans of time that systemctl prints, in microseconds."""


def wanted(properties: dict[str, str]) -> dict[str, str]:
    """Return the values of the kernel's files for a unit's properties, without those that are not understood."""
    found = {}
    for name, key in PROPERTIES.items():
        value = properties.get(key, "")
        if name == "cpu_quota":
            text = _quota(value, properties.get(PERIOD, ""))
        elif name == "cpuset":
            text = ",".join(value.split())
        elif name.endswith("_weight"):
            text = kept_limits.LIMITS[name].default if value in UNSET else value
        else:
            text = kept_limits.UNBOUND if value in UNBOUND else value
        form = CPUSET if name == "cpuset" and key in properties else NUMBER
        if re.fullmatch(form, text):
            found[name] = text
    return found


def _quota(per_second: str, period: str) -> str:
    length = _microseconds(period) or kept_limits.PERIOD
    if per_second in UNBOUND:
        return "%s %d" % (kept_limits.UNBOUND, length)
    quota = _microseconds(per_second)
    return "%d %d" % (quota * length // _UNITS["s"], length) if quota else ""


def _microseconds(text: str) -> int:
    """Return a span of time (`1min 30.5s`) in microseconds; 0 for what is none."""
    found = re.findall(r"([0-9]+(?:\.[0-9]+)?)(us|ms|s|min|h|d)\b", text)
    if not found or re.sub(r"[0-9.]+(?:us|ms|s|min|h|d)\b| ", "", text):
        return 0
    return round(sum(float(number) * _UNITS[unit] for number, unit in found))


def of_unit(systemd: Systemd, unit: str) -> dict[str, str]:
    """Return the values of the kernel's files that a unit has, by limit."""
    return wanted(systemd.properties(unit, [*PROPERTIES.values(), PERIOD]))


def not_held(cgroup: Any, texts: dict[str, str]) -> dict[str, str]:
    """Return what a control group holds in place of these values, by limit; "" where it has no file for one.

    A controller that the host has in version 1 of the control groups, or not at all, is not looked at.
    """
    found = {}
    controllers = cgroup.controllers()
    for name, text in texts.items():
        limit = kept_limits.LIMITS[name]
        if name == "swap_max" and text == limit.default and not cgroup.has(limit.files[0]):
            continue  # a kernel that does not count swap
        # The file of the scheduler BFQ has a scale of its own.
        if limit.controller in controllers and not any(cgroup.has(file) for file in limit.files[1:]):
            held = _value(cgroup.read(limit.files[0]))
            if not _is_same(held, text, PAGE if limit.controller == "memory" else 1):
                found[name] = held
    return found


def _value(text: str) -> str:
    """Return the value that a file of a control group has: that for all devices, where there is one for each."""
    first = text.split("\n")[0]
    return first[len(DEFAULT) :] if first.startswith(DEFAULT) else first


def _is_same(held: str, text: str, step: int) -> bool:
    """Return whether a group holds a value, which the kernel rounds down to a step; a share has many forms."""
    one, other = held.split(), text.split()
    if len(one) == len(other) == 2 and kept_limits.UNBOUND not in (one[0], other[0]):
        return int(one[0]) * int(other[1]) == int(other[0]) * int(one[1])
    if held.isdigit() and text.isdigit():
        return 0 <= int(text) - int(held) < step
    return one[:1] == other[:1]


def bring(cgroup: Any, texts: dict[str, str]) -> list[str]:
    """Have a control group hold these values. Return a warning for each that it does not hold all the same."""
    reasons = {}
    for name in not_held(cgroup, texts):
        try:
            cgroup.write(kept_limits.LIMITS[name].files[0], texts[name] or "\n")  # nothing at all is not written
        except OSError as error:
            reasons[name] = error.strerror or str(error)
    return [
        "limits.%s: the running container has %s in place of %s%s; it gets what is declared at its next start "
        "(state: restarted)" % (name, held or "none", texts[name], ": " + reasons[name] if name in reasons else "")
        for name, held in not_held(cgroup, texts).items()
    ]
