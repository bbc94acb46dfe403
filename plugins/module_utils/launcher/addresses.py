# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Addresses and networks of IPv4 and IPv6. The module `ipaddress` takes longer to import than a container to start.

Texts are those that the kernel writes, so that equal addresses are equal texts.
"""

from __future__ import annotations

from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton

from . import kinds
from .kinds import ContractError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Tuple

    Net = Tuple[int, int, int]  # the family, the first address as a number, the length of the prefix

BITS = {AF_INET: 32, AF_INET6: 128}
VERSIONS = {AF_INET: "IPv4", AF_INET6: "IPv6"}
SHORTEST = {AF_INET: 8, AF_INET6: 16}  # prefix of a network that containers are in
LONGEST_OF_ZONE = {AF_INET: 30, AF_INET6: 126}
# Of these no single machine can have an address (RFC 6890): this one, loopback, link-local, multicast and reserved.
NOBODYS = (
    ("this host's own network", "0.0.0.0/8", "::/128"),
    ("loopback", "127.0.0.0/8", "::1/128"),
    ("multicast", "224.0.0.0/4", "ff00::/8"),
    ("reserved", "240.0.0.0/4", "::ffff:0:0/96"),
)

# Of one wire: no host leads to these from another one (RFC 3927, RFC 4291).
LINK_LOCAL = ("169.254.0.0/16", "fe80::/10")
# No other machine is reached from these, and by these.
OF_NO_WIRE = ("127.0.0.0/8", "::1/128", *LINK_LOCAL)


def parse_address(address: str) -> tuple[int, int]:
    """Return the family of an address, and the address as a number.

    Raises:
        ContractError: it is none.
    """
    family = AF_INET6 if ":" in address else AF_INET
    try:
        return family, int.from_bytes(inet_pton(family, address), "big")
    except (OSError, ValueError):
        raise ContractError("%s is no IPv4 or IPv6 address" % ascii(address)[:60]) from None


def address_text(family: int, value: int) -> str:
    """Return the text of an address."""
    return inet_ntop(family, value.to_bytes(BITS[family] // 8, "big"))


def split_cidr(cidr: str) -> tuple[int, int, int]:
    """Return the family of an address with its prefix length, the address as a number, and that length."""
    address, _slash, length = cidr.partition("/")
    family, value = parse_address(address)
    return family, value, int(length)


def network_of(cidr: str) -> Net:
    """Return the network in which an address with a prefix length is."""
    return masked(*split_cidr(cidr))


def masked(family: int, value: int, length: int) -> Net:
    """Return the network in which an address is. Raise ValueError for a prefix that is longer than an address."""
    low = BITS[family] - length
    return family, value >> low << low, length


def contains(net: Net, address: str) -> bool:
    """Return whether an address is in a network."""
    family, value = parse_address(address.partition("/")[0])
    low = BITS[net[0]] - net[2]
    return family == net[0] and value >> low == net[1] >> low


def network_text(net: Net) -> str:
    """Return the text of a network."""
    return "%s/%d" % (address_text(net[0], net[1]), net[2])


def _text(value: object) -> str:
    text = kinds.text(value)
    if not text.isascii() or len(text) > 60:
        raise ContractError("%s is no IPv4 or IPv6 address" % ascii(text)[:60])
    return text


def _usable(text: str) -> str:
    """Return an address that a single machine can have, as the kernel writes it."""
    family, value = parse_address(text)
    for what, *networks in NOBODYS:
        if any(contains(network_of(network), text) for network in networks):
            raise ContractError("%s is an address of which no machine has one (%s)" % (text, what), refused=True)
    return address_text(family, value)


def address(value: object) -> str:
    """Return an IPv4 or IPv6 address that a machine can have."""
    return _usable(_text(value))


def _prefixed(value: object) -> tuple[str, int, int, int]:
    text = _text(value)
    plain, slash, length = text.partition("/")
    family, found = parse_address(plain)
    if not slash:
        raise ContractError(
            "%s has no prefix length: write %s/%d, or with that of its network" % (text, text, BITS[family])
        )
    if not (length.isdigit() and len(length) < 4 and int(length) <= BITS[family]):
        raise ContractError("%s: the prefix length is from 0 to %d" % (text, BITS[family]))
    if int(length) < SHORTEST[family]:
        raise ContractError("%s: the prefix length is less than %d" % (text, SHORTEST[family]), refused=True)
    return plain, family, found, int(length)


def interface_address(value: object) -> str:
    """Return an address with the prefix length of its network."""
    plain, family, found, length = _prefixed(value)
    plain = _usable(plain)
    low = BITS[family] - length
    inside = found & (1 << low) - 1
    if low > 1 and (inside == 0 or (family == AF_INET and inside == (1 << low) - 1)):
        what = "the network itself" if inside == 0 else "the network's broadcast address"
        raise ContractError("%s/%d is %s: use another address of it" % (plain, length, what), refused=True)
    return "%s/%d" % (plain, length)


def subnet(value: object) -> str:
    """Return the network of a zone."""
    plain, family, found, length = _prefixed(value)
    plain = address_text(family, found)
    net = network_of("%s/%d" % (plain, length))
    if net[1] != found:
        raise ContractError("%s/%d is no network: write %s" % (plain, length, network_text(net)), refused=True)
    for what, *networks in NOBODYS:
        if any(share_addresses(network_of(network), net) for network in networks):
            raise ContractError("%s/%d has addresses of which no machine has one (%s)" % (plain, length, what), True)
    if length > LONGEST_OF_ZONE[family]:
        form = "%s/%d has no room for containers: the prefix length is at most %d"
        raise ContractError(form % (plain, length, LONGEST_OF_ZONE[family]), refused=True)
    return "%s/%d" % (plain, length)


def share_addresses(one: Net, other: Net) -> bool:
    """Return whether two networks have addresses in common."""
    low = BITS[one[0]] - min(one[2], other[2])
    return one[0] == other[0] and one[1] >> low == other[1] >> low


def is_link_local(net: Net) -> bool:
    """Return whether a network has addresses of one wire alone."""
    return any(share_addresses(network_of(item), net) for item in LINK_LOCAL)


def host_address(value: object) -> str:
    """Return an address that a host can have, its loopback included."""
    family, found = parse_address(_text(value))
    text = address_text(family, found)
    if any(contains(network_of(item), text) for item in ("127.0.0.0/8", "::1/128")):
        return text
    return _usable(text)
