# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A filter at the host's end of an interface, which is there as long as that, whoever flushes the host's rules (N4).

It drops what comes with another source address than the container's, and what is for the host's loopback: a bridge
takes that where a port is published there (CVE-2020-8558). It also drops what is for bridges themselves (IEEE 802.1D,
7.12.6), which the host would take by the port and so past the rules of the bridge; what has the tag of a virtual LAN,
which may be another network; and all that is neither IP nor ARP. It is classic BPF for the classifier of tc-bpf(8); the
rules of the packet filter, which do more, come after it.
"""

from __future__ import annotations

from struct import pack

from .addresses import split_cidr

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Tuple, Union

    Line = Union[str, Tuple[int, int, str, str]]  # a label; or code, operand, and the labels if it is so, and if not

LOAD_HALF, LOAD, AND, EQUAL, JUMP, RETURN = 0x28, 0x20, 0x54, 0x15, 0x05, 0x06
DROP, GO_ON = 2, 0xFFFFFFFF  # TC_ACT_SHOT, TC_ACT_UNSPEC
# Offsets in a frame; and by which it is told whether that had the tag of a virtual LAN (SKF_AD_VLAN_TAG_PRESENT).
TAGGED, STATION = 0xFFFFF030, 0
KIND, SOURCE_4, DESTINATION_4, STATION_OF_ARP, SENDER_OF_ARP, SOURCE_6 = 12, 26, 30, 22, 28, 22
IPV4, ARP, IPV6 = 0x0800, 0x0806, 0x86DD
LOOPBACK, LOOPBACK_MASK = 0x7F000000, 0xFF000000
OF_BRIDGES, OF_BRIDGES_ENDING, ENDING_MASK = 0x0180C200, 0, 0xFFF0  # 01:80:c2:00:00:00 to :0f


def guarding(mac: str, addresses: list[str]) -> bytes:
    """Return the filter for an interface.

    Args:
        mac: its hardware address.
        addresses: all that it has, link-local ones too; with none, whatever it has is its own.
    """
    parts = [split_cidr(address if "/" in address else address + "/0")[:2] for address in addresses]
    four = [value for family, value in parts if value < 1 << 32]
    six = [value for family, value in parts if value >= 1 << 32]
    lines: list[Line] = [
        (LOAD, TAGGED, "", ""),
        (EQUAL, 0, "", "drop"),
        (LOAD, STATION, "", ""),
        (EQUAL, OF_BRIDGES, "", "kind"),
        (LOAD_HALF, STATION + 4, "", ""),
        (AND, ENDING_MASK, "", ""),
        (EQUAL, OF_BRIDGES_ENDING, "drop", ""),
        "kind",
        (LOAD_HALF, KIND, "", ""),
        (EQUAL, IPV4, "four", ""),
        (EQUAL, IPV6, "six", ""),
        (EQUAL, ARP, "arp", "drop"),
        "four",
        (LOAD, DESTINATION_4, "", ""),
        (AND, LOOPBACK_MASK, "", ""),
        (EQUAL, LOOPBACK, "drop", ""),
        (LOAD, SOURCE_4, "", ""),
        *_one_of(four, bool(addresses)),
        "arp",
        (LOAD, STATION_OF_ARP, "", ""),
        (EQUAL, int(mac.replace(":", "")[:8], 16), "", "drop"),
        (LOAD_HALF, STATION_OF_ARP + 4, "", ""),
        (EQUAL, int(mac.replace(":", "")[8:], 16), "", "drop"),
        (LOAD, SENDER_OF_ARP, "", ""),
        *_one_of([*four, 0], bool(addresses)),
        "six",
    ]
    for number, value in enumerate(six):
        for word in range(4):
            lines.append((LOAD, SOURCE_6 + 4 * word, "", ""))
            found = "go on" if word == 3 else ""
            lines.append((EQUAL, value >> 32 * (3 - word) & 0xFFFFFFFF, found, "next %d" % number))
        lines.append("next %d" % number)
    lines.append((JUMP, 0, "drop" if addresses else "go on", ""))
    return _assembled([*lines, "drop", (RETURN, DROP, "", ""), "go on", (RETURN, GO_ON, "", "")])


def _one_of(values: list[int], settled: bool) -> list[Line]:
    """Return the lines that go on with one of some values, and drop any other."""
    if not settled:
        return [(JUMP, 0, "go on", "")]
    lines: list[Line] = [(EQUAL, value, "go on", "") for value in values]
    return [*lines, (JUMP, 0, "drop", "")]


def _assembled(lines: list[Line]) -> bytes:
    """Return the code. A comparison reaches 255 lines far, and so steps over jumps, which reach all."""
    places: dict[str, int] = {}
    steps: list[tuple[int, int, int, int | str]] = []  # code, how far if it is so, and if not, operand or label
    for line in lines:
        if isinstance(line, str):
            places[line] = len(steps)
            continue
        operation, operand, so, not_so = line
        targets = [label for label in (so, not_so) if label]
        if operation == JUMP:
            steps.append((JUMP, 0, 0, so))
        else:
            # Where only one of the two has a label, the other one goes on behind the jump.
            ways = (0, 1) if so else (1, 0)
            steps.append((operation, *(ways if targets else (0, 0)), operand))
            steps += [(JUMP, 0, 0, label) for label in targets]
    code = b""
    for number, (operation, far, not_far, value) in enumerate(steps):
        reached = places[value] - number - 1 if isinstance(value, str) else value
        code += pack("=HBBI", operation, far, not_far, reached)
    return code
