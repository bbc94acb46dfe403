# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The records of a container's network: what can be refused without a host is refused, naming the place."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import network_options, resolver
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.launcher.kinds import ContractError
from ansible_collections.unshare.container.plugins.module_utils.launcher.network_records import (
    Interface,
    Network,
    Published,
)

ZONE: dict[str, t.Any] = {"kind": "zone", "parent": "web", "name": "eth0"}
LAN: dict[str, t.Any] = {"kind": "bridge", "parent": "br0", "name": "eth1"}


@pytest.mark.parametrize(
    ("interface", "said"),
    [
        ({**ZONE, "kind": "wire"}, "^kind: is neither 'zone' nor"),
        ({**ZONE, "parent": "w" * 300}, "^parent: 'w+ is no name of a zone"),
        ({**ZONE, "parent": "../web"}, "^parent: .* is no name of a zone"),
        ({**LAN, "parent": "b" * 300}, "^parent: 'b+ is no name of an interface"),
        ({**LAN, "parent": ""}, "^parent: is empty"),
        ({**LAN, "name": "lo"}, "^name: 'lo' is no name of an interface"),
        *[({**LAN, "name": name}, "^name: .* is no name of an interface") for name in ("all", "default", ".", "..")],
        ({**LAN, "name": "a/b"}, "^name: 'a/b' is no name"),
        ({**LAN, "name": "eth%d"}, "^name: 'eth%d' is no name"),
        ({**LAN, "name": "0123456789abcdef"}, "^name: .* at most 15"),
        ({"kind": "routed", "name": "eth0", "parent": "x", "addresses": ["10.0.0.1/32"]}, "^parent: is for other"),
        ({"kind": "routed", "name": "eth0"}, "^addresses: is missing"),
        ({"kind": "routed", "name": "eth0", "addresses": ["10.0.0.1/24"]}, r"^addresses\[0\]: .*write 10\.0\.0\.1/32"),
        ({**LAN, "mac": "01:00:00:00:00:01"}, "^mac: .*multicast"),
        ({**LAN, "mac": "00:00:00:00:00:00"}, "^mac: .*no address"),
        ({**LAN, "mac": "02:00:00:00:01"}, "^mac: .*six bytes"),
        (
            {"kind": "ipvlan", "parent": "eth0", "name": "eth0", "mac": "02:00:00:00:00:01"},
            "^mac: is that of the device",
        ),
        ({**LAN, "mac": "02:00:00:00:00:0g"}, "^mac: .*six bytes"),
        ({**LAN, "mac": "02:00:00:00:00:011"}, "^mac: .*six bytes"),
        ({**LAN, "mtu": 67}, "^mtu: 67 is no mtu"),
        ({**LAN, "mtu": 65536}, "^mtu: 65536 is no mtu"),
        ({**LAN, "mtu": True}, "^mtu: True is no mtu"),
        ({**ZONE, "mtu": 1279}, "^mtu: 1279 is too small for IPv6"),
        ({**ZONE, "dhcp": True}, "^dhcp: is for bridge, macvlan, ipvlan, physical"),
        ({**LAN, "dhcp": True, "addresses": ["10.0.0.2/24"]}, "^dhcp: gives the IPv4 address"),
        ({**LAN, "subnets": ["10.0.0.0/24"]}, "^subnets: is for zones"),
        ({**ZONE, "subnets": ["10.0.0.0/24", "10.1.0.0/24"]}, r"^subnets\[1\]: is a second one of IPv4"),
        ({**ZONE, "subnets": ["10.0.0.0/24", "fe80::/64"]}, r"^subnets\[1\]: fe80::/64 is of one wire alone"),
        ({**ZONE, "addresses": ["169.254.0.9/16"]}, r"^addresses\[0\]: 169\.254\.0\.9/16 is of one wire alone"),
        ({"kind": "routed", "name": "eth0", "addresses": ["fe80::1/128"]}, r"^addresses\[0\]: .* of one wire alone"),
        ({**ZONE, "addresses": ["10.0.0.1/24"]}, r"^addresses\[0\]: .* is the host's"),
        ({**ZONE, "addresses": ["10.0.0.2/31"]}, r"^addresses\[0\]: .*that of its network"),
        ({**ZONE, "addresses": ["10.0.0.2/24", "10.0.0.3/24"]}, r"^addresses\[1\]: is a second one of IPv4"),
        (
            {**ZONE, "subnets": ["10.0.0.0/24"], "addresses": ["10.0.1.2/24"]},
            r"is not in the zone's subnet, 10\.0\.0\.0/24",
        ),
        ({**ZONE, "subnets": ["10.0.0.0/24"], "addresses": ["10.0.0.2/25"]}, "that of the zone's subnet, 24"),
        ({**LAN, "addresses": [f"10.0.{n}.2/24" for n in range(129)]}, "^addresses: has 129: .* at most 128"),
        ({**LAN, "addresses": ["10.0.0.2/24", "10.0.0.2/16"]}, r"^addresses\[1\]: 10\.0\.0\.2 is there twice"),
        (
            {**LAN, "addresses": ["10.0.0.2/24"], "gateways": ["10.0.1.1"]},
            r"^gateways\[0\]: 10\.0\.1\.1 is out of reach",
        ),
        ({**LAN, "addresses": ["10.0.0.2/24"], "gateways": ["fd00::1"]}, r"^gateways\[0\]: .*no address of IPv6"),
        ({**LAN, "addresses": ["10.0.0.2/24"], "gateways": ["10.0.0.2"]}, r"^gateways\[0\]: .*own address"),
        ({**LAN, "gateways": ["10.0.0.1", "10.0.0.2"]}, r"^gateways\[1\]: is a second one of IPv4"),
        (
            {"kind": "routed", "name": "eth0", "addresses": ["10.0.0.1/32"], "gateways": ["10.0.0.2"]},
            "^gateways: is for other interfaces",
        ),
    ],
)
def test_what_no_interface_can_be_is_refused(interface: dict[str, t.Any], said: str) -> None:
    with pytest.raises(ContractError, match=said):
        Interface.read(interface)


@pytest.mark.parametrize(
    "interface",
    [
        ZONE,
        {**ZONE, "subnets": ["10.0.0.0/24"], "addresses": ["10.0.0.2/24", "fd00::2/64"], "mtu": 9000},
        {**ZONE, "gateways": ["10.0.0.9"]},
        {**LAN, "dhcp": True},
        {**LAN, "dhcp": True, "addresses": ["fd00::2/64"]},
        {**LAN, "addresses": ["10.0.0.2/24"], "mtu": 576},
        {**LAN, "mtu": 68},
        {**LAN, "mtu": 65535, "mac": "fe:00:00:00:00:ff", "name": "0123456789abcde"},
        {**LAN, "addresses": [f"10.0.0.{number}/16" for number in range(1, 129)]},
        {**LAN, "addresses": ["10.0.0.2/24", "fd00::2/64"], "gateways": ["10.0.0.1", "fe80::1"]},
        {"kind": "routed", "name": "eth0", "addresses": ["10.0.0.1/32", "fd00::1/128"]},
    ],
)
def test_what_is_good_is_as_it_was_written(interface: dict[str, t.Any]) -> None:
    assert Interface.read(interface).write() == interface


@pytest.mark.parametrize(
    ("network", "said"),
    [
        ({"interfaces": []}, "^interfaces: names no interface"),
        ({"interfaces": [ZONE, {**ZONE, "name": "eth1"}]}, r"^interfaces\[1\]\.parent: web is that of interfaces\[0\]"),
        ({"interfaces": [ZONE, {**LAN, "name": "eth0"}]}, r"^interfaces\[1\]\.name: eth0 is that of interfaces\[0\]"),
        ({"interfaces": [LAN], "host_access": True}, "^host_access: is for zones and routed interfaces"),
        (
            {"interfaces": [{**LAN, "mac": "02:00:00:00:00:01"}, {**ZONE, "mac": "02:00:00:00:00:01"}]},
            r"^interfaces\[1\]\.mac",
        ),
        (
            {"interfaces": [{**LAN, "addresses": ["10.0.0.2/24"]}, {**ZONE, "addresses": ["10.0.0.2/16"]}]},
            r"^interfaces\[1\]\.addresses: 10\.0\.0\.2 is that of interfaces\[0\]",
        ),
    ],
)
def test_what_no_network_can_be_is_refused(network: dict[str, t.Any], said: str) -> None:
    with pytest.raises(ContractError, match=said):
        Network.read(network)


def test_a_hardware_address_is_written_as_the_kernel_does() -> None:
    assert Interface.read({**LAN, "mac": "02-AB-00-00-00-01"}).mac == "02:ab:00:00:00:01"
    assert Interface.read({**LAN, "mac": ""}).mac == ""


@pytest.mark.parametrize(
    ("kind", "publishes", "is_filtered"),
    [
        ("zone", True, True),
        ("bridge", False, True),
        ("routed", True, True),
        ("macvlan", False, False),
        ("ipvlan", False, False),
        ("physical", False, False),
    ],
)
def test_what_the_host_does_for_each_kind(kind: str, publishes: bool, is_filtered: bool) -> None:
    routed = {"kind": kind, "name": "eth0", "addresses": ["10.0.0.1/32"]}
    other = {"kind": kind, "name": "eth0", "parent": "one"}
    for more in ([], [{"kind": "ipvlan", "name": "eth1", "parent": "two"}]):
        network = Network.read({"interfaces": [*more, routed if kind == "routed" else other]})
        assert (network.publishes, network.is_filtered) == (publishes, is_filtered)


def test_servers_are_a_line_each() -> None:
    assert resolver.with_servers(["192.0.2.1", "fd00::1"]) == "nameserver 192.0.2.1\nnameserver fd00::1\n"
    assert resolver.with_servers([]) == ""


def test_one_gateway_of_a_kind_is_the_way_out() -> None:
    one = {**LAN, "addresses": ["10.0.0.2/24"], "gateways": ["10.0.0.1"]}
    other = {**LAN, "name": "eth2", "parent": "br1", "addresses": ["10.1.0.2/24"], "gateways": ["10.1.0.1"]}
    with pytest.raises(ContractError, match=r"^interfaces\[1\]\.gateways: IPv4 is that of interfaces\[0\]"):
        Network.read({"interfaces": [one, other]})


@pytest.mark.parametrize(
    ("one", "other", "meet"),
    [
        ({"port": 80}, {"port": 80}, True),
        ({"port": 80}, {"port": 81}, False),
        ({"port": 80}, {"port": 80, "protocol": "udp"}, False),
        ({"port": 80}, {"port": 80, "address": "127.0.0.1"}, True),
        ({"port": 80, "address": "127.0.0.1"}, {"port": 80, "address": "127.0.0.1"}, True),
        ({"port": 80, "address": "127.0.0.1"}, {"port": 80, "address": "::1"}, False),
    ],
)
def test_ports_that_cannot_both_be_published(one: dict[str, t.Any], other: dict[str, t.Any], meet: bool) -> None:
    first, second = (Published.read({"target": 1, **item}) for item in (one, other))
    assert first.meets(second) == second.meets(first) == meet


def test_options_are_kept_and_read(tmp_path: Path) -> None:
    options = network_options.NetworkOptions.read(
        {"ports": [{"port": 80, "target": 8080, "address": "::1"}], "nameservers": ["192.0.2.1"]}
    )
    directory = str(tmp_path / "web")
    assert network_options.read(directory).write() == {}
    network_options.write(directory, options)
    assert network_options.read(directory) == options
    (tmp_path / "web" / network_options.NETWORK_FILE).write_text('{"ports": [{"port": 0, "target": 1}]}')
    with pytest.raises(LauncherError, match="network.json: .*declare the container's ports"):
        network_options.read(directory)


def test_a_port_that_is_published_twice_is_refused() -> None:
    ports = [{"port": 80, "target": 1}, {"port": 80, "target": 2, "address": "127.0.0.1"}]
    with pytest.raises(ContractError, match=r"^ports\[1\]: 127\.0\.0\.1:80/tcp is published by ports\[0\] already"):
        network_options.NetworkOptions.read({"ports": ports})


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("nameserver 127.0.0.53\n", ""),
        ("nameserver ::1\nnameserver fe80::1%eth0\nnameserver 2001:db8::1\n", "nameserver 2001:db8::1\n"),
        ("nameserver 0.0.0.0\nnameserver ::\nnameserver ::ffff:127.0.0.1\nnameserver 0\nnameserver 127.1\n", ""),
        ("nameserver ::ffff:192.0.2.1\n", "nameserver ::ffff:192.0.2.1\n"),
        ("search a b\nnameserver 127.1.2.3\nnameserver 192.0.2.1\n", "search a b\nnameserver 192.0.2.1\n"),
        ("# nameserver 127.0.0.1\noptions edns0\nnameserver\n", "# nameserver 127.0.0.1\noptions edns0\nnameserver\n"),
        ("nameserver web\n", "nameserver web\n"),
    ],
)
def test_n7_servers_that_the_host_alone_reaches_are_left_out(text: str, left: str) -> None:
    assert resolver.reached_from_inside(text) == left


def test_a_text_has_servers_or_not() -> None:
    assert resolver.has_servers("search a\nnameserver 192.0.2.1\n")
    assert not resolver.has_servers("# nameserver 192.0.2.1\nsearch nameserver\n")
