# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The records of a container's own network: its interfaces, and the ports that the host publishes for it.

Both sides import them, and all that can be checked without a host is checked here. Addresses are kept as the kernel
writes them, so that equal ones are equal texts.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6

from . import kinds
from .addresses import (
    BITS,
    LONGEST_OF_ZONE,
    VERSIONS,
    address,
    contains,
    host_address,
    interface_address,
    is_link_local,
    network_of,
    network_text,
    split_cidr,
    subnet,
)
from .kinds import ContractError, ContractRecord
from .names import is_name
from .needs import PROTOCOLS, port_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from .addresses import Net

# What each kind of interface is attached to.
ZONE, BRIDGE, ROUTED, MACVLAN, IPVLAN, PHYSICAL = INTERFACES = (
    "zone",
    "bridge",
    "routed",
    "macvlan",
    "ipvlan",
    "physical",
)
FILTERED = (ZONE, BRIDGE, ROUTED)  # those with an end on the host, whose packet filter has rules for them
FOR_DHCP = (BRIDGE, MACVLAN, IPVLAN, PHYSICAL)
OUTSIDE_MAC = (IPVLAN, PHYSICAL)  # the address of these is the device's
MOST_ADDRESSES = 128  # of one interface: each is looked for in what comes from there (`port_guard`)
NAME_LIMIT = 15  # bytes of an interface's name
MADE_NAME = "u%s"  # of an interface that is made on a host, with as many hexadecimal digits as a name has room for
MADE_NAME_BYTES = 7  # which these digits stand for
TAKEN_NAMES = ("lo", "all", "default", ".", "..")
LINK_LOCAL = "%s is of one wire alone (link-local), and the host leads to no such address: use another network"
LEAST_MTU, LEAST_IPV6_MTU, LARGEST_MTU = 68, 1280, 65535
HEXADECIMAL = frozenset("0123456789abcdef")


def hardware_address(value: object) -> str:
    """Return the hardware address that one interface can have; empty for one that the host makes."""
    if value == "":
        return ""
    text = kinds.text(value).lower().replace("-", ":")
    parts = text.split(":")
    if len(parts) != 6 or any(len(part) != 2 or not HEXADECIMAL.issuperset(part) for part in parts):
        raise ContractError("%s is no hardware address: write six bytes, as 02:00:5e:10:00:01" % ascii(value)[:60])
    if int(parts[0], 16) & 1:
        raise ContractError("%s is a multicast address, which no interface has" % text, refused=True)
    if text == "00:00:00:00:00:00":
        raise ContractError("%s is no address: leave it out, and the host makes one" % text, refused=True)
    return text


def interface_name(value: object) -> str:
    """Return the name that an interface can have."""
    text = kinds.text(value)
    good = text.isascii() and text.isprintable() and not set(" /:%\"'\\").intersection(text)
    if not good or text in TAKEN_NAMES or len(text) > NAME_LIMIT:
        form = "%s is no name of an interface: at most %d letters, digits and '_.-', and not %s"
        raise ContractError(form % (ascii(text)[:60], NAME_LIMIT, ", ".join(map(repr, TAKEN_NAMES[:3]))))
    return text


def zone_name(value: object) -> str:
    """Return the name that a zone can have."""
    text = kinds.text(value)
    if not is_name(text):
        raise ContractError("%s is no name of a zone: at most 63 small letters, digits and '-'" % ascii(text)[:60])
    return text


def _parent(value: object) -> str:
    return kinds.text_or_none(value)


def _mtu(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or (value and not LEAST_MTU <= value <= LARGEST_MTU):
        raise ContractError("%s is no mtu (%d to %d)" % (ascii(value)[:40], LEAST_MTU, LARGEST_MTU))
    return value


class Interface(ContractRecord):
    """An interface of a container (N2).

    Attributes:
        kind: one of `INTERFACES`.
        parent: the zone, or the bridge or device of the host; empty for `routed`.
        name: inside.
        addresses: with their prefix lengths; of a zone without any, the host allocates them.
        gateways: at most one of IPv4 and one of IPv6. A zone's, and that of `routed`, is the host where there is none.
        mac: its hardware address; empty for one that the host makes of the container's name.
        mtu: 0 for that of the parent.
        dhcp: whether a client inside configures it.
        subnets: of a zone, at most one of IPv4 and one of IPv6; the host allocates those that are missing.
    """

    kind: str
    name: str
    parent: str = ""
    addresses: list[str] = []
    gateways: list[str] = []
    mac: str = ""
    mtu: int = 0
    dhcp: bool = False
    subnets: list[str] = []

    KINDS = {
        "kind": kinds.choice(*INTERFACES),
        "name": interface_name,
        "parent": _parent,
        "addresses": kinds.list_of(interface_address),
        "gateways": kinds.list_of(address),
        "mac": hardware_address,
        "mtu": _mtu,
        "dhcp": kinds.boolean,
        "subnets": kinds.list_of(subnet),
    }

    def check(self) -> None:
        if self.kind == ROUTED:
            self.refuse("parent", "is for other interfaces: one that is routed has none" if self.parent else None)
        else:
            self.at("parent", zone_name if self.kind == ZONE else interface_name, self.parent)
        self.refuse("mac", "is that of the device" if self.mac and self.kind in OUTSIDE_MAC else None)
        self._check_mtu()
        self._check_dhcp()
        self._check_subnets()
        self._check_addresses()
        self._check_gateways()

    def _check_mtu(self) -> None:
        has_ipv6 = self.kind == ZONE or any(":" in address for address in self.addresses)
        if has_ipv6 and 0 < self.mtu < LEAST_IPV6_MTU:
            self.refuse("mtu", "%d is too small for IPv6, which needs %d" % (self.mtu, LEAST_IPV6_MTU))

    def _check_dhcp(self) -> None:
        if not self.dhcp:
            return
        if self.kind not in FOR_DHCP:
            self.refuse("dhcp", "is for %s: the host gives addresses in a zone" % ", ".join(FOR_DHCP))
        if any(split_cidr(item)[0] == AF_INET for item in self.addresses):
            self.refuse("dhcp", "gives the IPv4 address, and 'addresses' has one as well: leave one of them out")

    def _check_subnets(self) -> None:
        self.refuse("subnets", "is for zones" if self.subnets and self.kind != ZONE else None)
        self._one_of_each("subnets", self.subnets)
        self._refuse_link_local("subnets", self.subnets)

    def _refuse_link_local(self, field: str, items: list[str]) -> None:
        for number, item in enumerate(items):
            if is_link_local(network_of(item)):
                self.refuse("%s[%d]" % (field, number), LINK_LOCAL % item)

    def _one_of_each(self, field: str, items: list[str]) -> None:
        families = set()
        for number, item in enumerate(items):
            family = AF_INET6 if ":" in item else AF_INET
            if family in families:
                self.refuse("%s[%d]" % (field, number), "is a second one of %s" % VERSIONS[family])
            families.add(family)

    def networks(self) -> list[Net]:
        """Return the networks that the interface is known to be in."""
        return [network_of(item) for item in self.subnets or self.addresses]

    def _check_addresses(self) -> None:
        if len(self.addresses) > MOST_ADDRESSES:
            self.refuse("addresses", "has %d: an interface has at most %d" % (len(self.addresses), MOST_ADDRESSES))
        seen: set[str] = set()
        for number, item in enumerate(self.addresses):
            place = "addresses[%d]" % number
            plain = item.partition("/")[0]
            self.refuse(place, "%s is there twice" % plain if plain in seen else None)
            seen.add(plain)
            if self.kind == ZONE:
                self.refuse(place, self._refusal_in_zone(item))
            elif self.kind == ROUTED and split_cidr(item)[2] != BITS[split_cidr(item)[0]]:
                self.refuse(
                    place,
                    "%s: an interface that is routed has single addresses: write %s/%d"
                    % (item, plain, BITS[split_cidr(item)[0]]),
                )
        if self.kind == ZONE:
            self._one_of_each("addresses", self.addresses)
        if self.kind == ROUTED and not self.addresses:
            self.refuse("addresses", "is missing: the host routes them to the container")
        if self.kind in (ZONE, ROUTED):
            self._refuse_link_local("addresses", self.addresses)

    def _refusal_in_zone(self, item: str) -> str | None:
        family, value, length = split_cidr(item)
        of_family = [network_of(subnet) for subnet in self.subnets if network_of(subnet)[0] == family]
        if of_family and not contains(of_family[0], item):
            return "%s is not in the zone's subnet, %s" % (item, network_text(of_family[0]))
        if of_family and length != of_family[0][2]:
            return "%s: the prefix length is that of the zone's subnet, %d" % (item, of_family[0][2])
        net = of_family[0] if of_family else network_of(item)
        if not of_family and length > LONGEST_OF_ZONE[family]:
            return "%s: in a zone without 'subnets', the prefix length is that of its network" % item
        if value == net[1] + 1:
            return "%s is the host's in this zone: use another address" % item
        return None

    def _check_gateways(self) -> None:
        self._one_of_each("gateways", self.gateways)
        if self.gateways and self.kind == ROUTED:
            self.refuse("gateways", "is for other interfaces: that of one that is routed is the host")
        for number, gateway in enumerate(self.gateways):
            place = "gateways[%d]" % number
            family = AF_INET6 if ":" in gateway else AF_INET
            nets = [net for net in self.networks() if net[0] == family]
            if any(gateway == item.partition("/")[0] for item in self.addresses):
                self.refuse(place, "%s is the interface's own address" % gateway)
            if contains(network_of("fe80::/10"), gateway) or (self.kind == ZONE and not nets):
                continue
            if not nets:
                self.refuse(place, "%s: the interface has no address of %s" % (gateway, VERSIONS[family]))
            if not any(contains(net, gateway) for net in nets):
                known = ", ".join(map(network_text, nets))
                self.refuse(
                    place, "%s is out of reach: it is in none of the interface's networks, %s" % (gateway, known)
                )


class Network(ContractRecord):
    """A network of the container's own, with more than a loopback (N1).

    Attributes:
        interfaces: at least one.
        host_access: whether the container reaches what the host itself serves in its zones and on routed interfaces.
    """

    interfaces: list[Interface]
    host_access: bool = False

    KINDS = {"interfaces": kinds.list_of(Interface.read), "host_access": kinds.boolean}

    @property
    def publishes(self) -> bool:
        """Return whether the host can publish ports for the container."""
        return any(interface.kind in (ZONE, ROUTED) for interface in self.interfaces)

    @property
    def is_filtered(self) -> bool:
        """Return whether the host's packet filter has rules for an interface."""
        return any(interface.kind in FILTERED for interface in self.interfaces)

    def check(self) -> None:
        self.refuse("interfaces", None if self.interfaces else "names no interface")
        self._check_unique("name", lambda interface: [interface.name])
        self._check_unique("mac", lambda interface: [interface.mac] if interface.mac else [])
        self._check_unique("addresses", lambda interface: [item.partition("/")[0] for item in interface.addresses])
        self._check_unique("parent", lambda interface: [interface.parent] if interface.kind in (ZONE, PHYSICAL) else [])
        self._check_unique("gateways", lambda interface: ["IPv%d" % (6 if ":" in g else 4) for g in interface.gateways])
        if self.host_access and not self.publishes:
            self.refuse(
                "host_access", "is for zones and routed interfaces: through others, the host is another machine"
            )

    def _check_unique(self, field: str, values: Callable[[Interface], list[str]]) -> None:
        known: dict[str, int] = {}
        for number, interface in enumerate(self.interfaces):
            for value in values(interface):
                if value in known:
                    form = "%s is that of interfaces[%d] as well"
                    self.refuse("interfaces[%d].%s" % (number, field), form % (value, known[value]))
                known[value] = number


class Published(ContractRecord):
    """A port of the host that leads to one of the container (N5).

    Attributes:
        port: the host's.
        target: the container's.
        protocol: `tcp` or `udp`.
        address: of the host; empty for all of them, its loopback included.
    """

    port: int
    target: int
    protocol: str = "tcp"
    address: str = ""

    KINDS = {
        "port": port_number,
        "target": port_number,
        "protocol": kinds.choice(*PROTOCOLS),
        "address": lambda value: value if value == "" else host_address(value),
    }

    @property
    def version(self) -> int:
        """Return the version of the protocol of its address; 0 for one of all addresses."""
        return (6 if ":" in self.address else 4) if self.address else 0

    def meets(self, other: Published) -> bool:
        """Return whether both cannot be published on one host."""
        same = (self.port, self.protocol) == (other.port, other.protocol)
        return same and (self.address == other.address or not self.address or not other.address)

    def __str__(self) -> str:
        place = "[%s]" % self.address if ":" in self.address else self.address
        return "%s%d/%s" % (place and place + ":", self.port, self.protocol)
