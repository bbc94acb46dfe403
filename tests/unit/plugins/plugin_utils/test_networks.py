# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container's network: what is read of each spelling (N1, N2), and what follows from it for the system (N13).

What is refused has golden outputs, `refusals/networks.yml` and `refusals/networks_of_host.yml`.
"""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.contract import Specification
from ansible_collections.unshare.container.plugins.plugin_utils.containerized import (
    Derivation,
    containerization_report,
    essential_services,
)
from ansible_collections.unshare.container.plugins.plugin_utils.declared_containers import (
    DerivedSystems,
    declared_containers,
    refuse_shared,
)
from ansible_collections.unshare.container.plugins.plugin_utils.networks import NetworkChoice, read_network
from ansible_collections.unshare.container.plugins.plugin_utils.services import networking
from ansible_collections.unshare.container.plugins.plugin_utils.system_files import system_files

DHCLIENT = "-d -lf /var/lib/dhcp-client/dhclient.leases -pf /run/dhclient.pid"
DHCPCD = "--nobackground --option=domain_name_servers,domain_name,domain_search,classless_static_routes,interface_mtu"
ZONE = {"kind": "zone", "parent": "web", "name": "eth0"}
MODES: list[tuple[t.Any, bool, bool]] = [
    (None, False, False),
    (None, True, True),
    ("none", False, False),
    ("host", False, True),
    ("host", True, True),
]


def derived(network: t.Any = None, services: t.Any = (), **arguments: t.Any) -> Derivation:
    declared = {"host_name": "a", "services": [{"type": item} if isinstance(item, str) else item for item in services]}
    return Derivation(declared, network=network, **arguments)


def rendered(network: t.Any = None, services: t.Any = (), **arguments: t.Any) -> dict[str, t.Any]:
    return system_files(derived(network, services, **arguments).system.to_mapping(), network=network, **arguments)


@pytest.mark.parametrize(("network", "shared_network", "shared"), MODES)
def test_n1_a_loopback_or_the_hosts_network(network: t.Any, shared_network: bool, shared: bool) -> None:
    assert read_network(network, shared_network) == NetworkChoice(shared=shared)


@pytest.mark.parametrize(
    ("network", "records"),
    [
        ({"zone": "web"}, [ZONE]),
        ({"zone": {"name": "web"}}, [ZONE]),
        (
            {"zone": {"name": "web", "subnets": ["10.80.0.0/24", "FD00:0::/64"]}, "addresses": ["10.80.0.7/24"]},
            [{**ZONE, "subnets": ["10.80.0.0/24", "fd00::/64"], "addresses": ["10.80.0.7/24"]}],
        ),
        (
            {"bridge": "br0", "addresses": ["192.0.2.5/24", "fd00::5/64"], "gateway": ["192.0.2.1", "fe80::1"]},
            [
                {
                    "kind": "bridge",
                    "parent": "br0",
                    "name": "eth0",
                    "addresses": ["192.0.2.5/24", "fd00::5/64"],
                    "gateways": ["192.0.2.1", "fe80::1"],
                }
            ],
        ),
        (
            {"routed": True, "addresses": ["192.0.2.5/32"], "host_access": True},
            [{"kind": "routed", "name": "eth0", "addresses": ["192.0.2.5/32"]}],
        ),
        (
            {"macvlan": "eno1", "mac": "02-00-5E-10-00-01", "mtu": 1400, "name": "lan", "dhcp": False},
            [{"kind": "macvlan", "parent": "eno1", "name": "lan", "mac": "02:00:5e:10:00:01", "mtu": 1400}],
        ),
        ({"ipvlan": "eno1", "dhcp": "yes"}, [{"kind": "ipvlan", "parent": "eno1", "name": "eth0", "dhcp": True}]),
        ({"physical": "eno2", "routed": False}, [{"kind": "physical", "parent": "eno2", "name": "eth0"}]),
        ([{"zone": "web"}, {"physical": "eno2"}], [ZONE, {"kind": "physical", "parent": "eno2", "name": "eth1"}]),
        (
            {"interfaces": [{"zone": "web"}, {"bridge": "br0", "gateway": None}], "host_access": True},
            [ZONE, {"kind": "bridge", "parent": "br0", "name": "eth1"}],
        ),
        (
            {"bridge": "br0", "addresses": ["192.0.2.5/24"], "gateway": "192.0.2.1"},
            [
                {
                    "kind": "bridge",
                    "parent": "br0",
                    "name": "eth0",
                    "addresses": ["192.0.2.5/24"],
                    "gateways": ["192.0.2.1"],
                }
            ],
        ),
    ],
)
def test_n2_interfaces(network: t.Any, records: list[dict[str, t.Any]]) -> None:
    choice = read_network(network)
    assert not choice.shared
    assert choice.own is not None
    assert [item.write() for item in choice.interfaces] == records
    assert choice.own.host_access == (isinstance(network, dict) and network.get("host_access", False))
    spec = rendered(network, ["dhcpcd"])["spec"]
    left = choice.left_to_client()
    assert left.own is not None
    assert spec["network"] == left.own.write()
    assert "shared_network" not in spec
    assert Specification.read(spec).network == left.own


def test_n1_the_two_words_for_the_hosts_network_are_one() -> None:
    services = ["dhcpcd", "static-web-server"]
    assert rendered("host", services) == rendered(None, services, shared_network=True)
    assert rendered("none", services) == rendered(None, services)
    declared = {"host_name": "a", "services": [{"type": name} for name in services]}
    assert containerization_report(declared, network="host") == containerization_report(declared, shared_network=True)
    for network in ("none", {"zone": "web"}):
        assert essential_services(declared, network=network) == essential_services(declared)
    assert essential_services(declared, network="host") == essential_services(declared, shared_network=True)


@pytest.mark.parametrize("client", networking.CLIENTS)
@pytest.mark.parametrize(
    ("network", "kept", "loopback_alone"),
    [
        ("none", True, True),
        ("host", False, False),
        ({"zone": "web"}, True, True),
        ({"routed": True, "addresses": ["192.0.2.5/32"]}, True, True),
        ({"bridge": "br0"}, True, True),
        ({"macvlan": "eno1", "dhcp": True}, True, True),
    ],
)
def test_n13_a_client_goes_with_the_hosts_network_alone(
    client: str, network: t.Any, kept: bool, loopback_alone: bool
) -> None:
    """What it sets up, it provides by itself: two that provide one name would be an error."""
    services = {item.type: item.value for item in derived(network, [client]).system.services}
    assert (client in services) == kept
    assert services["dummy-networking"]["provision"] == (["loopback"] if loopback_alone else ["loopback", "networking"])
    assert rendered(network, [client])["files"]


@pytest.mark.parametrize("network", ["host", {"zone": "web"}, {"bridge": "br0", "addresses": ["192.0.2.5/24"]}])
def test_n3_the_network_is_there_for_who_requires_it(network: t.Any) -> None:
    value = {"name": "late", "sections": {"Service": {"ExecStart": "/bin/true"}}, "requirement": ["networking"]}
    made = rendered(network, [{"type": "unit", "value": value}])
    unit = made["files"]["/etc/systemd/system/late.service"]["content"]
    assert "Requires=dummy-networking.target\n" in unit
    made = rendered("none", [{"type": "unit", "value": value}])
    assert "Requires" not in made["files"]["/etc/systemd/system/late.service"]["content"]


@pytest.mark.parametrize(
    ("network", "client", "command"),
    [
        ("none", "dhcpcd", f"/usr/sbin/dhcpcd {DHCPCD}"),
        ({"zone": "web"}, "dhcpcd", f"/usr/sbin/dhcpcd {DHCPCD}"),
        ({"bridge": "br0"}, "dhcpcd", f"/usr/sbin/dhcpcd {DHCPCD} eth0"),
        (
            [{"zone": "a"}, {"bridge": "b"}, {"physical": "c", "name": "lan"}],
            "dhcp-client",
            f"/usr/sbin/dhclient {DHCLIENT} eth1 lan",
        ),
        ({"bridge": "br0", "addresses": ["192.0.2.5/24"]}, "dhcp-client", f"/usr/sbin/dhclient {DHCLIENT}"),
        (
            {"bridge": "br0", "addresses": ["fd00::5/64"], "dhcp": True},
            "dhcp-client",
            f"/usr/sbin/dhclient {DHCLIENT} eth0",
        ),
        ({"bridge": "br0"}, "network-manager", "/usr/sbin/NetworkManager --no-daemon"),
        (
            [{"zone": "a"}, {"bridge": "b"}, {"physical": "c", "name": "lan"}],
            "connman",
            "/usr/sbin/connmand -n -i eth1,lan",
        ),
        ({"zone": "web"}, "connman", "/usr/sbin/connmand -n -i lo"),
    ],
)
def test_n13_a_client_has_the_interfaces_that_are_left_to_it(network: t.Any, client: str, command: str) -> None:
    """And the program and the package of a client are needed where there is such an interface."""
    made = rendered(network, [client])
    assert f"ExecStart={command}\n" in made["files"][f"/etc/systemd/system/{client}.service"]["content"]
    needed = bool(read_network(network).for_clients)
    assert (command.split()[0] in [item["program"] for item in made["programs"]]) == needed
    packages = networking.DEBIAN.of(client).packages
    assert set(packages) <= set(made["packages"]) if needed else not set(packages) & set(made["packages"])


@pytest.mark.parametrize(
    ("network", "needed"),
    [
        ("none", False),
        ("host", False),
        ({"zone": "web"}, True),
        ({"bridge": "br0"}, True),
        ({"macvlan": "eno1", "dhcp": True}, False),
        ([{"macvlan": "eno1", "dhcp": True}, {"zone": "web"}], True),
    ],
)
def test_n8_the_packet_filter_is_among_the_packages_that_the_host_needs(network: t.Any, needed: bool) -> None:
    assert ("nftables" in rendered(network, ["dhcp-client"])["packages"]) == needed


@pytest.mark.parametrize("types", [["dhcp-client"], []])
def test_n13_the_target_is_told_which_interfaces_a_client_configures(types: list[str]) -> None:
    """Whether they were given to it by word, or by having no address; without a client none is."""
    network = [{"bridge": "a"}, {"bridge": "b", "addresses": ["192.0.2.5/24"]}, {"zone": "c"}]
    interfaces = rendered(network, types)["spec"]["network"]["interfaces"]
    assert [item.get("dhcp", False) for item in interfaces] == [bool(types), False, False]


@pytest.mark.parametrize(
    ("client", "speaks"), [("dhcp-client", False), ("dhcpcd", False), ("network-manager", True), ("connman", True)]
)
@pytest.mark.parametrize(
    ("network", "left"), [("none", False), ({"zone": "web"}, False), ({"bridge": "br0"}, True), ("host", False)]
)
def test_n13_a_client_that_speaks_over_the_bus_has_one(client: str, speaks: bool, network: t.Any, left: bool) -> None:
    """Where an interface is left to it; elsewhere it brings no program that the host would need for nothing."""
    made = rendered(network, [client])
    has = speaks and left
    assert ("/etc/systemd/system/dbus.socket" in made["files"]) == has
    assert ("/usr/bin/dbus-daemon" in [item["program"] for item in made["programs"]]) == has
    assert ("dbus" in made["packages"]) == has


def test_n12_the_ports_of_services_are_the_hosts_with_its_network_alone() -> None:
    services = [{"type": "static-web-server", "value": {"port": 80}}]
    assert [port["number"] for port in rendered("host", services)["spec"]["ports"]] == [80]
    for network in ("none", {"zone": "web"}):
        assert "ports" not in rendered(network, services)["spec"]


TOGETHER: list[dict[str, t.Any]] = [
    {"a": {"network": {"zone": "z"}}, "b": {"network": {"zone": "z"}}},
    {
        "a": {"network": {"zone": {"name": "z", "subnets": ["10.80.0.0/24"]}}},
        "b": {"network": {"zone": {"name": "z", "subnets": ["10.80.0.0/24", "fd00::/64"]}}},
        "c": {"network": {"zone": {"name": "y", "subnets": ["10.80.1.0/24"]}}},
        "d": {"network": [{"zone": "y", "addresses": ["10.80.1.5/24"]}, {"zone": "z", "addresses": ["10.80.0.5/24"]}]},
    },
    {
        "a": {"network": {"bridge": "one", "addresses": ["192.0.2.5/24"]}},
        "b": {"network": {"bridge": "two", "addresses": ["192.0.2.5/24"]}},
        "c": {"network": {"bridge": "two", "addresses": ["192.0.2.6/24"]}},
    },
    {
        "a": {"network": {"macvlan": "eno1"}},
        "b": {"network": {"macvlan": "eno1"}},
        "c": {"network": {"ipvlan": "eno2"}},
    },
    {"a": {"network": {"physical": "eno1"}}, "b": {"network": {"physical": "eno2"}}},
    {"a": {"network": {"zone": "eno1"}}, "b": {"network": {"physical": "eno1"}}},
    {
        "a": {"network": {"zone": "z"}, "ports": ["80:80", "127.0.0.1:53:53/udp"]},
        "b": {"network": {"zone": "z"}, "ports": ["81:80", "80:80/udp", "127.0.0.2:53:53/udp"]},
    },
    # One that is not to run wants nothing.
    {
        "a": {"network": {"zone": "z"}, "ports": ["80:80"]},
        "b": {"network": {"zone": "z"}, "ports": ["80:80"], "state": "stopped"},
    },
    {
        "a": {"network": {"zone": "z"}, "ports": ["80:80"]},
        "b": {"network": {"zone": "z"}, "ports": ["80:80"], "state": "absent"},
    },
]


@pytest.mark.parametrize("containers", TOGETHER)
def test_containers_of_one_host_go_together(containers: dict[str, t.Any], tmp_path: t.Any) -> None:
    given = {name: {"operating_system": {"host_name": name}, **entry} for name, entry in containers.items()}
    refuse_shared(declared_containers(given), DerivedSystems(str(tmp_path)))
