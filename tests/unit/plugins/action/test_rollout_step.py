# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action `rollout_step`: each step of a host, and whether the rollout goes on after it."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible_collections.unshare.container.plugins.action.rollout_step import ActionModule
from ansible_collections.unshare.container.plugins.plugin_utils import rollout

from .conftest import Answer, Run

CONTAINERS = {"web": {"operating_system": {"host_name": "web"}, "health": {"tcp": [{"port": 80}]}}}
NEW = {"name": "web", "generation": 4, "former_generation": 3, "boot_seconds": 0.5, "failed_units": [], "system": "/s"}
UNREACHABLE = AnsibleConnectionFailure("no route")


class Steps:
    """Runs the steps of one rollout."""

    def __init__(self, run: Run, directory: Path) -> None:
        self.run = run
        self.journal = rollout.Journal(str(directory))
        self("begin")
        self.journal.open_wave(["web1", "web2"])

    def __call__(self, step: str, *answers: Answer, host: str = "web1", check: bool = False, **given: t.Any) -> t.Any:
        self.run.answers = list(answers)
        play = {"ansible_play_hosts_all": ["web1", "web2"], "ansible_play_batch": ["web2", "web1"]}
        return self.run(ActionModule, {"step": step, **given}, host=host, check=check, variables=play)

    def outcome(self, host: str = "web1") -> t.Any:
        return self.journal.record(host).get("outcome")


@pytest.fixture
def steps(run: Run, tmp_path: Path) -> Steps:
    return Steps(run, tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({}, "missing required arguments: step"), ({"step": "stop"}, "value of step must be one of: begin, stage, open_")],
)
def test_a_step_must_be_one_that_there_is(run: Run, arguments: dict[str, t.Any], message: str) -> None:
    with pytest.raises(AnsibleActionFail, match=message):
        run(ActionModule, arguments)


@pytest.mark.parametrize("step", ["stage", "open_wave", "switch", "note", "undo", "report"])
def test_a_step_needs_a_rollout_that_has_begun(run: Run, step: str) -> None:
    with pytest.raises(AnsibleActionFail, match=rf"^step: '{step}' finds no rollout .*run the step 'begin' first"):
        run(ActionModule, {"step": step})


def test_a_rollout_begins_anew(steps: Steps) -> None:
    steps.journal.stop("of before")
    steps.journal.note("web1", {"outcome": rollout.FAILED})
    assert steps("begin") == {"changed": False}
    assert steps.journal.stopped() is None
    assert steps.outcome() is None


@pytest.mark.parametrize(
    ("entries", "pending"), [([{"pending": True}, {}], True), ([{"pending": False}], False), ([], False)]
)
def test_staging_sends_the_systems_and_switches_nothing(steps: Steps, entries: list[t.Any], pending: bool) -> None:
    done = steps("stage", {"changed": True, "containers": entries}, containers=CONTAINERS)
    assert (done["changed"], done["pending"]) == (True, pending)
    sent = steps.run.sent[0][1]
    assert sent["stage"] is True
    assert list(sent["containers"]) == ["web"]
    assert "purge" not in sent
    assert steps.outcome() == rollout.STAGED
    assert steps.journal.stopped() is None


@pytest.mark.parametrize(
    ("answer", "outcome", "message"),
    [
        (UNREACHABLE, rollout.UNREACHABLE, "cannot be reached: no route"),
        ({"failed": True, "msg": "disk full"}, rollout.NOT_STAGED, "disk full"),
        (AnsibleActionFail("no module"), rollout.NOT_STAGED, "no module"),
    ],
)
@pytest.mark.parametrize(("limit", "stops"), [(0, True), (50, False)])
def test_a_host_that_cannot_be_staged(
    steps: Steps, answer: Answer, outcome: str, message: str, limit: float, stops: bool
) -> None:
    done = steps("stage", answer, containers=CONTAINERS, max_fail_percentage=limit)
    assert done["failed"]
    assert not done.get("changed")
    assert done["msg"] == message
    assert steps.journal.record("web1") == {"host": "web1", "outcome": outcome, "message": message}
    assert steps.journal.stopped() == ("1 of 2 hosts failed in staging; 0 % may" if stops else None)


def test_a_declaration_that_cannot_be_used_is_a_failure_of_its_host(steps: Steps) -> None:
    done = steps("stage", containers={"web": {}})
    message = (
        "containers.web.operating_system: is required: the declaration of the machine that the container is made from"
    )
    assert done == {"failed": True, "changed": False, "msg": message}
    assert steps.outcome() == rollout.NOT_STAGED


@pytest.mark.parametrize("asked", [True, False])
@pytest.mark.parametrize("step", ["stage", "switch"])
def test_outdated_units_are_restarted_when_that_was_asked_for(steps: Steps, step: str, asked: bool) -> None:
    entry = {"name": "web", "changed": True, "restarted_units": ["a.service"], "outdated_units": [], "pid": 1}
    steps(step, {"changed": True, "containers": [entry]}, containers=CONTAINERS, restart_outdated=asked)
    assert steps.run.sent[0][1].get("restart_outdated", False) is asked
    kept = {"name": "web", "restarted_units": ["a.service"], "outdated_units": []}
    assert steps.journal.record("web1")["containers"] == [kept]


def test_a_wave_is_opened_with_its_hosts(steps: Steps) -> None:
    assert steps("open_wave") == {"changed": False, "goes_on": True, "reason": None, "wave": 2, "size": 2}
    steps.journal.stop("too many")
    assert steps("open_wave") == {"changed": False, "goes_on": False, "reason": "too many", "wave": 3, "size": 2}


@pytest.mark.parametrize(
    ("answer", "outcome", "serving"),
    [
        ({"changed": True, "containers": [{**NEW, "diff": "x"}]}, rollout.SWITCHED, True),
        ({"changed": False}, rollout.UNCHANGED, True),
        ({"failed": True, "msg": "m", "containers": [{"name": "web", "failed": True, "rolled_back_to": 3}]},
         rollout.ROLLED_BACK, True),
        ({"failed": True, "msg": "m", "containers": [{"name": "web", "failed": True}]}, rollout.FAILED, False),
        ({"changed": True, "containers": [{"name": "web", "changed": True, "restarted_units": ["a.service"]}]},
         rollout.RESTARTED, True),
        (UNREACHABLE, rollout.UNREACHABLE, False),
    ],
)  # fmt: skip
def test_a_host_is_switched(steps: Steps, answer: Answer, outcome: str, serving: bool) -> None:
    done = steps("switch", answer, containers=CONTAINERS, purge=True, wave=1, size=2, max_fail_percentage=0)
    sent = steps.run.sent[0][1]
    assert (sent["roll_back"], sent["purge"]) == (True, True)
    assert "stage" not in sent
    assert done["serving"] is serving
    assert steps.outcome() == outcome
    bad = outcome in rollout.BAD
    assert steps.journal.stopped() == ("1 of 2 hosts failed in wave 1; 0 % may" if bad else None)
    if outcome == rollout.SWITCHED:
        assert steps.journal.record("web1") == {"host": "web1", "outcome": outcome, "message": "", "containers": [NEW]}


@pytest.mark.parametrize("outcome", rollout.BAD)
def test_a_host_that_is_bad_is_not_touched(steps: Steps, outcome: str) -> None:
    steps.journal.note("web1", {"outcome": outcome})
    done = steps("switch", containers=CONTAINERS)
    assert done == {"changed": False, "skipped": True, "serving": False, "skip_reason": outcome}
    assert steps.run.sent == []
    assert steps.outcome() == outcome


def test_after_the_stop_a_host_is_held_back(steps: Steps) -> None:
    steps.journal.stop("too many")
    done = steps("switch", containers=CONTAINERS)
    assert done == {"changed": False, "skipped": True, "serving": False, "skip_reason": rollout.HELD_BACK}
    assert steps.run.sent == []
    assert steps.outcome() == rollout.HELD_BACK


def test_a_hook_that_fails_is_a_failure_of_its_host_once(steps: Steps) -> None:
    given: dict[str, t.Any] = {"message": "the hook failed", "wave": 1, "size": 2, "max_fail_percentage": 50}
    assert steps("note", **given) == {"changed": False}
    assert steps.journal.record("web1") == {"host": "web1", "outcome": rollout.FAILED, "message": "the hook failed"}
    assert steps.journal.stopped() is None
    steps.journal.note("web2", {"outcome": rollout.ROLLED_BACK, "message": "of before"})
    steps("note", host="web2", **given)
    assert steps.journal.record("web2")["message"] == "of before"
    assert steps.journal.stopped() is None
    steps("note", host="web3", **given)
    assert steps.journal.stopped() == "2 of 2 hosts failed in wave 1; 50 % may"


@pytest.mark.parametrize(("answer", "outcome"), [({"changed": True}, rollout.UNDONE), (UNREACHABLE, rollout.FAILED)])
def test_what_was_switched_goes_back(steps: Steps, answer: Answer, outcome: str) -> None:
    first = {**NEW, "name": "first", "former_generation": None}
    steps("switch", {"changed": True, "containers": [NEW, first]}, containers=CONTAINERS)
    steps.journal.stop("too many")
    del steps.run.sent[:]
    steps("undo", answer, containers={**CONTAINERS, "first": {"state": "stopped"}})
    sent = steps.run.sent[0][1]
    assert list(sent["containers"]) == ["web"]
    web = sent["containers"]["web"]
    # Its health was declared for the new system.
    assert (web["state"], web["generation"], web["health"]) == ("rolled_back", 3, None)
    assert "roll_back" not in sent
    assert steps.outcome() == outcome


@pytest.mark.parametrize(
    ("stopped", "outcome", "former"),
    [
        (False, rollout.SWITCHED, 3),
        (True, rollout.UNCHANGED, 3),
        (True, rollout.FAILED, 3),
        (True, rollout.SWITCHED, None),
    ],
)
def test_what_does_not_go_back(steps: Steps, stopped: bool, outcome: str, former: int | None) -> None:
    steps.journal.note("web1", {"outcome": outcome, "containers": [{"name": "web", "former_generation": former}]})
    if stopped:
        steps.journal.stop("too many")
    assert steps("undo", containers=CONTAINERS) == {"changed": False, "skipped": True}
    assert steps.run.sent == []
    assert steps.outcome() == outcome


def test_the_report(steps: Steps, tmp_path: Path) -> None:
    steps.journal.note("web1", {"outcome": rollout.SWITCHED})
    steps.journal.note("web2", {"outcome": rollout.FAILED, "message": "one line\nand more"})
    place = tmp_path / "page.html"
    done = steps("report", page=str(place))
    assert done == {
        "changed": False,
        "failed": True,
        "msg": "rollout completed, with failures. 2 hosts: 1 switched, 1 failed",
        "hosts": [
            {"host": "web1", "outcome": "switched", "wave": 1, "message": ""},
            {"host": "web2", "outcome": "failed", "wave": 1, "message": "one line"},
        ],
        "page": str(place),
    }
    assert steps.run.shown == ["\n".join(rollout.text(steps.journal.summary()))]
    assert "and more" in place.read_text()
    assert place.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_report_of_check_mode_without_a_page(steps: Steps) -> None:
    done = steps("report", check=True)
    assert done == {
        "changed": False,
        "failed": False,
        "msg": "rollout (check mode, nothing was changed) completed. 0 hosts: none",
        "hosts": [],
    }


def test_a_page_that_cannot_be_written_is_an_error_that_names_it(steps: Steps, tmp_path: Path) -> None:
    place = tmp_path / "missing/page.html"
    with pytest.raises(AnsibleActionFail, match=rf"^page: {place} cannot be written: .*No such file"):
        steps("report", page=str(place))


def test_variables_are_checked_before_the_rollout_begins(steps: Steps) -> None:
    steps.journal.note("web1", {"outcome": rollout.SWITCHED})
    with pytest.raises(AnsibleActionFail, match=r"^rollout_waves\[0\]: 'ten' is no size"):
        steps("begin", variables={"rollout_waves": ["ten"]})
    assert steps.outcome() == rollout.SWITCHED  # of the journal before
    assert steps("begin", variables={"rollout_waves": [1]}) == {"changed": False}
    assert steps.outcome() is None


@pytest.mark.parametrize("value", ["ten", -1, None, "200"])
def test_a_hosts_own_variable_that_cannot_be_used_is_a_failure_of_it(steps: Steps, value: t.Any) -> None:
    """It is not switched; the step of the switch has the same value."""
    name = "rollout_max_fail_percentage"
    done = steps("stage", containers=CONTAINERS, max_fail_percentage=value, variables={name: value})
    assert done["failed"]
    assert done["msg"].startswith(f"{name}: ")
    assert steps.run.sent == []
    assert steps.outcome() == rollout.NOT_STAGED
    assert steps.journal.stopped() == "1 of 2 hosts failed in staging; 0 % may"
    assert steps("switch", containers=CONTAINERS, max_fail_percentage=value)["skip_reason"] == rollout.NOT_STAGED
    assert steps("note", max_fail_percentage=value) == {"changed": False}
    assert steps.run.sent == []


@pytest.mark.parametrize("step", ["stage", "switch", "note"])
def test_a_limit_that_is_none_is_an_error_of_its_own(steps: Steps, step: str) -> None:
    with pytest.raises(AnsibleActionFail, match="^max_fail_percentage: 'ten' is no percentage from 0 to 100"):
        steps(step, containers=CONTAINERS, max_fail_percentage="ten")
    assert steps.run.sent == []


def test_a_hosts_misspelled_variable_is_a_failure_of_it(steps: Steps) -> None:
    play = {"rollout_wave": [1], "ansible_play_hosts_all": ["web1"]}
    arguments = {"step": "stage", "containers": CONTAINERS, "variables": {"rollout_waves": [1]}}
    done = steps.run(ActionModule, arguments, variables=play)
    assert "did you mean 'rollout_waves'?" in done["msg"]
    assert steps.run.sent == []
    assert steps.outcome() == rollout.NOT_STAGED
