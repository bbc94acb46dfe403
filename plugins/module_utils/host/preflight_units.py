# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names in the units of a system that stand for nothing there: units to start or to require, users and groups.

systemd says so of a unit only when it starts it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ..launcher import targets
from ..state import name_services
from ..state.unit_texts import TRIGGERS
from .unit_settings import BINDS, NEEDS, UnitSettings

if TYPE_CHECKING:
    from ..launcher.contract import Specification
    from .unit_settings import Read

ALWAYS = ("root", "nobody", "nogroup")
"""The accounts that systemd knows by itself."""


class NamesInUnits:
    """The check of the names in the units that a system brings itself.

    :param read: gives the content of a file of the system.
    :param texts: the settings of its units.
    """

    def __init__(self, specification: Specification, read: Read, texts: UnitSettings) -> None:
        self.specification = specification
        self.read = read
        self.texts = texts
        self.own = [name for name in texts.started() if texts.declared.is_own(name)]

    def problems(self) -> list[str]:
        """Return one sentence per name that stands for nothing, and without which a unit does not run."""
        if self.specification.root.is_machine:
            return []  # its tree has units and accounts of its own
        return self._triggered() + self._required(BINDS) + self._accounts()

    def warnings(self) -> list[str]:
        """Return one sentence per unit that is required and missing.

        systemd starts the unit that requires it at boot all the same, and at no other time.
        """
        return [] if self.specification.root.is_machine else self._required(NEEDS)

    def _triggered(self) -> list[str]:
        """Return one sentence per socket, timer or path whose unit is missing."""
        found = []
        for name in self.own:
            other = self.texts.triggered(name)
            if other and not self.texts.is_there(other):
                key = TRIGGERS[name.rpartition(".")[2]]
                remedy = f"declare that unit, or name another one with {key}="
                found.append(f"{self.texts.called(name, other, key)} starts {other}, which is not there: {remedy}")
        return found

    def _required(self, keys: tuple[str, ...]) -> list[str]:
        found = []
        for name in self.own:
            for key in keys:
                for other in self.texts.named(name, (key,)):
                    if not self.texts.is_there(other):
                        remedy = f"declare that unit, or correct {key}= (Wants= is for one that may be missing)"
                        found.append(
                            f"{self.texts.called(name, other, key)} requires {other}, which is not there: {remedy}"
                        )
        return list(dict.fromkeys(found))

    def _accounts(self) -> list[str]:
        """Return one sentence per user or group of a unit that nobody has declared."""
        points = [
            targets.plain_path(mount.mount_point)
            for mount in self.specification.file_systems
            if mount.type not in targets.IN_MEMORY
        ]
        if name_services.has_others(self.specification.files, points, self._name_services()):
            return []
        users, groups = self._names(name_services.PASSWD), self._names(name_services.GROUP)
        services = [name for name in self.texts.started() if name.endswith(".service")]
        dynamic = {account for name in services if self._is_dynamic(name) for account in self._dynamic_names(name)}
        found = []
        for name in self.own:
            if self._is_dynamic(name) or not self.texts.is_plain(name):
                continue
            kind = "Socket" if name.endswith(".socket") else ""
            for key, known in ((f"{kind}User", users), (f"{kind}Group", groups)):
                value = self.texts.value(name, key)
                if known and value and not _is_known(value, known | dynamic):
                    found.append(_unknown(self.texts.called(name, value, key), key, value))
            key = "SupplementaryGroups"
            for value in self.texts.values(name, key):
                if groups and not _is_known(value, groups | dynamic):
                    found.append(_unknown(self.texts.called(name, value, key), key, value))
        return found

    def _name_services(self) -> str | None:
        """Return the text of nsswitch.conf(5), or None when it is a link; empty when the system brings none."""
        entry = self.specification.files.get(name_services.NAME_SERVICES)
        if entry is None or entry.link is not None:
            return "" if entry is None else None
        return self.read(name_services.NAME_SERVICES).decode("utf-8", "replace")

    def _names(self, path: str) -> set[str]:
        """Return the names in passwd(5) or group(5); none when the system does not bring that file."""
        entry = self.specification.files.get(path)
        if entry is None or entry.link is not None:
            return set()
        return {line.partition(":")[0] for line in self.read(path).decode("utf-8", "replace").split("\n") if line}

    def _is_dynamic(self, name: str) -> bool:
        return self.texts.is_true(name, "DynamicUser")

    def _dynamic_names(self, name: str) -> set[str]:
        stem = re.split("[@.]", name)[0]
        return {stem, self.texts.value(name, "User"), self.texts.value(name, "Group")}


def _is_known(account: str, known: set[str]) -> bool:
    return account in known or account in ALWAYS or account.isdigit()


def _unknown(unit: str, key: str, account: str) -> str:
    what, declared = ("group", "groups") if "Group" in key else ("user", "users")
    return (
        f"{unit} has {key}={account}, a {what} that nobody has declared: "
        f"add it to operating_system.{declared}, or name another"
    )
