# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The settings by which a host forwards for containers and leads its loopback to them, and what it says of ports."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host.published import parse_ports
from ansible_collections.unshare.container.plugins.module_utils.life import host_ways, network_warnings
from ansible_collections.unshare.container.plugins.module_utils.state.network_record import NetworkRecord

ZONE = {
    "kind": "zone",
    "name": "eth0",
    "parent": "one",
    "host_name": "u1",
    "device": "u2",
    "addresses": ["10.80.0.2/24", "fd00::2/64"],
}
ROUTED = {"kind": "routed", "name": "eth0", "host_name": "u5", "addresses": ["203.0.113.5/32"]}
DEVICE = {"kind": "macvlan", "name": "eth0", "parent": "eth1", "device": "eth1"}
WEB = {"port": 80, "target": 80}


class Settings:
    """The settings of a host's network, of which some cannot be changed."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, fixed: t.Sequence[str] = (), without: t.Sequence[str] = (), **values: str
    ) -> None:
        self.fixed = fixed
        self.values = {"ipv4/ip_forward": "0", "ipv6/conf/all/forwarding": "0", **values}
        for name, work in (
            ("setting", lambda name: self.values.get(name, "")),
            ("set_setting", self.set),
            ("has_ipv6", lambda: "no_ipv6" not in values),
            ("has_interface", lambda name: name not in without),
            ("can_set", lambda name: not any(name.startswith(part) for part in fixed)),
        ):
            monkeypatch.setattr(host_ways, name, work)
        monkeypatch.setattr(network_warnings, "setting", host_ways.setting)
        monkeypatch.setattr(host_ways.os, "listdir", lambda _path: ["all", "default", "eth0", "eth1"])

    def set(self, name: str, value: str) -> bool:
        if any(name.startswith(part) for part in self.fixed):
            return self.values.get(name) == value
        self.values[name] = value
        return True


def record(interface: dict[str, t.Any], *ports: dict[str, t.Any]) -> NetworkRecord:
    return NetworkRecord("web", {"interfaces": [interface], "ports": list(ports)})


def test_a_host_forwards_for_zones_and_answers_on_its_loopback_for_their_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Settings(monkeypatch, **{"ipv6/conf/eth0/accept_ra": "1", "ipv6/conf/eth1/accept_ra": "0"})
    assert host_ways.open_ways([record(ZONE, WEB)]) == []
    forwards = ("ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv4/conf/u2/route_localnet")
    assert [host.values[name] for name in forwards] == ["1", "1", "1"]
    # Else the host would lose its own default route.
    assert [host.values[f"ipv6/conf/{name}/accept_ra"] for name in ("eth0", "eth1")] == ["2", "0"]
    assert host_ways.open_ways([record(ZONE, {**WEB, "address": "192.0.2.1"})]) == []
    assert host.values["ipv4/conf/u2/route_localnet"] == "0"


def test_nothing_is_set_for_interfaces_in_which_the_host_has_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Settings(monkeypatch)
    before = dict(host.values)
    assert host_ways.open_ways([record(DEVICE)]) == host_ways.open_ways([]) == []
    assert host.values == before


def test_what_cannot_be_set_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    Settings(monkeypatch, fixed=["ipv4", "ipv6"])
    said = host_ways.open_ways([record(ZONE, WEB)])
    assert [word in text for word, text in zip(("IPv4", "IPv6", "127.0.0.1"), said, strict=True)] == [True] * 3
    assert len(host_ways.open_ways([record(ZONE)])) == 2
    Settings(monkeypatch, fixed=["ipv4", "ipv6"], no_ipv6="yes")
    assert len(host_ways.open_ways([record(ZONE)])) == 1
    Settings(monkeypatch, fixed=["ipv4/ip_forward"], **{"ipv4/ip_forward": "1"})
    assert host_ways.open_ways([record(ZONE, WEB)]) == []


class Addresses:
    """A host with one address."""

    def addresses(self) -> list[tuple[int, str]]:
        return [(2, "192.0.2.10/24")]


def leading_nowhere(*ports: str, interface: dict[str, t.Any] = ZONE) -> list[str]:
    container = record(interface)
    container.ports = parse_ports([*ports])
    warnings = network_warnings.warnings_of_ports(container, t.cast("t.Any", Addresses()))
    return [text.partition(": ")[2] for text in warnings]


def test_ports_of_the_loopback_that_the_host_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    ports = ("127.0.0.1:80:80", "81:80", "[::1]:82:80")
    Settings(monkeypatch)
    assert leading_nowhere(*ports) == []
    Settings(monkeypatch, **{"bridge/bridge-nf-call-ip6tables": "1"})
    assert [text.partition(": [")[0] for text in leading_nowhere(*ports)] == ["81/tcp"]
    assert leading_nowhere(*ports[:1]) == []


def test_ports_of_addresses_that_the_host_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    Settings(monkeypatch)
    found = leading_nowhere("192.0.2.10:80:80", "192.0.2.11:81:80", "127.0.0.5:82:80")
    assert [text.partition(":")[0] for text in found] == ["192.0.2.11"]


def test_n5_ports_of_a_version_of_which_the_container_has_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    Settings(monkeypatch)
    ports = ("[::1]:80:80", "81:80", "127.0.0.1:82:80", "192.0.2.10:83:80")
    assert [text.partition(": ")[0] for text in leading_nowhere(*ports, interface=ROUTED)] == ["[::1]:80/tcp"]
    assert leading_nowhere(*ports) == []


def test_what_the_host_filters_on_bridges_is_no_matter_of_what_is_routed(monkeypatch: pytest.MonkeyPatch) -> None:
    Settings(monkeypatch, **{"bridge/bridge-nf-call-ip6tables": "1"})
    both = {**ROUTED, "addresses": ["203.0.113.5/32", "2001:db8:5::5/128"]}
    assert leading_nowhere("80:80", "[::1]:81:80", interface=both) == []


@pytest.mark.parametrize(
    ("ports", "taken"),
    [
        ([], False),
        ([WEB], True),
        ([{**WEB, "address": "127.0.0.1"}], True),
        ([{**WEB, "address": "192.0.2.1"}], False),
        ([{**WEB, "address": "::1"}], False),
    ],
)
def test_a_device_takes_the_loopback_for_a_port_of_it_alone(ports: list[dict[str, t.Any]], taken: bool) -> None:
    records = [record(ZONE), record(ZONE, *ports), record({**ZONE, "device": "u3"}), record(ROUTED, *ports)]
    assert host_ways.takes_loopback(records) == {"u2": taken, "u3": False, "u5": taken}


def test_n5_the_loopback_leads_to_what_is_routed_once_that_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Settings(monkeypatch, without=["u5"])
    assert host_ways.open_ways([record(ROUTED, WEB)]) == []
    assert "ipv4/conf/u5/route_localnet" not in host.values
    host = Settings(monkeypatch)
    both = NetworkRecord("web", {"interfaces": [ZONE, ROUTED], "ports": [WEB]})
    assert host_ways.open_routed(both) == []
    assert host.values["ipv4/conf/u5/route_localnet"] == "1"
    assert "ipv4/conf/u2/route_localnet" not in host.values  # others have a part in that
    Settings(monkeypatch, fixed=["ipv4/conf"])
    assert [text.partition(" by ")[2][:2] for text in host_ways.open_routed(both)] == ["u5"]


def test_n9_what_somebody_has_set_back_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    web, other = record(ZONE, WEB), record(ROUTED, WEB)
    host = Settings(monkeypatch, **{"ipv4/conf/u2/route_localnet": "0", "ipv4/conf/u5/route_localnet": "0"})
    names = ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding", "net.ipv4.conf.u2.route_localnet"]
    assert host_ways.closed_ways(web, [other, web]) == names
    host_ways.open_ways([other, web])
    assert host_ways.closed_ways(web, [other, web]) == []
    # A neighbour's port is no matter of who has none; that the bridge takes the loopback for nobody is one.
    assert host_ways.closed_ways(record(ZONE), [web, record(ZONE)]) == []
    assert host_ways.closed_ways(record(ZONE), [record(ZONE)]) == names[2:]
    assert host_ways.closed_ways(record(DEVICE), [record(DEVICE), web]) == []
    del host.values["ipv4/conf/u2/route_localnet"]  # the bridge was deleted, which is found elsewhere
    assert host_ways.closed_ways(web, [web]) == []
    Settings(monkeypatch, fixed=["ipv4", "ipv6"], **{"ipv4/conf/u2/route_localnet": "0"})
    assert host_ways.closed_ways(web, [web]) == []  # or each run would find it anew
