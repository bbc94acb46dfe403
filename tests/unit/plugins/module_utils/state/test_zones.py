# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which addresses containers get in zones, and what they know of each other."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.addresses import network_of, split_cidr
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.launcher.network_records import Network
from ansible_collections.unshare.container.plugins.module_utils.state import network_record, zone_names, zones
from ansible_collections.unshare.container.plugins.module_utils.state.network_record import NetworkRecord


class Host:
    """A host's links, addresses and routes."""

    def __init__(self, addresses: t.Sequence[str] = (), routes: t.Sequence[str] = ()) -> None:
        self.cidrs = [(2, cidr) for cidr in addresses]
        self.nets = [(2, network_of(net)) for net in routes]

    def links(self) -> list[t.Any]:
        return []

    def link(self, _name: str) -> bool:
        return True

    def addresses(self) -> list[tuple[int, str]]:
        return self.cidrs

    def routes(self) -> list[t.Any]:
        return self.nets


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(zones, "STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.setattr(network_record, "RUN_DIRECTORY", str(tmp_path / "run"))
    return tmp_path


def remember(state: Path, name: str, zone: str, *addresses: str) -> None:
    directory = state / "state/containers" / name
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps({zones.PREFIX + zone: " ".join(addresses)}))


def wire(
    name: str = "web", config: dict[str, object] | None = None, host: Host | None = None, **interface: t.Any
) -> t.Any:
    read = Network.read({"interfaces": [{"kind": "zone", "parent": "one", "name": "eth0", **interface}]})
    return zones.wire(name, read, {} if config is None else config, host or Host())[0]  # type: ignore[arg-type]


def test_a_new_zone_has_private_networks_of_its_own() -> None:
    config: dict[str, object] = {}
    made = wire(config=config)
    four, six = made.addresses
    assert split_cidr(four)[2] == 24
    assert split_cidr(six)[2] == 64
    assert four.startswith("10.")
    assert six.startswith("fd")
    assert made.gateways == [gateway_text(four), gateway_text(six)]
    assert config == {"zone.one": f"{four} {six}"}
    assert wire(config=config).addresses == [four, six]


def gateway_text(cidr: str) -> str:
    from ansible_collections.unshare.container.plugins.module_utils.launcher.wires import gateway_of

    return gateway_of(cidr).partition("/")[0]


def test_the_next_one_gets_the_next_address(state: Path) -> None:
    remember(state, "first", "one", "10.80.0.2/24", "fd00::2/64")
    remember(state, "third", "one", "10.80.0.4/24", "fd00::4/64")
    remember(state, "else", "two", "10.81.0.3/24", "fd01::3/64")
    assert wire().addresses == ["10.80.0.3/24", "fd00::3/64"]


@pytest.mark.parametrize(
    "routes", [["10.0.0.0/8"], ["10.0.0.0/8", "172.16.0.0/12"], [f"10.{n}.0.0/16" for n in range(255)]]
)
def test_what_the_host_has_routes_to_is_left_to_it(routes: list[str]) -> None:
    net = network_of(wire(host=Host(routes=routes)).addresses[0])
    assert not any(zones.share_addresses(net, network_of(route)) for route in [*routes, *zones.LEFT_TO_OTHERS])


def test_a_host_with_routes_to_all_has_no_room() -> None:
    with pytest.raises(LauncherError, match=r"zone one: this host has routes to all of .*\(subnets\)"):
        wire(host=Host(routes=zones.BLOCKS))


def test_an_exhausted_subnet_says_so(state: Path) -> None:
    remember(state, "first", "one", "10.80.0.2/30", "fd00::2/126")
    with pytest.raises(LauncherError, match=r"its subnet 10\.80\.0\.0/30 has no free address of IPv4: 1 containers"):
        wire()


def test_the_last_address_of_ipv6_is_one(state: Path) -> None:
    remember(state, "first", "one", "10.80.0.2/24", "fd00::2/126")
    assert wire().addresses[1] == "fd00::3/126"


def test_an_address_that_another_one_remembers_is_taken(state: Path) -> None:
    remember(state, "first", "one", "10.80.0.7/24", "fd00::7/64")
    with pytest.raises(LauncherError, match=r"the address 10\.80\.0\.7/24 is that of container first"):
        wire(addresses=["10.80.0.7/24"])


def test_a_remembered_address_that_another_one_has_by_now_is_chosen_again(state: Path) -> None:
    remember(state, "first", "one", "10.80.0.2/24", "fd00::2/64")
    config: dict[str, object] = {"zone.one": "10.80.0.2/24 fd00::9/64"}
    assert wire(config=config).addresses == ["10.80.0.3/24", "fd00::9/64"]


def test_a_subnet_that_changes_while_nobody_runs_is_taken(state: Path) -> None:
    remember(state, "first", "one", "10.80.0.2/24", "fd00::2/64")
    assert wire(subnets=["10.90.0.0/24"]).addresses == ["10.90.0.2/24", "fd00::3/64"]


@pytest.mark.parametrize("damaged", ["web", "10.80.0.2", "10.80.0.300/24 x/64", "/ /"])
def test_what_is_damaged_is_chosen_again(damaged: str) -> None:
    config: dict[str, object] = {"zone.one": damaged}
    assert len(wire(config=config).addresses) == 2


def test_a_subnet_with_addresses_of_the_host_is_refused() -> None:
    with pytest.raises(
        LauncherError, match=r"10\.80\.0\.0/16 has addresses of the host's interface 2 \(10\.80\.3\.1/24\)"
    ):
        wire(host=Host(["10.80.3.1/24"]), subnets=["10.80.0.0/16"])


@pytest.mark.parametrize(
    ("before", "gateways"),
    [
        ({"kind": "bridge", "parent": "br0", "dhcp": True}, 0),
        ({"kind": "bridge", "parent": "br0"}, 0),
        ({"kind": "bridge", "parent": "br0", "addresses": ["192.0.2.2/24"], "gateways": ["192.0.2.1"]}, 1),
        ({"kind": "bridge", "parent": "br0", "addresses": ["192.0.2.2/24"]}, 2),
        ({"kind": "zone", "parent": "first"}, 0),
    ],
)
def test_the_first_interface_that_can_be_the_way_out_is(before: dict[str, t.Any], gateways: int) -> None:
    interfaces = [{"name": "eth0", **before}, {"name": "eth1", "kind": "zone", "parent": "one"}]
    made = zones.wire("web", Network.read({"interfaces": interfaces}), {}, Host())  # type: ignore[arg-type]
    assert len(made[1].gateways) == gateways


def test_names_on_the_host_are_short_and_no_two_are_equal() -> None:
    """Not even those of long names that begin alike (N10)."""
    names = ["a" * 60 + end for end in ("1", "2", "11")]
    found = [wire(name, parent=zone) for name in names for zone in names]
    assert all(len(name) <= 15 for made in found for name in (made.host_name, made.device))
    assert len({made.host_name for made in found}) == len({made.mac for made in found}) == len(names)
    assert len({made.device for made in found}) == len(names)
    assert all(len(made.other_name) <= 127 for made in found)
    assert not any(int(made.mac[:2], 16) & 1 for made in found)


def record(name: str, *zones_of: str, **fields: t.Any) -> NetworkRecord:
    number = sum(map(ord, name)) % 200 + 2
    interfaces = [
        {"kind": "zone", "parent": zone, "addresses": [f"10.80.{len(zone)}.{number}/24"]} for zone in zones_of
    ]
    return NetworkRecord(name, {"interfaces": interfaces, **fields})


def test_a_container_knows_its_zones_by_name(tmp_path: Path) -> None:
    own, same, other = (
        record("web", "one", host_name="www.example.org"),
        record("db", "one", "three"),
        record("x", "four"),
    )
    lines = zone_names.hosts_of(own, zone_names.entries_of([own, same, other])).split("\n")
    assert lines[:2] == ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    assert lines[2].split()[1:] == ["www.example.org", "www", "web", "web.one"]
    assert lines[3].split()[1:] == ["db", "db.one"]
    assert len(lines) == 5


def test_what_is_declared_comes_first(tmp_path: Path) -> None:
    (tmp_path / "root/etc").mkdir(parents=True)
    text = "127.0.0.1 localhost\n127.0.1.1 web\n# 10.0.0.9 hidden\n10.66.0.1 DB # the old one\n10.66.0.2"
    (tmp_path / "root/etc/hosts").write_text(text)
    own = record("web", "one", system=str(tmp_path))
    lines = zone_names.hosts_of(own, zone_names.entries_of([record("db", "one"), record("hidden", "one")])).split("\n")
    assert "127.0.1.1 web" not in lines
    assert [line.split()[1:] for line in lines[4:-1]] == [["web", "web.one"], ["db.one"], ["hidden", "hidden.one"]]
