# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the networks of one host's containers want of it: two that want the same are refused, naming both."""

from __future__ import annotations

import typing as t

from ..module_utils.host.ports import overlap as listens_there
from ..module_utils.host.published import Ports
from ..module_utils.launcher.addresses import contains, network_of, network_text, share_addresses
from ..module_utils.launcher.kinds import ContractError
from ..module_utils.launcher.needs import Port
from ..module_utils.launcher.network_records import IPVLAN, MACVLAN, PHYSICAL, ROUTED, ZONE, Interface
from .errors import DeclarationError
from .networks import NetworkChoice

if t.TYPE_CHECKING:
    from ..module_utils.launcher.addresses import Net


class Wanted(t.NamedTuple):
    """What a container wants of its host for its network.

    `place`: of the container, before those of `network` and of `listening`, the ports on which it listens in the
    host's network. `ports`: that the host publishes for it.
    """

    place: str
    network: NetworkChoice
    ports: Ports
    listening: t.Sequence[Port] = ()


class _Placed(t.NamedTuple):
    place: str
    interface: Interface

    @property
    def zone(self) -> str | None:
        return self.interface.parent if self.interface.kind == ZONE else None


def refuse_shared_networks(containers: t.Sequence[Wanted]) -> None:
    """Refuse two containers that want one address, device, port or subnet.

    :raises DeclarationError: naming both.
    """
    placed = [
        _Placed(f"{item.place}.{where}", interface)
        for item in containers
        for where, interface in zip(item.network.places, item.network.interfaces, strict=True)
    ]
    _refuse_zones(placed)
    for index, item in enumerate(placed):
        for other in placed[:index]:
            _refuse_devices(item, other)
            _refuse_addresses(item, other)
    for index, wanted in enumerate(containers):
        for former in containers[:index]:
            _refuse_ports(wanted, former)


def _refuse_devices(item: _Placed, other: _Placed) -> None:
    one, former = item.interface, other.interface
    if one.mac and one.mac == former.mac:
        raise DeclarationError(f"{item.place}.mac", f"{one.mac} is that of {other.place} as well")
    kinds = {one.kind, former.kind}
    if one.parent != former.parent or ZONE in kinds or ROUTED in kinds:
        return
    if PHYSICAL in kinds:
        what = "is moved into a container" if former.kind == PHYSICAL else "would be moved into a container"
        raise DeclarationError(
            f"{item.place}.{one.kind}", f"{one.parent} {what}, and {other.place}.{former.kind} is the same device"
        )
    if kinds == {MACVLAN, IPVLAN}:
        raise DeclarationError(
            f"{item.place}.{one.kind}",
            f"{one.parent} is that of {other.place}.{former.kind}, and a device has either macvlan or ipvlan",
        )


def _refuse_addresses(item: _Placed, other: _Placed) -> None:
    """Refuse one address twice where both are on one network: those of zones and routed ones are all the host's."""
    if _wire(item.interface) != _wire(other.interface):
        return
    theirs = {text.partition("/")[0] for text in other.interface.addresses}
    for number, text in enumerate(item.interface.addresses):
        address = text.partition("/")[0]
        if address in theirs:
            raise DeclarationError(f"{item.place}.addresses[{number}]", f"{address} is that of {other.place} as well")


def _wire(interface: Interface) -> str:
    return "" if interface.kind in (ZONE, ROUTED) else interface.parent


def _refuse_zones(placed: t.Sequence[_Placed]) -> None:
    """Refuse two words on the subnets of a zone, subnets that meet, and addresses that are outside of them."""
    known: dict[tuple[str, int], tuple[Net, str]] = {}
    for item in placed:
        for number, text in enumerate(item.interface.subnets):
            place, net = f"{item.place}.zone.subnets[{number}]", network_of(text)
            for (zone, _family), (other, where) in known.items():
                if zone == item.zone and other[0] == net[0] and other != net:
                    raise DeclarationError(
                        place,
                        f"{network_text(net)}: the zone '{zone}' has {network_text(other)} by {where}: say one of them",
                    )
                if zone != item.zone and share_addresses(other, net):
                    raise DeclarationError(
                        place,
                        f"{network_text(net)} meets {network_text(other)}, which {where} gives to the zone '{zone}'",
                    )
            known.setdefault((str(item.zone), net[0]), (net, place))
    for item in placed:
        of_zone = {family: net for (zone, family), net in known.items() if zone == item.zone}
        try:
            Interface.read(
                {**item.interface.write(), "subnets": [network_text(net) for net, _where in of_zone.values()]}
            )
        except ContractError as error:
            where = " and ".join(where for _net, where in of_zone.values())
            single = "gateways[0]" if len(item.interface.gateways) == 1 else "gateways"
            place = f"{item.place}.{error.place.replace(single, 'gateway')}"
            raise DeclarationError(place, f"{error.message} (the subnets of the zone stand at {where})") from error
        for number, text in enumerate(item.interface.addresses):
            place = f"{item.place}.addresses[{number}]"
            if item.interface.kind == ROUTED:
                for (zone, _family), (net, where) in known.items():
                    if contains(net, text):
                        raise DeclarationError(
                            place,
                            f"{text} is in the subnet of the zone '{zone}', {network_text(net)}, which {where} names",
                        )


def _refuse_ports(wanted: Wanted, former: Wanted) -> None:
    for number, port in enumerate(wanted.ports):
        place = f"{wanted.place}.ports[{number}]"
        for index, other in enumerate(former.ports):
            if port.meets(other):
                raise DeclarationError(
                    place, f"{port} of the host is published by {former.place}.ports[{index}]: use another"
                )
        for listener in former.listening:
            if listens_there(
                Port(number=port.port, place=place, protocol=port.protocol, address=port.address), listener
            ):
                raise DeclarationError(
                    place, f"on {port} of the host listens {former.place}.{listener.place}, which has its network"
                )
    for index, other in enumerate(former.ports):
        taken = Port(number=other.port, place="", protocol=other.protocol, address=other.address)
        for listener in wanted.listening:
            if listens_there(taken, listener):
                raise DeclarationError(
                    f"{wanted.place}.{listener.place}",
                    f"port {listener} of the host's network is published by {former.place}.ports[{index}]: use another",
                )
