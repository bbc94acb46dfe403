# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Root inside is in a zone, and makes frames by hand: as another machine, and for what it may not reach (N4, N11)."""

from __future__ import annotations

import contextlib
import json
import re
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host import firewall
from ansible_collections.unshare.container.plugins.module_utils.launcher.wires import link_local
from ansible_collections.unshare.container.plugins.module_utils.life import network_healing

from . import isolation_record, network_hosts
from .attempts import spoofing
from .isolation import ATTEMPTS, MODES, package
from .network_guests import Guest, zone
from .network_hosts import HOST, HOST6, MACHINE, OUTSIDE, PYTHON, World, running

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

NAME = "test-isolation-network"
PORT = 7777
SNIFF = """
import re, select, socket, sys
found = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0x0300)
found.setsockopt(1, 8, 1 << 22)
found.bind((sys.argv[1], 0))
print("ready", flush=True)
said = set()
while True:
    for mark in re.findall(rb"(mark-[0-9]{3}|allowed);", found.recv(4096)):
        if mark not in said:
            said.add(mark)
            print(mark.decode(), flush=True)
"""
"""Tell the marks in the frames that an interface gets."""

LISTEN = """
import select, socket, sys
sockets = []
for family, place in ((2, ""), (10, "")):
    made = socket.socket(family, 2)
    made.setsockopt(1, 8, 1 << 22)
    if family == 10:
        made.setsockopt(41, 26, 1)
    made.bind((place, int(sys.argv[1])))
    sockets.append(made)
print("ready", flush=True)
while True:
    for made in select.select(sockets, [], [])[0]:
        print(made.recv(4096).decode("ascii", "replace").strip("\\0").strip(";"), flush=True)
"""
"""Tell the datagrams that a service gets, by whatever address."""

FLOOD = """
import socket, sys
sender = socket.socket(2, 2)
for port in range(1, int(sys.argv[2]) + 1):
    sender.sendto(b"x", (sys.argv[1], port))
"""
"""Begin so many connections."""

CAT = 'cat > /tmp/frames && exec /usr/bin/python3 -I /tmp/frames "$1"'

WIRE = """
WORDS.update(json.loads(sys.argv[1]))
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
wire.bind(("eth0", 0))
"""

SEEK = (
    WIRE
    + """
own, host = WORDS["own"], WORDS["host"]
for number in range(1500):
    there = "%s::1:%x" % (WORDS["zone"], number)
    packet = ipv6(own["six"], there, datagram(own["six"], there, (7, 9), b"x"))
    wire.send(ethernet(host["mac"], own["mac"], IPV6, packet))
print("sent")
"""
)
"""Have the host look for many neighbours."""

FROM_BESIDE = (
    WIRE
    + """
for to, mark in (("127.0.0.1", b"mark"), ("127.1.2.3", b"mark"), (WORDS["to"], b"allowed")):
    packet = ipv4(WORDS["from"], to, datagram(WORDS["from"], to, (7, WORDS["port"]), mark))
    wire.send(ethernet(WORDS["host"], WORDS["machine"], IPV4, packet))
"""
)

TREE = (
    WIRE
    + """
mac = hardware(WORDS["own"]["mac"])
said = b"\\x42\\x42\\x03" + bytes(7) + mac + bytes(6) + mac + bytes.fromhex("80010000140002000f00")
for _number in range(3):
    wire.send(hardware("01:80:c2:00:00:00") + mac + struct.pack("!H", len(said)) + said.ljust(46, b"\\0"))
print("sent")
"""
)
"""Say that here is the root of the spanning tree, with the highest priority."""

SAY = "import socket, sys; socket.socket(2, 2).sendto(b'end', ('127.0.0.1', int(sys.argv[1])))"


@pytest.fixture(scope="module", params=["0", "1"], ids=["", "br_netfilter"])
def world(request: pytest.FixtureRequest) -> t.Iterator[World]:
    with network_hosts.world("spoof") as made:
        settings = [f"net.bridge.bridge-nf-call-{word}={request.param}" for word in ("iptables", "ip6tables")]
        made.host.output("sysctl", "-qw", *settings)
        yield made


class Players(t.NamedTuple):
    """A neighbour of who attacks, and a container of another zone."""

    victim: Guest
    other: Guest


@pytest.fixture(scope="module")
def players(world: World) -> t.Iterator[Players]:
    with contextlib.ExitStack() as stack:
        made = []
        for part, where in (("victim", "one"), ("other", "two")):
            # A port that is published makes the host's bridge take what is for its loopback.
            guest = Guest(
                NAME, world, part, zone(where), ports=[{"port": 8080, "target": 80}] if where == "one" else []
            )
            stack.callback(guest.destroy)
            guest.start()
            made.append(guest)
        yield Players(*made)


@pytest.fixture(params=[mode for mode in MODES if mode != "shared network"])
def evil(request: pytest.FixtureRequest, world: World) -> t.Iterator[tuple[str, Guest]]:
    """Yield a mode, and a container of it."""
    mode = MODES[request.param]
    guest = Guest(NAME, world, "evil", zone("one"), filtered=mode.filtered, **mode.options)
    try:
        guest.start()
        yield request.param, guest
    finally:
        guest.destroy()


def package_text(name: str) -> str:
    """Return the functions of a module of attempts, without a call of any."""
    return (ATTEMPTS / f"{name}.py").read_text()


def words_of(guest: Guest) -> dict[str, str]:
    noted = guest.noted()["interfaces"][0]
    four, six = guest.addresses()
    return {"mac": noted["mac"], "four": four, "six": six, "local": link_local(noted["mac"])}


def host_words(world: World, guest: Guest) -> dict[str, str]:
    noted = guest.noted()["interfaces"][0]
    mac = json.loads(world.host.output("ip", "-j", "link", "show", noted["device"]))[0]["address"]
    return {"mac": mac, "four": noted["gateways"][0], "six": noted["gateways"][1], "local": link_local(mac)}


def read_until(stream: t.TextIO, end: str) -> set[str]:
    """Return the lines of a program up to one."""
    found: set[str] = set()
    for line in stream:
        if line.strip() == end:
            return found
        found.add(line.strip())
    raise AssertionError(f"ended without {end}: {found}")


def attack(world: World, attacker: Guest, players: Players) -> tuple[dict[str, str], set[str], set[str]]:
    """Make all attempts; the row of each by its name, the marks that somebody saw, and those that a service heard."""
    victim, other = players
    host, device = host_words(world, attacker), attacker.noted()["interfaces"][0]["device"]
    theirs = other.noted()["interfaces"][0]
    reach = {
        "the host by its address of IPv4": HOST,
        "the host by its address of IPv6": HOST6,
        "the host by the zone's address of IPv4": host["four"],
        "the host by the zone's address of IPv6": host["six"],
        "the host by its link-local address": host["local"],
        "the host's loopback 127.0.0.1": "127.0.0.1",
        "the host's loopback 127.9.9.9": "127.9.9.9",
        "the host's loopback ::1": "::1",
        "the host by broadcast": "255.255.255.255",
        "the host by the zone's broadcast": host["four"].rpartition(".")[0] + ".255",
        "the host by multicast of IPv4": "224.0.0.1",
        "the host by multicast of IPv6": "ff02::1",
        "the host by multicast of IPv6 on itself": "ff01::1",
        "the host by IPv4 and the addresses of bridges": HOST,
        "the host by IPv6 and the addresses of bridges": HOST6,
        "the host by the zone's IPv4 and the addresses of bridges": host["four"],
        "a container of another zone by IPv4": other.addresses()[0],
        "a container of another zone by IPv6": other.addresses()[1],
        "the host by another zone's address of IPv4": theirs["gateways"][0],
        "the host by another zone's address of IPv6": theirs["gateways"][1],
    }
    given = {"own": words_of(attacker), "victim": words_of(victim), "host": host, "reach": reach, "port": PORT}
    with contextlib.ExitStack() as stack:
        sniffers = [
            stack.enter_context(running(world.host.command(PYTHON, "-c", SNIFF, device))),
            stack.enter_context(running(victim.command(PYTHON, "-c", SNIFF, "eth0"))),
        ]
        listeners = [
            (there, stack.enter_context(running(there.command(PYTHON, "-c", LISTEN, str(PORT)))))
            for there in (world.host, other)
        ]
        command = [
            "sh",
            "-c",
            'cat > /tmp/frames && exec /usr/bin/python3 -I /tmp/frames "$1"',
            "sh",
            json.dumps(given),
        ]
        rows = json.loads(attacker.output(*command, input=package("spoofing"), text=False))
        seen = set.union(*[read_until(sniffer, "allowed") for sniffer in sniffers])
        heard: set[str] = set()
        for there, listener in listeners:
            there.output(PYTHON, "-c", SAY, str(PORT))
            heard |= read_until(listener, "end")
    return rows, seen, heard


def test_n4_n11_nothing_gets_through_that_is_not_its_own(
    world: World, players: Players, evil: tuple[str, Guest]
) -> None:
    mode, attacker = evil
    rows, seen, heard = attack(world, attacker, players)
    words = {}
    for number, (name, row) in enumerate(rows.items()):
        arrived = seen if row == spoofing.SPOOFING else heard
        words[name] = "through" if f"mark-{number:03d}" in arrived else "refused"
    assert {name: word for name, word in words.items() if word != "refused"} == {}
    isolation_record.check(mode, "network", rows, words)
    device = attacker.noted()["interfaces"][0]["device"]
    entries = json.loads(world.host.output("bridge", "-j", "fdb", "show", "br", device))
    assert len([entry for entry in entries if entry.get("state") in ("static", None)]) <= 20  # none was learned


def test_n4_after_a_flush_of_the_rules_it_is_still_nobody_else(world: World, players: Players) -> None:
    """The host's end of the interface has a filter of its own, and the bridge knows one station at the port."""
    attacker = Guest(NAME, world, "evil", zone("one"))
    try:
        attacker.start()
        world.host.output("nft", "flush", "ruleset")
        rows, seen, heard = attack(world, attacker, players)
        open_words = {
            row: {name for number, name in enumerate(rows) if rows[name] == row and f"mark-{number:03d}" in marks}
            for row, marks in ((spoofing.SPOOFING, seen), (spoofing.REACHING, heard))
        }
        closed = {
            spoofing.SPOOFING: "hardware address|virtual LAN|a frame of|address of IPv|ARP for|ARP as|in a fragment|"
            "as a neighbour$",
            spoofing.REACHING: "loopback|source route|of bridges",
        }
        for row, names in open_words.items():
            assert {name for name in names if re.search(closed[row], name)} == set()
        assert all(open_words.values())  # no rule was there
    finally:
        with world.host.entered():
            for guest in (players.victim, players.other):
                network_healing.mend(guest.container)
        attacker.destroy()


def test_n11_the_host_looks_for_no_neighbours_of_a_zone_by_another(world: World, players: Players) -> None:
    """Its table of neighbours has room for 1,024 of all its interfaces."""
    victim, device = players.victim, players.victim.noted()["interfaces"][0]["device"]
    host, own = host_words(world, victim), words_of(victim)
    zone_of = victim.noted()["interfaces"][0]["subnets"][1].partition("::")[0]
    given = {"own": own, "host": host, "zone": zone_of}
    code = package_text("spoofing") + SEEK
    assert victim.output("sh", "-c", CAT, "sh", json.dumps(given), input=code.encode(), text=False) == b"sent\n"
    found = world.host.output("ip", "-6", "neigh", "show", "nud", "all", "dev", device)
    assert len(found.splitlines()) < 50


def test_n5_what_is_published_on_the_loopback_is_for_the_host_alone(world: World, players: Players) -> None:
    """A machine beside the host sends it a packet for 127.0.0.1, and knows its hardware address."""
    host, machine = (
        json.loads(there.output("ip", "-j", "link", "show", "eth0"))[0]["address"]
        for there in (world.host, world.machine)
    )
    guest = Guest(NAME, world, "loop", zone("three"), ports=[{"port": 8082, "target": 82, "protocol": "udp"}])
    try:
        guest.start()
        with running(guest.command(PYTHON, "-c", LISTEN, "82")) as heard:
            given = json.dumps({"host": host, "machine": machine, "from": MACHINE, "to": HOST, "port": 8082})
            world.machine.output(PYTHON, "-", given, input=package_text("spoofing") + FROM_BESIDE)
            assert read_until(heard, "allowed") == set()
    finally:
        guest.destroy()


@contextlib.contextmanager
def on_a_bridge(world: World, *options: str) -> t.Iterator[Guest]:
    """Yield a container that runs on a bridge of the administrator's."""
    world.host.ip(f"link add br7 type bridge {' '.join(options)}", "link set br7 up", "addr add 203.0.113.1/24 dev br7")
    guest = Guest(NAME, world, "lan", {"bridge": "br7", "addresses": ["203.0.113.9/24"]})
    try:
        guest.start()
        yield guest
    finally:
        guest.destroy()
        world.host.ip("link del br7")


def test_n4_root_inside_is_not_the_root_of_a_spanning_tree(world: World) -> None:
    with on_a_bridge(world, "stp_state", "1") as guest:
        root, number = ("cat", "/sys/class/net/br7/bridge/root_id"), ("cat", "/sys/class/net/br7/bridge/bridge_id")
        assert world.host.output(*root) == world.host.output(*number)
        given = {"own": {"mac": guest.noted()["interfaces"][0]["mac"]}}
        code = package_text("spoofing") + TREE
        assert guest.output("sh", "-c", CAT, "sh", json.dumps(given), input=code.encode(), text=False) == b"sent\n"
        assert world.host.output(*root) == world.host.output(*number)


def test_n11_what_is_kept_of_a_bridge_of_the_administrators_is_bounded(world: World) -> None:
    """Where the host tracks what crosses its bridges, a container has its part; else it is as any machine there."""
    with on_a_bridge(world, "forward_delay", "0") as guest:
        assert guest.reaches("203.0.113.1")
        with world.host.entered():
            part, tracked = firewall.flows_here(), firewall.tracks_bridges()
        counter = ("cat", "/proc/sys/net/netfilter/nf_conntrack_count")
        there = int(world.host.output(*counter))
        guest.output(PYTHON, "-c", FLOOD, "203.0.113.1", str(2 * part))
        kept = int(world.host.output(*counter))
        assert kept <= there + part + 500 if tracked else kept >= there + 2 * part - 500


def test_n11_what_the_host_keeps_track_of_is_bounded(world: World, players: Players) -> None:
    """A container has a part of the host's table of connections, and the host goes on."""
    counter = ("cat", "/proc/sys/net/netfilter/nf_conntrack_count")
    there = int(world.host.output(*counter))
    with world.host.entered():
        part = firewall.flows_here()
    players.victim.output(PYTHON, "-c", FLOOD, OUTSIDE, str(2 * part))
    assert part // 2 <= int(world.host.output(*counter)) <= part + there + 500
    assert players.other.reaches(OUTSIDE)
    assert not players.victim.reaches(OUTSIDE)
