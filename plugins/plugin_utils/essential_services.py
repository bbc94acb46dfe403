# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The default essential services of an operating system, and those of its container (C1)."""

from __future__ import annotations

import typing as t
from collections.abc import Collection

from ..module_utils.launcher.targets import NETWORK_FILES
from . import etc_files
from .operating_system import OperatingSystem
from .records import Service

NOT_IN_CONTAINERS = ("linux-bare-metal", "firmware", "system")
_PLAIN = (
    "boot",
    "activation",
    "cleanup",
    "account",
    "pam",
    "host-name",
    "fstab",
    "profile",
    "locale",
    "session-environment",
    "privileged-programs",
    "special-files",
    "user-processes",
    "file-systems",
    "systemd",
)


def _service(kind: str, value: t.Any = None) -> Service:
    return Service(type=kind, value=value, given=frozenset({"type"} if value is None else {"type", "value"}))


def default_essential_services(system: OperatingSystem) -> list[Service]:
    """Return the essential services of SYSTEM as a bare-metal machine."""
    kernel = {"kernel": system.kernel, "arguments": list(system.kernel_arguments)}
    services = [
        _service("system", {"locale": system.locale, **kernel}),
        _service("linux-bare-metal", {**kernel, "initrd_modules": list(system.initrd_modules)}),
        _service("firmware", list(system.firmware)),
        _service("etc", etc_files.base_etc()),
        _service("hosts"),
    ]
    return services + [_service(kind) for kind in _PLAIN]


def container_essential_services(
    system: OperatingSystem, *, shared_network: bool, keep: Collection[str] = ()
) -> list[Service]:
    """Return the essential services of SYSTEM in a container (C1), including the types in KEEP."""
    services = [_service("system", {"locale": system.locale})]
    for service in default_essential_services(system):
        if service.type == "system" or (service.type in NOT_IN_CONTAINERS and service.type not in keep):
            continue
        if shared_network and service.type == "hosts" and "hosts" not in keep:
            continue
        if shared_network and service.type == "etc":
            names = {path.removeprefix("/etc/") for path in NETWORK_FILES}
            service = _service("etc", {name: item for name, item in service.value.items() if name not in names})
        services.append(service)
    return services
