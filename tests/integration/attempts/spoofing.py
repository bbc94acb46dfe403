# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Frames that root inside makes by hand, to be taken for another machine, or to get where it may not.

Each attempt sends frames that carry its mark; whether one arrived somewhere is seen there, not here.
"""

from __future__ import annotations

import json
import socket
import struct
import sys
import typing as t

WORDS: dict[str, t.Any] = {}
"""`own`, `victim`, `host`: each with `mac`, `four`, `six`, `local`; `reach`: what may not be reached, by its name."""

IPV4, ARP, IPV6 = 0x0800, 0x0806, 0x86DD
ICMP, UDP, ICMP6, FRAGMENT, HOP_BY_HOP, DESTINATION = 1, 17, 58, 44, 0, 60
BROADCAST = "ff:ff:ff:ff:ff:ff"
OF_BRIDGES = ["01:80:c2:00:00:%02x" % last for last in range(16)]
"""A bridge keeps a frame for itself that is for one of these (IEEE 802.1D, 7.12.6)."""

SPOOFING, REACHING = "spoofing", "reaching"


def packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def hardware(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ethernet(destination: str, source: str, kind: int, payload: bytes) -> bytes:
    return hardware(destination) + hardware(source) + struct.pack("!H", kind) + payload.ljust(46, b"\0")


def tagged(frame: bytes, kind: int, number: int = 5) -> bytes:
    return frame[:12] + struct.pack("!HH", kind, number) + frame[12:]


def datagram(source: str, destination: str, ports: tuple[int, int], data: bytes) -> bytes:
    """Return a datagram of UDP, with the checksum of both addresses."""
    size = 8 + len(data)
    head = struct.pack("!HHHH", *ports, size, 0)
    pseudo = packed(source) + packed(destination) + struct.pack("!II", size, UDP)
    value = checksum(pseudo + head + data) or 0xFFFF
    return struct.pack("!HHHH", *ports, size, value) + data


def ipv4(source: str, destination: str, data: bytes, protocol: int = UDP, options: bytes = b"") -> bytes:
    words = 5 + len(options) // 4
    form = "!BBHHHBBH4s4s"
    fields: list[t.Any] = [0x40 | words, 0, words * 4 + len(data), 7, 0, 64, protocol, 0]
    fields += [packed(source), packed(destination)]
    fields[7] = checksum(struct.pack(form, *fields) + options)
    return struct.pack(form, *fields) + options + data


def ipv6(source: str, destination: str, data: bytes, following: int = UDP) -> bytes:
    return struct.pack("!IHBB", 6 << 28, len(data), following, 255) + packed(source) + packed(destination) + data


def icmp6(source: str, destination: str, kind: int, body: bytes) -> bytes:
    message = struct.pack("!BBH", kind, 0, 0) + body
    pseudo = packed(source) + packed(destination) + struct.pack("!II", len(message), ICMP6)
    return struct.pack("!BBH", kind, 0, checksum(pseudo + message)) + body


def arp(operation: int, sender: tuple[str, str], target: tuple[str, str], mark: bytes) -> bytes:
    head = struct.pack("!HHBBH", 1, IPV4, 6, 4, operation)
    parts = [hardware(sender[0]), packed(sender[1]), hardware(target[0]), packed(target[1])]
    return head + b"".join(parts) + mark


def option(kind: int, data: bytes) -> bytes:
    data += bytes(-(len(data) + 2) % 8)
    return bytes([kind, (len(data) + 2) // 8]) + data


class Frames:
    """The frames of each attempt, by its name."""

    def __init__(self) -> None:
        self.own, self.victim, self.host = WORDS["own"], WORDS["victim"], WORDS["host"]
        self.frames: dict[str, list[bytes]] = {}
        self.rows: dict[str, str] = {}

    def add(self, row: str, name: str, make: t.Callable[..., list[bytes]]) -> None:
        """Add the frames that `make` returns for a mark."""
        self.frames[name] = make(b"mark-%03d;" % len(self.frames))
        self.rows[name] = row

    def udp(self, mark: bytes, source: str, to: dict[str, str], mac: str = "", port: int = 9) -> bytes:
        """Return a frame with a datagram to a neighbour."""
        version = "six" if ":" in source else "four"
        packet = (ipv6 if version == "six" else ipv4)(
            source, to[version], datagram(source, to[version], (7, port), mark)
        )
        return ethernet(to["mac"], mac or self.own["mac"], IPV6 if version == "six" else IPV4, packet)

    def icmp4(self, to: dict[str, str], kind: int, body: bytes) -> bytes:
        """Return a frame with a message of ICMP to a neighbour."""
        said = struct.pack("!BBH", kind, 0, checksum(bytes([kind, 0, 0, 0]) + body)) + body
        return ethernet(to["mac"], self.own["mac"], IPV4, ipv4(self.own["four"], to["four"], said, ICMP))

    def to_all(self, packet: bytes) -> bytes:
        return ethernet("33:33:00:00:00:01", self.own["mac"], IPV6, packet)

    def all(self) -> None:
        self.as_another_station()
        self.as_another_address()
        self.as_another_neighbour()
        self.as_a_router_of_multicast()
        self.as_a_server()
        self.to_what_is_closed()

    def as_another_station(self) -> None:
        four, victim, host = self.own["four"], self.victim, self.host
        macs = {
            "a neighbour's": victim["mac"],
            "the host's": host["mac"],
            "nobody's": "02:00:5e:00:00:99",
            "a multicast": "03:00:5e:00:00:99",
        }
        for name, mac in macs.items():
            self.add(SPOOFING, f"{name} hardware address", lambda mark, m=mac: [self.udp(mark, four, host, m)])
        self.add(
            SPOOFING,
            "thousands of hardware addresses",
            lambda mark: [self.udp(mark, four, host, "02:00:5e:01:%02x:%02x" % divmod(n, 256)) for n in range(3000)],
        )
        for name, kind in (("802.1Q", 0x8100), ("802.1ad", 0x88A8)):
            self.add(
                SPOOFING,
                f"an own datagram in a virtual LAN of {name}",
                lambda mark, k=kind: [
                    tagged(self.udp(mark, self.own[version], there), k)
                    for there in (victim, host)
                    for version in ("four", "six")
                ],
            )
        inner = self.udp(b"%s", four, victim)
        for name, kind, between in (
            ("802.1Q", 0x8100, b"\x00\x05"),
            ("802.1ad", 0x88A8, b"\x00\x05"),
            ("PPPoE", 0x8863, b""),
            ("MPLS", 0x8847, b"\x00\x01\x01\x40"),
            ("LLDP", 0x88CC, b""),
            ("reverse ARP", 0x8035, b""),
            ("802.1X", 0x888E, b""),
            ("spanning tree", 0x0026, b"\x42\x42\x03"),
        ):
            self.add(
                SPOOFING,
                f"a frame of {name}",
                lambda mark, k=kind, b=between: [
                    ethernet(victim["mac"], self.own["mac"], k, b + inner[12:14] + mark),
                    ethernet("01:80:c2:00:00:00", self.own["mac"], k, b + mark),
                    ethernet(BROADCAST, self.own["mac"], k, b + mark),
                ],
            )

    def as_another_address(self) -> None:
        victim, host = self.victim, self.host
        addresses = {
            "a neighbour's": (victim["four"], victim["six"]),
            "the host's": (host["four"], host["six"]),
            "a loopback": ("127.0.0.1", "::1"),
            "no": ("0.0.0.0", "::"),
            "a multicast": ("224.0.0.9", "ff02::9"),
            "an outsider's": ("198.51.100.2", "2001:db8:2::2"),
            "a neighbour's link-local": ("169.254.7.7", victim["local"]),
        }
        for name, both in addresses.items():
            for version, address in enumerate(both):
                self.add(
                    SPOOFING,
                    f"{name} address of IPv{4 + 2 * version}",
                    lambda mark, a=address: [self.udp(mark, a, victim), self.udp(mark, a, host)],
                )
        self.add(
            SPOOFING,
            "a neighbour's address in a fragment",
            lambda mark: [
                ethernet(
                    host["mac"],
                    self.own["mac"],
                    IPV6,
                    ipv6(victim["six"], host["six"], struct.pack("!BBHI", UDP, 0, 1, 7) + mark, FRAGMENT),
                )
            ],
        )

    def as_another_neighbour(self) -> None:
        own, victim, host = self.own, self.victim, self.host
        none = "00:00:00:00:00:00"
        for name, operation, sender, to in (
            ("an answer of ARP for the host", 2, (own["mac"], host["four"]), victim),
            ("an answer of ARP for a neighbour", 2, (own["mac"], victim["four"]), host),
            ("a question of ARP as a neighbour", 1, (own["mac"], victim["four"]), host),
            ("an answer of ARP with another's hardware address", 2, (victim["mac"], own["four"]), host),
            ("an answer of ARP with no address", 2, (own["mac"], "0.0.0.0"), host),
        ):
            self.add(
                SPOOFING,
                name,
                lambda mark, o=operation, s=sender, t_=to: [
                    ethernet(there, own["mac"], ARP, arp(o, s, (none, t_["four"]), mark))
                    for there in (t_["mac"], BROADCAST)
                ],
            )

        def advert(mark: bytes, target: str, source: str, to: str, before: bytes = b"", kind: int = 136) -> list[bytes]:
            body = struct.pack("!I", 0x60000000) + packed(target) + option(2, hardware(own["mac"])) + option(200, mark)
            message = icmp6(source, to, kind, body)
            packet = ipv6(source, to, before + message, HOP_BY_HOP if before else ICMP6)
            return [
                ethernet("33:33:00:00:00:01", own["mac"], IPV6, packet),
                ethernet(victim["mac"], own["mac"], IPV6, packet),
            ]

        hop = bytes([ICMP6, 0, 1, 4, 0, 0, 0, 0])
        for name, target, source, before in (
            ("an advertisement for the host", host["six"], own["local"], b""),
            ("an advertisement for a neighbour", victim["six"], own["six"], b""),
            ("an advertisement as a neighbour", victim["six"], victim["six"], b""),
            ("an advertisement for the host behind an extension", host["six"], own["local"], hop),
        ):
            self.add(
                SPOOFING,
                name,
                lambda mark, a=target, s=source, b=before: (
                    advert(mark, a, s, "ff02::1", b) + advert(mark, a, s, victim["six"], b)
                ),
            )
        self.add(
            SPOOFING,
            "a solicitation as a neighbour",
            lambda mark: advert(mark, host["six"], victim["six"], "ff02::1", b"", 135),
        )
        self.add(
            SPOOFING, "a solicitation as nobody", lambda mark: advert(mark, victim["six"], "::", "ff02::1", b"", 135)
        )

    def in_fragments(self, mark: bytes, kind: int, body: bytes, is_seen: bool) -> list[bytes]:
        """Return two fragments of a message of ICMPv6; the first one ends behind its type, or already before it."""
        own, to = self.own, "ff02::1"
        size = 16 if is_seen else 24  # of an option that fills
        before = bytes([ICMP6, size // 8 - 1, 1, size - 4]) + mark.ljust(size - 4, b"\0")
        whole, cut = before + icmp6(own["local"], to, kind, body), 24 if is_seen else 16
        return [
            self.to_all(ipv6(own["local"], to, struct.pack("!BBHI", DESTINATION, 0, offset | more, 9) + part, FRAGMENT))
            for offset, more, part in ((0, 1, whole[:cut]), (cut, 0, whole[cut:]))
        ]

    def as_a_router_of_multicast(self) -> None:
        own = self.own
        self.add(
            SPOOFING,
            "a question of IGMP",
            lambda mark: [
                ethernet(
                    *("01:00:5e:00:00:01", own["mac"], IPV4),
                    ipv4(own["four"], "224.0.0.1", b"\x11\x64\xee\x9b\0\0\0\0" + mark, 2, b"\x94\x04\0\0"),
                )
            ],
        )
        hop = bytes([ICMP6, 0, 5, 2, 0, 0, 1, 0])
        self.add(
            SPOOFING,
            "a question of MLD",
            lambda mark: [
                self.to_all(
                    ipv6(
                        own["local"],
                        "ff02::1",
                        hop + icmp6(own["local"], "ff02::1", 130, bytes(20) + mark),
                        HOP_BY_HOP,
                    )
                )
            ],
        )

    def as_a_server(self) -> None:
        own, victim, host = self.own, self.victim, self.host
        router = struct.pack("!BBHII", 64, 0, 1800, 0, 0)
        prefix = option(3, struct.pack("!BBIII", 64, 0xC0, 3600, 3600, 0) + packed("2001:db8:66::"))
        advertisement = struct.pack("!I", 0x60000000) + packed(host["six"]) + option(2, hardware(own["mac"]))
        for name, kind, body in (
            ("a router", 134, router + prefix),
            ("a redirect", 137, bytes(4) + packed(own["local"]) * 2),
            ("an advertisement for the host", 136, advertisement),
        ):
            for what, is_seen in (("in fragments", True), ("behind the end of a fragment", False)):
                self.add(
                    SPOOFING,
                    f"{name} {what}",
                    lambda mark, k=kind, b=body, s=is_seen: self.in_fragments(mark, k, b, s),
                )
            ways = (("", b""), (" behind an extension", bytes([ICMP6, 0, 1, 4, 0, 0, 0, 0])))
            for what, before in ways if kind != 136 else ():
                self.add(
                    SPOOFING,
                    f"what {name} says{what}" if kind == 134 else f"{name}{what}",
                    lambda mark, k=kind, b=body, e=before: [
                        self.to_all(
                            ipv6(
                                own["local"],
                                "ff02::1",
                                e + icmp6(own["local"], "ff02::1", k, b + option(200, mark)),
                                HOP_BY_HOP if e else ICMP6,
                            )
                        )
                    ],
                )
        for name, kind, body in (
            ("what a router of IPv4 says", 9, b"\x01\x02\x07\x08" + packed(own["four"]) + bytes(4)),
            ("a redirect of IPv4", 5, packed(own["four"])),
        ):
            self.add(
                SPOOFING, name, lambda mark, k=kind, b=body: [self.icmp4(to, k, b + mark) for to in (victim, host)]
            )
        for name, source, to, ports in (
            ("an offer of DHCP", own["four"], "255.255.255.255", (67, 68)),
            ("an answer of DHCPv6", own["local"], "ff02::1", (547, 546)),
            ("an offer of DHCP from another port", own["four"], "255.255.255.255", (1067, 68)),
            ("an answer of DHCPv6 from another port", own["local"], "ff02::1", (1547, 546)),
        ):
            self.add(
                SPOOFING,
                name,
                lambda mark, s=source, to_=to, p=ports: [
                    ethernet(
                        there,
                        own["mac"],
                        IPV6 if ":" in s else IPV4,
                        (ipv6 if ":" in s else ipv4)(s, to_, datagram(s, to_, p, mark)),
                    )
                    for there in (BROADCAST, victim["mac"])
                ],
            )

    def to_what_is_closed(self) -> None:
        own, host = self.own, self.host
        port = WORDS["port"]
        for name, address in WORDS["reach"].items():
            source = own["four"] if ":" not in address else own["local"] if address.startswith("fe80") else own["six"]

            def make(mark: bytes, a: str = address, s: str = source, name: str = name) -> list[bytes]:
                if ":" in a:
                    packet, kind = ipv6(s, a, datagram(s, a, (7, port), mark)), IPV6
                else:
                    packet, kind = ipv4(s, a, datagram(s, a, (7, port), mark)), IPV4
                stations = OF_BRIDGES if name.endswith("of bridges") else [host["mac"], BROADCAST]
                return [ethernet(there, own["mac"], kind, packet) for there in stations]

            self.add(REACHING, f"send to {name}", make)
        # Loose and strict source routes (RFC 791): by the host to its loopback, and to another zone.
        for kind, name in ((131, "loose"), (137, "strict")):
            last = WORDS["reach"]["a container of another zone by IPv4"]
            route = bytes([kind, 7, 4]) + packed(last) + b"\0"
            self.add(
                REACHING,
                f"send to another zone by a {name} source route",
                lambda mark, r=route: [
                    ethernet(
                        host["mac"],
                        own["mac"],
                        IPV4,
                        ipv4(own["four"], host["four"], datagram(own["four"], host["four"], (7, port), mark), UDP, r),
                    )
                ],
            )


def spoofing() -> None:
    """Send the frames of all attempts, then one that is allowed; print the row and the mark of each."""
    WORDS.update(json.loads(sys.argv[1]))
    frames = Frames()
    frames.all()
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    wire.bind(("eth0", 0))
    for made in frames.frames.values():
        for frame in made:
            wire.send(frame)
    for to in (frames.victim, frames.host):
        for source in (frames.own["four"], frames.own["six"]):
            wire.send(frames.udp(b"allowed;", source, to, port=WORDS["port"]))
    print(json.dumps(frames.rows))
