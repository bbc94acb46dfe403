# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The records of containers with a network of their own: whose they are, and which of them count."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.process import Process, start_time
from ansible_collections.unshare.container.plugins.module_utils.state import network_record
from ansible_collections.unshare.container.plugins.module_utils.state.network_record import NetworkRecord

PORT = {"kind": "zone", "name": "eth0", "host_name": "u1", "addresses": ["10.80.0.2/24", "fd00::2/64"]}
DEVICE = {**PORT, "kind": "macvlan", "host_name": ""}


@pytest.fixture(autouse=True)
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(network_record, "RUN_DIRECTORY", str(tmp_path))
    return tmp_path


def note(run: Path, name: str, text: str) -> NetworkRecord | None:
    (run / name).mkdir()
    (run / name / "network.json").write_text(text)
    return NetworkRecord.read(name)


def test_a_record_is_read_as_it_was_written(run: Path) -> None:
    (run / "web").mkdir()
    given = {"namespace": 7, "launcher": [1, 2], "interfaces": [PORT], "ports": [{"port": 8080, "target": 80}]}
    record = NetworkRecord("web", {**given, "host_access": True, "host_name": "www", "system": "/x"})
    record.write()
    again = NetworkRecord.read("web")
    assert again is not None
    assert vars(again) == vars(record)
    assert again.addresses() == ["10.80.0.2", "fd00::2"]
    again.remove()
    assert NetworkRecord.read("web") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "7",
        '"text"',
        '{"interfaces": 7}',
        '{"interfaces": [7]}',
        '{"interfaces": [{"kind": "zone"}]}',
        '{"interfaces": {"kind": "zone"}}',
        '{"ports": [{}]}',
        '{"ports": 7}',
    ],
)
def test_a_damaged_record_is_none_and_hides_no_other(run: Path, text: str) -> None:
    assert note(run, "web", text) is None
    note(run, "db", json.dumps({"namespace": network_record.own_namespace()}))
    assert [record.container for record in NetworkRecord.all_here()] == ["db"]


def test_records_of_other_network_namespaces_are_not_ours(run: Path) -> None:
    note(run, "web", json.dumps({"namespace": network_record.own_namespace() + 1, "interfaces": [PORT]}))
    note(run, ".web", json.dumps({"namespace": network_record.own_namespace()}))
    assert NetworkRecord.all_here() == []


@pytest.mark.parametrize(
    ("interfaces", "links", "launcher", "alive"),
    [
        ([PORT], ["u1"], "gone", True),
        ([PORT], ["u2"], "gone", False),
        ([PORT], [], "runs", True),
        ([PORT], [], "another with its number", False),
        ([PORT, {**PORT, "host_name": "u2"}], ["u2"], "gone", True),
        ([DEVICE], [], "gone", False),
        ([DEVICE], [], "gone, and its container runs", True),
        ([PORT], [], "gone, and its container runs", False),
        ([DEVICE], [], "runs", True),
        ([DEVICE, PORT], [], "gone", False),
    ],
)
def test_n9_who_has_neither_an_interface_nor_a_launcher_has_ended(
    interfaces: list[t.Any], links: list[str], launcher: str, alive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = start_time(os.getpid()) or 0
    gone = [0x7FFFFFFF, own]
    who = {
        "gone": gone,
        "gone, and its container runs": gone,
        "runs": [os.getpid(), own],
        "another with its number": [os.getpid(), own - 1],
    }
    record = NetworkRecord("web", {"interfaces": interfaces, "launcher": who[launcher]})
    monkeypatch.setattr(network_record, "has_interface", lambda name: name in links)
    runs = launcher.endswith("container runs")
    process = (lambda _self: Process.find(os.getpid(), own)) if runs else (lambda _self: None)
    monkeypatch.setattr(network_record.RecordedContainer, "process", process)
    for there in (None, set(), {"another", *links}):
        assert record.is_alive(there) is alive


def test_n9_an_interface_that_came_after_the_list_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    record = NetworkRecord("web", {"interfaces": [PORT], "launcher": [0x7FFFFFFF, 1]})
    monkeypatch.setattr(network_record, "has_interface", lambda _name: True)
    assert record.is_alive({"lo"})


def test_a_record_is_read_again_when_it_is_another_one(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    work = NetworkRecord.read

    def count(name: str) -> NetworkRecord | None:
        read.append(name)
        return work(name)

    monkeypatch.setattr(NetworkRecord, "read", count)
    for name in ("web", "db"):
        (run / name).mkdir()
        NetworkRecord(name, {"namespace": network_record.own_namespace(), "interfaces": [PORT]}).write()
    first = NetworkRecord.all_here()
    assert [record.container for record in first] == read == ["db", "web"]
    assert NetworkRecord.all_here() == first
    assert len(read) == 2
    changed = NetworkRecord.read("web")
    assert changed is not None
    changed.host_name = "www"
    changed.write()
    assert [record.host_name for record in NetworkRecord.all_here()] == ["db", "www"]
    assert read == ["db", "web", "web", "web"]
    changed.remove()
    assert [record.container for record in NetworkRecord.all_here()] == ["db"]
