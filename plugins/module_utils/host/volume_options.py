# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The sizes in the option `volumes`, which belong to a container and not to its system (V3).

This module is pure: both sides use it.
"""

from __future__ import annotations

from typing import Any, Dict, NamedTuple

from ..launcher.errors import OptionError
from ..state.directory_quota import size_text
from ..state.volume_sizes import VolumeSize
from . import limits

LEAST = 16 << 20
"""Bytes: in less a btrfs has hardly room for the directory itself."""
GRAIN = 1 << 16
"""Bytes: file systems count in blocks of so many at most, and a limit is read back as they count."""
WORDS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
"""The words that templates write for true and false, with their values."""


class GivenSize(NamedTuple):
    """A size as it was declared.

    :ivar place: where.
    """

    place: str
    size: VolumeSize


GivenSizes = Dict[str, GivenSize]
"""By the names of the volumes."""


def parse_sizes(declared: Any, path: str = "volumes") -> GivenSizes:
    """Return the sizes in the option `volumes`; the rest of it is read where a system is made.

    :raises OptionError: with the place of what is wrong.
    """
    found: GivenSizes = {}
    for index, item in enumerate(declared if isinstance(declared, list) else ()):
        if not isinstance(item, dict):
            continue
        place = f"{path}[{index}]"
        given, may_fail = item.get("size"), item.get("size_may_fail")
        may_fail = WORDS.get(may_fail.lower(), may_fail) if isinstance(may_fail, str) else may_fail
        if may_fail is not None and not isinstance(may_fail, bool):
            raise OptionError(f"{place}.size_may_fail", f"must be true or false, not {may_fail!r}")
        if given is None:
            if may_fail is not None:
                raise OptionError(f"{place}.size_may_fail", "is said of no size: say `size`, or leave it out")
            continue
        size = limits.number_with_unit(given, limits.UNITS)
        if not LEAST <= size <= limits.LARGEST:
            raise OptionError(
                f"{place}.size",
                f"{given!r} is not a size of {size_text(LEAST)} or more, such as 500M or 5G "
                "(K, M, G, T count in 1024s)",
            )
        size -= size % GRAIN
        found[str(item.get("name"))] = GivenSize(f"{place}.size", VolumeSize(size=size, may_fail=bool(may_fail)))
    return found
