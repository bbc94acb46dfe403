# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check mode and `changed` tell the truth of a container that goes on running."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.inside.units import Judgement
from ansible_collections.unshare.container.plugins.module_utils.life import check_mode, examination
from ansible_collections.unshare.container.plugins.module_utils.life.one_container import OneContainer
from ansible_collections.unshare.container.plugins.module_utils.life.unhealthy import UnhealthyError
from ansible_collections.unshare.container.plugins.module_utils.state import generations
from ansible_collections.unshare.container.plugins.module_utils.state.systems import Systems
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout
from ansible_collections.unshare.container.plugins.modules.containers import options_of

from ..specifications import specification
from ..target_helpers import FakeContainer, content

HEALTH = {"timeout": 0.3, "steady": 0}


class Running(FakeContainer):
    """One that is well again when it is started."""

    def __init__(self, root: Path) -> None:
        super().__init__()
        self.run_directory = str(root / "run")

    def start(self, system: str, wait: bool, timeout: float) -> t.Any:
        self.failed, self.state = [], "running"
        return super().start(system, wait, timeout)

    def judge(self, timeout: float = 10.0) -> Judgement:
        self.calls.append("judge")
        return super().judge(timeout)

    def outdated_units(self) -> dict[str, t.Any]:
        return {}


class Deployed:
    """A container that runs its newest system, one of four generations."""

    def __init__(self, root: Path) -> None:
        self.layout = Layout(root)
        self.container = Running(root)
        for number in range(4):
            self.system = Systems(self.layout).write(content(motd=str(number)), None)
            generations.switch(self.layout, "web", self.system)
        self.container.running, self.container.waited = str(self.system), True
        generations.note_well(self.layout, "web")

    def bring(self, check: bool, **given: t.Any) -> dict[str, t.Any]:
        options = options_of({"keep_generations": 6, "health": HEALTH, **given}, "web")
        one = OneContainer(self.layout, self.container, self.system, options, options["roll_back"])
        return one.bring(check, True)


@pytest.fixture
def deployed(tmp_path: Path, own_launcher: None, monkeypatch: pytest.MonkeyPatch) -> Deployed:
    monkeypatch.setattr(examination, "examine", lambda *arguments: examination.Examined([], []))
    return Deployed(tmp_path)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        pytest.param({}, "a.service has failed", id="a_unit"),
        pytest.param({"wait": False, "health": HEALTH}, "a.service has failed", id="without_a_wait"),
        pytest.param({"roll_back": True}, "a.service has failed", id="to_be_rolled_back"),
    ],
)
def test_what_is_ill_is_an_error(deployed: Deployed, given: dict[str, t.Any], said: str) -> None:
    deployed.container.failed = ["a.service"]
    errors = []
    for check in (True, False):
        with pytest.raises(UnhealthyError, match="is not well") as caught:
            deployed.bring(check, **given)
        errors.append((str(caught.value), caught.value.changed, caught.value.failed_units))
    assert errors[0] == errors[1]
    assert said in errors[0][0]


@pytest.mark.parametrize("given", [{"allow_failed_units": True}, {"wait": False}, {"state": "restarted"}])
def test_what_is_no_error_is_none_in_check_mode(deployed: Deployed, given: dict[str, t.Any]) -> None:
    deployed.container.failed = ["a.service"]
    if given == {"wait": False}:
        given = {**given, "health": None}
    assert deployed.bring(True, **given)["changed"] is deployed.bring(False, **given)["changed"]


@pytest.mark.parametrize("state", ["stopped", "absent"])
def test_what_ends_is_not_judged(deployed: Deployed, state: str) -> None:
    deployed.container.failed = ["a.service"]
    assert deployed.bring(True, state=state)["changed"]
    assert "judge" not in deployed.container.calls


@pytest.mark.parametrize("given", [{}, {"wait": False}, {"wait": False, "health": None}])
def test_what_goes_down_is_started_again(deployed: Deployed, given: dict[str, t.Any]) -> None:
    deployed.container.state = "stopping"
    planned = deployed.bring(True, **given)
    assert (planned["changed"], "start" in deployed.container.calls) == (True, False)
    done = deployed.bring(False, **given)
    assert (done["changed"], "start" in deployed.container.calls) == (True, True)
    assert not deployed.bring(True, **given)["changed"]


@pytest.mark.parametrize(
    ("given", "removed"),
    [
        pytest.param({"keep_generations": 1}, [1, 2, 3], id="all_but_the_current"),
        pytest.param({"keep_generations": 3}, [1], id="some"),
        pytest.param({"keep_generations": 2, "wait": False, "health": None}, [1, 2], id="not_judged"),
        pytest.param({"keep_generations": 2, "state": "stopped"}, [1, 2], id="stopped"),
        pytest.param({}, [], id="none"),
    ],
)
def test_what_is_no_longer_kept_is_a_change(deployed: Deployed, given: dict[str, t.Any], removed: list[int]) -> None:
    if given.get("state") == "stopped":
        deployed.container.running = None
    before = generations.numbers(deployed.layout, "web")
    planned = deployed.bring(True, **given)
    assert generations.numbers(deployed.layout, "web") == before
    done = deployed.bring(False, **given)
    assert [number for number in before if number not in generations.numbers(deployed.layout, "web")] == removed
    assert planned["changed"] is done["changed"] is bool(removed)
    assert planned.get("diff") == done.get("diff")
    if removed:
        listed = done["diff"]["before"]["no_longer_kept"]
        assert listed[: len(removed)] == [f"generation {number}" for number in removed]
        assert len(listed) == 2 * len(removed)
        assert done["diff"]["after"]["no_longer_kept"] == []
    again = deployed.bring(True, **given)
    assert not again["changed"]
    assert not deployed.bring(False, **given)["changed"]


def test_one_on_trial_that_is_well_is_kept_alone(deployed: Deployed) -> None:
    """The run itself notes that it is well, and only then forgets the generation to go back to."""
    directory = deployed.layout.generations("web")
    (directory / "4.well").rename(directory / "1.well")
    generations.begin_trial(deployed.layout, "web")
    planned = deployed.bring(True, keep_generations=1, roll_back=True)
    assert deployed.bring(False, keep_generations=1, roll_back=True)["diff"] == planned["diff"]
    assert generations.numbers(deployed.layout, "web") == [4]


def test_a_system_that_was_staged_and_given_up_goes_with_the_next_run(deployed: Deployed) -> None:
    given_up = Systems(deployed.layout).write(content(motd="given up"), None)
    planned = deployed.bring(True)
    Systems(deployed.layout).touch(deployed.system)  # as whoever names a system does
    done = deployed.bring(False)
    assert planned["diff"]["before"]["no_longer_kept"] == [f"system {given_up.name}"]
    assert done["diff"] == planned["diff"]
    assert not given_up.exists()


@pytest.mark.parametrize(
    ("options", "limits", "warned"),
    [
        ("size=4G", {"memory_max": 1 << 29}, True),
        ("mode=0700,size=1g", {"memory_high": 1 << 29, "memory_max": 1 << 34}, True),
        ("size=0", {"memory_max": 1 << 29}, True),
        ("size=64M", {"memory_max": 1 << 29}, False),
        ("size=50%", {"memory_max": 1 << 29}, False),
        ("mode=0700", {"memory_max": 1 << 29}, False),
        ("size=much", {"memory_max": 1 << 29}, False),  # which is refused elsewhere
        ("size=4G", {}, False),
    ],
)
def test_a_file_system_larger_than_the_memory_is_said_before_the_start(
    options: str, limits: dict[str, int], warned: bool
) -> None:
    mount = {"device": "none", "mount_point": "/srv/m", "type": "tmpfs", "options": options}
    said = check_mode.memory_warnings(specification(file_systems=[mount]), limits)
    assert [one.startswith("/srv/m: its size (") for one in said] == ([True] if warned else [])


@pytest.mark.parametrize("remove", [False, True])
def test_v6_what_becomes_of_the_data_of_one_that_goes_is_said_before(deployed: Deployed, remove: bool) -> None:
    directory = deployed.layout.container("web")
    for place in ("volumes/uploads", "snapshots/monday"):
        (directory / place).mkdir(parents=True)
    for check in (True, False):
        one = OneContainer(
            deployed.layout,
            deployed.container,
            None,
            options_of({"state": "absent", "remove_volumes": remove}, "web"),
            False,
        )
        (difference,) = [one.bring(check, True)["diff"]]
        gone = ["volume uploads", "snapshot monday"] if remove else None
        assert (difference["before"].get("data"), difference["after"].get("data")) == (gone, [] if remove else None)
        kept = [said for said in one.warnings if "are kept in" in said]
        assert len(kept) == (0 if remove else 2), kept
        assert (directory / "volumes/uploads").exists() == (check or not remove)
