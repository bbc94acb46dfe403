# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The names that the containers of a zone know each other by (N6)."""

from __future__ import annotations

import typing as t
from pathlib import Path

from ansible_collections.unshare.container.plugins.module_utils.state import zone_names
from ansible_collections.unshare.container.plugins.module_utils.state.network_record import NetworkRecord


def record(name: str, *zones_of: str, **fields: t.Any) -> NetworkRecord:
    number = sum(map(ord, name)) % 200 + 2
    interfaces = [
        {"kind": "zone", "name": "eth0", "parent": zone, "addresses": [f"10.80.{len(zone)}.{number}/24"]}
        for zone in zones_of
    ]
    return NetworkRecord(name, {"interfaces": interfaces, **fields})


def hosts_of(own: NetworkRecord, records: list[NetworkRecord]) -> str:
    return zone_names.hosts_of(own, zone_names.Neighbours(records))


def test_a_container_knows_its_zones_by_name(tmp_path: Path) -> None:
    own, same, other = (
        record("web", "one", host_name="www.example.org"),
        record("db", "one", "three"),
        record("x", "four"),
    )
    lines = hosts_of(own, [own, same, other]).split("\n")
    assert lines[:2] == ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    assert lines[2].split()[1:] == ["www.example.org", "www", "web", "web.one"]
    assert lines[3].split()[1:] == ["db", "db.one"]
    assert len(lines) == 5


def test_what_is_declared_comes_first(tmp_path: Path) -> None:
    (tmp_path / "root/etc").mkdir(parents=True)
    text = "127.0.0.1 localhost\n127.0.1.1 web\n# 10.0.0.9 hidden\n10.66.0.1 DB # the old one\n10.66.0.2"
    (tmp_path / "root/etc/hosts").write_text(text)
    own = record("web", "one", system=str(tmp_path))
    lines = hosts_of(own, [record("db", "one"), record("hidden", "one")]).split("\n")
    assert "127.0.1.1 web" not in lines
    assert [line.split()[1:] for line in lines[4:-1]] == [["web", "web.one"], ["db.one"], ["hidden", "hidden.one"]]


def test_each_address_has_a_line_and_only_zones_lead_to_others() -> None:
    def both(name: str, number: int) -> NetworkRecord:
        zone = {
            "kind": "zone",
            "name": "eth0",
            "parent": "one",
            "addresses": [f"10.80.0.{number}/24", f"fd00::{number}/64"],
        }
        lan = {"kind": "bridge", "name": "eth1", "parent": "one", "addresses": [f"192.0.2.{number}/24"]}
        return NetworkRecord(name, {"interfaces": [zone, lan]})

    others = [both("db", 3), both("api", 4)]
    assert hosts_of(both("web", 2), others).split("\n")[2:] == [
        "10.80.0.2 web web.one",
        "fd00::2 web web.one",
        "192.0.2.2 web",
        "10.80.0.4 api api.one",
        "fd00::4 api api.one",
        "10.80.0.3 db db.one",
        "fd00::3 db db.one",
        "",
    ]
    assert len(hosts_of(record("alone"), others).split("\n")) == 3
