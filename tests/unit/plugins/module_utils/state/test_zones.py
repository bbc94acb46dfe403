# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which addresses containers get in zones."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.addresses import network_of, split_cidr
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.launcher.kinds import ContractError
from ansible_collections.unshare.container.plugins.module_utils.launcher.network_records import Network
from ansible_collections.unshare.container.plugins.module_utils.state import zones

from .zone_hosts import Host, others, remember, run, set_up, wire


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return set_up(tmp_path, monkeypatch)


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


@pytest.mark.parametrize("name", [f"c{number}" for number in range(20)])
def test_a_bridge_of_the_administrators_keeps_its_hardware_address(name: str) -> None:
    """It has the lowest one of its ports."""
    made = wire(name, kind="bridge", parent="br0")
    assert made.host_mac.startswith("fe:")
    assert made.mac != made.host_mac


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
    blocks = r"10\.0\.0\.0/8, 172\.16\.0\.0/12, 192\.168\.0\.0/16"
    with pytest.raises(
        LauncherError, match=rf"^network: zone one: this host has routes to all of {blocks}: .*\(subnets\)"
    ):
        wire(host=Host(routes=zones.BLOCKS))


def test_what_others_take_when_they_start_is_left_to_them() -> None:
    """The networks of cloud hosts, podman, Docker and libvirt."""
    assert zones.LEFT_TO_OTHERS == ("10.0.0.0/16", "10.88.0.0/15", "172.17.0.0/16", "192.168.122.0/24")


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


def test_a_kernel_without_ipv6_has_zones_of_ipv4(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered of IPv6 stays so."""
    remember(state, "first", "one", "10.80.0.2/24", "fd00::2/64")
    monkeypatch.setattr(zones, "has_ipv6", lambda: False)
    config: dict[str, object] = {"zone.one": "10.80.0.7/24 fd00::7/64"}
    made = wire(config=config)
    assert made.addresses == ["10.80.0.7/24"]
    assert made.subnets == ["10.80.0.0/24"]
    assert made.gateways == ["10.80.0.1"]
    assert config == {"zone.one": "10.80.0.7/24 fd00::7/64"}


@pytest.mark.parametrize("damaged", ["web", "10.80.0.2", "10.80.0.300/24 x/64", "/ /"])
def test_what_is_damaged_is_chosen_again(damaged: str) -> None:
    config: dict[str, object] = {"zone.one": damaged}
    assert len(wire(config=config).addresses) == 2


@pytest.mark.parametrize("damaged", ["web", "10.80.0.2", "10.80.0.300/24 x/64", "/ /", "None"])
def test_what_is_damaged_of_another_container_is_passed_over(state: Path, damaged: str) -> None:
    remember(state, "first", "one", damaged, "10.80.0.2/24", damaged)
    assert wire().addresses[0] == "10.80.0.3/24"


def test_a_subnet_with_addresses_of_the_host_is_refused() -> None:
    with pytest.raises(
        LauncherError, match=r"10\.80\.0\.0/16 has addresses of the host's interface eth0 \(10\.80\.3\.1/24\)"
    ):
        wire(host=Host(["10.80.3.1/24"]), subnets=["10.80.0.0/16"])


@pytest.mark.parametrize("interface", [{"subnets": ["10.80.0.0/24"]}, {"addresses": ["10.80.0.9/24"]}, {}])
@pytest.mark.parametrize("route", ["10.80.0.0/24", "10.80.0.128/25", "10.80.0.7/32"])
def test_a_subnet_to_which_the_host_has_another_route_is_refused(
    state: Path, route: str, interface: dict[str, t.Any]
) -> None:
    remember(state, "first", "one", "10.80.0.2/24", "fd00::2/64")
    said = rf"zone one: its subnet 10\.80\.0\.0/24 has addresses to which the host has another route \({route}\)"
    with pytest.raises(LauncherError, match=said):
        wire(host=Host(routes=[route]), **interface)
    wire(host=Host(routes=["10.80.0.0/16", "10.80.1.0/24"]), **interface)


def test_a_remembered_subnet_of_which_the_host_has_an_address_by_now_is_refused(state: Path) -> None:
    remember(state, "first", "one", "10.80.0.2/24", "fd00::2/64")
    with pytest.raises(LauncherError, match=r"its subnet 10\.80\.0\.0/24 .*host's interface eth0 \(10\.80\.0\.20/24\)"):
        wire(host=Host(["10.80.0.20/24"]))


@pytest.mark.parametrize("route", ["fd00::/8", "fc00::/7"])
def test_a_host_with_routes_to_all_of_ipv6_has_no_room(route: str) -> None:
    with pytest.raises(LauncherError, match=r"zone one: this host has routes to all of fd00::/8.*\(subnets\)"):
        wire(host=Host(routes=[route]))
    assert wire(host=Host(routes=[route]), subnets=["fd01::/64"]).addresses[1] == "fd01::2/64"


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
    made = zones.wire("web", Network.read({"interfaces": interfaces}), {}, Host(), others("web"))  # type: ignore[arg-type]
    assert len(made[1].gateways) == gateways


def test_the_subnet_of_a_zone_is_that_of_its_running_containers(state: Path) -> None:
    remember(state, "stopped", "one", "10.80.0.2/24", "fd00::2/64")
    run(state, "first", "one", "10.90.0.2/24", "fd09::2/64")
    run(state, "lan", "one", "10.91.0.2/24", kind="bridge")
    run(state, "ended", "one", "10.92.0.2/24", host_name="gone")
    config: dict[str, object] = {"zone.one": "10.80.0.3/24 fd00::3/64"}
    made = wire(config=config)
    assert made.addresses == ["10.90.0.3/24", "fd09::3/64"]
    assert made.subnets == ["10.90.0.0/24", "fd09::/64"]


def test_two_subnets_of_a_zone_that_runs_are_refused(state: Path) -> None:
    run(state, "first", "one", "10.90.0.2/24", "fd09::2/64")
    with pytest.raises(LauncherError) as caught:
        wire(subnets=["10.80.0.0/24"])
    assert str(caught.value) == (
        "network: zone one: its subnet is 10.90.0.0/24, by the running container first, and not 10.80.0.0/24: declare "
        "one for all containers of the zone, and stop those that run before it changes"
    )
    with pytest.raises(LauncherError, match=r"its subnet is fd09::/64, .* and not fd08::/64"):
        wire(addresses=["fd08::5/64"])
    assert wire(subnets=["10.90.0.0/24"], addresses=["fd09::5/64"]).addresses == ["10.90.0.3/24", "fd09::5/64"]


@pytest.mark.parametrize("how", [remember, run])
def test_a_subnet_that_meets_that_of_another_zone_is_refused(state: Path, how: t.Callable[..., None]) -> None:
    how(state, "first", "two", "10.80.5.2/24", "fd00::2/64")
    with pytest.raises(LauncherError) as caught:
        wire(subnets=["10.80.0.0/16"])
    assert str(caught.value) == (
        "network: zone one: its subnet 10.80.0.0/16 has addresses of zone two (container first): choose another"
    )
    assert wire(subnets=["10.81.0.0/16"]).addresses[0] == "10.81.0.2/16"


def test_what_the_container_has_itself_is_nobody_elses(state: Path) -> None:
    remember(state, "web", "one", "10.80.0.2/24", "fd00::2/64")
    run(state, "web", "one", "10.80.0.2/24", "fd00::2/64")
    config: dict[str, object] = {"zone.one": "10.80.0.2/24 fd00::2/64", "machine_id": "10.80.0.3/24"}
    assert wire(config=config).addresses == ["10.80.0.2/24", "fd00::2/64"]
    (state / "state/containers/other").mkdir()
    (state / "state/containers/other/config.json").write_text('{"machine_id": "10.80.0.3/24", "uid_base": 65536}')
    assert wire(addresses=["10.80.0.3/24"]).addresses[0] == "10.80.0.3/24"


def test_all_others_count_whatever_their_names(state: Path) -> None:
    for number, name in enumerate(("b", "a", "c"), 2):
        remember(state, name, "one", f"10.80.0.{number}/24", f"fd00::{number}/64")
    assert wire("a").addresses == ["10.80.0.3/24", "fd00::3/64"]
    assert wire("c", addresses=["10.80.0.4/24"]).addresses[0] == "10.80.0.4/24"
    with pytest.raises(LauncherError, match="is that of container c"):
        wire("a", addresses=["10.80.0.4/24"])


def test_the_addresses_of_the_zones_own_bridge_are_no_hosts() -> None:
    given: dict[str, t.Any] = {"subnets": ["10.80.0.0/24"]}
    assert wire(host=Host(["10.80.0.1/24"], name=zones.bridge_name("one")), **given).subnets[0] == "10.80.0.0/24"
    with pytest.raises(LauncherError, match=r"of the host's interface eth7 \(10\.80\.0\.1/24\): choose another"):
        wire(host=Host(["10.80.0.1/24"], name="eth7"), **given)
    gone = Host(["10.80.0.1/24"], routes=["10.80.0.0/24"], name=None)
    assert wire(host=gone, **given).subnets[0] == "10.80.0.0/24"


def test_a_route_by_several_links_is_the_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Host, "routes", lambda _host: [(0, network_of("10.80.0.0/24"))])
    with pytest.raises(LauncherError, match=r"to which the host has another route \(10\.80\.0\.0/24\)"):
        wire(subnets=["10.80.0.0/24"])


def test_what_runs_counts_before_what_is_remembered(state: Path) -> None:
    """Most containers remember what they have; one whose file was restored remembers what another one has by now."""
    for put in (remember, run):
        put(state, "first", "one", "10.80.0.2/24", "fd00::2/64")
    remember(state, "old", "one", "10.80.0.2/16")
    with pytest.raises(LauncherError, match="by the running container first"):
        wire(subnets=["10.90.0.0/24"])
    with pytest.raises(LauncherError, match="is that of container first"):
        wire(addresses=["10.80.0.2/24"])


def test_what_a_running_container_has_is_not_passed_over(state: Path) -> None:
    run(state, "first", "one", "junk/24")
    with pytest.raises(ContractError, match="'junk' is no IPv4 or IPv6 address"):
        wire()


def test_a_full_subnet_has_had_an_address_for_each(state: Path) -> None:
    for number in range(2, 6):
        remember(state, f"c{number}", "one", f"10.80.0.{number}/29", f"fd00::{number}/125")
    assert wire().addresses == ["10.80.0.6/29", "fd00::6/125"]
    remember(state, "c6", "one", "10.80.0.6/29", "fd00::6/125")
    with pytest.raises(LauncherError) as caught:
        wire()
    assert str(caught.value) == (
        "network: zone one: its subnet 10.80.0.0/29 has no free address of IPv4: 5 containers have one; remove some, "
        "or declare a larger subnet for the zone (subnets)"
    )


def test_what_is_routed_has_the_host_as_its_way_out() -> None:
    addresses = ["203.0.113.5/32", "203.0.113.6/32", "2001:db8::5/128"]
    made = wire(kind="routed", parent="", addresses=addresses)
    assert sorted(made.gateways) == ["169.254.1.1", "fe80::1"]
    assert (made.addresses, made.device, made.subnets) == (addresses, "", [])
    assert wire(kind="routed", parent="", addresses=addresses[:1]).gateways == ["169.254.1.1"]
    both = [
        {"kind": "bridge", "parent": "br0", "name": "eth0", "addresses": ["192.0.2.2/24"], "gateways": ["192.0.2.1"]},
        {"kind": "routed", "name": "eth1", "addresses": addresses},
    ]
    made = zones.wire("web", Network.read({"interfaces": both}), {}, Host(), others("web"))[1]  # type: ignore[arg-type]
    assert made.gateways == ["fe80::1"]
