# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which of a host's containers go back to their former system: all, or those that say so themselves."""

from __future__ import annotations

import os
import types
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.cgroup import ControlGroup
from ansible_collections.unshare.container.plugins.module_utils.life import host_containers as subject
from ansible_collections.unshare.container.plugins.module_utils.state.target import TargetError
from ansible_collections.unshare.container.plugins.modules.containers import options_of

from ..target_helpers import NOTHING_OPEN


@pytest.mark.parametrize(
    ("of_all", "own", "expected"), [(False, False, False), (False, True, True), (True, False, True), (True, True, True)]
)
def test_roll_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of_all: bool, own: bool, expected: bool) -> None:
    asked = {}

    class One:
        container = NOTHING_OPEN
        warnings: t.ClassVar[list[str]] = []

        def __init__(self, _layout: t.Any, container: str, _system: t.Any, _options: t.Any, *given: bool) -> None:
            asked[container] = given[0]
            self.name = container

            self.would_end = self.stays = False

        def bring(self, _check: bool, _diff: bool) -> dict[str, t.Any]:
            return {"changed": False}

    monkeypatch.setattr(subject, "OneContainer", One)
    declared = {"web": options_of({"roll_back": own}, "web"), "other": options_of({}, "other")}
    host = subject.HostContainers(tmp_path, declared, {}, {}, lambda name: name)
    assert [result["changed"] for result in host.bring(of_all)] == [False, False]
    assert asked == {"web": expected, "other": of_all}


ORDERS: dict[str, tuple[dict[str, dict[str, t.Any]], str]] = {
    "as_declared": ({"b": {}, "a": {}, "c": {"requires": ["a"], "after": ["b"]}}, "bac"),
    "required_later": ({"a": {"requires": ["c"]}, "b": {}, "c": {}}, "cab"),
    "after_a_later_one": ({"a": {"after": ["c"]}, "b": {}, "c": {}}, "cab"),
    "both": ({"a": {"after": ["b"], "requires": ["c"]}, "b": {}, "c": {}}, "cba"),
    "in_a_row": ({"a": {"requires": ["b"]}, "b": {"requires": ["c"]}, "c": {"requires": ["d"]}, "d": {}}, "dcba"),
    "others": ({"a": {"requires": ["other"], "after": None}, "b": {}}, "ab"),
    "a_circle": ({"a": {"requires": ["b"]}, "b": {"requires": ["a"]}}, "ba"),
    "requires_before_after": ({"b": {"after": ["a"]}, "a": {"requires": ["b"]}}, "ba"),
    "itself": ({"a": {"requires": ["a"], "after": ["a"]}}, "a"),
}


@pytest.mark.parametrize("case", ORDERS)
def test_the_order_is_that_of_what_they_need(case: str) -> None:
    declared, expected = ORDERS[case]
    assert "".join(subject.ordered(declared)) == expected


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("option", ["requires", "after"])
def test_containers_are_brought_in_that_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, check: bool
) -> None:
    brought = []

    class One:
        container = NOTHING_OPEN
        warnings: t.ClassVar[list[str]] = []
        earlier: t.ClassVar[list[str]] = []

        def __init__(self, _layout: t.Any, container: str, _system: t.Any, _options: t.Any, *_given: bool) -> None:
            self.name = container
            self.would_end = self.stays = False

        def bring(self, _check: bool, _diff: bool) -> dict[str, t.Any]:
            brought.append((self.name, list(self.earlier)))
            return {"name": self.name, "changed": False}

    monkeypatch.setattr(subject, "OneContainer", One)
    options: dict[str, dict[str, t.Any]] = {"web": {option: ["db"]}, "old": {"state": "stopped"}, "db": {}}
    declared = {name: options_of(given, name) for name, given in options.items()}
    host = subject.HostContainers(tmp_path, declared, {}, {}, lambda name: name, check)
    assert [result["name"] for result in host.bring(False)] == ["web", "old", "db"]
    assert brought == [("old", []), ("db", ["old"]), ("web", ["old", "db"])]


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("act", ["bring", "foresee", "stage"])
def test_no_container_stays_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, act: str, fails: bool) -> None:
    """A host may have more of them than a process may have open files."""

    class One:
        warnings: t.ClassVar[list[str]] = []

        def __init__(self, _layout: t.Any, name: str, *_more: t.Any) -> None:
            self.name = name
            self.container = types.SimpleNamespace(cgroup=ControlGroup(name))
            self.would_end = name == "old"
            self.stays = False

        def look(self, here: str) -> None:
            assert self.container.cgroup.hierarchy >= 0
            if fails and here == act:
                raise TargetError("it is refused")

        def bring(self, _check: bool, _diff: bool) -> dict[str, t.Any]:
            self.look("bring")
            return {"name": self.name, "changed": False}

        def foresee(self, _check: bool) -> None:
            self.look("foresee")

        def refuse_strangers(self, _check: bool, staging: bool) -> None:
            self.look("stage")

        cycle = types.SimpleNamespace(would_change=lambda _state: False)

    monkeypatch.setattr(subject, "OneContainer", One)
    states = {"old": "absent", "web": "started", "db": "started"}
    declared = {name: options_of({"state": state}, name) for name, state in states.items()}
    opened = len(os.listdir("/proc/self/fd"))
    host = subject.HostContainers(tmp_path, declared, {}, {}, lambda name: name)
    results = host.stage() if act == "stage" else host.bring(False)
    assert any(result.get("failed") for result in results) is fails
    assert len(os.listdir("/proc/self/fd")) == opened
