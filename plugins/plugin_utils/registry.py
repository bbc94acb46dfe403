# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""All service types by name: the collection's own, and those that an operating system declares."""

from __future__ import annotations

from collections.abc import Mapping

from .errors import DeclarationError, suggestion
from .operating_system import PATH, OperatingSystem
from .service_types import ServiceType
from .services import (
    bare_metal,
    base,
    databases,
    essential,
    generic,
    logging,
    networking,
    remote,
    user_defined,
    web,
)

_TOPICS = (essential, base, networking, logging, remote, web, databases, generic, bare_metal)
BUILT_IN: Mapping[str, ServiceType] = {item.name: item for topic in _TOPICS for item in topic.TYPES}


def registry(system: OperatingSystem) -> dict[str, ServiceType]:
    """Return the types that SYSTEM may use. A declared type must not take a built-in one's name."""
    types = dict(BUILT_IN)
    for index, declared in enumerate(system.service_types):
        path = f"{PATH}.service_types[{index}]"
        if declared.name in types:
            raise DeclarationError(f"{path}.name", f"'{declared.name}' is a type of the collection")
        types[declared.name] = user_defined.service_type(declared, path)
    return types


def find(types: Mapping[str, ServiceType], name: str, path: str) -> ServiceType:
    """Return the type called NAME. Raise DeclarationError with the nearest names otherwise."""
    if name not in types:
        raise DeclarationError(path, f"'{name}' is not a service type" + suggestion(name, types))
    return types[name]


def met_by_host(types: Mapping[str, ServiceType]) -> frozenset[str]:
    """Return the names that only a bare-metal machine's services provide: in a container the host meets them."""
    names: set[str] = set()
    for item in types.values():
        if item.bare_metal is not None or item.network:
            names.update((item.name, *item.provides(None)))
    return frozenset(names)
