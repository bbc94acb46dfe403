# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Containers in zones: who reaches whom, by which addresses and ports, and what is left of them (N2 to N5, N9, N11)."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError

from . import network_hosts
from .network_guests import Guest, state_of, zone
from .network_hosts import HOST, HOST6, MACHINE, MACHINE6, OUTSIDE, OUTSIDE6, OWN_RULES, World

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

NAME = "test-zones"
MANY = int(os.environ.get("NETWORK_MANY", "6"))
PORTS: list[dict[str, t.Any]] = [
    {"port": 8080, "target": 80},
    {"port": 8053, "target": 53, "protocol": "udp"},
    {"port": 8081, "target": 80, "address": "127.0.0.1"},
    {"port": 8082, "target": 80, "address": HOST},
    {"port": 8083, "target": 80, "address": HOST6},
]


class Pair(t.NamedTuple):
    """Two containers of a zone, and one of another."""

    world: World
    web: Guest
    client: Guest
    database: Guest


@pytest.fixture(scope="module")
def world() -> t.Iterator[World]:
    with network_hosts.world("net") as made:
        made.host.output("nft", "-f", "-", input=OWN_RULES)
        made.host.output(
            "sysctl", "-qw", "net.bridge.bridge-nf-call-ip6tables=0", "net.bridge.bridge-nf-call-iptables=0"
        )
        yield made


@pytest.fixture(scope="module")
def pair(world: World) -> t.Iterator[Pair]:
    before = state_of(world)
    with contextlib.ExitStack() as stack:
        made = []
        for part, where, options in (("web", "one", {"ports": PORTS}), ("client", "one", {}), ("db", "two", {})):
            guest = Guest(NAME, world, part, zone(where), **options)
            stack.callback(guest.destroy)
            assert guest.start().warnings == []
            made.append(guest)
        stack.enter_context(made[0].serving(53, 80))
        yield Pair(world, *made)
    assert state_of(world) ^ before == set()


def test_n3_all_is_there_before_pid_1_runs(pair: Pair) -> None:
    """Nothing is tentative, and the link is up, when the first process begins."""
    shown = pair.web.output("ip", "-o", "addr", "show", "dev", "eth0")
    assert "tentative" not in shown
    assert all(address in shown for address in pair.web.addresses())
    assert "state UP" in pair.web.output("ip", "link", "show", "dev", "eth0")


def test_n2_containers_of_a_zone_reach_each_other_and_no_other_zone(pair: Pair) -> None:
    for address in pair.client.addresses():
        assert pair.web.reaches(address)
        assert not pair.database.reaches(address)
    for address in pair.web.addresses():
        assert pair.client.ask(address, 80) == pair.client.addresses()[":" in address]
        assert pair.database.ask(address, 80, seconds=1).startswith("-")


def test_n2_the_outside_is_reached_by_the_hosts_address(pair: Pair) -> None:
    with pair.world.outside.serving(7000):
        assert pair.web.ask(OUTSIDE, 7000) == pair.web.ask(OUTSIDE, 7000, "udp") == HOST
        assert pair.web.ask(OUTSIDE6, 7000) == HOST6


def test_n2_a_host_that_forwards_still_heeds_its_own_router(pair: Pair) -> None:
    """The kernel heeds no announcement on a host that forwards, unless it is told to."""
    said = pair.world.host.output("sysctl", "-n", "net.ipv6.conf.all.forwarding", "net.ipv6.conf.eth0.accept_ra")
    assert said.split() == ["1", "2"]


def test_n11_nobody_outside_gets_into_a_zone_by_itself(pair: Pair) -> None:
    """Not even a machine of the LAN that takes the host for the way there."""
    four, six = pair.web.addresses()
    pair.world.machine.ip(f"route add {four}/32 via {HOST}", f"route add {six}/128 via {HOST6}")
    for address in (four, six):
        assert pair.world.machine.ask(address, 80, seconds=1).startswith("-")
        assert not pair.world.machine.reaches(address)


@pytest.mark.parametrize("filtered", ["0", "1"], ids=["", "br_netfilter"])
def test_n5_a_published_port_answers_everywhere(pair: Pair, filtered: str) -> None:
    settings = [f"net.bridge.bridge-nf-call-{word}={filtered}" for word in ("iptables", "ip6tables")]
    pair.world.host.output("sysctl", "-qw", *settings)
    try:
        for there, seen in ((pair.world.machine, (MACHINE, MACHINE6)), (pair.world.outside, (OUTSIDE, OUTSIDE6))):
            for port, kind in ((8080, "tcp"), (8053, "udp")):
                assert (there.ask(HOST, port, kind), there.ask(HOST6, port, kind)) == seen
        host = pair.world.host
        assert host.ask(HOST, 8080) == HOST
        assert host.ask(HOST6, 8080) == HOST6
        gateway = pair.web.noted()["interfaces"][0]["gateways"]
        assert host.ask("127.0.0.1", 8080) == host.ask("127.0.0.1", 8053, "udp") == gateway[0]
        if filtered == "0":
            assert host.ask("::1", 8080) == host.ask("::1", 8053, "udp") == gateway[1]
        assert pair.client.ask(HOST, 8080) == gateway[0]  # it comes back by the host
    finally:
        pair.world.host.output("sysctl", "-qw", *[word.replace(f"={filtered}", "=0") for word in settings])


def test_n5_a_port_of_one_address_is_published_there_alone(pair: Pair) -> None:
    reached = {
        (place, port): not there.ask(place, port, seconds=1).startswith("-")
        for there, places in ((pair.world.host, ("127.0.0.1",)), (pair.world.machine, (HOST, HOST6)))
        for place in places
        for port in (8081, 8082, 8083)
    }
    assert {key for key, value in reached.items() if value} == {("127.0.0.1", 8081), (HOST, 8082), (HOST6, 8083)}


def test_n5_a_port_taken_twice_is_refused_before_anything_changes(pair: Pair) -> None:
    other = Guest(NAME, pair.world, "other", zone("three"), ports=[{"port": 8080, "target": 1}])
    try:
        before = state_of(pair.world)
        with pytest.raises(LauncherError, match=rf"ports: 8080/tcp is published for container {pair.web.name} already"):
            other.start()
        assert state_of(pair.world) ^ before == set()
        assert not Path("/run/unshare", other.name).exists()
    finally:
        other.destroy()


def test_n11_the_hosts_services_are_reached_with_host_access_alone(pair: Pair) -> None:
    trusted = Guest(NAME, pair.world, "trusted", zone("one"), host_access=True)
    try:
        trusted.start()
        gateways = pair.web.noted()["interfaces"][0]["gateways"]
        with pair.world.host.serving(7001):
            for place in (HOST, HOST6, *gateways):
                assert trusted.ask(place, 7001) == trusted.addresses()[":" in place]
                for kind in ("tcp", "udp"):
                    assert pair.client.ask(place, 7001, kind, seconds=1).startswith("-")
        assert pair.client.reaches(gateways[0])
        assert pair.client.reaches(gateways[1])
    finally:
        trusted.destroy()


def test_n2_addresses_are_remembered(world: World) -> None:
    guest = Guest(NAME, world, "again", zone("memory"))
    try:
        guest.start()
        addresses = guest.addresses()
        guest.stop()
        guest.start()
        assert guest.addresses() == addresses
    finally:
        guest.destroy()


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (
            zone("held", ["10.99.0.0/24"]),
            r"zone held: its subnet is 10\.98\.0\.0/24, by the running container \S+-first",
        ),
        (zone("held", addresses=["10.98.0.7/24"]), r"the address 10\.98\.0\.7/24 is that of container \S+-first"),
        (zone("else", ["10.98.0.0/16"]), r"its subnet 10\.98\.0\.0/16 has addresses of zone held"),
        (
            zone("else", ["192.0.2.0/24"]),
            r"192\.0\.2\.0/24 has addresses of the host's interface eth0",
        ),
        (
            zone("small", ["10.97.0.0/30"]),
            r"10\.97\.0\.0/30 has no free address of IPv4: 1 containers",
        ),
        ({"bridge": "br9"}, r"network: bridge: br9: the host has no such interface"),
        ({"bridge": "eth0"}, r"network: bridge: eth0: is no bridge but a veth"),
    ],
)
def test_n2_what_the_host_cannot_give_is_refused_before_anything_changes(
    world: World, other: dict[str, t.Any], said: str
) -> None:
    first = Guest(NAME, world, "first", zone("held", addresses=["10.98.0.7/24"]), zone("small", ["10.97.0.0/30"]))
    second = Guest(NAME, world, "second", other)
    try:
        first.start()
        before = state_of(world)
        with pytest.raises(LauncherError, match=said):
            second.start()
        assert state_of(world) ^ before == set()
    finally:
        first.destroy()
        second.destroy()


@pytest.mark.parametrize(
    ("table", "chain"),
    [("inet filter", "forward"), ("ip filter", "FORWARD")],
)
def test_n8_a_filter_that_drops_what_it_does_not_know_is_named_with_what_to_do(
    world: World, table: str, chain: str
) -> None:
    """Whoever does as the warning says has a container that reaches the outside, and no warning any more."""
    guest = Guest(NAME, world, "dropped", zone("dropped"))
    rules = f"table {table} {{\n chain {chain} {{\n type filter hook forward priority 0; policy drop;\n}}\n}}\n"
    try:
        world.host.output("nft", "-f", "-", input=rules)
        warnings = guest.start().warnings
        assert len(warnings) == 1, warnings
        said = warnings[0]
        assert f"chain {chain} of table {table}" in said
        assert not guest.reaches(OUTSIDE)
        for command in said.partition("for instance by: ")[2].split("; "):
            # Where there is no iptables, its words are said to nft.
            words = re.sub(
                r"iptables -I FORWARD -(.) (\S+) -j ACCEPT",
                r'nft insert rule ip filter FORWARD \1ifname "\2" accept',
                command,
            )
            world.host.output("nft", words[len("nft ") :])
        assert guest.reaches(OUTSIDE)
        guest.stop()
        assert guest.start().warnings == []
    finally:
        guest.destroy()
        world.host.output("nft", "delete", "table", *table.split())


def test_n9_many_that_start_and_stop_at_once_have_their_own_and_leave_nothing(world: World) -> None:
    guests = [Guest(NAME, world, f"many-{number}", zone("many")) for number in range(MANY)]
    before = state_of(world)
    try:
        for _round in range(2):
            starts = [
                subprocess.Popen(
                    world.host.command(str(guest.system / "run-container"), "--detach"), stderr=subprocess.PIPE
                )
                for guest in guests
            ]
            for process in starts:
                _out, said = process.communicate(timeout=120)
                assert process.returncode == 0, said
            for version in (0, 1):
                assert len({guest.addresses()[version] for guest in guests}) == MANY
            for guest in guests:
                assert guests[0].reaches(guest.addresses()[0])
            names = guests[0].output("cat", "/etc/hosts")
            assert all(f"{guest.name}.many" in names for guest in guests)
            stops = [
                subprocess.Popen(world.host.command(str(guest.system / "run-container"), "--stop")) for guest in guests
            ]
            assert [process.wait(120) for process in stops] == [0] * MANY
            assert state_of(world) ^ before == set()
    finally:
        for guest in guests:
            guest.destroy()


def test_n5_of_two_that_start_at_once_with_one_port_one_is_refused(world: World) -> None:
    guests = [
        Guest(NAME, world, f"port-{number}", zone("port"), ports=[{"port": 9090, "target": 80}]) for number in range(2)
    ]
    try:
        starts = [
            subprocess.Popen(
                world.host.command(str(guest.system / "run-container"), "--detach"), stderr=subprocess.PIPE, text=True
            )
            for guest in guests
        ]
        said = [process.communicate(timeout=120)[1] for process in starts]
        assert sorted(process.returncode for process in starts) == [0, 125]
        assert any("ports: 9090/tcp is published for container" in text for text in said)
    finally:
        for guest in guests:
            guest.destroy()
