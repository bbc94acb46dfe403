# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a container's interfaces are called on the host, and which addresses they have in zones (N2, N10).

A container keeps its addresses in a zone for life, like its ids: they are in its `config.json`. A zone is remembered by
the addresses of its containers: its subnets are their networks. So nothing is left of a zone that has none any more.
"""

from __future__ import annotations

import os
from _socket import AF_INET, AF_INET6

try:
    from _blake2 import blake2b
except ImportError:
    from hashlib import blake2b

from ..launcher.addresses import (
    BITS,
    VERSIONS,
    address_text,
    masked,
    network_of,
    network_text,
    share_addresses,
    split_cidr,
)
from ..launcher.errors import LauncherError
from ..launcher.host_settings import has_ipv6, kernel_has_ipv6
from ..launcher.kinds import ContractError
from ..launcher.netlink import Netlink
from ..launcher.network import HOST_OF_ROUTED, WIRES
from ..launcher.network_records import FILTERED, FOR_DHCP, MADE_NAME, MADE_NAME_BYTES, OUTSIDE_MAC, ROUTED, ZONE
from ..launcher.paths import read_text
from ..launcher.wires import Wire, gateway_of
from .configs import configs_of_others

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable

    from ..launcher.addresses import Net
    from ..launcher.network_records import Interface, Network
    from .network_record import NetworkRecord

PREFIX = "zone."  # of the keys in a container's config.json
# Where automatic subnets of IPv4 are taken from, and what of that others take when they start.
BLOCKS = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
LEFT_TO_OTHERS = ("10.0.0.0/16", "10.88.0.0/15", "172.17.0.0/16", "192.168.122.0/24")
AUTOMATIC_LENGTH = 24
WITHOUT_IPV6 = (
    "network: %s: %s is of IPv6, which is switched off on this host: switch it on "
    "(net.ipv6.conf.default.disable_ipv6, ipv6.disable), or leave the address out"
)
UNIQUE_LOCAL = 0xFD << 120
SUBNET_BITS = 64
ATTEMPTS = 64  # to find one of IPv6 by chance
FULL = "network: zone %s: this host has routes to all of %s: choose a subnet for the zone (subnets)"
# The first byte of the host's ends: a bridge has the lowest address of its ports, and one of the administrator's is to
# keep that of its device.
HIGHEST = 0xFE


class Zone:
    """What a host knows of one zone.

    Attributes:
        name: of it.
        running: the networks of its running containers, each with a container.
        remembered: those of the others.
        taken: addresses, each with its container.
        texts: what was added, as it was written: what a container remembers, it mostly has as well.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.running: dict[Net, str] = {}
        self.remembered: dict[Net, str] = {}
        self.taken: dict[tuple[int, int], str] = {}
        self.texts: set[str] = set()

    def add(self, container: str, addresses: list[str], running: bool) -> None:
        """Add what a container has; all that run are added before what others remember.

        What is damaged of that is left out, and chosen again.
        """
        nets = self.running if running else self.remembered
        for text in addresses:
            if text in self.texts:
                continue
            try:
                family, value, length = split_cidr(text)
                nets.setdefault(masked(family, value, length), container)
            except (ContractError, ValueError):
                if running:
                    raise
                continue
            self.taken.setdefault((family, value), container)
            self.texts.add(text)


class Zones:
    """The zones of this host, as the other containers remember them. The caller holds the `AllocationLock`.

    Args:
        name: of the container for which they are looked at.
        host: the host's links and addresses.
        others: the other containers that run, or are being started.
        without: containers that are to end meanwhile.
    """

    def __init__(self, name: str, host: Netlink, others: list[NetworkRecord], without: Iterable[str] = ()) -> None:
        self.name = name
        self.host = host
        self.zones: dict[str, Zone] = {}
        self._host_has: tuple[list[tuple[int, str]], list[tuple[int, Net]]] | None = None
        for record in others:
            for interface in record.interfaces:
                if interface.kind == ZONE:
                    self.zone(interface.parent).add(record.container, interface.addresses, True)
        for other, config in configs_of_others({name, *without}).items():
            for key, value in config.items():
                if key.startswith(PREFIX):
                    self.zone(key[len(PREFIX) :]).add(other, str(value).split(), False)

    def zone(self, name: str) -> Zone:
        """Return a zone."""
        found = self.zones.get(name)
        if found is None:
            found = self.zones[name] = Zone(name)
        return found

    def place(self, interface: Interface, config: dict[str, object]) -> tuple[list[str], list[str]]:
        """Return the addresses of an interface in its zone, and the zone's subnets; remember the addresses.

        Args:
            config: of the container.

        Raises:
            LauncherError: an address is taken, or none is free; or the zone has another subnet.
        """
        zone = self.zone(interface.parent)
        remembered = _valid(str(config.get(PREFIX + zone.name, "")).split())
        addresses, subnets = [], []
        for family in (AF_INET, AF_INET6) if has_ipv6() else (AF_INET,):
            own = [item for item in remembered if split_cidr(item)[0] == family]
            given = [item for item in interface.addresses if split_cidr(item)[0] == family]
            net = self._subnet(zone, interface, family, given, own)
            address = self._address(zone, net, given, own)
            addresses.append(address)
            subnets.append(network_text(net))
        families = {split_cidr(item)[0] for item in addresses}
        elsewhere = [item for item in remembered if split_cidr(item)[0] not in families]  # for a host with IPv6 again
        config[PREFIX + zone.name] = " ".join(addresses + elsewhere)
        zone.add(self.name, addresses, True)
        return addresses, subnets

    def _subnet(self, zone: Zone, interface: Interface, family: int, given: list[str], own: list[str]) -> Net:
        asked = [network_of(item) for item in interface.subnets if network_of(item)[0] == family]
        asked += [network_of(item) for item in given]
        running = [net for net in zone.running if net[0] == family]
        if asked:
            for net in running:
                if net != asked[0]:
                    form = (
                        "network: zone %s: its subnet is %s, by the running container %s, and not %s: declare one for "
                        "all containers of the zone, and stop those that run before it changes"
                    )
                    values = zone.name, network_text(net), zone.running[net], network_text(asked[0])
                    raise LauncherError(form % values)
            self._refuse_foreign(zone, asked[0])
            return asked[0]
        remembered = [net for net in zone.remembered if net[0] == family]
        known = running + [network_of(item) for item in own] + remembered
        if not known:
            return self._free_subnet(zone, family)
        self._refuse_foreign(zone, known[0])
        return known[0]

    def _refuse_foreign(self, zone: Zone, net: Net) -> None:
        for other in self.zones.values():
            for known, container in [*other.running.items(), *other.remembered.items()]:
                if other is not zone and share_addresses(net, known):
                    form = "network: zone %s: its subnet %s has addresses of zone %s (container %s): choose another"
                    raise LauncherError(form % (zone.name, network_text(net), other.name, container))
        form = "network: zone %s: its subnet %s has addresses %s (%s): choose another for the zone (subnets)"
        addresses, routes = self._of_host()
        for index, cidr in addresses:
            name = self._foreign(zone, index) if share_addresses(net, network_of(cidr)) else None
            if name is not None:
                raise LauncherError(form % (zone.name, network_text(net), "of the host's interface " + name, cidr))
        for index, route in routes:
            # A route to more than the subnet is for what is left of it.
            is_within = route[2] >= net[2] and share_addresses(net, route)
            if is_within and self._foreign(zone, index) is not None:
                what = "to which the host has another route"
                raise LauncherError(form % (zone.name, network_text(net), what, network_text(route)))

    def _foreign(self, zone: Zone, index: int) -> str | None:
        """Return the name of a link of the host; None for the zone's own bridge, and for one that has gone meanwhile.

        Another start may have just made the bridge, so it is asked for by the number that an address or a route has.

        Args:
            index: its number; 0 for that of a route by several links or by none, which has no name.
        """
        name = self.host.name(index) if index else ""
        return None if name == bridge_name(zone.name) else name

    def _of_host(self) -> tuple[list[tuple[int, str]], list[tuple[int, Net]]]:
        """Return the addresses and the routes of the host: looked at once for all zones of a container."""
        if self._host_has is None:
            self._host_has = self.host.addresses(), self.host.routes()
        return self._host_has

    def _occupied(self, family: int) -> list[Net]:
        nets = [net for zone in self.zones.values() for net in (*zone.running, *zone.remembered)]
        nets += [network_of(cidr) for _index, cidr in self.host.addresses()]
        nets += [net for _index, net in self.host.routes()]
        nets += map(network_of, LEFT_TO_OTHERS)
        return [net for net in nets if net[0] == family]

    def _free_subnet(self, zone: Zone, family: int) -> Net:
        occupied = self._occupied(family)
        if family == AF_INET6:
            for _attempt in range(ATTEMPTS):
                value = UNIQUE_LOCAL | int.from_bytes(os.urandom(5), "big") << 80
                net = (family, value, SUBNET_BITS)
                if not any(share_addresses(net, other) for other in occupied):
                    return net
            raise LauncherError(FULL % (zone.name, "fd00::/8"))
        low = BITS[family] - AUTOMATIC_LENGTH
        for block in map(network_of, BLOCKS):
            if any(other[2] <= block[2] and share_addresses(block, other) for other in occupied):
                continue
            count = 1 << AUTOMATIC_LENGTH - block[2]
            start = int.from_bytes(digest("zone", zone.name)[:4], "big")
            for step in range(count):
                net = (family, block[1] + ((start + step) % count << low), AUTOMATIC_LENGTH)
                if not any(share_addresses(net, other) for other in occupied):
                    return net
        raise LauncherError(FULL % (zone.name, ", ".join(BLOCKS)))

    def _address(self, zone: Zone, net: Net, given: list[str], own: list[str]) -> str:
        for item in given:
            family, value, _length = split_cidr(item)
            holder = zone.taken.get((family, value))
            if holder is not None:
                form = "network: zone %s: the address %s is that of container %s: choose another"
                raise LauncherError(form % (zone.name, item, holder))
            return item
        family, first, length = net
        for item in own:
            if network_of(item) == net and split_cidr(item)[:2] not in zone.taken:
                return item
        last = first + (1 << BITS[family] - length) - 1
        number = first + 2
        while number < last + (family == AF_INET6):
            if (family, number) not in zone.taken:
                return "%s/%d" % (address_text(family, number), length)
            number += 1
        there = sum(1 for known in zone.taken if known[0] == family)
        form = (
            "network: zone %s: its subnet %s has no free address of %s: %d containers have one; remove some, or "
            "declare a larger subnet for the zone (subnets)"
        )
        raise LauncherError(form % (zone.name, network_text(net), VERSIONS[family], there))


def _valid(remembered: list[str]) -> list[str]:
    """Return the addresses that are some: what is damaged is chosen again."""
    found = []
    for item in remembered:
        try:
            network_of(item)
        except (ContractError, ValueError):
            continue
        found.append(item)
    return found


def _refuse_ipv6(interface: Interface) -> None:
    """Raise LauncherError for addresses of IPv6 that an interface could not have here."""
    declared = (*interface.addresses, *interface.gateways, *interface.subnets)
    asked = [item for item in declared if ":" in item]
    # In others, the host has no part.
    there = has_ipv6() if interface.kind in (ZONE, ROUTED) else kernel_has_ipv6()
    if asked and not there:
        raise LauncherError(WITHOUT_IPV6 % (interface.kind, asked[0]))


def wire(
    name: str,
    network: Network,
    config: dict[str, object],
    host: Netlink,
    others: list[NetworkRecord],
    without: Iterable[str] = (),
) -> list[Wire]:
    """Return the interfaces of a container with all that is decided for them on this host.

    Args:
        name: the container's.
        config: what is remembered of it; gets the addresses that are allocated.
        host: the host's links.
        others: the other containers that run, or are being started.
        without: containers that are to end meanwhile.

    Raises:
        LauncherError: the host cannot give what was declared.
    """
    in_zones = any(interface.kind == ZONE for interface in network.interfaces)
    zones = Zones(name, host, others, without) if in_zones else None
    given = {AF_INET6 if ":" in gateway else AF_INET for item in network.interfaces for gateway in item.gateways}
    wires = []
    for interface in network.interfaces:
        _refuse_ipv6(interface)
        if interface.kind in FOR_DHCP and (interface.dhcp or not interface.addresses):
            given |= {AF_INET, AF_INET6}  # a client inside gets the way out there
        addresses, gateways = list(interface.addresses), list(interface.gateways)
        subnets: list[str] = []
        if interface.kind == ZONE and zones is not None:
            addresses, subnets = zones.place(interface, config)
            for subnet in subnets:
                gateway = gateway_of(subnet).partition("/")[0]
                if network_of(subnet)[0] not in given:  # the first zone's host is the way to all else
                    given.add(network_of(subnet)[0])
                    gateways.append(gateway)
        if interface.kind == ROUTED:
            for family in {split_cidr(address)[0] for address in addresses} - given:
                given.add(family)
                gateways.append(HOST_OF_ROUTED[family])
        hashed = digest("interface", name, interface.name, read_text("/etc/machine-id").strip())
        wires.append(
            WIRES[interface.kind](
                interface,
                host_name=MADE_NAME % digest("port", name, interface.name).hex() if interface.kind in FILTERED else "",
                other_name="unshare.%s.%s" % (name, interface.name),
                mac="" if interface.kind in OUTSIDE_MAC else interface.mac or _hardware_address(hashed),
                host_mac=_hardware_address(digest("host", interface.parent))
                if interface.kind == ZONE
                else _hardware_address(digest("host", interface.parent, name), HIGHEST),
                addresses=addresses,
                gateways=gateways,
                device=bridge_name(interface.parent) if interface.kind == ZONE else interface.parent,
                subnets=subnets,
            )
        )
    return wires


def bridge_name(zone: str) -> str:
    """Return the name of a zone's bridge on the host."""
    return MADE_NAME % digest("bridge", zone).hex()


def digest(*words: str) -> bytes:
    """Return `MADE_NAME_BYTES` bytes that stand for some words."""
    text = "\0".join(words).encode()
    return bytes(blake2b(text, digest_size=MADE_NAME_BYTES).digest())


def _hardware_address(data: bytes, least: int = 0) -> str:
    """Return a hardware address that is nobody's by its maker: locally administered, of one station.

    Args:
        least: its first byte is no less.
    """
    return ":".join("%02x" % byte for byte in (data[0] & 0xFC | 2 | least, *data[1:6]))
