# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The names that the containers of a zone know each other by (N6)."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import neighbours
from ansible_collections.unshare.container.plugins.module_utils.launcher.paths import read_text
from ansible_collections.unshare.container.plugins.module_utils.state import network_record, zone_names
from ansible_collections.unshare.container.plugins.module_utils.state.network_record import NetworkRecord

ZONES = ["7.one", "7.three", "7.four", "0.one"]


def record(name: str, *zones_of: str, **fields: t.Any) -> NetworkRecord:
    number = sum(map(ord, name)) % 200 + 2
    interfaces = [
        {"kind": "zone", "name": "eth0", "parent": zone, "addresses": [f"10.80.{len(zone)}.{number}/24"]}
        for zone in zones_of
    ]
    return NetworkRecord(name, {"namespace": 7, "interfaces": interfaces, **fields})


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the directory that is /run/unshare."""
    monkeypatch.setattr(network_record, "RUN_DIRECTORY", str(tmp_path / "run"))
    monkeypatch.setattr(neighbours, "NAMES_DIRECTORY", str(tmp_path / "run.names"))
    return tmp_path / "run"


def seen(place: Path, own: NetworkRecord, records: list[NetworkRecord]) -> str:
    """Return what a container sees of names beside some others."""
    (place / own.container).mkdir(parents=True, exist_ok=True)
    zone_names.write_own(own)
    zone_names.write_zones(ZONES, records)
    text = (place / own.container / "names").read_text()
    return text + neighbours.ZoneLines().seen_by(text, read_text(str(place / own.container / "zones")))


def test_a_container_knows_its_zones_by_name(place: Path) -> None:
    own, same, other = (
        record("web", "one", host_name="www.example.org"),
        record("db", "one", "three"),
        record("x", "four"),
    )
    lines = seen(place, own, [own, same, other]).split("\n")
    assert lines[:2] == ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    assert lines[2].split()[1:] == ["www.example.org", "www", "web", "web.one"]
    assert lines[3].split()[1:] == ["db", "db.one"]
    assert len(lines) == 5


@pytest.mark.parametrize("name", ["a", "m", "z", "we-b"])
def test_its_own_line_is_left_out_wherever_it_is(place: Path, name: str) -> None:
    records = [record(other, "one") for other in ("b", "n", "we", "web", name)]
    for own in records:
        text = seen(place, own, records)
        assert [line.split()[1] for line in text.splitlines()[3:]] == sorted(
            other.container for other in records if other is not own
        )
        assert len({line.split()[0] for line in text.splitlines()}) == len(text.splitlines())


def test_what_is_declared_comes_first(place: Path, tmp_path: Path) -> None:
    (tmp_path / "root/etc").mkdir(parents=True)
    text = "127.0.0.1 localhost\n127.0.1.1 web\n# 10.0.0.9 hidden\n10.66.0.1 DB # the old one\n10.66.0.2"
    (tmp_path / "root/etc/hosts").write_text(text)
    own = record("web", "one", system=str(tmp_path))
    lines = seen(place, own, [record("db", "one"), record("hidden", "one")]).split("\n")
    assert "127.0.1.1 web" not in lines
    assert [line.split()[1:] for line in lines[4:-1]] == [["web", "web.one"], ["db.one"], ["hidden", "hidden.one"]]


def test_each_address_has_a_line_and_only_zones_lead_to_others(place: Path) -> None:
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
    assert seen(place, both("web", 2), others).split("\n")[2:] == [
        "10.80.0.2 web web.one",
        "fd00::2 web web.one",
        "192.0.2.2 web",
        "10.80.0.4 api api.one",
        "fd00::4 api api.one",
        "10.80.0.3 db db.one",
        "fd00::3 db db.one",
        "",
    ]
    assert len(seen(place, record("alone"), others).split("\n")) == 3


def test_zones_of_two_networks_of_the_host_have_one_name_and_nothing_else(place: Path) -> None:
    own, other = record("web", "one"), record("db", "one", namespace=0)
    assert "db" not in seen(place, own, [own])
    assert "web" not in seen(place, other, [other])
    assert "db" not in seen(place, own, [own])


def test_one_without_an_address_in_a_zone_knows_the_others_there(place: Path) -> None:
    own = NetworkRecord("web", {"namespace": 7, "interfaces": [{"kind": "zone", "name": "eth0", "parent": "one"}]})
    assert "db.one" in seen(place, own, [own, record("db", "one")])


def test_only_what_has_changed_is_written(place: Path) -> None:
    two, three = record("two", "one"), record("three", "one")
    seen(place, two, [two, three])
    files = [place / "two/names", place / "two/zones", Path(neighbours.zone_directory("7.one")) / "hosts"]
    before = [file.stat().st_ino for file in files]
    seen(place, two, [two, three])
    assert [file.stat().st_ino for file in files] == before
    seen(place, two, [two])
    assert [file.stat().st_ino == inode for file, inode in zip(files, before, strict=True)] == [True, True, False]
    assert zone_names.is_told(two, [two])
    assert not zone_names.is_told(two, [two, three])
    (place / "two/names").write_text("")
    assert not zone_names.is_told(two, [two])


def test_who_has_not_been_told_is_found_until_it_is_noted(place: Path) -> None:
    two, three = record("two", "one"), record("three", "one", "three")
    zone_names.write_zones(["7.one", "7.three"], [two, three])
    untold = zone_names.untold(["7.one", "7.one", "7.three", "7.none"])
    assert list(untold) == ["7.one", "7.three"]
    zone_names.note_told({"7.one": untold["7.one"]})
    assert list(zone_names.untold(["7.one", "7.three"])) == ["7.three"]
    zone_names.write_zones(["7.one"], [two])
    assert list(zone_names.untold(["7.one"])) == ["7.one"]
    zone_names.note_told(untold)  # who was slower: of what is no more
    assert list(zone_names.untold(["7.one", "7.three"])) == ["7.one"]


def test_nothing_is_left_of_a_zone_without_containers(place: Path) -> None:
    two = record("two", "one")
    zone_names.write_zones(["7.one"], [two])
    untold = zone_names.untold(["7.one"])
    zone_names.note_told(untold)
    zone_names.write_zones(["7.one"], [])
    zone_names.note_told(untold)
    assert list(place.parent.glob("run.names*")) == []
