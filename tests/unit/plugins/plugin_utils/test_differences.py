# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A difference between two systems is shown once in a run, and no value of the vault with it."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.state import system_diff
from ansible_collections.unshare.container.plugins.plugin_utils import differences
from ansible_collections.unshare.container.plugins.plugin_utils.differences import CHANGED, shown_once
from ansible_collections.unshare.container.plugins.plugin_utils.vaulted import HIDDEN

STATE = {"before": {"state": "running"}, "after": {"state": "running"}}


def entry(systems: str, title: str = "/etc/motd") -> dict[str, str]:
    return {"before_header": title, "after_header": title, "before": "1", "after": "2", "systems": systems}


def plain(found: dict[str, str]) -> dict[str, str]:
    return {key: value for key, value in found.items() if key != "systems"}


def test_host_and_controller_mean_the_same() -> None:
    assert differences.SYSTEMS == system_diff.SYSTEMS


def test_each_once_in_a_run_for_each_host(tmp_path: Path) -> None:
    found = [entry("a b"), entry("a b", "mounts"), STATE, "x"]
    first = [plain(entry("a b")), plain(entry("a b", "mounts")), STATE, "x"]
    assert shown_once(str(tmp_path), "web1", found, True) == first
    assert shown_once(str(tmp_path), "web1", found, True) == [STATE, "x"]
    assert shown_once(str(tmp_path), "web2", found, True) == first
    assert shown_once(str(tmp_path), "web1", [entry("b a")], True) == [plain(entry("b a"))]
    assert shown_once(str(tmp_path / "another run"), "web1", found, True) == first


def test_what_was_not_shown_is_shown_later(tmp_path: Path) -> None:
    assert shown_once(str(tmp_path), "web1", [entry("a b")], False) == [plain(entry("a b"))]
    assert list(tmp_path.iterdir()) == []
    assert shown_once(str(tmp_path), "web1", [entry("a b")], True) == [plain(entry("a b"))]


def settings(**environment: str) -> str:
    return json.dumps({"init": {"argv": ["/sbin/init"], "environment": environment}, "log": "volatile"})


def shown(tmp_path: Path, before: t.Any, after: t.Any) -> tuple[t.Any, t.Any]:
    given = {"before_header": "settings", "after_header": "settings", "before": before, "after": after}
    (found,) = shown_once(str(tmp_path), "web1", [{**given, "systems": "a b"}], False)
    sides = [found["before"], found["after"]]
    before, after = (json.loads(text)["init"]["environment"] if text else text for text in sides)
    return before, after


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"A": "old", "B": "x"}, {"A": HIDDEN, "B": "y"}, ({"A": HIDDEN, "B": "x"}, {"A": CHANGED, "B": "y"})),
        ({"A": f"p={HIDDEN}"}, {"A": "older"}, ({"A": HIDDEN}, {"A": CHANGED})),
        ({"A": HIDDEN, "B": "x"}, {"A": HIDDEN, "B": "y"}, ({"A": HIDDEN, "B": "x"}, {"A": HIDDEN, "B": "y"})),
        ({}, {"A": HIDDEN}, ({}, {"A": CHANGED})),
        ({"A": HIDDEN}, {}, ({"A": HIDDEN}, {})),
        ({"A": "1"}, {"A": "2"}, ({"A": "1"}, {"A": "2"})),
    ],
)
def test_a_variable_that_was_a_secret_before_is_none_to_show(
    tmp_path: Path, before: dict[str, str], after: dict[str, str], expected: t.Any
) -> None:
    assert shown(tmp_path, settings(**before), settings(**after)) == expected


def test_the_first_system_has_none_before_it(tmp_path: Path) -> None:
    assert shown(tmp_path, "", settings(A=HIDDEN)) == ("", {"A": CHANGED})


@pytest.mark.parametrize("text", ["{", "[]", "null", '{"init": []}', '{"init": {"environment": []}}'])
def test_other_texts_are_left_as_they_are(tmp_path: Path, text: str) -> None:
    given = {"before_header": "settings", "after_header": "settings", "before": text, "after": text}
    assert shown_once(str(tmp_path), "web1", [{**given, "systems": "a b"}], False) == [given]
