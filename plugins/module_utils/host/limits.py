# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A container's limits as they are declared, and as the launcher takes them.

This module is pure: both sides use it.
"""

from __future__ import annotations

import difflib
import re
from typing import Any, Callable, Dict

from ..launcher.limits import LIMITS, processors

Limits = Dict[str, Any]
"""The limits by name: numbers; of `cpuset` a list as the kernel writes it; of disks, a number by path."""

UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
THOUSANDS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
"""Of bandwidths, as with systemd."""
LARGEST = 1 << 62
PROCESSORS = 8192  # more than any kernel knows
DISK_PATH = re.compile(r"/[^\s\"'\\%]*")
"""A path that every kind of systemd's quoting leaves as it is."""


class LimitError(ValueError):
    """A limit that cannot be used; the message begins with the place."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
        self.message = message


def parse_limits(declared: Any, path: str = "limits") -> Limits:
    """Return the limits in numbers: bytes, percent of one CPU, tasks, weights, processors, operations a second.

    Those that are None are left out.

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


def number_with_unit(value: Any, units: dict[str, int]) -> int:
    """Return a number with its unit, or -1 when it is none."""
    match = re.fullmatch(r"([0-9]{1,19})([KMGT]?)(?:i?B)?", str(value).strip()) if not isinstance(value, bool) else None
    return int(match.group(1)) * units[match.group(2)] if match else -1


def _size(value: Any, path: str) -> int:
    size = number_with_unit(value, UNITS)
    if not 1 << 20 <= size <= LARGEST:
        raise LimitError(path, f"{value!r} is not a size of 1M or more, such as 512M or 2G (K, M, G, T count in 1024s)")
    return size


def _swap(value: Any, path: str) -> int:
    size = number_with_unit(value, UNITS)
    if not 0 <= size <= LARGEST:
        raise LimitError(path, f"{value!r} is not a size, such as 512M, or 0 for none (K, M, G, T count in 1024s)")
    return size


def _processors(value: Any, path: str) -> str:
    words = [] if isinstance(value, bool) else re.split(r"[\s,]+", str(value).strip())
    if not words or not all(re.fullmatch(r"[0-9]{1,5}(-[0-9]{1,5})?", word) for word in words):
        raise LimitError(path, f"{value!r} is not a list of processors, such as 0-3 or 0,2")
    found = processors(",".join(words))
    backward = [word for word in words if not processors(word)]
    if backward or max(found) >= PROCESSORS:
        raise LimitError(path, f"{value!r}: {(backward or [max(found)])[0]} is no processor, or no range of them")
    return _ranges(sorted(found))


def _ranges(numbers: list[int]) -> str:
    """Return a list of processors as the kernel writes it."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and parts[-1][-1] == number - 1:
            parts[-1] = [parts[-1][0], number]
        else:
            parts.append([number])
    return ",".join("-".join(map(str, part)) for part in parts)


def _of_paths(units: dict[str, int], example: str) -> Callable[[Any, str], dict[str, int]]:
    def parse_paths(value: Any, path: str) -> dict[str, int]:
        if not isinstance(value, dict) or not value:
            raise LimitError(path, f"{value!r} is not a mapping of disks, such as {{/dev/sda: {example}}}")
        found = {}
        for disk, bound in value.items():
            if not isinstance(disk, str) or not DISK_PATH.fullmatch(disk):
                raise LimitError(path, f"{disk!r} is not an absolute path of a disk, or of a file on it")
            number = number_with_unit(bound, units)
            if not 1 <= number <= LARGEST:
                raise LimitError(f"{path}[{disk}]", f"{bound!r} is not a number a second, such as {example}")
            found[disk] = number
        return found

    return parse_paths


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


PARSERS: dict[str, Callable[[Any, str], Any]] = {
    "memory_max": _size,
    "memory_high": _size,
    "swap_max": _swap,
    "cpu_quota": _percent,
    "cpu_weight": _between(1, 10000, "a weight"),
    "cpuset": _processors,
    "tasks_max": _between(64, 4194304, "a number of tasks"),
    "io_weight": _between(1, 10000, "a weight"),
    "io_read_bandwidth": _of_paths(THOUSANDS, "10M (K, M, G, T count in 1000s)"),
    "io_write_bandwidth": _of_paths(THOUSANDS, "10M (K, M, G, T count in 1000s)"),
    "io_read_iops": _of_paths(THOUSANDS, "1000"),
    "io_write_iops": _of_paths(THOUSANDS, "1000"),
}
