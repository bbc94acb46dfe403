# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users and groups of the container that a deployment names, or gives by their numbers: of devices and mappings."""

from __future__ import annotations

import typing as t

from . import checks
from .errors import DeclarationError, suggestion
from .validation import describe

AccountIds = t.Mapping[str, t.Mapping[str, int]]
"""By name the numbers of users, below `uid`, of groups, below `gid`, and of each user's group, below `primary`."""

USERS = " of the declaration, which adds one with users: [{name: …, uid: …, group: …}]"
GROUPS = " of the declaration, which adds one with groups: [{name: …, gid: …}]"


def number_of(value: t.Any, ids: t.Mapping[str, int], kind: str, place: str, remedy: str = "") -> int:
    """Return the number of a user or group inside, which may be given by its name.

    :param kind: "user" or "group".
    :param remedy: what follows the kind, when there is none of that name.
    """
    check_account(value, kind, place)
    if isinstance(value, str) and not value.isdigit():
        if value not in ids:
            raise DeclarationError(place, f"{value!r}: there is no such {kind}{remedy}" + suggestion(value, ids))
        return ids[value]
    return checks.identifier(int(value), place)


def check_account(value: t.Any, kind: str, place: str) -> None:
    """Check what may be the name or the number of a user or group."""
    if isinstance(value, bool) or not isinstance(value, (int, str)) or not str(value).isascii():
        given = [*value] if isinstance(value, tuple) else value  # as a record has a list
        raise DeclarationError(place, f"must be the name or the number of a {kind}, not {describe(given)}")


def of_mapping(owner: t.Any, group: t.Any, ids: AccountIds, place: str) -> dict[str, int]:
    """Return `uid` and `gid` of a mapping by its owner and group, either of which may be None.

    Without a group, that of the owner counts.
    """
    found = {}
    if owner is not None:
        uid = found["uid"] = number_of(owner, ids["uid"], "user", f"{place}.owner", USERS)
        name = next((name for name, number in ids["uid"].items() if number == uid), None)
        if name is not None:
            found["gid"] = ids["primary"][name]
        elif group is None:
            raise DeclarationError(
                f"{place}.owner", f"{uid} is no user{USERS}, so its group is not known: declare it, or name a `group`"
            )
    if group is not None:
        found["gid"] = number_of(group, ids["gid"], "group", f"{place}.group", GROUPS)
    return found
