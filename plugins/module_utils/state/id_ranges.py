# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The user and group ids of the host that a container's ids are (S5).

Ranges are taken from 0x70000000 up: above those of systemd-nspawn (524288 to 1879048191) and below systemd's foreign
ids (2147352576), a stretch that systemd's UIDS-GIDS document leaves to nobody. `/etc/subuid` and `/etc/subgid` are
looked at all the same. A container keeps its range for life: files outside its id-mapped mappings carry these numbers.
"""

from __future__ import annotations

from ..launcher.errors import LauncherError
from ..launcher.identity import COUNT, Identity, available
from ..launcher.paths import read_text
from .configs import configs_of_others

FIRST = 0x70000000
# The end of that stretch is for single commands (the module eval_container), which keep their ids while they run.
COMMANDS_FIRST, COMMANDS_LAST = 0x7FC00000, 0x7FFDFFFF
LAST = COMMANDS_FIRST - COUNT


def identity_for(name: str, asked: str | int, config: dict[str, object]) -> Identity:
    """Return the ids of container `name`, from what the system asks for and what its config remembers.

    Args:
        asked: `auto`, `identity`, or the first host id.
        config: the container's remembered state; gets `uid_base` when a range is allocated.

    Raises:
        LauncherError: the ids asked for are not there, or taken.
    """
    count, nested = available()
    if nested:
        if asked not in ("auto", "identity"):
            raise LauncherError("private_users: %s: inside a container only 'auto' and 'identity' can be had" % asked)
        if count < 1:
            raise LauncherError("private_users: this user namespace has no ids to give to a container")
        return Identity(0, min(count, COUNT), True)
    if asked == "identity":
        return Identity(0, COUNT, False)
    if asked != "auto":
        base = int(asked)
        if not 0 < base <= 0xFFFFFFFF - COUNT:
            raise LauncherError("private_users: %d is no first id of a range of %d" % (base, COUNT))
        occupied = taken(name)
        if config.get("uid_base_asked") != base:  # a container that has such ids by a former version keeps them
            occupied.append((COMMANDS_FIRST, COMMANDS_LAST + 1 - COMMANDS_FIRST, "single commands (eval_container)"))
        _refuse_overlap(base, occupied)
        config["uid_base_asked"] = base
        return Identity(base, COUNT, False)
    config.pop("uid_base_asked", None)
    remembered = config.get("uid_base")
    if remembered is not None:
        if not isinstance(remembered, int) or not FIRST <= remembered <= LAST:
            raise LauncherError("container %s: uid_base in its config.json is damaged; restore it from a backup" % name)
        return Identity(remembered, COUNT, False)
    base = _free(name, taken(name))
    config["uid_base"] = base
    return Identity(base, COUNT, False)


def _hash(name: str) -> int:
    """Return the FNV-1a hash of a name, so that it tends to get the same range again after a removal."""
    value = 0x811C9DC5
    for byte in name.encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value


def _free(name: str, occupied: list[tuple[int, int, str]]) -> int:
    """Return the first id of a range that nobody has, the first one from where the name's hash points to.

    Raises:
        LauncherError: there is none.
    """
    slots = (LAST - FIRST) // COUNT + 1
    used: set[int] = set()
    for first, count, _owner in occupied:
        used.update(range(max(first - FIRST, 0) // COUNT, min(first + count - 1 - FIRST, slots * COUNT) // COUNT + 1))
    start = _hash(name) % slots
    for step in range(slots):
        slot = (start + step) % slots
        if slot not in used:
            return FIRST + slot * COUNT
    raise LauncherError("private_users: no free range of %d ids is left between %d and %d" % (COUNT, FIRST, LAST))


def _refuse_overlap(base: int, occupied: list[tuple[int, int, str]]) -> None:
    for first, count, owner in occupied:
        if base < first + count and first < base + COUNT:
            raise LauncherError("private_users: ids from %d overlap those of %s; take another number" % (base, owner))


def taken(name: str) -> list[tuple[int, int, str]]:
    """Return the ranges of all other containers, and those of `/etc/subuid` and `/etc/subgid`."""
    ranges = []
    for other, config in configs_of_others({name}).items():
        for key in ("uid_base", "uid_base_asked"):
            base = config.get(key)
            if isinstance(base, int):
                ranges.append((base, COUNT, "container " + other))
    for file in ("/etc/subuid", "/etc/subgid"):
        for line in read_text(file).split("\n"):
            fields = line.split(":")
            if len(fields) == 3 and fields[1].isdecimal() and fields[2].isdecimal():
                ranges.append((int(fields[1]), int(fields[2]), "%s in %s" % (fields[0], file)))
    return ranges
