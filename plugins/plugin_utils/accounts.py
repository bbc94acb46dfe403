# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users and groups: the base ones, ids derived from names, and the files that hold them."""

from __future__ import annotations

import copy
import hashlib
import typing as t

from .debian import DEBIAN
from .errors import DeclarationError, suggestion
from .records import UserAccount, UserGroup
from .service_types import Placed

A = t.TypeVar("A", UserAccount, UserGroup)

# Ids of the collection's own service types; names never hash into this range (900 to 999).
SERVICE_IDS: dict[str, int] = {
    "sshd": 900,
    "postgres": 901,
    "redis": 902,
    "messagebus": 903,
    "nscd": 904,
    "syslog": 905,
    "crontab": 906,
    "systemd-journal": 910,
    "systemd-network": 911,
}
SYSTEM_RANGE = (101, 900)
NORMAL_RANGE = (1000, 60000)


def service_user(
    name: str, *, comment: str = "", home: str = "/nonexistent", group: str | None = None, shell: str = DEBIAN.no_login
) -> UserAccount:
    """Return the account of a service type, with its well-known id."""
    return UserAccount(
        name=name,
        uid=SERVICE_IDS[name],
        group=group or name,
        comment=comment,
        home_directory=home,
        create_home_directory=False,
        shell=shell,
        system=True,
    )


def service_group(name: str) -> UserGroup:
    """Return the group of a service type, with its well-known id."""
    return UserGroup(name=name, gid=SERVICE_IDS[name], system=True)


def base_users() -> list[UserAccount]:
    """Return the users that every system has."""
    root = UserAccount(name="root", uid=0, group="root", comment="root", home_directory="/root", system=True)
    others = [
        UserAccount(
            name=name,
            uid=uid,
            group=group,
            comment=name,
            home_directory=home,
            create_home_directory=False,
            shell=DEBIAN.no_login,
            system=True,
        )
        for name, (uid, group, home) in DEBIAN.users.items()
    ]
    return [root, *others]


def base_groups() -> list[UserGroup]:
    """Return the groups that every system has."""
    groups = [UserGroup(name=name, gid=gid, system=True) for name, gid in DEBIAN.groups.items()]
    return [*groups, service_group("systemd-journal")]


def derived_id(name: str, *, system: bool) -> int:
    """Return an id derived from NAME alone: 101-899 for system accounts, 1000-59999 for others."""
    low, high = SYSTEM_RANGE if system else NORMAL_RANGE
    return low + int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % (high - low)


def merge(known: dict[str, A], records: t.Iterable[A], path: str, *, override: bool) -> None:
    """Add RECORDS to KNOWN by name. With OVERRIDE the keys a record was given replace those of a known one."""
    for record in records:
        former = known.get(record.name)
        if former is None:
            known[record.name] = record
        elif override:
            known[record.name] = former.replacing(**{key: getattr(record, key) for key in record.given})
        elif former != record:
            raise DeclarationError(path, f"'{record.name}' is already declared differently")


def _numbered(records: t.Iterable[A], key: str, path: str, places: t.Mapping[str, str]) -> dict[str, int]:
    ids: dict[str, int] = {}
    owners: dict[int, str] = {}
    for record in records:
        given = getattr(record, key)
        number = derived_id(record.name, system=record.system) if given is None else given
        if number in owners:
            place = places.get(record.name, places.get(owners[number], path))
            raise DeclarationError(
                place,
                f"'{owners[number]}' and '{record.name}' both have the {key} {number}; set `{key}` of one of them",
            )
        ids[record.name] = number
        owners[number] = record.name
    return ids


class Places:
    """Where the user wrote accounts, by name."""

    def __init__(self) -> None:
        self.users: dict[str, str] = {}
        self.groups: dict[str, str] = {}

    def note(self, users: t.Iterable[UserAccount], groups: t.Iterable[UserGroup], path: str) -> None:
        """Note those of a mapping of `users` and `groups`, which the user wrote at a path."""
        self.users.update((user.name, f"{path}.users[{index}]") for index, user in enumerate(users))
        self.groups.update((group.name, f"{path}.groups[{index}]") for index, group in enumerate(groups))


class Accounts:
    """All users and groups of a system, with their ids. A missing group, or an id used twice, is an error.

    :param places: where the user wrote them; those of services are nowhere.
    """

    def __init__(
        self, users: t.Sequence[UserAccount], groups: t.Sequence[UserGroup], path: str, places: Places
    ) -> None:
        self.users = list(users)
        self.groups = list(groups)
        self.places = places.users
        self.uids = _numbered(self.users, "uid", f"{path}.users", places.users)
        self.gids = _numbered(self.groups, "gid", f"{path}.groups", places.groups)
        for user in self.users:
            for group in (user.group, *user.supplementary_groups):
                if group not in self.gids:
                    known = suggestion(group, self.gids)
                    place = self.places.get(user.name, f"{path}.users")
                    raise DeclarationError(place, f"'{user.name}' is in the unknown group '{group}'{known}")

    def without_base(self, users: t.Iterable[UserAccount], groups: t.Iterable[UserGroup]) -> Accounts:
        """Return the accounts without those that every system has anyhow.

        :param users: the declared ones, which are meant, also where every system has them.
        :param groups: the same of groups; those that an account is in stay, too.
        """
        found = copy.copy(self)
        base = {user.name for user in base_users()} - {user.name for user in users}
        found.users = [user for user in self.users if user.name not in base]
        needed = {name for user in found.users for name in (user.group, *user.supplementary_groups)}
        everywhere = {group.name for group in base_groups()} - {group.name for group in groups} - needed
        found.groups = [group for group in self.groups if group.name not in everywhere]
        return found

    def members(self, group: UserGroup) -> str:
        """Return the members of a group as the files have them, beside the users whose group it is."""
        return ",".join(user.name for user in self.users if group.name in user.supplementary_groups)

    def passwd(self) -> str:
        """Return /etc/passwd."""
        return "".join(
            f"{user.name}:x:{self.uids[user.name]}:{self.gids[user.group]}:{user.comment}:{user.home}:{user.shell}\n"
            for user in self.users
        )

    def group(self) -> str:
        """Return /etc/group."""
        return "".join(f"{group.name}:x:{self.gids[group.name]}:{self.members(group)}\n" for group in self.groups)

    def gshadow(self) -> str:
        """Return /etc/gshadow: no group has a password."""
        return "".join(f"{group.name}:*::{self.members(group)}\n" for group in self.groups)

    def shadow(self) -> str:
        """Return /etc/shadow: accounts without a password are locked, passwords never age."""
        return "".join(
            f"{user.name}:{user.password or ('*' if user.system and user.name != 'root' else '!')}::0:99999:7:::\n"
            for user in self.users
        )

    def homes(self) -> list[dict[str, t.Any]]:
        """Return the home directories to make, each with its place if the user wrote it."""
        made = [(user, self._home(user)) for user in self.users if user.create_home_directory]
        return [
            Placed(home, f"{self.places[user.name]}.home_directory") if user.name in self.places else home
            for user, home in made
        ]

    def _home(self, user: UserAccount) -> dict[str, t.Any]:
        return {
            "path": user.home,
            "mode": "0755" if user.system and user.name != "root" else "0700",
            "uid": self.uids[user.name],
            "gid": self.gids[user.group],
        }
