# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the host is told and set to for containers' networks, and what a start that has failed leaves going on."""

from __future__ import annotations

import typing as t
from pathlib import Path
from types import SimpleNamespace

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host.published import parse_ports
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


class Settings:
    """The settings of a host's network, of which some cannot be changed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fixed: t.Sequence[str] = (), **values: str) -> None:
        self.fixed = fixed
        self.values = {"ipv4/ip_forward": "0", "ipv6/conf/all/forwarding": "0", **values}
        for name, work in (
            ("setting", lambda name: self.values.get(name, "")),
            ("set_setting", self.set),
            ("has_ipv6", lambda: "no_ipv6" not in values),
        ):
            monkeypatch.setattr(networking, name, work)
        monkeypatch.setattr(network_warnings, "setting", networking.setting)
        monkeypatch.setattr(networking.os, "listdir", lambda _path: ["all", "default", "eth0", "eth1"])

    def set(self, name: str, value: str) -> bool:
        if any(name.startswith(part) for part in self.fixed):
            return self.values.get(name) == value
        self.values[name] = value
        return True


def record(interface: dict[str, t.Any], *ports: dict[str, t.Any]) -> NetworkRecord:
    return NetworkRecord("web", {"interfaces": [interface], "ports": list(ports)})


def test_a_host_forwards_for_zones_and_answers_on_its_loopback_for_their_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Settings(monkeypatch, **{"ipv6/conf/eth0/accept_ra": "1", "ipv6/conf/eth1/accept_ra": "0"})
    assert networking.open_ways([record(ZONE, WEB)]) == []
    forwards = ("ipv4/ip_forward", "ipv6/conf/all/forwarding", "ipv4/conf/u2/route_localnet")
    assert [host.values[name] for name in forwards] == ["1", "1", "1"]
    # Else the host would lose its own default route.
    assert [host.values[f"ipv6/conf/{name}/accept_ra"] for name in ("eth0", "eth1")] == ["2", "0"]
    assert networking.open_ways([record(ZONE, {**WEB, "address": "192.0.2.1"})]) == []
    assert host.values["ipv4/conf/u2/route_localnet"] == "0"


def test_nothing_is_set_for_interfaces_in_which_the_host_has_no_part(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Settings(monkeypatch)
    before = dict(host.values)
    assert networking.open_ways([record(DEVICE)]) == networking.open_ways([]) == []
    assert host.values == before


def test_what_cannot_be_set_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    Settings(monkeypatch, fixed=["ipv4", "ipv6"])
    said = networking.open_ways([record(ZONE, WEB)])
    assert [word in text for word, text in zip(("IPv4", "IPv6", "127.0.0.1"), said, strict=True)] == [True] * 3
    assert len(networking.open_ways([record(ZONE)])) == 2
    Settings(monkeypatch, fixed=["ipv4", "ipv6"], no_ipv6="yes")
    assert len(networking.open_ways([record(ZONE)])) == 1
    Settings(monkeypatch, fixed=["ipv4/ip_forward"], **{"ipv4/ip_forward": "1"})
    assert networking.open_ways([record(ZONE, WEB)]) == []


class Addresses:
    """A host with one address."""

    def addresses(self) -> list[tuple[int, str]]:
        return [(2, "192.0.2.10/24")]


def leading_nowhere(*ports: str) -> list[str]:
    return [
        text.partition(": ")[2]
        for text in network_warnings.warnings_of_ports(parse_ports([*ports]), t.cast("t.Any", Addresses()))
    ]


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
    start.rules, start.chains, start.wires, start.warnings = None, Loading(), [], []
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


@pytest.mark.parametrize("failing", ["Rules", "open_ways", "write_hosts", "refresh_several", "nothing"])
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
            return [] if name == "write_hosts" else Held()

        return work

    monkeypatch.setattr(network_record, "RUN_DIRECTORY", str(tmp_path))
    ended, other = (NetworkRecord(name, {"interfaces": [ZONE]}) for name in ("web", "db"))
    (tmp_path / "web").mkdir()
    ended.write()
    monkeypatch.setattr(Held, "wait", deed("wait"), raising=False)
    for name in ("Rules", "open_ways", "write_hosts", "remove_unused_bridges"):
        monkeypatch.setattr(networking, name, deed(name))
    monkeypatch.setattr(networking.network_files, "refresh_several", deed("refresh_several"))
    monkeypatch.setattr(networking, "NetworkLock", Held)
    monkeypatch.setattr(networking, "Netlink", Held)
    monkeypatch.setattr(networking, "living", lambda: [other])
    given_back = type("Wire", (), {"give_back": lambda _self, _host: done.append("give_back")})
    monkeypatch.setattr(networking, "wire_of", lambda _made: given_back())
    networking.release("web")
    assert NetworkRecord.read("web") is None
    assert done[:2] == ["Rules", "give_back"]  # each of which waits for the kernel
    assert {"open_ways", "write_hosts", "refresh_several"} <= set(done)
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
    monkeypatch.setattr(network_healing, "_has_old_names", lambda _record, _records: False)
    container = t.cast("t.Any", type("Container", (), {"name": "web"}))
    assert network_healing.NetworkHealing(container).look() == []
    loaded["inet unshare"] = dict.fromkeys(loaded["inet unshare"], 0)  # as `nft flush table` does: the chains stay
    assert network_healing.NetworkHealing(container).look() == [network_healing.RULES]


@pytest.mark.parametrize(
    ("texts", "old"),
    [
        ({"web": ["web", "db"], "db": ["web", "db"], "new": ["web", "db", "new"]}, False),  # it is about to say so
        ({"web": ["web", "db", "new"], "db": ["web", "db", "new"], "new": ["web", "db", "new"]}, False),
        ({"web": ["web"], "db": ["web", "db"], "new": ["web", "db", "new"]}, True),
        ({"web": ["web", "db"], "db": ["db"], "new": ["web", "db", "new"]}, True),
        ({"web": ["web", "db", "gone"], "db": ["web", "db"], "new": ["web", "db", "new"]}, True),
    ],
)
def test_n6_n9_names_that_a_killed_launcher_has_left_are_found(
    texts: dict[str, list[str]], old: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are being started make themselves known when they run."""
    monkeypatch.setattr(network_record, "RUN_DIRECTORY", str(tmp_path))
    known = {
        name: NetworkRecord(name, {"interfaces": [{**ZONE, "addresses": [f"10.80.0.{number}/24"]}]})
        for number, name in enumerate(("web", "db", "new", "gone"), 2)
    }
    for name, names in texts.items():
        (tmp_path / name).mkdir()
        networking.write_hosts([known[name]], [known[other] for other in names])
    monkeypatch.setattr(network_healing, "_runs", lambda record: record.container != "new")
    records = [known[name] for name in ("db", "new", "web")]
    assert network_healing._has_old_names(known["web"], records) is old


class Whole:
    def lost(self, _host: object) -> str:
        return ""
