# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of a whole operating system."""

from __future__ import annotations

import dataclasses
import typing as t

from . import checks, specs
from .errors import DeclarationError
from .records import (
    FileSystem,
    Host,
    MappedDevice,
    Record,
    Service,
    SwapDevice,
    UserAccount,
    UserGroup,
)
from .validation import Spec, plain, strict

PATH = "operating_system"


@dataclasses.dataclass(frozen=True)
class UserServiceType(Record):
    """A service type that the user declares as data (see services/user_defined.py)."""

    SPEC: t.ClassVar[Spec] = specs.SERVICE_TYPE

    name: str
    description: str = ""
    default: t.Any = None
    provision: tuple[str, ...] | None = None
    requirement: tuple[str, ...] = ()
    bare_metal: str | None = None
    units: tuple[str, ...] = ()
    extensions: dict[str, t.Any] = dataclasses.field(default_factory=dict)
    packages: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()

    def verify(self, path: str) -> None:
        checks.line(self.name, f"{path}.name")
        for index, unit in enumerate(self.units):
            checks.unit_name(unit, f"{path}.units[{index}]")
        for index, program in enumerate(self.programs):
            if "${" not in program:
                checks.absolute_path(program, f"{path}.programs[{index}]")


@dataclasses.dataclass(frozen=True)
class OperatingSystem(Record):
    """A machine, declared. Every field but `host_name` has a default."""

    SPEC: t.ClassVar[Spec] = specs.OPERATING_SYSTEM
    NESTED: t.ClassVar[dict[str, type[Record]]] = {
        "users": UserAccount,
        "groups": UserGroup,
        "hosts": Host,
        "mapped_devices": MappedDevice,
        "file_systems": FileSystem,
        "services": Service,
        "essential_services": Service,
        "service_types": UserServiceType,
    }

    host_name: str
    timezone: str = "Etc/UTC"
    locale: str = "C.UTF-8"
    kernel: t.Any = None
    kernel_arguments: tuple[str, ...] = ()
    initrd_modules: tuple[str, ...] = ()
    bootloader: t.Any = None
    keyboard_layout: t.Any = None
    firmware: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    users: tuple[UserAccount, ...] = ()
    groups: tuple[UserGroup, ...] = ()
    hosts: tuple[Host, ...] = ()
    issue: str | None = None
    sudoers: str | None = None
    swap_devices: tuple[t.Any, ...] = ()
    mapped_devices: tuple[MappedDevice, ...] = ()
    file_systems: tuple[FileSystem, ...] = ()
    services: tuple[Service, ...] = ()
    essential_services: tuple[Service, ...] | None = None
    service_types: tuple[UserServiceType, ...] = ()

    def verify(self, path: str) -> None:
        checks.host_name(self.host_name, f"{path}.host_name")
        checks.timezone(self.timezone, f"{path}.timezone")
        checks.locale(self.locale, f"{path}.locale")
        for key in ("firmware", "packages", "kernel_arguments", "initrd_modules"):
            for index, text in enumerate(getattr(self, key)):
                checks.line(text, f"{path}.{key}[{index}]")
        for index, swap in enumerate(self.swap_devices):
            SwapDevice.from_mapping(swap, f"{path}.swap_devices[{index}]")
        for key in self.NESTED:
            for index, record in enumerate(getattr(self, key) or ()):
                record.verify(f"{path}.{key}[{index}]")
        for key in ("users", "groups", "service_types"):
            seen: dict[str, int] = {}
            for index, record in enumerate(getattr(self, key)):
                if record.name in seen:
                    raise DeclarationError(
                        f"{path}.{key}[{index}].name", f"'{record.name}' is already {path}.{key}[{seen[record.name]}]"
                    )
                seen[record.name] = index


def operating_system(value: t.Any) -> OperatingSystem:
    """Return the record of a declared operating system. Raise DeclarationError with the key's path."""
    return OperatingSystem.from_mapping(value, PATH)


def default_name(value: t.Any) -> str:
    """Return the container's name by default: the host name up to its first dot, in lower case.

    Nothing else of the declaration is looked at, so that one that is no longer valid can still remove its container.
    Raise DeclarationError with the key's path.
    """
    given = plain(value, PATH)
    if not isinstance(given, dict) or given.get("host_name") is None:
        return operating_system(given).host_name  # which says what is wrong: another key is a misspelled one perhaps
    key = {"host_name": specs.OPERATING_SYSTEM["host_name"]}
    name: str = strict({"host_name": given["host_name"]}, key, PATH)["host_name"]
    return checks.host_name(name, f"{PATH}.host_name").split(".")[0].lower()
