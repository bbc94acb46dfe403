# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Nothing is stopped, removed or purged by a run in which another container is refused."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.life import host_containers as subject
from ansible_collections.unshare.container.plugins.module_utils.state.target import TargetError
from ansible_collections.unshare.container.plugins.modules.containers import options_of

from ..target_helpers import NOTHING_OPEN


class Hosted:
    """A host on which `old` and `older` run; what is done to its containers is noted."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.running = ["old", "older"]
        self.staying: list[str] = []
        self.refusals: dict[str, str] = {}
        self.done: list[str] = []
        self.looked: dict[str, list[str]] = {}
        hosted = self

        class One:
            container = NOTHING_OPEN

            def __init__(self, _layout: t.Any, name: str, _system: t.Any, options: t.Any, *_given: bool) -> None:
                self.name, self.state = name, options["state"]
                self.without: list[str] = []
                self.warnings: list[str] = []
                if hosted.refusals.get(name) == "made":
                    raise TargetError(f"the limits of {name} are no limits")

            @property
            def would_end(self) -> bool:
                return self.name in hosted.running

            @property
            def stays(self) -> bool:
                return self.name in hosted.staying

            def foresee(self, check: bool) -> None:
                hosted.looked[self.name] = list(self.without)
                if hosted.refusals.get(self.name) == "looked at":
                    raise TargetError(f"{self.name}: the port is taken")

            def bring(self, check: bool, _diff: bool) -> dict[str, t.Any]:
                assert check or self.without == []
                hosted.done.append(self.name)
                return {"changed": True, "name": self.name, "state": self.state}

        monkeypatch.setattr(subject, "OneContainer", One)
        monkeypatch.setattr(subject.HostContainers, "_system", lambda _self, name: self.stage(name))
        monkeypatch.setattr(
            subject.HostContainers, "unnamed", lambda host: [name for name in self.running if name not in host.declared]
        )

    def stage(self, name: str) -> tuple[None, bool, list[dict[str, str]]]:
        assert self.done == [], "something was changed before all was staged"
        if self.refusals.get(name) == "staged":
            raise TargetError(f"{name}: the store /usr lacks programs; nothing was changed")
        return None, False, []

    def bring(self, check: bool = False, purge: bool = False, **states: str) -> dict[str, dict[str, t.Any]]:
        declared = {name: options_of({"state": state}, name) for name, state in states.items()}
        host = subject.HostContainers(self.root, declared, {}, {}, lambda name: name, check=check)
        results = host.bring(False, options_of({"state": "absent"}, "purge") if purge else None)
        return {result["name"]: result for result in results}


@pytest.fixture
def hosted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hosted:
    return Hosted(tmp_path, monkeypatch)


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("when", ["made", "staged", "looked at"])
@pytest.mark.parametrize(
    ("purge", "states"),
    [
        pytest.param(True, {"new": "started"}, id="purged"),
        pytest.param(False, {"old": "absent", "new": "started"}, id="absent"),
        pytest.param(False, {"new": "restarted", "old": "stopped", "older": "absent"}, id="stopped_and_absent"),
        pytest.param(True, {"new": "rolled_back", "old": "stopped"}, id="stopped_and_purged"),
    ],
)
def test_what_runs_goes_on(hosted: Hosted, check: bool, when: str, purge: bool, states: dict[str, str]) -> None:
    hosted.refusals["new"] = when
    results = hosted.bring(check, purge, other="started", **states)
    assert hosted.done == ["other"]
    ending = [name for name in results if name not in ("new", "other")]
    assert ending[:1] == ["old"]
    for name in ending:
        assert (results[name]["failed"], results[name]["changed"]) == (True, False)
        assert results[name]["msg"].startswith(f"container '{name}': is left as it is: ")
        assert "another container is refused (new)" in results[name]["msg"]
    assert results["new"]["failed"]
    assert "is left as it is: nothing" not in results["new"]["msg"]


@pytest.mark.parametrize("check", [False, True])
def test_where_nothing_is_refused_what_ends_comes_first(hosted: Hosted, check: bool) -> None:
    results = hosted.bring(check, True, new="started", old="stopped")
    assert hosted.done == ["old", "older", "new"]
    assert [result.get("failed") for result in results.values()] == [None] * 3
    assert list(results) == ["new", "old", "older"]


def test_what_has_ended_already_is_no_failure(hosted: Hosted) -> None:
    hosted.running = []
    hosted.refusals["new"] = "staged"
    results = hosted.bring(old="absent", new="started")
    assert hosted.done == ["old"]
    assert not results["old"].get("failed")


def test_nothing_is_looked_at_twice_where_nothing_ends(hosted: Hosted) -> None:
    hosted.bring(new="started", other="started")
    assert hosted.looked == {}


def test_what_will_be_free_does_not_count(hosted: Hosted) -> None:
    """What ends, and what an earlier one gives up; what stays, and what a later one has still, does."""
    hosted.staying = ["stays"]
    hosted.bring(False, True, first="started", stays="started", old="stopped", second="restarted", last="started")
    assert hosted.looked == {
        "first": ["old", "older"],
        "stays": ["old", "older", "first"],
        "second": ["old", "older", "first"],
        "last": ["old", "older", "first", "second"],
    }
