# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which service each file and directory of a system comes from, for messages."""

from __future__ import annotations

import typing as t

from . import base_units
from .operating_system import PATH
from .units import Unit

_FIELDS = {
    "account": ("users", "groups"),
    "host-name": ("host_name",),
    "hosts": ("hosts",),
    "fstab": ("file_systems",),
    "locale": ("timezone", "locale", "issue", "sudoers"),
}
"""The fields of a declaration that the files of an essential service are made from, by its type."""


def of_essential(kind: str) -> str:
    """Return the place of a service that was made for the container, and that nobody has written."""
    return f"{PATH} (its essential service '{kind}')"


class Origins:
    """The places of the services that a system's files and directories come from, by path."""

    def __init__(self) -> None:
        self._places: dict[str, str] = {}

    def note(self, kind: str, path: str, place: str, target: str, given: t.Any) -> None:
        """Note the paths of what a service adds to another type. A path comes from the service that is noted first.

        :param kind: the service's type.
        :param path: the service's place.
        :param place: where the user wrote what it adds.
        :param target: the type that it adds to.
        :param given: what it adds.
        """
        if path == of_essential(kind) or path.startswith(f"{PATH}.essential_services"):
            fields = ", ".join(_FIELDS.get(kind, ()))
            place = f"the system itself (from {PATH}: {fields})" if fields else "the system itself"
        for item in _paths(target, given):
            self._places.setdefault(item, place)

    def of(self, path: str) -> str:
        """Return who writes a file or makes a directory, as the subject of a sentence."""
        directory, _slash, name = path.rpartition("/")
        unit = f"{base_units.DIRECTORY}/{name}"  # a link from a target, or a drop-in
        if path.startswith(f"{base_units.DIRECTORY}/"):
            known = [path, directory[: -len(".d")] if directory.endswith(".d") else unit]
            return next((self._places[item] for item in known if self._is_of_a_service(item)), "the system itself")
        return self._places.get(path, "the system itself")

    def _is_of_a_service(self, path: str) -> bool:
        return not self._places.get(path, "the system").startswith("the system")


def _paths(target: str, given: t.Any) -> list[str]:
    """Return the paths that a contribution to a type adds; none where it is wrong, which is said elsewhere."""
    if target == "system" and isinstance(given, dict):
        files, directories = given.get("files"), given.get("directories")
        return [*_paths("special-files", files), *_paths("activation", directories)]
    if target == "special-files" and isinstance(given, dict):
        return [str(name) for name in given]
    if target in ("etc", "pam") and isinstance(given, dict):
        return [f"/etc/{'pam.d/' * (target == 'pam')}{name}" for name in given]
    if target == "activation" and isinstance(given, list):
        return [str(item["path"]) for item in given if isinstance(item, dict) and "path" in item]
    if target == "systemd" and isinstance(given, list):
        units = [item for item in given if isinstance(item, (Unit, dict))]
        names = [item.name if isinstance(item, Unit) else item.get("name") for item in units]
        return [f"{base_units.DIRECTORY}/{name}" for name in names]
    return []
