# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The facts that depend on the distribution of a container's software, one record for each family of them."""

from __future__ import annotations

import dataclasses
import typing as t
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Software:
    """The software behind a service type in a family.

    `units`: its units as the family calls them. `packages`: the packages to install. `programs`: their paths in the
    store, by their names. `versioned`: the package of one version alone, which replaces `{version}`, as in a program's
    path. `user`: the base user who runs it.
    """

    units: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    programs: Mapping[str, str] = dataclasses.field(default_factory=dict)
    versioned: str = ""
    user: str = ""


def software(
    units: str = "", packages: str = "", programs: Mapping[str, str] | None = None, versioned: str = "", user: str = ""
) -> Software:
    """Return a record; UNITS and PACKAGES are separated by spaces."""
    return Software(
        units=tuple(units.split()),
        packages=tuple(packages.split()),
        programs=programs or {},
        versioned=versioned,
        user=user,
    )


NOTHING = Software()


class BaseUser(t.NamedTuple):
    """A user that every system of a family has."""

    uid: int
    group: str
    home: str


@dataclasses.dataclass(frozen=True)
class Distribution:
    """The facts of a family.

    `systemd`: the program that is PID 1. `unit_directory`: where the units are that packages bring. `path`: where
    programs are looked for, and `user_path` the same for users other than root. `shell`, `no_login`: of a user who may
    log in, and of one who may not. `groups`, `users`: those of every system; so the store's set-group-id programs mean
    the same group inside. `administrators`: the group whose members may become root. `software`: by service type.
    """

    systemd: str
    unit_directory: str
    path: str
    user_path: str
    shell: str
    no_login: str
    groups: Mapping[str, int]
    users: Mapping[str, BaseUser]
    administrators: str
    software: Mapping[str, Software]

    def of(self, service_type: str) -> Software:
        """Return the software of a service type; an empty record when the family has none for it."""
        return self.software.get(service_type, NOTHING)
