# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a derivation and the records decide, each decision in a table (C1 to C14; see also the golden outputs)."""

from __future__ import annotations

import sys
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.plugin_utils.containerized import Derivation, essential_services
from ansible_collections.unshare.container.plugins.plugin_utils.essential_services import (
    container_essential_services,
    default_essential_services,
)
from ansible_collections.unshare.container.plugins.plugin_utils.fold import fold
from ansible_collections.unshare.container.plugins.plugin_utils.mappings import bind_mount, file_system_mapping
from ansible_collections.unshare.container.plugins.plugin_utils.modify import modify_services
from ansible_collections.unshare.container.plugins.plugin_utils.operating_system import operating_system
from ansible_collections.unshare.container.plugins.plugin_utils.records import (
    FileSystem,
    FileSystemMapping,
)
from ansible_collections.unshare.container.plugins.plugin_utils.registry import BUILT_IN
from ansible_collections.unshare.container.plugins.plugin_utils.stores import store_mapping

Fields = dict[str, t.Any]


def derive(services: t.Any = (), **arguments: t.Any) -> Derivation:
    declared = {"host_name": "a", "services": [{"type": s} if isinstance(s, str) else s for s in services]}
    return Derivation(declared, **arguments)


def reasons(derivation: Derivation, kind: str = "service") -> dict[str, list[str]]:
    """Return what the report says of services: the verb and the reason, by name."""
    return {
        entry["name"]: [verb, entry["reason"]]
        for verb in ("kept", "dropped", "replaced", "added")
        for entry in getattr(derivation.report, verb)
        if entry["kind"] == kind
    }


SHARED = "the network is shared with the host, which sets it up"
OWN = "its addresses are those of the host's devices; the container's network is its own"
ANEW = "caches small enough for many containers on one host"
AGETTY = BUILT_IN["agetty"].bare_metal
THERE = "the network is there before the container starts"


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("nginx", {}, ["kept", "runs in a container"]),
        ("agetty", {}, ["dropped", AGETTY]),
        ("agetty", {"keep_services": ["agetty"]}, ["kept", "brought back by keep_services"]),
        ("dhcpcd", {}, ["kept", "runs in a container"]),
        ("dhcpcd", {"shared_network": True}, ["dropped", SHARED]),
        ("dhcpcd", {"shared_network": "yes", "keep_services": ("dhcpcd",)}, ["kept", "brought back by keep_services"]),
        ("static-networking", {}, ["dropped", OWN]),
        ("static-networking", {"shared_network": True}, ["dropped", SHARED]),
        ("nscd", {}, ["replaced", ANEW]),
        ("nscd", {"keep_services": ["nscd"]}, ["kept", "brought back by keep_services"]),
        ("dummy-networking", {}, ["replaced", THERE]),
    ],
)
def test_c2_c3_c4_c5_what_becomes_of_a_service(name: str, arguments: Fields, told: list[str]) -> None:
    assert reasons(derive([name], **arguments))[name] == told


@pytest.mark.parametrize(
    ("target", "arguments", "told"),
    [
        ("etc", {}, ["kept", "runs in a container"]),
        ("udev", {}, ["dropped", "it adds to 'udev': devices belong to the host, whose udev manages them"]),
        ("udev", {"keep_services": ["udev"]}, ["kept", "runs in a container"]),
        ("dhcpcd", {"shared_network": True}, ["dropped", f"it adds to 'dhcpcd': {SHARED}"]),
        ("nscd", {}, ["kept", "runs in a container"]),
        ("hosts", {}, ["kept", "runs in a container"]),
        ("hosts", {"shared_network": True}, ["dropped", f"it adds to 'hosts': {SHARED}"]),
        ("hosts", {"shared_network": True, "keep_services": ["hosts"]}, ["kept", "runs in a container"]),
        (5, {}, ["kept", "runs in a container"]),
    ],
)
def test_what_is_added_to_a_service_goes_with_it(target: t.Any, arguments: Fields, told: list[str]) -> None:
    assert reasons(derive([{"type": "simple", "value": {"target": target}}], **arguments))["simple"] == told


@pytest.mark.parametrize(
    ("requirement", "arguments", "by_host"),
    [
        ([], {}, ""),
        ("udev", {}, ""),
        (["udev", 5, "nginx"], {}, "udev"),
        (["udev", "ntpd"], {}, "udev, ntpd"),
        (["udev"], {"keep_services": ["udev"]}, ""),
        (["networking", "loopback"], {}, "networking"),
        (["networking", "loopback"], {"shared_network": True}, ""),
    ],
)
def test_c14_what_a_kept_service_requires_of_the_host(requirement: t.Any, arguments: Fields, by_host: str) -> None:
    unit = {"type": "unit", "value": {"requirement": requirement}}
    told = reasons(derive(["udev", unit], **arguments))["unit"]
    said = f"runs in a container; what it requires is met by the host: {by_host}" if by_host else "runs in a container"
    assert told == ["kept", said]


@pytest.mark.parametrize(
    ("shared", "provision"), [(False, ["loopback"]), (True, ["loopback", "networking"])], ids=["private", "shared"]
)
def test_c4_c5_c6_what_is_added_comes_last(shared: bool, provision: list[str]) -> None:
    derivation = derive([{"type": "nscd", "value": {"debug_level": 1}}, "nginx"], shared_network=shared)
    services = [(service.type, service.value) for service in derivation.system.services]
    assert services[:2] == [("nginx", None), ("dummy-networking", {"provision": provision})]
    kind, value = services[2]
    assert (kind, value["debug_level"]) == ("nscd", 1)
    assert {cache["database"]: cache["max_database_size"] for cache in value["caches"]} == {
        "hosts": 262144,
        "services": 262144,
    }
    assert reasons(derivation) == {
        "nginx": ["kept", "runs in a container"],
        "dummy-networking": ["added", THERE],
        "nscd": ["replaced", ANEW],
    }


@pytest.mark.parametrize(
    ("kernel", "told"),
    [(None, {}), ("dummy", {}), ("linux", {"linux": "a container runs on the host's kernel; its own is a dummy"})],
)
def test_c13_a_kernel_is_a_dummy(kernel: t.Any, told: dict[str, str]) -> None:
    derivation = Derivation({"host_name": "a", "kernel": kernel})
    assert derivation.system.kernel == "dummy"
    assert {name: reason for name, (_verb, reason) in reasons(derivation, "kernel").items()} == told


@pytest.mark.parametrize(
    ("fields", "store", "reason"),
    [
        ({"mount_point": "/usr/"}, "/usr", "the store is shared by the host"),
        ({"mount_point": "/usr"}, "/gnu/store", None),
        ({"mount_point": "/gnu/store"}, "/gnu/store", "the store is shared by the host"),
        ({"mount_point": "/"}, "/usr", "the container's root is its own"),
        ({"mount_point": "/a", "device": "/dev/sda1"}, "/usr", "its device belongs to the host"),
        ({"mount_point": "/a", "device": "/devices"}, "/usr", None),
        ({"mount_point": "/a", "device": {"uuid": "/dev/x"}}, "/usr", None),
        ({"mount_point": "/dev/x"}, "/usr", "the container makes its own /dev"),
        ({"mount_point": "/sys/x"}, "/usr", "the container makes its own /sys"),
        ({"mount_point": "/sysx"}, "/usr", None),
        ({"mount_point": "/dev"}, "/usr", None),
        ({"mount_point": "/dev/shm", "type": "tmpfs"}, "/usr", None),
        ({"mount_point": "/dev/shm"}, "/usr", "the container makes its own /dev"),
    ],
)
def test_c9_file_systems_that_go(fields: Fields, store: str, reason: str | None) -> None:
    item = FileSystem.from_mapping({"device": "x", "type": "ext4", **fields}, "x")
    assert derive(store=store).reason_to_leave(item) == reason


@pytest.mark.parametrize(
    ("fields", "mounted"),
    [
        ({"needed_for_boot": True}, True),
        ({}, False),
        ({"mount_may_fail": True}, False),
        ({"needed_for_boot": True, "mount": False}, False),
        ({"type": "tmpfs"}, True),
        ({"type": "tmpfs", "mount": False}, False),
        ({"type": "tmpfs", "mount_may_fail": True}, True),
        ({"type": "tmpfs", "needed_for_boot": True}, True),
        ({"type": "tmpfs", "mount_point": "/"}, False),
        ({"type": "tmpfs", "mount_point": "/run/"}, False),
        ({"type": "tmpfs", "mount_point": "/run", "needed_for_boot": True}, False),
        ({"type": "tmpfs", "mount_point": "/run/", "options": "size=10m"}, True),
        ({"type": "tmpfs", "mount_point": "/dev", "options": "size=10m"}, False),
        ({"type": "proc", "mount_point": "/proc", "needed_for_boot": True}, False),
    ],
)
def test_s2_what_is_mounted(fields: Fields, mounted: bool) -> None:
    item = FileSystem.from_mapping({"device": "x", "mount_point": "/a", "type": "ext4", **fields}, "x")
    assert item.mounted_at_start == mounted


@pytest.mark.parametrize(
    ("value", "source", "target"),
    [
        ("/usr", "/usr", "/usr"),
        ("/srv/tree/usr", "/srv/tree/usr", "/usr"),
        ("/gnu/store", "/gnu/store", "/gnu/store"),
        ("/a=/b", "/a", "/b"),
        ("/a=/x/usr", "/a", "/x/usr"),
        ({"source": "/a/usr"}, "/a/usr", "/a/usr"),
        ({"source": "/a/", "target": "//b"}, "/a/", "/b"),
    ],
)
def test_the_place_of_the_store(value: t.Any, source: str, target: str) -> None:
    mapping = store_mapping(value)
    assert (mapping.source, mapping.place) == (source, target)


@pytest.mark.parametrize(
    ("value", "result"),
    [
        ("/a", {"device": "/a", "mount_point": "/a", "flags": ["bind-mount", "read-only"]}),
        ("/a=/b=c", {"device": "/a", "mount_point": "/b=c", "flags": ["bind-mount", "read-only"]}),
        ({"source": "/a//", "target": "/b/."},
         {"device": "/a", "mount_point": "/b", "flags": ["bind-mount", "read-only"]}),
        ({"source": "/a", "writable": True}, {"device": "/a", "mount_point": "/a", "flags": ["bind-mount"]}),
        ({"source": "/a", "required": True},
         {"device": "/a", "mount_point": "/a", "flags": ["bind-mount", "read-only"], "required": True}),
    ],
)  # fmt: skip
def test_c10_a_mapping_as_a_file_system(value: t.Any, result: Fields) -> None:
    # What the target does not read of it need not be there.
    found = bind_mount(value)
    assert {key: found[key] for key in result} == result
    assert found["type"] == "none"
    assert found["needed_for_boot"] is True


def test_a_mapping_as_text_and_back() -> None:
    assert file_system_mapping("/a=/b", "yes") == {"source": "/a", "target": "/b", "writable": True}
    assert FileSystemMapping.from_mapping({"source": "/a"}, "x").to_mapping() == {"source": "/a"}
    replaced = FileSystemMapping.from_mapping({"source": "/a"}, "x").replacing(writable=False)
    assert replaced.to_mapping() == {"source": "/a", "writable": False}


@pytest.mark.parametrize(
    ("value", "said"), [(5, "a number"), ([], "a list"), ({}, "a mapping"), (None, "null"), (True, "a boolean")]
)
def test_what_is_no_text_of_a_mapping_is_named(value: t.Any, said: str) -> None:
    with pytest.raises(ValueError) as error:
        file_system_mapping(value)
    assert str(error.value) == f"mapping: must be SOURCE[=TARGET], not {said}"


@pytest.mark.parametrize(
    ("select", "action", "value", "result"),
    [
        ({"type": "b"}, "delete", None, [("a", None), ("c", {"p": 1})]),
        ({"type": "a"}, "replace", None, [("a", None), ("b", {"q": {"r": 1}}), ("c", {"p": 1})]),
        ({"type": "a"}, "merge", {"x": 1}, [("a", {"x": 1}), ("b", {"q": {"r": 1}}), ("c", {"p": 1})]),
        ({"type": "b"}, "merge", {"q": {"s": 2}, "t": {}},
         [("a", None), ("b", {"q": {"r": 1, "s": 2}, "t": {}}), ("c", {"p": 1})]),
        ({"type": "b"}, "merge", {"q": 5}, [("a", None), ("b", {"q": 5}), ("c", {"p": 1})]),
        ({"query": "[?value.p]"}, "delete", None, [("a", None), ("b", {"q": {"r": 1}})]),
        ({"query": "value"}, "delete", None, [("a", None)]),
        ({"query": "[-1]"}, "replace", 0, [("a", None), ("b", {"q": {"r": 1}}), ("c", 0)]),
    ],
)  # fmt: skip
def test_changes_of_services(select: Fields, action: str, value: t.Any, result: list[t.Any]) -> None:
    services = [{"type": "a"}, {"type": "b", "value": {"q": {"r": 1}}}, {"type": "c", "value": {"p": 1}}]
    change = {"select": select, "action": action, **({} if action == "delete" else {"value": value})}
    found = modify_services(services, [change])
    assert [(service["type"], service.get("value")) for service in found] == result


@pytest.mark.parametrize(("empty", "selected"), [("", 0), ([], 0), ({}, 0), (False, 0), (None, 0), (0, 1), ("a", 1)])
def test_truth_as_in_jmespath(empty: t.Any, selected: int) -> None:
    services = [{"type": "a", "value": empty}]
    change = {"select": {"query": "value"}, "action": "delete", "required": False}
    assert len(modify_services(services, [change])) == 1 - selected


@pytest.mark.parametrize(
    ("types", "message"),
    [
        ([], "{}: a service of type 'system' is missing"),
        (["system", "system", "etc"], "{}[2]: adds to 'system', of which there are several: {}[0] and {}[1]"),
    ],
)
def test_there_is_one_system(types: list[str], message: str) -> None:
    message = message.replace("{}", "operating_system.essential_services")
    system = operating_system({"host_name": "a", "essential_services": [{"type": name} for name in types]})
    with pytest.raises(ValueError) as error:
        fold(system, system.essential_services or ())
    assert str(error.value) == message


def test_what_is_derived_already_is_taken_as_it_is() -> None:
    first = derive(["agetty", "nginx"])
    again = Derivation(first.system.to_mapping())
    assert again.system.to_mapping() == first.system.to_mapping()
    assert {entry["kind"] for entry in again.report.dropped} == {"essential_service"}
    assert reasons(again, "file_system") == {}


def test_a_network_of_which_nothing_is_said_is_the_containers_own() -> None:
    assert derive(shared_network=None).shared_network is False


def test_a_query_needs_jmespath(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jmespath", None)
    change = {"select": {"query": "[0]"}, "action": "delete"}
    with pytest.raises(ValueError) as error:
        modify_services([{"type": "a"}], [change])
    assert str(error.value) == "changes[0].select.query: needs the Python library jmespath on the controller"


def test_c1_what_a_machine_has_and_its_container_does_not() -> None:
    machine = operating_system(
        {"host_name": "a", "kernel": "linux", "kernel_arguments": ["quiet"], "initrd_modules": ["ahci"],
         "firmware": ["fw"], "locale": "C"}
    )  # fmt: skip
    kernel = {"kernel": "linux", "arguments": ["quiet"]}
    services = {service.type: service.value for service in default_essential_services(machine)}
    assert services["system"] == {"locale": "C", **kernel}
    assert services["linux-bare-metal"] == {**kernel, "initrd_modules": ["ahci"]}
    assert services["firmware"] == ["fw"]
    inside = container_essential_services(machine, shared_network=False)
    assert (inside[0].type, inside[0].value) == ("system", {"locale": "C"})
    assert set(services) - {service.type for service in inside} == {"linux-bare-metal", "firmware"}
    kept = container_essential_services(machine, shared_network=True, keep=["firmware", "hosts"])
    assert set(services) - {service.type for service in kept} == {"linux-bare-metal"}


def test_what_is_not_said_of_a_fold() -> None:
    """The journal is volatile, the network the container's own, the store at /usr, and the root no machine's."""
    system = derive([{"type": "simple", "value": {"target": "special-files", "value": {"/gnu/x": "y"}}}]).system
    essential = system.essential_services or ()
    files = fold(system, essential)["files"]
    said = fold(
        system,
        essential,
        shared_network=False,
        log="volatile",
        store="/usr",
        machine=False,
        oom_score_adj=0,
        for_clients=(),
    )
    assert said["files"] == files
    assert "Storage=volatile\n" in files["/etc/systemd/journald.conf"]["content"]
    assert files["/gnu/x"] == {"link": "y"}


def test_what_is_no_truth_value_is_named() -> None:
    with pytest.raises(ValueError, match="^shared_network: must be a boolean, not a number$"):
        essential_services({"host_name": "a"}, shared_network=5)
