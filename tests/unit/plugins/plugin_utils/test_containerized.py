# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rules C1 to C14, each by its number."""

from __future__ import annotations

import copy
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.plugin_utils.containerized import (
    containerization_report,
    containerized_operating_system,
    essential_services,
)
from ansible_collections.unshare.container.plugins.plugin_utils.errors import DeclarationError
from ansible_collections.unshare.container.plugins.plugin_utils.registry import BUILT_IN

Server = dict[str, t.Any]
ADDED = ["dummy-networking", "nscd"]


def types(system: Server) -> list[str]:
    return [service["type"] for service in system["services"]]


def places(system: Server) -> list[str]:
    return [item["mount_point"] for item in system["file_systems"]]


def test_c1_essential_services(server: Server) -> None:
    services = essential_services(server)
    assert services[0] == {"type": "system", "value": {"locale": "C.UTF-8"}}
    names = [service["type"] for service in services]
    assert names.count("system") == 1
    assert not {"linux-bare-metal", "firmware"} & set(names)
    etc = next(service["value"] for service in services if service["type"] == "etc")
    assert {"nsswitch.conf", "resolv.conf", "services"} <= etc.keys()
    assert "hosts" in names


def test_c1_shared_network(server: Server) -> None:
    services = essential_services(server, shared_network=True)
    etc = next(service["value"] for service in services if service["type"] == "etc")
    assert not {"nsswitch.conf", "resolv.conf", "services", "hosts"} & etc.keys()
    assert "hosts" not in [service["type"] for service in services]


HIDDEN: dict[str, tuple[dict[str, t.Any], list[str], list[str]]] = {
    "cases_0_7_shared": ({"shared_network": True}, ["hosts"], ["mine.conf", "deep/hosts"]),
    "cases_0_7_own": ({}, [], ["hosts", "mine.conf", "deep/hosts"]),
    "cases_0_7_mapped": ({"mappings": ["/srv/f=/etc//hosts"]}, ["hosts"], ["mine.conf", "deep/hosts"]),
    "cases_0_7_mapped_shared": (
        {"shared_network": True, "mappings": ["/srv/f=/etc/hosts"]},
        ["hosts"],
        ["mine.conf", "deep/hosts"],
    ),
    "cases_0_7_refused": ({"mappings": ["/srv/f=/etc/mine.conf"]}, [], ["hosts", "mine.conf", "deep/hosts"]),
    "cases_0_7_kept": ({"shared_network": True, "keep_services": ["hosts"]}, [], ["hosts", "mine.conf", "deep/hosts"]),
}


@pytest.mark.parametrize("case", HIDDEN)
def test_a_declared_file_that_is_hidden_is_dropped_and_told(case: str) -> None:
    arguments, dropped, kept = HIDDEN[case]
    files = {name: {"content": "x"} for name in ("hosts", "mine.conf", "deep/hosts")}
    system = {"host_name": "web", "services": [{"type": "simple", "value": {"target": "etc", "value": files}}]}
    before = copy.deepcopy(system)
    told = containerization_report(system, **arguments)["dropped"]
    assert [entry["name"] for entry in told if entry["kind"] == "file"] == [f"/etc/{name}" for name in dropped]
    reason = "the mapping of /srv/f hides it" if "mappings" in arguments else "the host's file is shared with the net"
    assert all(entry["reason"].startswith(reason) for entry in told if entry["kind"] == "file"), told
    derived = containerized_operating_system(system, **arguments)
    (value,) = [service["value"]["value"] for service in derived["services"] if service["type"] == "simple"]
    assert sorted(value) == sorted(kept)
    shared = [item["mount_point"] for item in derived["file_systems"] if item["mount_point"] == "/etc/hosts"]
    assert bool(shared) == ("hosts" in dropped)
    assert system == before


def test_c2_always_dropped(server: Server) -> None:
    for shared in (False, True):
        names = types(containerized_operating_system(server, shared_network=shared))
        assert not {"console-font", "mingetty", "agetty"} & set(names)


@pytest.mark.parametrize("name", ["dhcp-client", "dhcpcd", "network-manager", "connman", "wicd"])
def test_c3_network_managers(name: str) -> None:
    system = {"host_name": "a", "services": [{"type": name}]}
    assert types(containerized_operating_system(system)) == [name, *ADDED]
    assert types(containerized_operating_system(system, shared_network=True)) == ADDED


def test_c3_static_networking_goes_always() -> None:
    system = {"host_name": "a", "services": [{"type": "static-networking"}]}
    for shared in (False, True):
        assert types(containerized_operating_system(system, shared_network=shared)) == ADDED


def test_c4_nscd(server: Server) -> None:
    value = containerized_operating_system(server)["services"][-1]["value"]
    assert value["debug_level"] == 2
    assert value["caches"]
    assert {cache["max_database_size"] for cache in value["caches"]} == {2**18}


def test_c5_dummy_networking(server: Server) -> None:
    for shared, provided in ((True, ["loopback", "networking"]), (False, ["loopback"])):
        service = containerized_operating_system(server, shared_network=shared)["services"][-2]
        assert service == {"type": "dummy-networking", "value": {"provision": provided}}


def test_c6_order(server: Server) -> None:
    expected = ["openssh", "static-web-server", "unit", *ADDED]
    assert types(containerized_operating_system(server, shared_network=True)) == expected


def test_c7_swap(server: Server) -> None:
    assert containerized_operating_system(server)["swap_devices"] == []


def test_c8_order(server: Server) -> None:
    extra = [{"device": "tmpfs", "mount_point": "/run/extra", "type": "tmpfs"}]
    system = containerized_operating_system(
        server, mappings=["/m", "/a=/b"], shared_network=True, extra_file_systems=extra
    )
    network = ["/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/services", "/etc/hosts"]
    assert places(system) == [*network, "/m", "/b", "/run/extra", "/srv/data", "/srv/scratch", "/"]
    assert system["file_systems"][-1] == {"device": "nothing", "mount_point": "/", "type": "dummy"}


def test_c9_file_systems_that_go(server: Server) -> None:
    assert places(containerized_operating_system(server)) == ["/srv/data", "/srv/scratch", "/"]


def test_c10_mapping(server: Server) -> None:
    first, second = containerized_operating_system(
        server, mappings=[{"source": "/a", "target": "/b"}, {"source": "/c", "writable": True}]
    )["file_systems"][:2]
    assert first == {
        "device": "/a",
        "mount_point": "/b",
        "type": "none",
        "flags": ["bind-mount", "read-only"],
        "check": False,
        "create_mount_point": True,
        "needed_for_boot": True,
    }
    assert (second["mount_point"], second["flags"]) == ("/c", ["bind-mount"])


def test_c11_network_files(server: Server) -> None:
    mounts = containerized_operating_system(server, shared_network=True)["file_systems"][:4]
    assert [item["device"] for item in mounts] == [item["mount_point"] for item in mounts]
    assert ["read-only" in item["flags"] for item in mounts] == [False, True, True, True]


def test_c13_all_else_is_inherited(server: Server) -> None:
    derived = containerized_operating_system(server)
    assert derived["kernel"] == "dummy"
    changed = {"kernel", "services", "file_systems", "swap_devices", "essential_services"}
    assert {key: server[key] for key in server.keys() - changed} == {
        key: derived[key] for key in derived.keys() - changed
    }


def test_c14_report(server: Server) -> None:
    report = containerization_report(server, mappings=["/backup=/srv/data"])
    dropped = {(entry["kind"], entry["name"]) for entry in report["dropped"]}
    assert {("service", "udev"), ("service", "ntp"), ("swap_device", "/dev/sda2")} <= dropped
    assert ("swap_device", "uuid=1234-abcd") in dropped
    assert all(entry["reason"] for entries in report.values() for entry in entries)
    assert "nscd" in [entry["name"] for entry in report["replaced"]]
    assert "/srv/data" in [entry["name"] for entry in report["replaced"]]
    worker = next(entry for entry in report["kept"] if entry["name"] == "unit")
    assert "udev" in worker["reason"]


def test_c14_keep_services(server: Server) -> None:
    kept = types(containerized_operating_system(server, keep_services=["udev", "nscd"]))
    assert "udev" in kept
    assert kept.count("nscd") == 1
    with pytest.raises(DeclarationError, match=r"keep_services\[0\].*did you mean 'udev'"):
        containerized_operating_system(server, keep_services=["udevd"])


@pytest.mark.parametrize(
    "name", ["console-font", "mingetty", "agetty", "dhcp-client", "dhcpcd", "network-manager", "connman", "wicd"]
)
def test_c2_c3_keep_services(name: str) -> None:
    system = {"host_name": "a", "services": [{"type": name}]}
    assert types(containerized_operating_system(system, shared_network=True)) == ADDED
    kept = containerized_operating_system(system, shared_network=True, keep_services=[name])
    assert types(kept) == [name, *ADDED]


@pytest.mark.parametrize("shared", [False, True])
def test_c3_keep_services_keeps_static_networking(shared: bool) -> None:
    system = {"host_name": "a", "services": [{"type": "static-networking"}]}
    kept = containerized_operating_system(system, shared_network=shared, keep_services=["static-networking"])
    assert types(kept) == ["static-networking", *ADDED]


@pytest.mark.parametrize("name", ["linux-bare-metal", "firmware", "hosts", "system"])
def test_c1_keep_services(server: Server, name: str) -> None:
    derived = containerized_operating_system(server, shared_network=True, keep_services=[name])
    services = derived["essential_services"]
    assert [service["type"] for service in services].count(name) == 1
    assert services[0] == {"type": "system", "value": {"locale": "C.UTF-8"}}


def test_c4_keep_services_keeps_an_nscd_as_it_was_declared() -> None:
    declared = {"type": "nscd", "value": {"debug_level": 3}}
    system = {"host_name": "a", "services": [declared]}
    kept = containerized_operating_system(system, keep_services=["nscd"])["services"]
    assert kept == [declared, {"type": "dummy-networking", "value": {"provision": ["loopback"]}}]


@pytest.mark.parametrize("name", sorted(name for name, kind in BUILT_IN.items() if kind.bare_metal))
def test_c14_each_bare_metal_type_says_why_and_what(name: str) -> None:
    kind = BUILT_IN[name]
    assert kind.bare_metal
    assert kind.units or kind.essential or name == "firmware"
    if not kind.essential:
        system = {"host_name": "a", "services": [{"type": name}]}
        assert types(containerized_operating_system(system)) == ADDED


@pytest.mark.parametrize("shared", [False, True])
def test_pure_and_idempotent(server: Server, shared: bool) -> None:
    before = copy.deepcopy(server)
    first = containerized_operating_system(server, mappings=["/a"], shared_network=shared)
    assert server == before
    assert first == containerized_operating_system(server, mappings=["/a"], shared_network=shared)
    again = containerized_operating_system(first, mappings=["/a"], shared_network=shared)
    assert again == first
    first["services"][0]["value"]["authorized_keys"]["alice"].append("x")
    assert server == before


@pytest.mark.parametrize(
    "mapping",
    ["/a=/", "/a=/proc", "/a=/sys/x", "/a=/dev/shm", "/a=b", "a", "/a=/b/../c", "/a/..", "/a=/b\n", "/a\0", "", "=", 3,
     None, [], {"source": "/a", "tagret": "/b"}, {"target": "/b"}],
)  # fmt: skip
def test_bad_mappings_name_their_place(server: Server, mapping: t.Any) -> None:
    with pytest.raises(DeclarationError, match=r"^mappings\[0\]"):
        containerized_operating_system(server, mappings=[mapping])


def test_duplicate_targets(server: Server) -> None:
    with pytest.raises(DeclarationError, match=r"mappings\[1\].target: '/b' is already that of mappings\[0\]"):
        containerized_operating_system(server, mappings=["/a=/b", "/c=/b/"])


@pytest.mark.parametrize("path", ["/a b", "/a#b", "/ä", "/a'b", '/a"b', "/$(id)"])
def test_unusual_paths_work(server: Server, path: str) -> None:
    mapping = {"source": path, "target": path}
    assert containerized_operating_system(server, mappings=[mapping])["file_systems"][0]["mount_point"] == path
