# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Networks of hosts, and of interfaces, that lack what most have: IPv6, nft, settings that can be changed (N2, N8)."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host import nft
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.life.healing import Healing

from . import network_hosts
from .network_guests import Guest, started, state_of, zone
from .network_hosts import HOST, MACHINE, OUTSIDE, World

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

NAME = "test-network-odd"


@pytest.fixture(scope="module")
def world() -> t.Iterator[World]:
    """Give machines whose host has switched IPv6 off, as administrators do."""
    with network_hosts.world("odd") as made:
        made.host.output("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1", "net.ipv6.conf.default.disable_ipv6=1")
        yield made


def inside(guest: Guest) -> str:
    """Return what its interfaces are like, but for their numbers, and for the width of columns that these make."""
    said = guest.output("sh", "-c", "ip addr show dev lan0 | tail -n +2; ip -br link; ip route")
    return re.sub(" +", " ", re.sub("@if[0-9]+", "", said))


def test_a_host_without_ipv6_has_zones_of_ipv4(world: World) -> None:
    published = [{"port": 8080, "target": 80}]
    with (
        started(NAME, world, "web", zone("one"), ports=published) as web,
        started(NAME, world, "client", zone("one")) as client,
    ):
        assert len(web.addresses()) == len(client.addresses()) == 1
        assert client.reaches(f"{NAME}-web")
        assert client.reaches(OUTSIDE)
        with web.serving(80):
            assert world.machine.ask(HOST, 8080) == MACHINE
            assert not world.host.ask("127.0.0.1", 8080).startswith("-")
    for interface in (zone("one", ["fd00:80::/64"]), {"routed": True, "addresses": ["2001:db8:5::5/128"]}):
        with pytest.raises(LauncherError, match="is of IPv6, which is switched off on this host"):
            Guest(NAME, world, "web", interface).start()
        Guest(NAME, world, "web", interface).destroy()


@pytest.mark.parametrize(
    "interface",
    [
        {"routed": True, "addresses": ["203.0.113.5/32"], "mtu": 576, "name": "lan0"},
        {"zone": "one", "mtu": 1400, "name": "lan0"},
    ],
)
def test_n9_an_interface_that_is_made_again_is_as_before(world: World, interface: dict[str, t.Any]) -> None:
    """With an mtu that is too small for IPv6, too."""
    with started(NAME, world, "small", interface) as guest:
        before = inside(guest)
        assert f"mtu {interface['mtu']}" in guest.output("ip", "link", "show", "lan0")
        world.host.ip(f"link del {guest.noted()['interfaces'][0]['host_name']}")
        with world.host.entered(), guest.container.lock(30):
            healing = Healing(guest.container)
            healing.look()
            assert healing.heal(30)
            assert healing.warnings == []
        assert inside(guest) == before
        assert f"mtu {interface['mtu']}" in guest.output("ip", "link", "show", "lan0")
        assert guest.reaches(OUTSIDE) is ("zone" in interface)  # nobody beyond leads to the other one


def test_n9_what_cannot_be_configured_is_not_left_half_made(world: World) -> None:
    """Root inside has taken the interface's name; the next run tries again, and says why it cannot."""
    with started(NAME, world, "half", {**zone("one"), "name": "lan0"}) as guest:
        before = state_of(world)
        device = guest.noted()["interfaces"][0]["host_name"]
        world.host.ip(f"link del {device}")
        guest.output("ip", "link", "add", "lan0", "type", "veth", "peer", "name", "other")
        for _number in range(2):
            with world.host.entered(), guest.container.lock(30):
                healing = Healing(guest.container)
                healing.look()
                assert [line.partition(",")[0] for line in healing.stale] == ["network: lan0: its end on the host"]
                healing.heal(30)
                assert any("add veth" in text for text in healing.warnings)
        guest.output("ip", "link", "del", "lan0")
        with world.host.entered(), guest.container.lock(30):
            healing = Healing(guest.container)
            healing.look()
            healing.heal(30)
            assert healing.warnings == []
        assert {line for line in before - state_of(world) if line.startswith(("\t", "table"))} == set()
        assert guest.reaches(OUTSIDE)


def test_n10_names_that_an_interface_of_the_host_has_already(world: World) -> None:
    """That of a container's interface is for people alone; by that of a zone its bridge is found again."""
    taken = f"unshare.{NAME}-named.eth0"
    world.host.ip("link add own0 type bridge", f"link property add dev own0 altname {taken}")
    try:
        with started(NAME, world, "named", zone("named")) as guest:
            assert guest.reaches(OUTSIDE)
        world.host.ip("link property add dev own0 altname unshare-named-at-length")
        before = state_of(world)
        guest = Guest(NAME, world, "named", zone("named-at-length"))
        try:
            with pytest.raises(
                LauncherError, match="named-at-length: .* unshare-named-at-length, .* interface own0: take it"
            ):
                guest.start()
        finally:
            guest.destroy()
        assert state_of(world) == before
    finally:
        world.host.ip("link del own0")


def test_a_device_of_its_own_needs_no_packet_filter(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nft, "DIRECTORIES", ())
    if world.host.run("ip", "link", "add", "try0", "link", "eth0", "type", "macvlan").returncode:
        pytest.skip("this kernel has no macvlan")
    world.host.ip("link del try0")
    with started(NAME, world, "device", {"macvlan": "eth0", "addresses": ["192.0.2.30/24"]}) as guest:
        assert guest.reaches(MACHINE)
    with pytest.raises(LauncherError, match="install the package nftables"):
        Guest(NAME, world, "device", zone("one")).start()
    Guest(NAME, world, "device", zone("one")).destroy()


def test_a_bridge_that_has_all_its_ports_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """No container of a zone is its 1,024th; a bridge of the administrator's stands for the zone's here."""
    full = network_hosts.Namespace(f"{world.host.name}-full")
    guest = Guest(NAME, world, "late", {"bridge": "br6", "addresses": ["192.0.2.40/24"]})
    try:
        full.make("link add br6 type bridge", "link set br6 up")
        full.ip(*(f"link add p{n} master br6 type veth peer name q{n}" for n in range(512)))
        full.ip(*(f"link set q{n} master br6" for n in range(511)))
        monkeypatch.setattr(world, "host", full)
        with pytest.raises(
            LauncherError, match="network: bridge br6: has 1,023 interfaces, and Linux gives a bridge no more: free one"
        ):
            guest.start()
        assert not Path("/run/unshare", guest.name).exists()
        full.ip("link del p0")  # and q0 with it
        guest.start()
        assert guest.output("cat", "/sys/class/net/eth0/operstate") == "up\n"
    finally:
        guest.destroy()
        full.remove()
