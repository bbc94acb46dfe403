# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The reader of the kernel's messages about links, by netlink(7), and of the attributes in them (rtnetlink(7))."""

from __future__ import annotations

from struct import calcsize, unpack_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator

LINK = "=BxHiII"
UP = 1
KIND_MASK = 0x3FFF
IFLA_ADDRESS, IFLA_NAME, IFLA_MTU, IFLA_PARENT, IFLA_MASTER = 1, 3, 4, 5, 10
IFLA_INFO, INFO_KIND = 18, 1
IFLA_PROPERTIES, IFLA_OTHER_NAME, IFLA_PERMANENT = 52, 53, 54
IFLA_MASK, SKIP_STATISTICS = 29, 8  # IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS


class Link:
    """An interface of a network namespace, as it was when it was asked for.

    Attributes:
        index: its number.
        name: of at most 15 bytes.
        others: its alternative names.
        kind: `veth`, `bridge`, …; empty for a device.
        master: the number of the bridge whose port it is, or 0.
        mac: its hardware address.
        permanent: that which its maker gave it; empty for a virtual one (Linux 5.6).
        mtu: in bytes.
        up: whether it was set up.
    """

    def __init__(self, message: bytes) -> None:
        _family, _type, self.index, flags, _change = unpack_from(LINK, message)
        self.up = bool(flags & UP)
        self.name = self.kind = self.mac = self.permanent = ""
        self.others: list[str] = []
        self.master = self.mtu = 0
        for kind, value in attributes_of(message, calcsize(LINK)):
            if kind == IFLA_NAME:
                self.name = text_in(value)
            elif kind == IFLA_ADDRESS:
                self.mac = ":".join("%02x" % byte for byte in value)
            elif kind == IFLA_PERMANENT:
                self.permanent = ":".join("%02x" % byte for byte in value)
            elif kind == IFLA_MASTER:
                (self.master,) = unpack_from("=I", value)
            elif kind == IFLA_MTU:
                (self.mtu,) = unpack_from("=I", value)
            elif kind == IFLA_INFO:
                self.kind = "".join(text_in(data) for item, data in attributes_of(value) if item == INFO_KIND)
            elif kind == IFLA_PROPERTIES:
                self.others = [text_in(data) for item, data in attributes_of(value) if item == IFLA_OTHER_NAME]


def attributes_of(data: bytes, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """Yield the type and the value of each attribute (netlink(7))."""
    while start + 4 <= len(data):
        size, kind = unpack_from("=HH", data, start)
        if size < 4:
            return
        yield kind & KIND_MASK, data[start + 4 : start + size]
        start += size + 3 & ~3


def text_in(value: bytes) -> str:
    """Return the text of an attribute."""
    return value.rstrip(b"\0").decode("utf-8", "replace")
