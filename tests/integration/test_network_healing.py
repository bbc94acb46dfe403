# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A container's network after somebody has taken a part of it away (N8, N9)."""

from __future__ import annotations

import contextlib
import re
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import neighbours
from ansible_collections.unshare.container.plugins.module_utils.life import network_healing

from . import network_hosts
from .network_guests import Guest, heal, state_of, zone
from .network_hosts import HOST, HOST6, OUTSIDE, OUTSIDE6, ROUTER6, World

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

NAME = "test-network-healing"


@pytest.fixture(scope="module")
def world() -> t.Iterator[World]:
    with network_hosts.world("heal") as made:
        yield made


class Pair(t.NamedTuple):
    web: Guest
    client: Guest


@pytest.fixture(scope="module")
def pair(world: World) -> t.Iterator[Pair]:
    with contextlib.ExitStack() as stack:
        ports = {"web": [{"port": 8080, "target": 80}], "client": []}
        made = [Guest(NAME, world, part, zone("one"), ports=ports[part]) for part in ports]
        for guest in made:
            stack.callback(guest.destroy)
            guest.start()
        yield Pair(*made)


LOSSES = {
    "nft flush ruleset": r"packet filter has lost the rules",
    "nft delete table bridge unshare": r"packet filter has lost the rules",
    "nft delete table inet unshare": r"packet filter has lost the rules",
    "nft delete element bridge unshare ports {{ {host_name} }}": r"packet filter has lost the rules",
    "ip link del {device}": r"eth0: the bridge \w+ was deleted",
    "ip link del {host_name}": r"eth0: its end on the host, \w+, was deleted",
    "ip link set {host_name} nomaster": r"eth0: is no port of the bridge",
    "ip link set {host_name} down": r"eth0: its end on the host, \w+, is down",
    "ip link set {device} down": r"eth0: the bridge \w+ is down",
    "ip addr flush dev {device}": r"eth0: the bridge \w+ has lost the address",
}
SET_BACK = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding", "net.ipv4.conf.{device}.route_localnet")


@pytest.mark.parametrize("deed", LOSSES)
def test_n8_n9_what_was_taken_away_comes_back_with_the_next_run(world: World, pair: Pair, deed: str) -> None:
    noted = pair.web.noted()["interfaces"][0]
    before = state_of(world)
    world.host.output(*deed.format(**noted).split())
    assert state_of(world) != before
    lacked, mended = heal(pair.web)
    assert len(lacked) == 1
    assert re.search(LOSSES[deed], lacked[0])
    assert mended
    heal(pair.client)  # the bridge had a port of each
    for address in pair.client.addresses():
        assert pair.web.reaches(address)
    assert pair.web.reaches(OUTSIDE)
    lacking = before - state_of(world)
    assert {line for line in lacking if line.startswith(("\t", "table"))} == set()


@pytest.mark.parametrize("name", SET_BACK)
def test_n9_what_somebody_has_set_back_is_set_again(world: World, pair: Pair, name: str) -> None:
    setting = name.format(**pair.web.noted()["interfaces"][0])
    assert world.host.output("sysctl", "-n", setting) == "1\n"
    world.host.output("sysctl", "-qw", f"{setting}=0")
    lacked, mended = heal(pair.client)
    assert lacked == [network_healing.WAYS % setting]
    assert mended
    assert world.host.output("sysctl", "-n", setting) == "1\n"
    world.host.output("sysctl", "-qw", f"{setting}=0")
    world.host.output(str(pair.client.system / "run-container"), "--refresh-all")
    assert world.host.output("sysctl", "-n", setting) == "1\n"


def test_n9_a_host_that_has_switched_ipv6_off_meanwhile_has_zones_of_ipv4(world: World, pair: Pair) -> None:
    """And has them again when it is switched on."""
    routed = {"routed": True, "addresses": ["203.0.113.5/32", "2001:db8:5::5/128"]}
    alone, off = Guest(NAME, world, "routed", routed), "net.ipv6.conf.all.disable_ipv6"
    try:
        alone.start()
        world.host.output("sysctl", "-qw", f"{off}=1")
        assert heal(pair.web) == heal(pair.client) == heal(alone) == ([], [])
        world.host.ip(f"link del {pair.web.noted()['interfaces'][0]['device']}")
        world.host.ip(f"link del {alone.noted()['interfaces'][0]['host_name']}")
        for guest in (pair.web, pair.client, alone):
            heal(guest)
            assert guest.reaches(HOST)
    finally:
        alone.destroy()
        world.host.output("sysctl", "-qw", f"{off}=0")
        world.host.ip(f"addr add {HOST6}/64 dev eth0 nodad", f"route add default via {ROUTER6}")
    for guest in (pair.web, pair.client):
        heal(guest)
        assert guest.reaches(OUTSIDE6)


@pytest.mark.parametrize("place", ["bridge unshare {host_name}", "inet unshare from_container"])
def test_n8_a_rule_that_somebody_has_deleted_comes_back(world: World, pair: Pair, place: str) -> None:
    chain = place.format(**pair.web.noted()["interfaces"][0]).split()
    before = world.host.output("nft", "list", "chain", *chain)
    last = re.findall(r"# handle (\d+)", world.host.output("nft", "-a", "list", "chain", *chain))[-2]
    world.host.output("nft", "delete", "rule", *chain, "handle", last)
    assert world.host.output("nft", "list", "chain", *chain) != before
    lacked, mended = heal(pair.client)
    assert lacked == [network_healing.RULES]
    assert mended
    assert world.host.output("nft", "list", "chain", *chain) == before


def test_n6_names_that_a_killed_launcher_has_not_told_are_known_after_the_next_run(pair: Pair) -> None:
    """One that has ended, and that nobody took out; and one of which its neighbours have not heard."""
    directory = Path(pair.client.container.run_directory)
    (key,) = {line.split()[0] for line in (directory / "zones").read_text().splitlines()}
    seen = pair.client.output("cat", "/etc/hosts")
    for file in (directory / "names", directory / "zones", Path(neighbours.zone_directory(key), neighbours.HOSTS)):
        known = file.read_text()
        for text in ("10.80.99.99 gone gone.one\n" + known, "127.0.0.1 localhost\n"):
            file.write_text(text)
            assert network_healing.NAMES in heal(pair.client)[0]
            assert file.read_text() == known
            assert pair.client.output("cat", "/etc/hosts") == seen
    for text in ("10.80.99.99 gone gone.one\n", ""):  # of which its neighbours hear, too
        Path(neighbours.zone_directory(key), neighbours.HOSTS).write_text(text)
        assert network_healing.NAMES in heal(pair.web)[0]
        assert pair.client.output("cat", "/etc/hosts") == seen
    assert heal(pair.client) == ([], [])


def test_n8_the_rules_come_back_by_a_command_too(world: World, pair: Pair) -> None:
    before = state_of(world)
    world.host.output("nft", "flush", "ruleset")
    world.host.output(str(pair.web.system / "run-container"), "--refresh")
    assert state_of(world) ^ before == set()


@pytest.mark.parametrize("deed", LOSSES)
def test_n8_n9_one_command_mends_all_that_run(world: World, pair: Pair, deed: str) -> None:
    before = state_of(world)
    world.host.output(*deed.format(**pair.web.noted()["interfaces"][0]).split())
    assert state_of(world) != before
    world.host.output(str(pair.client.system / "run-container"), "--refresh-all")
    for one, other in (pair, reversed(pair)):
        assert all(one.reaches(address) for address in other.addresses())
        assert one.reaches(OUTSIDE)
    lacking = before - state_of(world)
    assert {line for line in lacking if line.startswith(("\t", "table"))} == set()


def test_n9_a_bridge_that_comes_back_has_the_ports_of_all(world: World, pair: Pair) -> None:
    """One run for one container mends that; the others' runs mend theirs."""
    assert heal(pair.web) == ([], [])
    assert heal(pair.client) == ([], [])
