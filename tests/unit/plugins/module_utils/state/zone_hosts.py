# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hosts with zones: what they have, what containers remember of them, and the interfaces that a container gets."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.addresses import network_of
from ansible_collections.unshare.container.plugins.module_utils.launcher.network_records import Network
from ansible_collections.unshare.container.plugins.module_utils.state import configs, network_record, zones
from ansible_collections.unshare.container.plugins.module_utils.state.network_record import NetworkRecord


class Host:
    """A host's links, addresses and routes: all at the link 2."""

    def __init__(
        self, addresses: t.Sequence[str] = (), routes: t.Sequence[str] = (), name: str | None = "eth0"
    ) -> None:
        self.cidrs, self.nets, self.named = addresses, [*map(network_of, routes)], name

    def addresses(self) -> list[tuple[int, str]]:
        return [(2, cidr) for cidr in self.cidrs]

    def routes(self) -> list[t.Any]:
        return [(2, net) for net in self.nets]

    def name(self, index: int) -> str | None:
        assert index == 2
        return self.named


def set_up(directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Have all that is kept of containers lie in a directory; return that."""
    monkeypatch.setattr(configs, "STATE_DIRECTORY", str(directory / "state"))
    monkeypatch.setattr(configs, "CONFIGS_FILE", str(directory / "known"))
    monkeypatch.setattr(network_record, "RUN_DIRECTORY", str(directory / "run"))
    monkeypatch.setattr(network_record, "has_interface", lambda name: name != "gone")
    return directory


def remember(state: Path, name: str, zone: str, *addresses: str) -> None:
    directory = state / "state/containers" / name
    directory.mkdir(parents=True)
    (directory / "config.json").write_text(json.dumps({zones.PREFIX + zone: " ".join(addresses)}))


def run(state: Path, name: str, zone: str, *addresses: str, **fields: t.Any) -> None:
    """Have a container run in a zone."""
    interface = {"kind": "zone", "name": "eth0", "parent": zone, "addresses": addresses, "host_name": "u1", **fields}
    (state / "run" / name).mkdir(parents=True)
    noted = {"namespace": network_record.own_namespace(), "interfaces": [interface]}
    (state / "run" / name / "network.json").write_text(json.dumps(noted))


def wire(
    name: str = "web", config: dict[str, object] | None = None, host: Host | None = None, **interface: t.Any
) -> t.Any:
    read = Network.read({"interfaces": [{"kind": "zone", "parent": "one", "name": "eth0", **interface}]})
    made = zones.wire(name, read, {} if config is None else config, host or Host(), others(name))  # type: ignore[arg-type]
    return made[0]


def others(name: str) -> list[NetworkRecord]:
    return [record for record in NetworkRecord.all_here() if record.container != name and record.is_alive()]
