# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The record of a container's network that is damaged is none: it keeps nobody from a start or a stop."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.network_records import Interface
from ansible_collections.unshare.container.plugins.module_utils.launcher.wires import Wire
from ansible_collections.unshare.container.plugins.module_utils.state import network_record
from ansible_collections.unshare.container.plugins.module_utils.state.network_record import NetworkRecord

WHOLE: dict[str, t.Any] = {
    "namespace": network_record.own_namespace(),
    "launcher": [1, 1],
    "interfaces": [Wire(Interface(kind="zone", name="eth0", parent="one")).describe()],
    "ports": [{"port": 80, "target": 80}],
    "system": "/s",
}


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(network_record, "RUN_DIRECTORY", str(tmp_path))
    (tmp_path / "web").mkdir()
    return tmp_path / "web" / network_record.FILE


def test_a_whole_record_is_read(written: Path) -> None:
    written.write_text(json.dumps(WHOLE))
    assert [record.interfaces for record in NetworkRecord.all_here()] == [WHOLE["interfaces"]]


@pytest.mark.parametrize(
    "damaged",
    [
        "",
        "{",
        "[]",
        "7",
        "null",
        *(
            json.dumps({**WHOLE, key: value})
            for key in WHOLE
            for value in (7.5, {"a": 1}, "x", None)
            if key != "system"
        ),
        *(json.dumps({**WHOLE, "interfaces": [value]}) for value in (7, "x", None, {}, {"kind": "zone"})),
        *(json.dumps({**WHOLE, "ports": [value]}) for value in (7, "x", None, {}, {"port": 0, "target": 1})),
        json.dumps({**WHOLE, "system": 7}),
    ],
)
def test_a_damaged_record_is_none(written: Path, damaged: str) -> None:
    written.write_text(damaged)
    assert NetworkRecord.read("web") is None
    assert NetworkRecord.all_here() == []
