# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the host is told and set to for containers' networks, and what a start that has failed leaves going on."""

from __future__ import annotations

import typing as t
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host.published import parse_ports
from ansible_collections.unshare.container.plugins.module_utils.launcher import neighbours
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.launcher.network_records import Interface, Network
from ansible_collections.unshare.container.plugins.module_utils.launcher.root_options import Root
from ansible_collections.unshare.container.plugins.module_utils.life import (
    network_healing,
    network_rules,
    network_warnings,
    networking,
)
from ansible_collections.unshare.container.plugins.module_utils.life.networking import Networking
from ansible_collections.unshare.container.plugins.module_utils.state import network_record
from ansible_collections.unshare.container.plugins.module_utils.state.network_record import NetworkRecord

ZONE = {"kind": "zone", "name": "eth0", "parent": "one", "host_name": "u1", "device": "u2"}
DEVICE = {"kind": "macvlan", "name": "eth0", "parent": "eth1", "device": "eth1"}
WEB = {"port": 80, "target": 80}


def record(interface: dict[str, t.Any], *ports: dict[str, t.Any]) -> NetworkRecord:
    return NetworkRecord("web", {"interfaces": [interface], "ports": list(ports)})


@pytest.mark.parametrize(
    ("interface", "warned"),
    [
        ({"kind": "bridge", "parent": "br0"}, True),
        ({"kind": "macvlan", "parent": "eno1"}, True),
        ({"kind": "bridge", "parent": "br0", "dhcp": True}, False),
        ({"kind": "bridge", "parent": "br0", "addresses": ["192.0.2.5/24"]}, False),
        ({"kind": "zone", "parent": "web"}, False),
    ],
)
@pytest.mark.parametrize("machine", [False, True])
def test_n13_an_interface_to_which_nobody_gives_an_address(
    interface: dict[str, t.Any], warned: bool, machine: bool
) -> None:
    """The tree of a machine may have a client that the declaration does not know of."""
    root = Root(kind="machine") if machine else Root()
    spec = t.cast("t.Any", SimpleNamespace(root=root, network=Network(interfaces=[Interface(name="lan", **interface)])))
    found = network_warnings.warnings_of_addresses(spec)
    assert [text.partition(": nobody")[0] for text in found] == (
        [f"network: {interface['kind']}: lan"] if warned and not machine else []
    )
    spec.network = None
    assert network_warnings.warnings_of_addresses(spec) == []


def test_n5_a_port_of_the_host_is_one_containers() -> None:
    others = [record(ZONE, WEB)]
    networking.refuse_published(parse_ports(["81:80", "80:80/udp"]), others)
    with pytest.raises(LauncherError, match="ports: 127.0.0.1:80/tcp is published for container web already"):
        networking.refuse_published(parse_ports(["81:80", "127.0.0.1:80:80"]), others)


class Loading:
    """A program that loads rules, and fails."""

    def __init__(self) -> None:
        self.waited = 0

    def wait(self) -> str:
        self.waited += 1
        raise LauncherError("refused")

    wait_loaded = wait


def test_a_start_that_has_failed_waits_for_all_that_it_has_begun() -> None:
    start: t.Any = object.__new__(Networking)
    start.rules, start.chains = Loading(), Loading()
    start.close()
    assert (start.rules.waited, start.chains.waited) == (1, 1)
    start.rules = start.chains = None
    start.close()


def test_a_question_about_others_rules_that_fails_is_no_failure() -> None:
    start: t.Any = object.__new__(Networking)
    start.rules, start.chains, start.wires, start.warnings, start.record = None, Loading(), [], [], None
    start.finish()
    assert (start.chains.waited, start.warnings) == (1, [])
    start.rules = Loading()
    with pytest.raises(LauncherError, match="refused"):
        start.finish()


class Held:
    """A lock, or a socket, that nobody else has."""

    descriptor = 0

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *_error: object) -> None:
        """Have nothing to end."""


@pytest.mark.parametrize("failing", ["Rules", "open_ways", "write_zones", "refresh_several", "nothing"])
def test_n9_nothing_keeps_a_container_that_has_ended_from_being_cleared(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a missing nft, nor a full /run: what it had is removed, and each other thing is tried."""
    done: list[str] = []

    def deed(name: str) -> t.Callable[..., t.Any]:
        def work(*_arguments: object) -> t.Any:
            done.append(name)
            if name == failing:
                raise OSError(28, "No space left on device")
            return Held()

        return work

    monkeypatch.setattr(network_record, "RUN_DIRECTORY", str(tmp_path))
    ended, other = (NetworkRecord(name, {"interfaces": [ZONE]}) for name in ("web", "db"))
    (tmp_path / "web").mkdir()
    ended.write()
    monkeypatch.setattr(Held, "wait", deed("wait"), raising=False)
    for name in ("Rules", "open_ways", "remove_unused_bridges"):
        monkeypatch.setattr(networking, name, deed(name))
    monkeypatch.setattr(networking.zone_names, "write_zones", deed("write_zones"))
    monkeypatch.setattr(networking.zone_names, "untold", lambda zones: dict.fromkeys(zones, "1 1"))
    monkeypatch.setattr(networking.zone_names, "note_told", deed("note_told"))
    monkeypatch.setattr(networking.network_files, "refresh_several", deed("refresh_several"))
    monkeypatch.setattr(networking, "NetworkLock", Held)
    monkeypatch.setattr(networking, "Netlink", Held)
    monkeypatch.setattr(networking, "living", lambda: [other])
    given_back = type("Wire", (), {"give_back": lambda _self, _host: done.append("give_back")})
    monkeypatch.setattr(networking, "wire_of", lambda _made: given_back())
    networking.release("web")
    assert NetworkRecord.read("web") is None
    assert done[:2] == ["Rules", "give_back"]  # each of which waits for the kernel
    assert {"open_ways", "write_zones", "refresh_several"} <= set(done)
    assert ("wait" in done) is (failing != "Rules")
    done.clear()
    networking.release("web")
    assert done == []


def test_rules_of_one_that_has_just_ended_are_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Others' are loaded again when it is cleared, and until then those of the last start are there."""
    running, ended = (record({**ZONE, "host_name": name, "mac": "02:00:00:00:00:01"}) for name in ("u1", "u3"))
    running.namespace = network_healing.own_namespace()
    outlines = network_rules.firewall_change.outlines
    loaded = outlines(network_rules.rules_of([running, ended]))
    monkeypatch.setattr(network_rules.loaded_rules, "outline", lambda table, _maps: loaded[table])
    monkeypatch.setattr(network_healing, "NetworkLock", Held)
    monkeypatch.setattr(network_healing, "Netlink", Held)
    monkeypatch.setattr(NetworkRecord, "read", lambda _name: running)
    monkeypatch.setattr(NetworkRecord, "all_here", lambda: [running, ended])
    monkeypatch.setattr(network_rules, "living", lambda: [running])
    monkeypatch.setattr(network_healing, "wire_of", lambda _made: Whole())
    monkeypatch.setattr(network_healing.zone_names, "is_told", lambda _record, _records: True)
    monkeypatch.setattr(network_healing.host_ways, "closed_ways", lambda _record, _records: [])
    container = t.cast("t.Any", type("Container", (), {"name": "web"}))
    assert network_healing.NetworkHealing(container).look() == []
    loaded["inet unshare"] = dict.fromkeys(loaded["inet unshare"], 0)  # as `nft flush table` does: the chains stay
    assert network_healing.NetworkHealing(container).look() == [network_healing.RULES]


class Whole:
    def wait(self, _lock: object) -> None:
        """Have nothing to wait for."""

    def give_back(self, _host: object) -> None:
        """Have nothing to give back."""

    def lost(self, _host: object) -> str:
        return ""


@pytest.mark.parametrize(
    ("untold", "told"),
    [({}, ["web"]), ({"0.one": "1 1"}, ["web", "db"]), ({"0.two": "1 1"}, ["web", "x"])],
)
def test_n6_who_has_started_is_told_in_any_case(
    untold: dict[str, str], told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others may have come, and told all that they found, while its file of names was made."""

    def placed(name: str, zone: str) -> NetworkRecord:
        return NetworkRecord(name, {"interfaces": [{**ZONE, "parent": zone}]})

    own, *others = placed("web", "one"), placed("db", "one"), placed("x", "two")
    done: list[t.Any] = []
    monkeypatch.setattr(networking.network_files, "refresh_several", lambda some, _paths: done.append(some))
    monkeypatch.setattr(networking.zone_names, "note_told", done.append)
    networking.tell_neighbours(untold, [own, *others], own)
    assert [Path(directory).name for directory, _name in done[0]] == told
    assert done[1:] == [untold]


def test_n6_a_stop_from_another_network_of_the_host_leaves_the_others_their_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knows of none that lives there."""
    monkeypatch.setattr(network_record, "RUN_DIRECTORY", str(tmp_path / "run"))
    monkeypatch.setattr(neighbours, "NAMES_DIRECTORY", str(tmp_path / "names"))
    records = [
        NetworkRecord(name, {"namespace": 7, "interfaces": [{**ZONE, "addresses": [f"10.80.0.{number}/24"]}]})
        for number, name in enumerate(("api", "db", "web"), 2)
    ]
    for record in records:
        (tmp_path / "run" / record.container).mkdir(parents=True)
        record.write()
    key = networking.zone_names.zones_of(records[0])[0]
    networking.zone_names.write_zones([key], records)
    told: list[t.Any] = []
    for name in ("Rules", "open_ways", "remove_unused_bridges", "wire_of"):
        monkeypatch.setattr(networking, name, lambda *_arguments: Whole())
    monkeypatch.setattr(networking.network_files, "refresh_several", lambda some, _paths: told.extend(some))
    monkeypatch.setattr(networking, "NetworkLock", Held)
    monkeypatch.setattr(networking, "Netlink", Held)
    monkeypatch.setattr(networking, "living", list)
    networking.release("web")
    assert (tmp_path / "names" / key / "hosts").read_text().split()[1::3] == ["api", "db"]
    assert [Path(directory).name for directory, _name in told] == ["api", "db"]
