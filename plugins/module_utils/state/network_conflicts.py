# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a container's interfaces are to have, and another container that runs, or the host itself, has already.

The kernel would give it to both, or take it from who has it: a route, or the place of a station at a bridge.
"""

from __future__ import annotations

from ..launcher.addresses import contains, network_of
from ..launcher.errors import LauncherError
from ..launcher.network_records import BRIDGE, IPVLAN, MACVLAN, ROUTED, ZONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..launcher.made_interfaces import MadeInterface
    from ..launcher.netlink import Netlink
    from ..launcher.wires import Wire
    from .network_record import NetworkRecord

ADDRESS = "%s: the address %s is that of %s: choose another"
EITHER = "%s: container %s has %s there, and a device has either macvlan or ipvlan: use the same"
STATION = "%s: the hardware address %s is that of %s: choose another (mac), or leave it out"


def refuse_taken(wires: list[Wire], others: list[NetworkRecord], host: Netlink) -> None:
    """Raise LauncherError when something that the interfaces of a container are to have is taken.

    Args:
        others: the other containers that run, or are being started.
    """
    for wire in wires:
        kind = wire.interface.kind
        place = "network: %s%s" % (kind, wire.interface.parent and " " + wire.interface.parent)
        for record in others:
            for noted in record.interfaces:
                _refuse_addresses(place, wire, noted, "container " + record.container)
                if wire.device == noted.device and {kind, noted.kind} == {MACVLAN, IPVLAN}:
                    raise LauncherError(EITHER % (place, record.container, noted.kind))
                if wire.mac and wire.device and (wire.device, wire.mac) == (noted.device, noted.mac):
                    raise LauncherError(STATION % (place, wire.mac, "container " + record.container))
        link = host.link(wire.device) if kind in (BRIDGE, MACVLAN, IPVLAN, ZONE) else None
        if link is None:
            continue
        if wire.mac and wire.mac == link.mac:
            raise LauncherError(STATION % (place, wire.mac, "the host's interface %s" % link.name))
        there = [cidr.partition("/")[0] for index, cidr in host.addresses() if index == link.index]
        for address in wire.addresses:
            if address.partition("/")[0] in there:
                raise LauncherError(ADDRESS % (place, address, "the host's interface %s" % link.name))


def _refuse_addresses(place: str, wire: Wire, noted: MadeInterface, whose: str) -> None:
    """Refuse an address of an interface that another one has, where they are in one network.

    Zones and routed interfaces are all in the host's, which has one way to an address.
    """
    theirs = noted.plain_addresses()
    if _network(wire.interface.kind, wire.device) == _network(noted.kind, noted.device):
        for address in wire.addresses:
            if address.partition("/")[0] in theirs:
                raise LauncherError(ADDRESS % (place, address, whose))
    routed = []
    if wire.interface.kind == ROUTED:
        routed.append((wire.addresses, noted.subnets))
    if noted.kind == ROUTED:
        routed.append((theirs, wire.subnets))
    for addresses, subnets in routed:
        for address in addresses:
            for subnet in subnets:
                if contains(network_of(subnet), address):
                    form = "%s: the routed address %s is in %s, the subnet of a zone (%s): choose another"
                    raise LauncherError(form % (place, address.partition("/")[0], subnet, whose))


def _network(kind: str, device: str) -> str:
    return "" if kind in (ZONE, ROUTED) else device
