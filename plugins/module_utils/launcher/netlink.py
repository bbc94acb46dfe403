# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The kernel's interface to links, addresses and routes (rtnetlink(7)), a thin wrapper for each message.

No command is needed on the host.
"""

from __future__ import annotations

import _socket
import errno
from _socket import AF_INET, AF_INET6
from struct import calcsize, error, pack, unpack_from

from .addresses import BITS, address_text, split_cidr
from .links import (
    IFLA_ADDRESS,
    IFLA_INFO,
    IFLA_MASK,
    IFLA_MASTER,
    IFLA_MTU,
    IFLA_NAME,
    IFLA_OTHER_NAME,
    IFLA_PARENT,
    IFLA_PROPERTIES,
    INFO_KIND,
    LINK,
    SKIP_STATISTICS,
    UP,
    Link,
    attributes_of,
)
from .netlink_socket import NetlinkSocket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .addresses import Net

NEW_LINK, DELETE_LINK, GET_LINK, SET_LINK = 16, 17, 18, 19
NEW_ADDRESS, GET_ADDRESS, NEW_ROUTE, GET_ROUTE, NEW_NEIGHBOUR = 20, 22, 24, 26, 28
NEW_QUEUE, NEW_FILTER = 36, 44
CLSACT, CLSACT_PARENT, INGRESS, DIRECT = 0xFFFF0000, 0xFFFFFFF1, 0xFFFFFFF2, 1
FIRST_OF_ALL = 1 << 16 | _socket.htons(3)  # the priority, and ETH_P_ALL
NEW_PROPERTY = 108  # RTM_NEWLINKPROP, Linux 5.5
REPLACE, EXCLUSIVE, CREATE = 0x100, 0x200, 0x400
NESTED = 0x8000

ADDRESS, ROUTE, NEIGHBOUR, QUEUE = "=BBBBi", "=BBBBBBBBI", "=BxxxiHBB", "=BxxxiIII"
AF_BRIDGE = 7

# Attributes of links.
IFLA_PORT, IFLA_FAMILIES, IFLA_NAMESPACE = 12, 26, 28
INFO_DATA, VETH_PEER = 2, 1
BRIDGE_FORWARD_DELAY, BRIDGE_STP, BRIDGE_SNOOPING = 1, 5, 23
INET6_MODE, INET6_NO_ADDRESS = 8, 1
# A port of a bridge: what it does not do, and what it keeps to. An older kernel leaves out what it does not know.
PORT_LEARNS, PORT_LOCKED, PORT_FLOODED, PORT_ROUTER = 8, 39, 9, 25
MACVLAN_MODE, MACVLAN_BRIDGE, IPVLAN_MODE, IPVLAN_L2 = 1, 4, 1, 0
NODAD = 2
STATIC, OF_MASTER = 0x40, 4
MAIN_TABLE, LOCAL_TABLE, STATIC_ROUTE = 254, 255, 4
UNIVERSE, ON_LINK, UNICAST, TO_HOST, MULTICAST = 0, 253, 1, 2, 5


def _attribute(kind: int, value: bytes | str | int) -> bytes:
    """Return an attribute; a number is one of 32 bits."""
    if isinstance(value, int):
        value = pack("=I", value)
    elif isinstance(value, str):
        value = value.encode() + b"\0"
    return pack("=HH", len(value) + 4, kind) + value + bytes(-len(value) % 4)


def _nested(kind: int, *parts: bytes) -> bytes:
    return _attribute(kind | NESTED, b"".join(parts))


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _packed(family: int, value: int) -> bytes:
    return value.to_bytes(BITS[family] // 8, "big")


class Netlink(NetlinkSocket):
    """A socket for the links, addresses and routes of the network namespace in which it is made."""

    # Links.

    def links(self) -> list[Link]:
        """Return all links."""
        return [Link(message) for message in self._dump_links()]

    def bridges(self) -> list[Link]:
        """Return the bridges: of a host with many containers, few of its links."""
        found = self._dump_links(_nested(IFLA_INFO, _attribute(INFO_KIND, "bridge")))
        return [link for link in map(Link, found) if link.kind == "bridge"]

    def _dump_links(self, chosen: bytes = b"") -> list[bytes]:
        """Return the kernel's messages about all links, without their statistics, which are most of each.

        Args:
            chosen: attributes that a link is to have; a kernel may heed them.
        """
        mask = _attribute(IFLA_MASK, pack("=I", SKIP_STATISTICS))
        return self.dump(GET_LINK, pack(LINK, 0, 0, 0, 0, 0) + mask + chosen)

    def link(self, name: str) -> Link | None:
        """Return the link of this name, or None where there is none."""
        return self._link("link %s" % name, 0, _attribute(IFLA_NAME, name))

    def name(self, index: int) -> str | None:
        """Return the name of the link with this number, or None where there is none."""
        link = self._link("link %d" % index, index)
        return None if link is None else link.name

    def _link(self, what: str, index: int, *chosen: bytes) -> Link | None:
        found = self.ask(what, GET_LINK, b"".join([pack(LINK, 0, 0, index, 0, 0), *chosen]), errno.ENODEV)
        return None if found is None else Link(found)

    def _add(self, what: str, name: str, kind: str, data: list[bytes], *others: bytes) -> None:
        info = _nested(IFLA_INFO, _attribute(INFO_KIND, kind), _nested(INFO_DATA, *data))
        head = pack(LINK, 0, 0, 0, 0, 0)
        self.request(what, NEW_LINK, CREATE | EXCLUSIVE, head, _attribute(IFLA_NAME, name), info, *others)

    def add_bridge(self, name: str, mac: str) -> None:
        """Make a bridge that forwards at once and keeps no record of who listens to multicast. It is down."""
        data = [_attribute(BRIDGE_FORWARD_DELAY, 0), _attribute(BRIDGE_STP, 0)]
        data.append(_attribute(BRIDGE_SNOOPING, b"\0"))
        self._add("add bridge %s" % name, name, "bridge", data, _attribute(IFLA_ADDRESS, _mac(mac)))

    def add_pair(
        self, name: str, peer: str, namespace: int, mac: str, peer_mac: str, mtus: tuple[int, int], master: int
    ) -> None:
        """Make a pair of linked interfaces (veth(4)). Both are down.

        Args:
            name: of the end here.
            peer, namespace: the name of the other end, and a descriptor of the network namespace in which it is made.
            mac, peer_mac: the hardware addresses.
            mtus: of this end and of the other; 0 for the kernel's own.
            master: number of the bridge whose port this end is, or 0.
        """
        own, others = (_attribute(IFLA_MTU, mtu) if mtu else b"" for mtu in mtus)
        other = pack(LINK, 0, 0, 0, 0, 0) + _attribute(IFLA_NAME, peer) + _attribute(IFLA_NAMESPACE, namespace)
        other += _attribute(IFLA_ADDRESS, _mac(peer_mac)) + others
        parts = [_attribute(IFLA_ADDRESS, _mac(mac)), own, _attribute(IFLA_MASTER, master) if master else b""]
        self._add("add veth %s" % name, name, "veth", [_attribute(VETH_PEER, other)], *parts)

    def add_on_device(self, kind: str, name: str, parent: int, namespace: int, mac: str, mtu: int) -> None:
        """Make a `macvlan` or `ipvlan` on the device of this number, in another network namespace."""
        data = [_attribute(MACVLAN_MODE, MACVLAN_BRIDGE)]
        if kind == "ipvlan":
            data = [_attribute(IPVLAN_MODE, pack("=H", IPVLAN_L2))]
        parts = [_attribute(IFLA_PARENT, parent), _attribute(IFLA_NAMESPACE, namespace)]
        if mac:
            parts.append(_attribute(IFLA_ADDRESS, _mac(mac)))
        if mtu:
            parts.append(_attribute(IFLA_MTU, mtu))
        self._add("add %s %s" % (kind, name), name, kind, data, *parts)

    def set_up(self, index: int) -> None:
        """Set a link up."""
        self.request("set link %d up" % index, NEW_LINK, 0, pack(LINK, 0, 0, index, UP, UP))

    def set_down(self, index: int) -> None:
        """Set a link down."""
        self.request("set link %d down" % index, NEW_LINK, 0, pack(LINK, 0, 0, index, 0, UP))

    def _change(self, what: str, index: int, *parts: bytes) -> None:
        self.request(what, NEW_LINK, 0, pack(LINK, 0, 0, index, 0, 0), *parts)

    def set_mtu(self, index: int, mtu: int) -> None:
        """Set the mtu of a link, in bytes."""
        self._change("set mtu %d" % mtu, index, _attribute(IFLA_MTU, mtu))

    def set_name(self, index: int, name: str) -> None:
        """Give a link, which is down, another name."""
        self._change("set name %s" % name, index, _attribute(IFLA_NAME, name))

    def set_master(self, index: int, master: int) -> None:
        """Make a link a port of a bridge, or of none (0)."""
        self._change("set master of link %d" % index, index, _attribute(IFLA_MASTER, master))

    def move(self, index: int, namespace: int, name: str = "") -> None:
        """Move a link to the network namespace of a descriptor, perhaps with another name there."""
        parts = [_attribute(IFLA_NAMESPACE, namespace)]
        if name:
            parts.append(_attribute(IFLA_NAME, name))
        self._change("move link %d" % index, index, *parts)

    def make_no_address(self, index: int) -> None:
        """Keep a link from making an address of IPv6 by itself when it is set up."""
        families = _nested(IFLA_FAMILIES, _nested(AF_INET6, _attribute(INET6_MODE, pack("=B", INET6_NO_ADDRESS))))
        try:
            self._change("set addrgenmode of link %d" % index, index, families)
        except OSError as failure:
            if failure.errno not in (errno.EAFNOSUPPORT, errno.EOPNOTSUPP):  # it has no IPv6 at all
                raise

    def confine_port(self, index: int, mac: str) -> None:
        """Have a bridge know one address at a port, learn none there, and flood nothing that has another to it.

        Nor is a router of multicast there.
        """
        values = {PORT_LEARNS: 0, PORT_FLOODED: 0, PORT_LOCKED: 1, PORT_ROUTER: 0}
        port = _nested(IFLA_PORT, *[_attribute(kind, pack("=B", value)) for kind, value in values.items()])
        entry = pack(NEIGHBOUR, AF_BRIDGE, index, STATIC, OF_MASTER, 0) + _attribute(2, _mac(mac))
        self.request("set port %d" % index, SET_LINK, 0, pack(LINK, AF_BRIDGE, 0, index, 0, 0), port)
        self.request("add %s to port %d" % (mac, index), NEW_NEIGHBOUR, CREATE | REPLACE, entry)

    def guard(self, index: int, program: bytes) -> None:
        """Have a program of classic BPF look at what comes in by a link, and drop some of it (tc-bpf(8))."""
        queue = pack(QUEUE, 0, index, CLSACT, CLSACT_PARENT, 0)
        self.request("add clsact to link %d" % index, NEW_QUEUE, CREATE | REPLACE, queue, _attribute(1, "clsact"))
        head = pack(QUEUE, 0, index, 0, INGRESS, FIRST_OF_ALL)
        options = [_attribute(4, pack("=H", len(program) // 8)), _attribute(5, program), _attribute(8, DIRECT)]
        parts = [_attribute(1, "bpf"), _nested(2, *options)]
        self.request("add filter to link %d" % index, NEW_FILTER, CREATE | EXCLUSIVE, head, *parts)

    def add_name(self, index: int, name: str) -> None:
        """Give a link an alternative name of up to 127 bytes."""
        names = _nested(IFLA_PROPERTIES, _attribute(IFLA_OTHER_NAME, name))
        head = pack(LINK, 0, 0, index, 0, 0)
        self.request("add name %s" % name, NEW_PROPERTY, CREATE | EXCLUSIVE, head, names)

    def delete_link(self, index: int) -> None:
        """Delete a link; a pair with its other end."""
        self.request("delete link %d" % index, DELETE_LINK, 0, pack(LINK, 0, 0, index, 0, 0))

    # Addresses and routes.

    def add_address(self, index: int, cidr: str) -> None:
        """Give a link an address with the length of its prefix. It can be used at once (IFA_F_NODAD)."""
        family, value, length = split_cidr(cidr)
        address = _packed(family, value)
        flags = NODAD if family == AF_INET6 else 0
        parts = [pack(ADDRESS, family, length, flags, UNIVERSE, index), _attribute(1, address), _attribute(2, address)]
        if family == AF_INET and length < 31:
            parts.append(_attribute(4, _packed(family, value | (1 << 32 - length) - 1)))
        self.request("add address %s" % cidr, NEW_ADDRESS, CREATE | REPLACE, *parts)

    def add_route(self, index: int, destination: str = "", gateway: str = "", metric: int = 0) -> None:
        """Add a route by a link.

        Args:
            destination: a network; the default route of the gateway's family without it.
            gateway: an address; none for what is reached without one.
            metric: the higher, the less it is used; 0 for the kernel's own.
        """
        family, value, length = split_cidr(destination or gateway + "/0")
        scope = UNIVERSE if gateway or family == AF_INET6 else ON_LINK
        parts = [pack(ROUTE, family, length, 0, 0, MAIN_TABLE, STATIC_ROUTE, scope, UNICAST, 0), _attribute(4, index)]
        if destination:
            parts.append(_attribute(1, _packed(family, value)))
        if gateway:
            parts.append(_attribute(5, _packed(*split_cidr(gateway + "/0")[:2])))
        if metric:
            parts.append(_attribute(6, metric))
        what = "add route %s%s" % (destination or "default", gateway and " via " + gateway)
        self.request(what, NEW_ROUTE, CREATE | REPLACE, *parts)

    def add_local_route(self, index: int, destination: str, metric: int) -> None:
        """Take what comes by a link for an address as the host's own."""
        family, value, length = split_cidr(destination)
        head = pack(ROUTE, family, length, 0, 0, LOCAL_TABLE, STATIC_ROUTE, UNIVERSE, TO_HOST, 0)
        parts = [head, _attribute(1, _packed(family, value)), _attribute(4, index), _attribute(6, metric)]
        self.request("add local route %s" % destination, NEW_ROUTE, CREATE | REPLACE, *parts)

    def addresses(self, most: int = 0) -> list[tuple[int, str]]:
        """Return the number of a link and an address of it with the length of its prefix, for each address.

        Args:
            most: as `dump` has it.
        """
        found = []
        for message in self.dump(GET_ADDRESS, pack(ADDRESS, 0, 0, 0, 0, 0), most):
            family, length, _flags, _scope, index = unpack_from(ADDRESS, message)
            values = dict(attributes_of(message, calcsize(ADDRESS)))
            address = values.get(2, values.get(1))
            if family in BITS and address is not None:
                found.append((index, "%s/%d" % (address_text(family, int.from_bytes(address, "big")), length)))
        return found

    def routes(self) -> list[tuple[int, Net]]:
        """Return the number of the link, or 0, and the network, for each route but the default ones.

        That of each link to all multicast of IPv6 (ff00::/8) is left out: no network of containers is there.
        """
        found = []
        for message in self.dump(GET_ROUTE, pack(ROUTE, 0, 0, 0, 0, 0, 0, 0, 0, 0)):
            try:
                family, length, kind = unpack_from("=BB5xB", message)
                if (family, length, kind) == (AF_INET6, 8, MULTICAST):
                    continue
                values = dict(attributes_of(message, calcsize(ROUTE)))
                index = unpack_from("=I", values.get(4, b"\0\0\0\0"))[0]
            except error:
                continue
            if family in BITS and length and 1 in values:
                found.append((index, (family, int.from_bytes(values[1], "big"), length)))
        return found
