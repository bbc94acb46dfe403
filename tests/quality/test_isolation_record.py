# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The record of what gets through notices every way in which a measurement can differ from it."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.tests.integration import isolation_record
from ansible_collections.unshare.container.tests.quality import security_table

KEPT: isolation_record.Record = {
    "trace": {"row": "processes", "part": "live", "refused": ["auto"], "through": []},
    "connect": {"row": "network", "part": "live", "refused": ["auto"], "through": ["shared network"]},
}


@pytest.fixture(autouse=True)
def record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "record.json"
    path.write_text(json.dumps(KEPT))
    monkeypatch.setattr(isolation_record, "RECORD", path)
    monkeypatch.setattr(isolation_record, "WRITES", False)
    return path


ROWS = {"trace": "processes", "connect": "network", "new": "processes"}


def check(mode: str, words: dict[str, str], absent: t.Collection[str] = ()) -> None:
    isolation_record.check(mode, "live", {name: ROWS[name] for name in words}, words, absent)


def test_what_is_as_it_was_passes() -> None:
    check("auto", {"trace": "EPERM", "connect": "refused"})
    check("shared network", {"connect": "ok"})
    check("auto", {"trace": "EPERM", "connect": "ok", "new": "ENOENT"}, absent={"connect"})


@pytest.mark.parametrize(
    ("mode", "words", "said"),
    [
        ("auto", {"trace": "ok", "connect": "EPERM"}, "got through"),
        ("auto", {"trace": "EPERM", "connect": "EPERM", "new": "killed 11"}, "got through"),
        ("shared network", {"connect": "EPERM"}, "the record says that it gets through"),
        ("auto", {"trace": "EPERM"}, "made no more"),
    ],
)
def test_what_differs_fails(mode: str, words: dict[str, str], said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check(mode, words)


def test_measuring_keeps_what_other_machines_found(record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation_record, "WRITES", True)
    check("shared network", {"trace": "ok", "connect": "EPERM"}, absent={"trace"})
    kept = json.loads(record.read_text())
    assert kept["trace"] == KEPT["trace"]
    assert kept["connect"] == {**KEPT["connect"], "refused": ["auto", "shared network"], "through": []}


def test_cells_say_what_the_record_does() -> None:
    record: isolation_record.Record = {
        "one": {"row": "root", "part": "live", "refused": ["auto", "nesting"], "through": ["identity"]},
        "two": {"row": "root", "part": "live", "refused": ["auto"], "through": ["nesting", "identity"]},
    }
    cells = [security_table.cell(record, "root", mode) for mode in ("auto", "identity", "nesting", "no filter")]
    assert cells == ["no", "**yes**", "**some**", "–"]
