# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A container's limits as they are declared, and as the launcher takes them.

This module is pure: both sides use it.
"""

from __future__ import annotations

import difflib
import re
from typing import Any, Callable, Dict

from ..launcher.limits import LIMITS

Limits = Dict[str, int]

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
LARGEST = 1 << 62


class LimitError(ValueError):
    """A limit that cannot be used; the message begins with the place."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
        self.message = message


def parse_limits(declared: Any, path: str = "limits") -> Limits:
    """Return the limits in numbers: bytes, percent of one CPU, tasks, weights. Leave out those that are None.

    :raises LimitError: with the place of what is wrong.
    """
    if not isinstance(declared, dict):
        raise LimitError(path, f"must be a mapping of limits, not {declared!r}")
    limits = {}
    for name, value in declared.items():
        if name not in PARSERS:
            near = difflib.get_close_matches(str(name), PARSERS, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(PARSERS)}"
            raise LimitError(f"{path}.{name}", f"is not a limit; {hint}")
        if value is not None:
            limits[name] = PARSERS[name](value, f"{path}.{name}")
    if "memory_high" in limits and limits["memory_high"] > limits.get("memory_max", LARGEST):
        raise LimitError(f"{path}.memory_high", "is above memory_max, and would never be reached")
    return {name: limits[name] for name in LIMITS if name in limits}


def _size(value: Any, path: str) -> int:
    match = re.fullmatch(r"([0-9]{1,19})([KMGT]?)(?:i?B)?", str(value).strip()) if not isinstance(value, bool) else None
    size = int(match.group(1)) * UNITS[match.group(2)] if match else 0
    if not 1 << 20 <= size <= LARGEST:
        raise LimitError(path, f"{value!r} is not a size of 1M or more, such as 512M or 2G (K, M, G, T count in 1024s)")
    return size


def _percent(value: Any, path: str) -> int:
    match = re.fullmatch(r"([0-9]{1,7})%", str(value).strip())
    if not match or int(match.group(1)) < 1:
        raise LimitError(path, f"{value!r} is not a share of a CPU's time, such as 50% or, of two CPUs, 200%")
    return int(match.group(1))


def _between(low: int, high: int, what: str) -> Callable[[Any, str], int]:
    def parse_number(value: Any, path: str) -> int:
        number = -1
        if not isinstance(value, bool) and re.fullmatch(r"[0-9]{1,10}", str(value).strip()):
            number = int(value)
        if not low <= number <= high:
            raise LimitError(path, f"{value!r} is not {what} from {low} to {high}")
        return number

    return parse_number


PARSERS: dict[str, Callable[[Any, str], int]] = {
    "memory_max": _size,
    "memory_high": _size,
    "cpu_quota": _percent,
    "cpu_weight": _between(1, 10000, "a weight"),
    "tasks_max": _between(64, 4194304, "a number of tasks"),
    "io_weight": _between(1, 10000, "a weight"),
}
