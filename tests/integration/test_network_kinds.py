# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Interfaces that are in no zone: on the administrator's bridge, routed, on a device (N2, N4, N9)."""

from __future__ import annotations

import json
import re
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import network
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.life import examination
from ansible_collections.unshare.container.plugins.module_utils.state.network_record import NetworkRecord
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout

from . import network_hosts
from .conftest import heard
from .network_guests import Guest, started, state_of, zone
from .network_hosts import HOST, HOST6, MACHINE, MACHINE6, OUTSIDE, OUTSIDE6, ROUTER, ROUTER6, World

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

NAME = "test-network-kinds"
OWN = ["192.0.2.30/24", "2001:db8:1::30/64"]
ROUTED = ["203.0.113.5/32", "2001:db8:5::5/128"]


@pytest.fixture(scope="module")
def world() -> t.Iterator[World]:
    with network_hosts.world("kinds") as made:
        made.host.ip(
            "link add br5 type bridge forward_delay 0",
            "link set br5 up",
            f"addr del {HOST}/24 dev eth0",
            f"addr del {HOST6}/64 dev eth0",
            "link set eth0 master br5",
            f"addr add {HOST}/24 dev br5",
            f"addr add {HOST6}/64 dev br5 nodad",
            f"route add default via {ROUTER}",
            f"route replace default via {ROUTER6}",
        )
        made.host.output(
            "sysctl", "-qw", "net.bridge.bridge-nf-call-ip6tables=0", "net.bridge.bridge-nf-call-iptables=0"
        )
        made.lan.ip(
            f"link add p9 type veth peer name eth9 netns {made.host.name}", "link set p9 master br0", "link set p9 up"
        )
        made.host.ip("link set eth9 up")
        made.router.ip(f"route add 203.0.113.0/24 via {HOST}", f"route add 2001:db8:5::/64 via {HOST6}")
        yield made


def test_n2_on_a_bridge_it_is_a_machine_of_the_lan(world: World) -> None:
    with started(NAME, world, "lan", {"bridge": "br5", "addresses": OWN, "gateway": [ROUTER, ROUTER6]}) as guest:
        with guest.serving(80), world.machine.serving(7000):
            assert world.machine.ask("192.0.2.30", 80) == MACHINE
            assert world.machine.ask("2001:db8:1::30", 80) == MACHINE6
            assert guest.ask(MACHINE, 7000) == "192.0.2.30"
        assert guest.reaches(OUTSIDE)
        assert guest.reaches(OUTSIDE6)
        assert guest.reaches(HOST)


def test_n4_on_a_bridge_it_has_no_address_but_its_own(world: World) -> None:
    with started(NAME, world, "lan", {"bridge": "br5", "addresses": OWN}) as guest, world.machine.serving(7000):
        taken = guest.shell(
            "ip addr add 192.0.2.31/24 dev eth0 && ip addr add 2001:db8:1::31/64 dev eth0 nodad"
            " && ping -n -c1 -W1 -I 192.0.2.30 192.0.2.20"
        )
        assert taken.returncode == 0, taken.stderr
        assert guest.run("ping", "-n", "-c1", "-W1", "-I", "192.0.2.31", MACHINE).returncode != 0
        assert guest.run("ping", "-n", "-c1", "-W1", "-I", "2001:db8:1::31", MACHINE6).returncode != 0
        assert not world.machine.reaches("192.0.2.31")


def test_n2_what_is_routed_is_reached_by_its_own_address(world: World) -> None:
    with started(NAME, world, "routed", {"routed": True, "addresses": ROUTED}) as guest:
        with guest.serving(80), world.outside.serving(7000):
            for address, seen in ((OUTSIDE, ROUTED[0]), (OUTSIDE6, ROUTED[1])):
                assert guest.ask(address, 7000) == seen.partition("/")[0]
            assert world.outside.ask("203.0.113.5", 80) == OUTSIDE
            assert world.outside.ask("2001:db8:5::5", 80) == OUTSIDE6
            assert not world.host.ask("203.0.113.5", 80).startswith("-")
        with world.host.serving(7001):
            assert guest.ask(HOST, 7001, seconds=1).startswith("-")
        for address in ("203.0.113.6/32", "2001:db8:5::6/128"):
            assert guest.run("ip", "addr", "add", address, "dev", "eth0").returncode == 0
            world.host.ip(f"route add {address} dev {guest.noted()['interfaces'][0]['host_name']}")
            there = OUTSIDE6 if ":" in address else OUTSIDE
            assert guest.run("ping", "-n", "-c1", "-W1", "-I", address.partition("/")[0], there).returncode != 0


def test_n5_a_port_of_what_is_routed_answers_everywhere(world: World) -> None:
    """By the host's loopback too, and for the container itself; a port without an address to lead to is said."""
    interface, ports = {"routed": True, "addresses": ROUTED}, [{"port": 8080, "target": 80}]
    with started(NAME, world, "routed", interface, ports=ports) as guest, guest.serving(80):
        assert heard(guest.container.status().warnings) == []
        for address in ("127.0.0.1", "::1", HOST, HOST6):
            assert not world.host.ask(address, 8080).startswith("-")
        for address, seen in ((HOST, MACHINE), (HOST6, MACHINE6)):
            assert world.machine.ask(address, 8080) == seen
            assert not guest.ask(address, 8080).startswith("-")
    far = [{"port": 8080, "target": 80, "address": HOST6}]
    four = Guest(NAME, world, "routed", {"routed": True, "addresses": ROUTED[:1]}, ports=far)
    try:
        assert [text.partition(": the")[0] for text in four.start().warnings] == [f"ports: [{HOST6}]:8080/tcp"]
    finally:
        four.destroy()


@pytest.mark.parametrize("kind", ["macvlan", "ipvlan"])
def test_n2_on_a_device_it_is_a_machine_of_the_lan(world: World, kind: str) -> None:
    if world.host.run("ip", "link", "add", "try0", "link", "eth9", "type", kind).returncode:
        guest = Guest(NAME, world, kind, {kind: "eth9", "addresses": OWN})
        try:
            with world.host.entered():
                (said,) = examination.examine(Layout(), guest.name, guest.system).conflicts
            assert said.startswith(f"network: {kind}: the kernel of this host has no such interfaces")
        finally:
            guest.destroy()
        pytest.skip(f"this kernel has no {kind}")
    world.host.ip("link del try0")
    with started(NAME, world, kind, {kind: "eth9", "addresses": OWN, "gateway": [ROUTER]}) as guest:
        with guest.serving(80):
            assert world.machine.ask("192.0.2.30", 80) == MACHINE
        assert guest.reaches(OUTSIDE)


def test_n2_several_interfaces_each_do_their_part(world: World) -> None:
    both = ({"bridge": "br5", "addresses": OWN}, zone("one"))
    with started(NAME, world, "both", *both) as guest, started(NAME, world, "zone", zone("one")) as other:
        assert guest.reaches(MACHINE)
        assert guest.reaches(other.addresses()[0])
        assert other.reaches(guest.addresses(1)[1])


def test_n13_a_client_inside_asks_the_dhcp_server_of_the_lan(world: World, tmp_path: Path) -> None:
    server = world.machine.command(
        *("dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--port=0", "--interface=eth0", "--user=root"),
        *(
            "--dhcp-range=192.0.2.100,192.0.2.120,255.255.255.0,1h",
            f"--dhcp-option=3,{ROUTER}",
            "--dhcp-option=6,192.0.2.53",
        ),
        *("--bind-interfaces", f"--dhcp-leasefile={tmp_path / 'leases'}", f"--pid-file={tmp_path / 'pid'}"),
    )
    client = {"services": [{"type": "dhcp-client"}]}
    with subprocess.Popen(server) as process:
        try:
            with started(NAME, world, "client", {"bridge": "br5", "dhcp": True}, declared=client) as guest:
                shown = guest.output("sh", "-c", "until ip -4 -o addr show dev eth0 | grep -w inet; do sleep 0.1; done")
                assert re.search(r"inet 192\.0\.2\.1[0-2][0-9]/24", shown)
                assert guest.reaches(OUTSIDE)
                assert "192.0.2.53" in guest.output("cat", "/etc/resolv.conf")
        finally:
            process.terminate()


def test_n2_an_address_of_the_host_is_not_routed_away(world: World) -> None:
    guest = Guest(NAME, world, "wrong", {"routed": True, "addresses": [f"{HOST}/32"]})
    try:
        with pytest.raises(LauncherError, match=rf"routed: the address {HOST}/32 is one of the host's own"):
            guest.start()
    finally:
        guest.destroy()


def test_n2_a_device_is_the_containers_while_it_runs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel deletes a virtual one with the namespace; here one with its address stands for a real one's return."""
    host, first = world.host, network_hosts.Namespace(f"{world.host.name}-first")
    link = json.loads(host.output("ip", "-j", "link", "show", "eth9"))[0]
    refused = Guest(NAME, world, "device", {"physical": "br5"})
    try:
        with pytest.raises(LauncherError, match="physical: br5: is part of the host's own network"):
            refused.start()
    finally:
        refused.destroy()
    guest = Guest(NAME, world, "device", {"physical": "eth9", "addresses": OWN, "gateway": [ROUTER], "name": "lan0"})
    try:
        first.make("link add dev7 type veth peer name dev8", f"link set dev7 address {link['address']}")
        monkeypatch.setattr(network, "FIRST_NAMESPACE", str(first.path))
        guest.start()
        assert host.run("ip", "link", "show", "eth9").returncode != 0
        world.machine.output("ip", "neighbour", "flush", "all")  # an earlier test's container had the address elsewhere
        with guest.serving(80):
            assert world.machine.ask("192.0.2.30", 80) == MACHINE
        guest.stop()
        back = json.loads(host.output("ip", "-j", "link", "show", "eth9"))[0]
        assert back["address"] == link["address"]
        host.ip("link del eth9")
    finally:
        guest.destroy()
        first.remove()


@pytest.mark.parametrize(
    ("interface", "said"),
    [
        ({"bridge": "br4"}, "network: bridge: br4: the host has no such interface"),
        ({"bridge": "eth7"}, "network: bridge: eth7: is no bridge but a veth"),
        ({"bridge": "br5", "addresses": [f"{HOST}/24"]}, f"the address {HOST}/24 is that of the host's interface br5"),
        ({"routed": True, "addresses": [f"{HOST}/32"]}, f"the address {HOST}/32 is one of the host's own"),
        ({"macvlan": "eth0"}, "network: macvlan: eth0: is a part of another interface"),
        ({"macvlan": "eth7", "mtu": 9000}, "network: macvlan: eth7: its mtu is 1500"),
        (zone("lan", ["192.0.2.0/24"]), "its subnet 192.0.2.0/24 has addresses of the host's interface br5"),
        ({"bridge": "br5", "addresses": OWN}, ""),
        (zone("lan"), ""),
    ],
)
def test_what_the_host_cannot_give_is_known_before_anything_ends(
    world: World, interface: dict[str, t.Any], said: str
) -> None:
    """The one of its name that runs is stopped after that."""
    guest = Guest(NAME, world, "asked", interface)
    world.host.ip("link add eth7 type veth peer name eth8")
    try:
        before = state_of(world)
        with world.host.entered():
            found = examination.examine(Layout(), guest.name, guest.system).conflicts
        assert [said in conflict for conflict in found] == ([True] if said else [])
        assert state_of(world) == before
    finally:
        world.host.ip("link del eth7")
        guest.destroy()


def test_a_bridge_of_the_administrators_keeps_what_it_has(world: World) -> None:
    """A bridge takes the lowest hardware address and mtu of its ports."""

    def of_bridge() -> tuple[str, int]:
        link = json.loads(world.host.output("ip", "-j", "link", "show", "br5"))[0]
        return link["address"], link["mtu"]

    before = of_bridge()
    with started(NAME, world, "small", {"bridge": "br5", "addresses": OWN, "mtu": 1300}) as guest:
        assert of_bridge() == before
        assert guest.output("cat", "/sys/class/net/eth0/mtu") == "1300\n"
        assert guest.reaches(MACHINE)


def test_what_another_one_has_is_refused(world: World) -> None:
    interfaces: list[dict[str, t.Any]] = [
        {"bridge": "br5", "addresses": OWN, "mac": "02:00:00:00:00:77"},
        {"routed": True, "addresses": ROUTED},
    ]
    with started(NAME, world, "first", *interfaces):
        for other in (
            {"bridge": "br5", "addresses": OWN},
            {"bridge": "br5", "addresses": ["192.0.2.31/24"], "mac": "02:00:00:00:00:77"},
            {"routed": True, "addresses": ROUTED},
        ):
            second = Guest(NAME, world, "second", other)
            try:
                with pytest.raises(LauncherError, match=rf"is that of container {NAME}-first: choose another"):
                    second.start()
            finally:
                second.destroy()
        assert world.outside.reaches("203.0.113.5")


@pytest.fixture
def device(world: World) -> t.Iterator[str]:
    """Give a device of the host."""
    world.host.ip("link add eth7 type veth peer name eth8", "link set eth8 up", "link set eth7 up")
    yield "eth7"
    world.host.ip("link del eth7")


def test_n9_on_a_device_too_what_has_ended_unseen_has_no_address(world: World, device: str) -> None:
    if world.host.run("ip", "link", "add", "try0", "link", device, "type", "macvlan").returncode:
        pytest.skip("this kernel has no macvlan")
    world.host.ip("link del try0")
    interface = {"macvlan": device, "addresses": OWN}
    with started(NAME, world, "killed", interface) as first:
        second = Guest(NAME, world, "next", interface)
        try:
            with pytest.raises(LauncherError, match=rf"is that of container {first.name}: choose another"):
                second.start()
            process = first.container.process()
            assert process is not None
            process.end()
            process.close()
            record = NetworkRecord.read(first.name)
            assert record is not None
            record.launcher = [0x7FFFFFFF, 0]  # a module has ended long since; this process has not
            record.write()
            second.start()
            assert second.noted()["interfaces"][0]["addresses"] == OWN
        finally:
            second.destroy()
