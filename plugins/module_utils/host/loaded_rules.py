# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The containers' tables as the kernel has them. The kernel answers by netlink(7) before nft(8) would have begun (N8).

An outline of a table has the number of rules in each of its chains, and that of elements in each of its maps: a rule
that somebody has deleted is missed there. `firewall_change` makes the same of the commands for a table.
"""

from __future__ import annotations

import errno
from struct import pack

from ..launcher.links import attributes_of, text_in
from ..launcher.netlink_socket import NETLINK_NETFILTER, NetlinkSocket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Iterator

    Outline = Dict[str, int]  # `chain NAME` or `map NAME`, with the number of what is in it

# Of nftables (NFNL_SUBSYS_NFTABLES).
GET_TABLE, GET_CHAIN, GET_RULE, GET_ELEMENTS = 10 << 8 | 1, 10 << 8 | 4, 10 << 8 | 7, 10 << 8 | 13
FAMILIES = {"inet": 1, "bridge": 7}
HEAD = 4  # bytes of a nfgenmsg
TABLE, CHAIN_OF_RULE, NAME_OF_CHAIN, SET_OF_ELEMENTS, ELEMENTS = 1, 2, 3, 2, 3


def tables() -> set[str]:
    """Return the names of all tables of this network namespace. Raise OSError where the kernel does not say."""
    with NetlinkSocket(family=NETLINK_NETFILTER) as netfilter:
        return set(_texts(netfilter.dump(GET_TABLE, bytes(HEAD)), TABLE))


def has_chain(table: str, name: str) -> bool:
    """Return whether a table has a chain: `bridge NAME`, for instance. Raise OSError as above."""
    asked = _head(table) + _text(NAME_OF_CHAIN, name)
    with NetlinkSocket(family=NETLINK_NETFILTER) as netfilter:
        return netfilter.ask("chain %s of %s" % (name, table), GET_CHAIN, asked, errno.ENOENT) is not None


def outline(table: str, maps: list[str]) -> Outline:
    """Return the outline of a table.

    Args:
        maps: the names of those that are looked into.

    Raises:
        OSError: there is no such table or map, or the kernel does not say.
    """
    with NetlinkSocket(family=NETLINK_NETFILTER) as netfilter:
        found = dict.fromkeys(["chain " + name for name in _chains(netfilter, table)], 0)
        for name in _texts(netfilter.dump(GET_RULE, _head(table)), CHAIN_OF_RULE):
            found["chain " + name] = found.get("chain " + name, 0) + 1
        for name in maps:
            answers = netfilter.dump(GET_ELEMENTS, _head(table) + _text(SET_OF_ELEMENTS, name))
            lists = [value for answer in answers for kind, value in attributes_of(answer, HEAD) if kind == ELEMENTS]
            found["map " + name] = sum(1 for elements in lists for _element in attributes_of(elements))
    return found


def _chains(netfilter: NetlinkSocket, table: str) -> set[str]:
    """Return the names of the chains of a table. The kernel gives those of all tables of its family."""
    name = table.partition(" ")[2]
    answers = netfilter.dump(GET_CHAIN, _head(table))
    return set(_texts([answer for answer in answers if next(_texts([answer], TABLE), "") == name], NAME_OF_CHAIN))


def _head(table: str) -> bytes:
    family, _blank, name = table.partition(" ")
    return pack("=BBH", FAMILIES[family], 0, 0) + _text(TABLE, name)


def _text(kind: int, text: str) -> bytes:
    value = text.encode() + b"\0"
    return pack("=HH", len(value) + 4, kind) + value + bytes(-len(value) % 4)


def _texts(messages: list[bytes], wanted: int) -> Iterator[str]:
    """Yield the text of an attribute of each message that has it."""
    for message in messages:
        for kind, value in attributes_of(message, HEAD):
            if kind == wanted:
                yield text_in(value)
                break
