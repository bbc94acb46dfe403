# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filter at the host's end of an interface, run on frames by the rules of classic BPF."""

from __future__ import annotations

import socket
import struct

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import port_guard
from ansible_collections.unshare.container.plugins.module_utils.launcher.network_records import MOST_ADDRESSES

MAC = "02:00:00:00:00:01"
OWN = ["10.0.0.2/24", "10.0.0.3/24", "fd00::2/64", "fe80::1"]


def run(program: bytes, frame: bytes, tagged: bool = False) -> bool:
    """Return whether a program lets a frame go on; the kernel keeps the tag of a virtual LAN beside it."""
    code = [struct.unpack_from("=HBBI", program, place) for place in range(0, len(program), 8)]
    value = place = 0
    while True:
        operation, so, not_so, operand = code[place]
        place += 1
        if operation == port_guard.LOAD:
            value = tagged if operand == port_guard.TAGGED else struct.unpack_from("!I", frame, operand)[0]
        elif operation == port_guard.LOAD_HALF:
            (value,) = struct.unpack_from("!H", frame, operand)
        elif operation == port_guard.AND:
            value &= operand
        elif operation == port_guard.EQUAL:
            place += so if value == operand else not_so
        elif operation == port_guard.JUMP:
            place += operand
        else:
            assert operation == port_guard.RETURN
            return {port_guard.DROP: False, port_guard.GO_ON: True}[operand]


def frame(kind: int, payload: bytes, station: str = "") -> bytes:
    return bytes.fromhex(station.replace(":", "")).ljust(12, b"\0") + struct.pack("!H", kind) + payload.ljust(46, b"\0")


def four(source: str, destination: str = "10.0.0.1") -> bytes:
    return frame(0x0800, bytes(12) + socket.inet_aton(source) + socket.inet_aton(destination))


def six(source: str) -> bytes:
    return frame(0x86DD, bytes(8) + socket.inet_pton(socket.AF_INET6, source) + bytes(16))


def arp(mac: str, sender: str) -> bytes:
    return frame(0x0806, bytes(8) + bytes.fromhex(mac.replace(":", "")) + socket.inet_aton(sender) + bytes(10))


@pytest.mark.parametrize(
    ("sent", "settled", "unsettled"),
    [
        (four("10.0.0.2"), True, True),
        (four("10.0.0.3"), True, True),
        (four("10.0.0.4"), False, True),
        (four("0.0.0.0"), False, True),
        (four("127.0.0.1"), False, True),
        (four("10.0.0.2", "127.0.0.1"), False, False),
        (four("10.0.0.2", "127.255.0.9"), False, False),
        (four("10.0.0.2", "128.0.0.1"), True, True),
        (six("fd00::2"), True, True),
        (six("fe80::1"), True, True),
        (six("fd00::3"), False, True),
        (six("fd01::2"), False, True),
        (six("fe80::1:0:1"), False, True),
        (six("::"), False, True),
        (arp(MAC, "10.0.0.2"), True, True),
        (arp(MAC, "0.0.0.0"), True, True),
        (arp(MAC, "10.0.0.1"), False, True),
        (arp("02:00:00:00:00:02", "10.0.0.2"), False, False),
        (arp("03:00:00:00:00:01", "10.0.0.2"), False, False),
        (frame(0x88CC, b""), False, False),
        (frame(0x8100, b""), False, False),
        (frame(0x0026, b"\x42\x42\x03"), False, False),
    ],
)
def test_what_is_not_the_containers_is_dropped(sent: bytes, settled: bool, unsettled: bool) -> None:
    assert run(port_guard.guarding(MAC, OWN), sent) == settled
    assert run(port_guard.guarding(MAC, []), sent) == unsettled


@pytest.mark.parametrize("sent", [four("10.0.0.2"), six("fd00::2"), arp(MAC, "10.0.0.2")])
@pytest.mark.parametrize("own", [OWN, []])
def test_what_is_for_bridges_or_another_network_is_dropped(sent: bytes, own: list[str]) -> None:
    """The host takes the former by the port itself, where no rule of the bridge is asked."""
    program = port_guard.guarding(MAC, own)
    assert not run(program, sent, tagged=True)
    for last in range(256):
        to_bridges = bytes.fromhex("0180c20000%02x" % last) + sent[6:]
        assert run(program, to_bridges) == (last > 15)
    for station in ("0180c2000100", "0180c3000000", "ffffffffffff", "01005e000001", "333300000001"):
        assert run(program, bytes.fromhex(station) + sent[6:])


def test_each_of_many_addresses_is_the_containers() -> None:
    own = [f"10.0.{n}.2/24" for n in range(MOST_ADDRESSES // 2)]
    own += [f"fd00::{n:x}:2/64" for n in range(MOST_ADDRESSES // 2)]
    program = port_guard.guarding(MAC, own)
    assert len(program) // 8 <= 4096  # BPF_MAXINSNS
    for address in own:
        plain = address.partition("/")[0]
        assert run(program, six(plain) if ":" in plain else four(plain))
    assert not run(program, six("fd00::2:3"))
    assert not run(program, four("10.0.1.3"))
    assert not run(program, four("10.0.0.2", "127.0.0.1"))


def test_without_an_address_of_ipv4_none_is_the_containers() -> None:
    program = port_guard.guarding(MAC, ["fd00::2/64"])
    assert not run(program, four("10.0.0.2"))
    assert run(program, six("fd00::2"))


def test_the_words_are_those_of_the_kernel() -> None:
    """As bpf_common.h, filter.h and pkt_cls.h of Linux have them; the verdicts are TC_ACT_SHOT and TC_ACT_UNSPEC."""
    known = port_guard
    assert (known.LOAD_HALF, known.LOAD) == (0x00 | 0x08 | 0x20, 0x00 | 0x00 | 0x20)
    assert (known.AND, known.EQUAL, known.JUMP, known.RETURN) == (0x04 | 0x50, 0x05 | 0x10, 0x05 | 0x00, 0x06)
    assert (known.DROP, known.GO_ON) == (2, 2**32 - 1)
    assert known.TAGGED == 2**32 - 0x1000 + 48
