# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The interfaces that a host cannot give a container are refused before anything of its former run ends (N2, N8)."""

from __future__ import annotations

import errno
import json
import types
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host import preflight, preflight_network
from ansible_collections.unshare.container.plugins.module_utils.host.facts import HostFacts
from ansible_collections.unshare.container.plugins.module_utils.launcher.paths import NETWORK_FILE
from ansible_collections.unshare.container.plugins.module_utils.state import configs, network_record, zones

from ..specifications import specification

LINKS = {"br0": "bridge", "eno1": "", "eno2": "", "eno3": ""}
"""The host's, each with its kind."""


class Host:
    """A host's links and addresses."""

    def __enter__(self) -> Host:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    def link(self, name: str) -> t.Any:
        number = list(LINKS).index(name) + 1 if name in LINKS else 0
        link = types.SimpleNamespace(
            index=number, name=name, kind=LINKS.get(name), master=0, mtu=1500, permanent="", mac="02:00:00:00:00:01"
        )
        return link if number else None

    def links(self) -> list[t.Any]:
        return [self.link(name) for name in LINKS]

    def addresses(self) -> list[tuple[int, str]]:
        return [(2, "192.0.2.10/24")]

    def name(self, index: int) -> str | None:
        return next((link.name for link in self.links() if link.index == index), None)

    def routes(self) -> list[t.Any]:
        return []

    def add_on_device(self, _kind: str, _name: str, parent: int, *_others: t.Any) -> None:
        assert parent == 0, "it is asked whether the kernel knows the kind, and no more"
        raise OSError(errno.ENODEV, "No such device")


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for module in (configs, preflight_network):
        monkeypatch.setattr(module, "STATE_DIRECTORY", str(tmp_path / "state"))
    monkeypatch.setattr(configs, "CONFIGS_FILE", str(tmp_path / "known"))
    monkeypatch.setattr(network_record, "RUN_DIRECTORY", str(tmp_path / "run"))
    monkeypatch.setattr(preflight_network, "Netlink", Host)
    return tmp_path


def conflicts(*interfaces: dict[str, t.Any], without: t.Sequence[str] = ()) -> list[str]:
    named = [{"name": f"eth{number}", **item} for number, item in enumerate(interfaces)]
    return preflight_network.conflicts("web", specification(network={"interfaces": named}), without)


def remember(state: Path, name: str, *addresses: str) -> None:
    directory = state / "state/containers" / name
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps({f"{zones.PREFIX}one": " ".join(addresses)}))


def lend(state: Path, name: str, device: str) -> None:
    """Have a container run that has a device of the host."""
    directory = state / "run" / name
    directory.mkdir(parents=True)
    interface = {"kind": "physical", "name": "lan0", "device": device}
    (directory / NETWORK_FILE).write_text(json.dumps({"interfaces": [interface]}))


@pytest.mark.parametrize(
    "interface",
    [
        {"kind": "zone", "parent": "one"},
        {"kind": "bridge", "parent": "br0"},
        {"kind": "macvlan", "parent": "eno1"},
        {"kind": "ipvlan", "parent": "eno1", "addresses": ["192.0.2.77/24"]},
        {"kind": "physical", "parent": "eno2"},
        {"kind": "routed", "addresses": ["198.51.100.5/32"]},
    ],
)
def test_what_the_host_can_give(interface: dict[str, t.Any]) -> None:
    assert conflicts(interface) == []


@pytest.mark.parametrize(
    ("interface", "said"),
    [
        ({"kind": "bridge", "parent": "br7"}, "network: bridge: br7: the host has no such interface: make it, or"),
        ({"kind": "bridge", "parent": "eno1"}, "network: bridge: eno1: is no bridge but a device"),
        ({"kind": "macvlan", "parent": "eno7"}, "network: macvlan: eno7: the host has no such interface"),
        ({"kind": "physical", "parent": "eno7"}, "network: physical: eno7: the host has no such interface"),
        ({"kind": "physical", "parent": "eno1"}, "network: physical: eno1: the host has the address 192.0.2.10"),
        ({"kind": "physical", "parent": "br0"}, "network: physical: br0: is part of the host's own network"),
        (
            {"kind": "routed", "addresses": ["192.0.2.10/32"]},
            "network: routed: the address 192.0.2.10/32 is one of the host's own (interface eno1): choose another",
        ),
        (
            {"kind": "zone", "parent": "one", "subnets": ["192.0.2.0/24"]},
            "network: zone one: its subnet 192.0.2.0/24 has addresses of the host's interface eno1",
        ),
    ],
)
def test_what_it_cannot_give_is_said_before(interface: dict[str, t.Any], said: str) -> None:
    (found,) = conflicts(interface)
    assert found.startswith(said)


def test_a_link_that_goes_meanwhile_takes_its_address_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Host, "name", lambda _host, _index: None)
    assert conflicts({"kind": "routed", "addresses": ["192.0.2.10/32"]}) == []


def test_each_interface_is_looked_at() -> None:
    assert len(conflicts({"kind": "bridge", "parent": "a"}, {"kind": "macvlan", "parent": "b"})) == 2


def test_a_device_that_comes_back_when_a_container_ends_is_there(state: Path) -> None:
    own = {"kind": "physical", "parent": "eno8"}
    lend(state, "other", "eno8")
    assert conflicts(own)
    assert conflicts(own, without=["other"]) == []
    lend(state, "web", "eno9")
    assert conflicts({"kind": "physical", "parent": "eno9"}) == []


def test_an_address_of_a_container_that_is_to_go_is_free(state: Path) -> None:
    remember(state, "other", "10.80.0.5/24")
    wanted = {"kind": "zone", "parent": "one", "addresses": ["10.80.0.5/24"]}
    assert "the address 10.80.0.5/24 is that of container other" in conflicts(wanted)[0]
    assert conflicts(wanted, without=["other"]) == []


def test_nothing_is_remembered_by_looking(state: Path) -> None:
    remember(state, "web")
    before = (state / "state/containers/web/config.json").read_text()
    assert conflicts({"kind": "zone", "parent": "one"}) == []
    assert (state / "state/containers/web/config.json").read_text() == before


def test_n8_a_host_without_nft_is_told_what_to_install(tmp_path: Path) -> None:
    """An earlier task may install it, so it is a warning in check mode, as a missing source is."""
    root = tmp_path / "host"
    (root / "usr/sbin").mkdir(parents=True)
    own = specification(network={"interfaces": [{"kind": "zone", "parent": "one", "name": "eth0"}]})
    assert [line for line in preflight.missing_sources(HostFacts(root), own) if "nftables" in line]
    assert not [line for line in preflight.missing_sources(HostFacts(root), specification()) if "nftables" in line]
    (root / "usr/sbin/nft").touch(0o755)
    assert not [line for line in preflight.missing_sources(HostFacts(root), own) if "nftables" in line]
