# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The numbers of a container's accounts, and what an option says as the name or the number of one."""

from __future__ import annotations

import typing as t
from collections.abc import Mapping

from . import checks
from .errors import DeclarationError, suggestion
from .validation import describe

_USERS = " of the declaration, which adds one with users: [{name: …, uid: …, group: …}]"
_GROUPS = " of the declaration, which adds one with groups: [{name: …, gid: …}]"


class AccountIds(t.NamedTuple):
    """The numbers of the container's accounts, by name.

    :ivar users: of users.
    :ivar groups: of groups.
    :ivar primary: of the primary group of each user.
    """

    users: Mapping[str, int]
    groups: Mapping[str, int]
    primary: Mapping[str, int]

    @classmethod
    def of_files(cls, files: Mapping[str, t.Any]) -> AccountIds:
        """Return those in the files of a system, passwd(5) and group(5), and root, whom a machine's tree has."""
        users, groups = _fields(files, "/etc/passwd"), _fields(files, "/etc/group")
        return cls(
            {"root": 0, **{fields[0]: int(fields[2]) for fields in users}},
            {"root": 0, **{fields[0]: int(fields[2]) for fields in groups}},
            {"root": 0, **{fields[0]: int(fields[3]) for fields in users}},
        )

    def user(self, value: t.Any, place: str) -> int:
        """Return the number of the user that an option names. Raise DeclarationError with the option's place."""
        return _number(value, self.users, "user", _USERS, place)

    def group(self, value: t.Any, place: str) -> int:
        """Return the number of the group that an option names. Raise DeclarationError with the option's place."""
        return _number(value, self.groups, "group", _GROUPS, place)

    def owner(self, user: t.Any, group: t.Any, place: str) -> tuple[int, int]:
        """Return the numbers of an `owner` and a `group`; without a group, it is the owner's primary one.

        :param place: of what has both options.
        """
        uid = self.user(user, f"{place}.owner")
        if group is not None:
            return uid, self.group(group, f"{place}.group")
        name = next((name for name, number in self.users.items() if number == uid), None)
        if name is None:
            raise DeclarationError(
                f"{place}.owner", f"{uid} is no user{_USERS}, so its group is not known: declare it, or name a `group`"
            )
        return uid, self.primary[name]

    def of_mapping(self, owner: t.Any, group: t.Any, place: str) -> dict[str, int]:
        """Return `uid` and `gid` of a mapping by its owner and group, either of which may be None."""
        if owner is not None:
            uid, gid = self.owner(owner, group, place)
            return {"uid": uid, "gid": gid}
        return {} if group is None else {"gid": self.group(group, f"{place}.group")}


def check_account(value: t.Any, kind: str, place: str) -> None:
    """Check what may be the name or the number of a user or group."""
    if isinstance(value, bool) or not isinstance(value, (int, str)) or not str(value).isascii():
        given = [*value] if isinstance(value, tuple) else value  # as a record has a list
        raise DeclarationError(place, f"must be the name or the number of a {kind}, not {describe(given)}")


def _fields(files: Mapping[str, t.Any], path: str) -> list[list[str]]:
    lines = files.get(path, {}).get("content", "").split("\n")
    return [fields for fields in (line.split(":") for line in lines) if len(fields) > 3]


def _number(value: t.Any, ids: Mapping[str, int], kind: str, declared: str, place: str) -> int:
    check_account(value, kind, place)
    if isinstance(value, str) and not value.isdigit():
        if value not in ids:
            raise DeclarationError(place, f"{value!r}: there is no such {kind}{declared}" + suggestion(value, ids))
        return ids[value]
    return checks.identifier(int(value), place)
