# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The option `root` of a container, and what a machine's root has of the declaration.

A declared root is made of the declaration alone. A machine has a tree's own configuration, and of the declaration what
the user wrote and what services need: the files that every declared root has by default are the tree's to have.
"""

from __future__ import annotations

import dataclasses
import typing as t

from ..module_utils.launcher.contract import Store
from ..module_utils.launcher.root_options import DECLARED_KIND, LAYERS, MACHINE_KIND, ROOT_KINDS, Root, tree_of
from ..module_utils.launcher.targets import STORE
from . import base_units, etc_files
from .errors import DeclarationError
from .operating_system import OperatingSystem
from .records import Service
from .registry import BUILT_IN
from .validation import Spec, describe, validate

_ROOT: Spec = {
    "kind": {"type": "str", "choices": list(ROOT_KINDS), "default": DECLARED_KIND},
    "layer": {"type": "str", "choices": list(LAYERS)},
}
KEPT_OF_BASE = ("resolv.conf",)
"""Files of the default `etc` that a machine has from there as well."""

_NO_USER_NAMESPACES_PATH = f"{base_units.DIRECTORY}/service.d/unshare-no-user-namespaces.conf"
_NO_USER_NAMESPACES = """\
# Without security.nesting there are no user namespaces inside, and a unit that asks for one would not start.
[Service]
PrivateUsers=no
"""


def read_root(value: t.Any, store: Store) -> Root:
    """Return what the root is made of, without the accounts: a kind, or a mapping of `kind` and `layer`.

    :raises DeclarationError: the store is not in a tree that could be one.
    """
    if isinstance(value, str):
        value = {"kind": value}
    if not isinstance(value, dict):
        raise DeclarationError("root", f"must be a kind of root or a mapping, not {describe(value)}")
    given = validate(value, _ROOT, "root")
    if given["kind"] == DECLARED_KIND:
        if given["layer"] is not None:
            raise DeclarationError("root.layer", f"is for the kind '{MACHINE_KIND}': leave it out, or name that kind")
        return Root()
    if store.target != STORE or not store.source.rstrip("/").endswith(STORE) or tree_of(store.source) == "/":
        raise DeclarationError(
            "store",
            f"'{store.source}' is not the `usr` of a tree, and a machine's root is a whole tree: give the container "
            "one of its own, store: /srv/trees/NAME/usr",
        )
    return Root(kind=MACHINE_KIND, layer=given["layer"] or Root.layer)


def of_machine(system: OperatingSystem) -> list[Service]:
    """Return the essential services of a system without what the `etc` of every declared root has by default."""
    base = etc_files.base_etc()
    services = []
    for service in system.essential_services or ():
        if service.type == "etc" and isinstance(service.value, dict):
            own = {name: item for name, item in service.value.items() if name in KEPT_OF_BASE or base.get(name) != item}
            service = dataclasses.replace(service, value=own)
        services.append(service)
    return services


def with_accounts(root: Root, system: OperatingSystem) -> Root:
    """Return the root with the accounts that the declaration itself has."""
    if not root.is_machine:
        return root
    return Root(
        kind=root.kind,
        layer=root.layer,
        users={user.name: user.uid is not None for user in system.users},
        groups={group.name: group.gid is not None for group in system.groups},
    )


def units_of_tree(
    files: t.Mapping[str, t.Any], services: t.Iterable[Service], shared_network: bool, nesting: bool
) -> dict[str, dict[str, str]]:
    """Return files, by path, that make the units of a tree fit a container.

    Masked are the units that only a machine of metal needs, and those of the software of declared services: what was
    declared takes their place, and both would want the same port. Without nesting, no unit gets a user namespace.

    :param files: of the system, by path. A unit that is among them is meant.
    :param services: the declared ones.
    :param shared_network: whether the host configures the network.
    :param nesting: whether user namespaces can be made inside.
    """
    declared = {service.type for service in services}
    names = list(base_units.OF_METAL)
    for name, kind in BUILT_IN.items():
        if kind.bare_metal is not None or (kind.network and shared_network) or name in declared:
            names += kind.units
    paths = {f"{base_units.DIRECTORY}/{name}" for name in names if name not in base_units.UNITS}
    found = {path: base_units.link("/dev/null") for path in sorted(paths - files.keys())}
    if not nesting:
        found[_NO_USER_NAMESPACES_PATH] = {"content": _NO_USER_NAMESPACES}
    return found
