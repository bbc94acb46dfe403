# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Folding: the graph of services becomes the one value of the `system` service."""

from __future__ import annotations

import dataclasses
import typing as t
from collections.abc import Mapping

from ..module_utils.launcher.needs import Port
from ..module_utils.launcher.targets import STORE
from . import folded_system, ports, registry
from .accounts import Accounts
from .errors import DeclarationError
from .file_origins import Origins, of_essential
from .operating_system import PATH, OperatingSystem
from .records import Service
from .service_types import REQUIRED, Context, Contribution, ServiceType, needs
from .units import Unit


@dataclasses.dataclass
class _Node:
    service: str
    kind: ServiceType
    value: t.Any
    path: str


def fold(
    system: OperatingSystem,
    essential: t.Sequence[Service],
    *,
    shared_network: bool = False,
    log: str = "volatile",
    store: str = STORE,
    machine: bool = False,
    oom_score_adj: int = 0,
    for_clients: tuple[str, ...] = (),
) -> dict[str, t.Any]:
    """Return the folded value of `system`: files, directories, activation, programs, packages, host_files, ports.

    With it are the `units` that its files are made of, and the `origins`, which tell which service each file and
    directory comes from.

    Raise DeclarationError for an unknown type, a cycle, a missing or ambiguous target, a wrong value.
    """
    types = registry.registry(system)
    nodes = _nodes(essential, f"{PATH}.essential_services", types, essential=True)
    nodes += _nodes(system.services, f"{PATH}.services", types)
    nodes = _with_missing(nodes, types, shared_network, for_clients)
    by_type: dict[str, list[_Node]] = {}
    for node in nodes:
        by_type.setdefault(node.kind.name, []).append(node)
    order = _order(nodes, by_type)
    context = Context(
        operating_system=system,
        shared_network=shared_network,
        log=log,
        oom_score_adj=oom_score_adj,
        types=frozenset(by_type),
        met_by_host=registry.met_by_host(types),
        store=store,
        machine=machine,
        for_clients=for_clients,
    )
    return _evaluate(order, by_type, nodes, context)


def _nodes(
    services: t.Sequence[Service], path: str, types: Mapping[str, ServiceType], *, essential: bool = False
) -> list[_Node]:
    nodes = []
    essential = essential and len({service.type for service in services}) == len(services)
    for index, service in enumerate(services):
        place = f"{path}[{index}]"
        kind = registry.find(types, service.type, f"{place}.type")
        value = kind.read(service.value, f"{place}.value")
        nodes.append(_Node(service.type, kind, value, of_essential(service.type) if essential else place))
    return nodes


def _left_to_host(kind: ServiceType, shared_network: bool) -> bool:
    """Return whether the host takes care of contributions to an absent service of this type."""
    return kind.bare_metal is not None or kind.network or (shared_network and kind.name == "hosts")


def _with_missing(
    nodes: list[_Node], types: Mapping[str, ServiceType], shared_network: bool, for_clients: tuple[str, ...]
) -> list[_Node]:
    """Return the services, and each absent one that others contribute to, with its default value.

    A network's client brings the message bus where an interface is left to it; elsewhere it has nothing to do.
    """
    present = {node.kind.name for node in nodes}
    result = list(nodes)
    for node in result:
        for target in node.kind.targets(node.value):
            kind = registry.find(types, target, node.path)
            idle = node.kind.network and not for_clients
            if target in present or idle or _left_to_host(kind, shared_network):
                continue
            if kind.default is REQUIRED:
                raise DeclarationError(
                    node.path, f"adds to a service of type '{target}', which is missing and has no default value"
                )
            present.add(target)
            result.append(_Node(target, kind, kind.read(None, node.path), f"{PATH}.services (the default '{target}')"))
    return result


def _order(nodes: list[_Node], by_type: dict[str, list[_Node]]) -> list[str]:
    """Return the types so that each comes after those that contribute to it."""
    sources: dict[str, set[str]] = {name: set() for name in by_type}
    for node in nodes:
        for target in node.kind.targets(node.value):
            if target not in by_type:
                continue
            if len(by_type[target]) > 1:
                places = " and ".join(other.path for other in by_type[target])
                raise DeclarationError(node.path, f"adds to '{target}', of which there are several: {places}")
            sources[target].add(node.kind.name)
    order: list[str] = []
    waiting = dict(sources)
    while waiting:
        ready = [name for name, needs in waiting.items() if not needs & waiting.keys()]
        if not ready:
            names = " → ".join(_circle(waiting))
            raise DeclarationError(f"{PATH}.services", f"these types contribute to each other in a circle: {names}")
        for name in ready:
            order.append(name)
            del waiting[name]
    return order


def _circle(waiting: dict[str, set[str]]) -> list[str]:
    trail = [next(iter(waiting))]
    while True:
        following = min(waiting[trail[-1]] & waiting.keys())
        if following in trail:
            return [*trail[trail.index(following) :], following]
        trail.append(following)


def _evaluate(
    order: list[str], by_type: dict[str, list[_Node]], nodes: list[_Node], context: Context
) -> dict[str, t.Any]:
    received: dict[str, dict[int, list[Contribution]]] = {name: {} for name in order}
    position = {id(node): index for index, node in enumerate(nodes)}
    listening: list[tuple[str, Port]] = []
    units: list[Unit] = []
    checked: list[tuple[t.Callable[[t.Any, folded_system.FoldedSystem, str], None], t.Any, str]] = []
    origins = Origins()
    for name in order:
        for node in by_type[name]:
            arrived = received[name]
            contributions = [item for index in sorted(arrived) for item in arrived[index]]
            value = node.kind.combine(node.value, contributions, context, node.path)
            listening += _listening(node, value)
            units += value if node.kind.name == "systemd" else []
            if name == "system":
                ports.refuse_shared_ports(listening)
                seen = folded_system.FoldedSystem(context, value["files"])
                for against, given, path in checked:
                    against(given, seen, path)
                seen.check(value["places"])
                del value["places"]
                found = {"ports": [port for _owner, port in listening], "units": units, "origins": origins}
                return {**t.cast("dict[str, t.Any]", value), **found}
            if node.kind.against is not None:
                checked.append((node.kind.against, value, f"{node.path}.value"))
            if isinstance(value, Accounts):
                context = dataclasses.replace(context, accounts=value)
            for target, contribute in node.kind.targets(node.value).items():
                if target not in by_type:
                    continue
                given = contribute(value, context)
                if target == "systemd":
                    given = _with_names(node, given)
                written = node.kind.contributed_at is not None
                item = Contribution(given, node.kind.place(node.path, target), node.service, written)
                origins.note(node.kind.name, node.path, item.path, target, given)
                received[target].setdefault(position[id(node)], []).append(item)
            requirement = _requirements(node, context)
            if requirement and "system" in received:
                place = position[id(node)]
                received["system"].setdefault(place, []).append(Contribution(requirement, node.path, node.service))
    raise DeclarationError(f"{PATH}.essential_services", "a service of type 'system' is missing")


def _listening(node: _Node, value: t.Any) -> list[tuple[str, Port]]:
    """Return the ports on which a service listens, each with the place of that service."""
    if node.kind.name == "systemd":
        found = [(unit.path, f"{unit.path}.value ({item.key})", item) for unit in value for item in ports.of_unit(unit)]
    else:
        found = [(node.path, f"{node.path}.value.{item.key}", item) for item in node.kind.listeners(node.value)]
    return [
        (owner, Port(number=item.number, place=place, protocol=item.protocol, address=item.address))
        for owner, place, item in found
    ]


def _with_names(node: _Node, units: t.Any) -> t.Any:
    """Return the units, the first with its type's provision and requirement where it states none."""
    if not isinstance(units, list) or not units or not isinstance(units[0], Unit):
        return units
    first = units[0]
    changes: dict[str, t.Any] = {}
    if not first.provision:
        changes["provision"] = tuple(node.kind.provides(node.value))
    if not first.requirement:
        changes["requirement"] = tuple(node.kind.requires(node.value))
    return [dataclasses.replace(first, **changes), *units[1:]]


def _requirements(node: _Node, context: Context) -> dict[str, t.Any]:
    """Return the programs and packages that the type itself needs; a network's client is needed by interfaces alone."""
    kind = node.kind
    if kind.bare_metal is not None or (kind.network and not context.for_clients):
        return {}
    return {key: value for key, value in needs(node.service, kind.programs, kind.packages).items() if value}
