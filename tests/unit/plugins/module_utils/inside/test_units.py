# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What becomes of a unit, and what the one judgement makes of it."""

from __future__ import annotations

import types
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.inside import units
from ansible_collections.unshare.container.plugins.module_utils.launcher.contract import File
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.state.declared_units import (
    BASIC_TARGETS,
    UNITS_DIRECTORY,
)

NOW = 1000.0
UNIT = "a.service"
ACTIVE = {
    "LoadState": "loaded",
    "LoadError": "",
    "ActiveState": "active",
    "SubState": "running",
    "Result": "success",
    "Type": "simple",
    "Restart": "on-failure",
    "ConditionTimestampMonotonic": "900000000",
    "ConditionResult": "yes",
    "AssertResult": "yes",
    "InactiveExitTimestampMonotonic": "900000001",
    "ActiveEnterTimestampMonotonic": "900000002",
    "ExecMainStatus": "0",
    "NRestarts": "0",
    "Job": "",
}
NEVER = {
    "ActiveState": "inactive",
    "SubState": "dead",
    "ConditionTimestampMonotonic": "0",
    "ConditionResult": "no",
    "AssertResult": "no",
    "InactiveExitTimestampMonotonic": "0",
    "ActiveEnterTimestampMonotonic": "0",
}
DEAD = {"ActiveState": "inactive", "SubState": "dead"}
AGAIN = {"ActiveState": "activating", "SubState": "auto-restart", "Restart": "always", "NRestarts": "1"}
LATELY = {"Restart": "always", "ActiveEnterTimestampMonotonic": "999000000"}
ENDED = "without a failure, and is started again; one that is to end is of Type=oneshot, and begins again by a timer"
BAD = 'org.freedesktop.systemd1.BadUnitSetting "Unit a.service has a bad unit file setting."'
MASKED = 'org.freedesktop.systemd1.UnitMasked "Unit a.service is masked."'
GONE = 'org.freedesktop.systemd1.NoSuchUnit "Unit a.service not found."'


class Answers:
    """What a container's systemd answers: by unit, what is another than that of one that runs well."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, wanted: bool = True, unit: str = UNIT) -> None:
        self.manager = {"SystemState": "running", "UserspaceTimestampMonotonic": "500000000"}
        self.units: dict[str, dict[str, str]] = {}
        self.others: dict[str, dict[str, str]] = {}
        self.early: list[str] = []
        self.log = [units._ENDED_WELL]
        self.said = "said\n"
        self.asked: list[list[str]] = []
        files = {"default.target": "multi-user.target", unit: None}
        if wanted:
            files[f"multi-user.target.wants/{unit}"] = f"../{unit}"
        specification = types.SimpleNamespace(
            files={UNITS_DIRECTORY + name: File(link=to) for name, to in files.items()}
        )
        monkeypatch.setattr(units, "read_outline", lambda _system: specification)
        monkeypatch.setattr(units, "capture", self.capture)
        monkeypatch.setattr(units, "time", types.SimpleNamespace(monotonic=lambda: NOW))

    def capture(self, _container: t.Any, command: list[str], _timeout: float) -> str:
        self.asked.append(command)
        if command[0] == "journalctl":
            assert "_PID=1" in command  # whoever runs inside can write the other fields
            return self.said if set(self.log) & set(command) else ""
        blocks = [self.manager]
        for name in command[4:]:
            blocks.append({"Id": name, **ACTIVE, **self.units.get(name, {})})
        blocks += [{"Id": name, **ACTIVE, **properties} for name, properties in self.others.items()]
        said = "\n\n".join("\n".join(f"{key}={value}" for key, value in block.items()) for block in blocks)
        log = "".join(f"<28>systemd[1]: {line}\n" for line in self.early)
        return f"{said}\n----\n{log}"

    def judge(self) -> units.Judgement:
        container: t.Any = types.SimpleNamespace(name="web", record=lambda: {"system": "/s"})
        return units.judge(container, 5.0)

    def reasons(self) -> list[str]:
        return [str(problem) for problem in self.judge().problems]


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    return Answers(monkeypatch)


def test_what_runs_is_well(answers: Answers) -> None:
    found = answers.judge()
    assert (found.state, found.problems, found.units, found.final, found.summary()) == ("running", [], [], False, "")
    assert found.lives == pytest.approx(100.0)
    (command,) = answers.asked
    assert command[4:] == sorted([UNIT, "multi-user.target", *BASIC_TARGETS])


WELL = {
    "reloading": {"ActiveState": "reloading"},
    "exited and remains": {"SubState": "exited", "Type": "oneshot"},
    "skipped by a condition": {**NEVER, "ConditionTimestampMonotonic": "900000000"},
    "skipped this time": {**DEAD, "ConditionTimestampMonotonic": "950000000", "ConditionResult": "no"},
    "skipped by its own command": {**DEAD, "Result": "exec-condition", "ExecMainStatus": "0"},
    "a oneshot that is skipped by its own command": {**DEAD, "Type": "oneshot", "Result": "exec-condition"},
    "a oneshot that has ended well": {**DEAD, "Type": "oneshot"},
    "about to be started again after it lived, and ended well": {**AGAIN, "ActiveExitTimestampMonotonic": "902000002"},
    "a oneshot that is started again": {**AGAIN, "Type": "oneshot", "ActiveEnterTimestampMonotonic": "0"},
    "started again after it lived for 2.1 s at a time": {
        **LATELY,
        "NRestarts": "100",
        "RestartUSec": "2.890s",
    },
    "started again after it lived, with a long pause": {**LATELY, "NRestarts": "4", "RestartUSec": "2min 2s"},
    "started again long ago": {"NRestarts": "7"},
}


@pytest.mark.parametrize("properties", WELL.values(), ids=WELL.keys())
def test_a_unit_that_is_well(answers: Answers, properties: dict[str, str]) -> None:
    answers.units[UNIT] = properties
    assert answers.reasons() == []


ILL: dict[str, tuple[dict[str, str], str, bool]] = {
    "cases_N6_bad_setting": (
        {**NEVER, "LoadState": "bad-setting", "LoadError": BAD},
        "is not loaded (bad-setting): Unit a.service has a bad unit file setting.",
        True,
    ),
    "cases_N6_masked": (
        {**NEVER, "LoadState": "masked", "LoadError": MASKED},
        "is not loaded (masked): Unit a.service is masked.",
        True,
    ),
    "cases_N6_load_error": ({**NEVER, "LoadState": "error"}, "is not loaded (error)", True),
    "not found": (
        {**NEVER, "LoadState": "not-found", "LoadError": GONE},
        "is not loaded (not-found): Unit a.service not found.",
        True,
    ),
    "cases_N6_never_started": (NEVER, "was never started", True),
    "cases_U6_dies_at_once": (
        {"ActiveState": "failed", "SubState": "failed", "Result": "exit-code", "ExecMainStatus": "217"},
        "has failed (exit-code, status 217)",
        True,
    ),
    "0.11 started again after it has ended at once": (
        {**AGAIN, "ActiveExitTimestampMonotonic": "900010002"},
        f"has ended after 0.0 s, {ENDED}",
        False,
    ),
    "0.11 after 1.9 s": (
        {**AGAIN, "ActiveExitTimestampMonotonic": "901900002"},
        f"has ended after 1.9 s, {ENDED}",
        False,
    ),
    "0.11 of those that it never said": ({**AGAIN, "Restart": "on-success"}, f"has ended after 0.0 s, {ENDED}", False),
    "0.11 seen while it lives": (
        {**LATELY, "NRestarts": "100", "RestartUSec": "4.500s"},
        "has been started again 100 times, the last time 1.0 s ago",
        False,
    ),
    "0.11 seen while it lives, after a long pause": (
        {**LATELY, "NRestarts": "8", "RestartUSec": "1min 1s 500ms"},
        "has been started again 8 times, the last time 1.0 s ago",
        False,
    ),
    "a start that takes too long": ({"ActiveState": "failed", "Result": "timeout"}, "has failed (timeout)", True),
    "cases_U7_tried_again": (
        {"ActiveState": "activating", "SubState": "auto-restart", "Result": "exit-code", "ExecMainStatus": "1"},
        "has failed (exit-code, status 1), and is tried again",
        False,
    ),
    "cases_U7_in_its_start_for_ever": (
        {"ActiveState": "activating", "SubState": "start", "NRestarts": "298"},
        "is activating (start)",
        False,
    ),
    "cases_U7_just_started_again": (
        {"NRestarts": "298", "ActiveEnterTimestampMonotonic": "999500000"},
        "has been started again 298 times, the last time 0.5 s ago",
        False,
    ),
    "a slow loop": (
        {"NRestarts": "100", "ActiveEnterTimestampMonotonic": "991000000"},
        "has been started again 100 times, the last time 9.0 s ago",
        False,
    ),
    "cases_U12_waits": ({**NEVER, "Job": "7"}, "waits to be started", False),
    "an assertion": (
        {**NEVER, "ConditionTimestampMonotonic": "900000000", "ConditionResult": "yes"},
        "was not started: what it asserts is not so",
        True,
    ),
    "a daemon that ends well": (DEAD, "has ended, without a failure; one that is to end is of Type=oneshot", True),
    "a oneshot that has failed before": ({**DEAD, "Type": "oneshot", "Result": "signal"}, "has failed (signal)", True),
    "on its way down": ({"ActiveState": "deactivating", "SubState": "stop"}, "is deactivating (stop)", False),
}


@pytest.mark.parametrize(("properties", "reason", "final"), ILL.values(), ids=ILL.keys())
def test_a_unit_that_is_not(answers: Answers, properties: dict[str, str], reason: str, final: bool) -> None:
    answers.units[UNIT] = properties
    found = answers.judge()
    assert [str(problem) for problem in found.problems] == [f"{UNIT} {reason}"]
    assert (found.units, found.final) == ([UNIT], final)


@pytest.mark.parametrize("case", ILL)
def test_what_nothing_starts_need_only_load(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    answers = Answers(monkeypatch, wanted=False)
    answers.units[UNIT] = ILL[case][0]
    loads = ILL[case][0].get("LoadState", "loaded")
    failed = ILL[case][0].get("ActiveState") == "failed"
    assert bool(answers.reasons()) is (failed or loads not in ("loaded", "masked"))


def test_a_unit_that_lives_and_ends_well_does_not_end_again_and_again(answers: Answers) -> None:
    answers.units[UNIT] = {"NRestarts": "98", "ActiveEnterTimestampMonotonic": "999500000", "Restart": "always"}
    assert answers.reasons() == []
    assert answers.asked[-1][-1] == f"UNIT={UNIT}"
    for log in ([units._FAILED], [units._FAILED, units._ENDED_WELL], []):  # the last: it has lost what was said
        answers.log = log
        assert len(answers.reasons()) == 1


def test_what_the_boot_itself_starts_is_to_be_there(answers: Answers) -> None:
    """cases_N6_cycle: systemd may drop a target from a cycle, and all that this starts."""
    answers.units["sockets.target"] = NEVER
    assert answers.reasons() == ["sockets.target was never started"]


@pytest.mark.parametrize("unit", ["a.timer", "a.socket", "a.path", "a.mount"])
def test_units_of_other_kinds(monkeypatch: pytest.MonkeyPatch, unit: str) -> None:
    answers = Answers(monkeypatch, unit=unit)
    assert answers.judge().lives is None
    answers.units[unit] = NEVER
    assert answers.reasons() == [f"{unit} was never started"]
    answers.units[unit] = {**DEAD, "Type": ""}
    assert bool(answers.reasons()) is (unit != "a.timer"), "a timer may have done its work"


def test_failures_of_what_was_not_declared_count(answers: Answers) -> None:
    answers.others = {
        "run-1.service": {"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "1"},
        "periodic.service": {"ActiveState": "activating", "SubState": "auto-restart"},
        UNIT: {"ActiveState": "failed", "Result": "exit-code"},
    }
    assert answers.reasons() == ["run-1.service has failed (exit-code, status 1)"]


def test_what_pid_1_says_before_the_journal_runs_is_the_reason(answers: Answers) -> None:
    said = [
        f"{UNITS_DIRECTORY}{UNIT}:5: Neither a valid executable name nor an absolute path: bin/true",
        f"{UNIT}: Unit configuration has fatal error, unit will not be started.",
        "Started another.service.",
    ]
    answers.early = [said[0], said[0], *said[1:]]
    answers.units[UNIT] = {**NEVER, "LoadState": "bad-setting", "LoadError": BAD}
    assert answers.reasons() == [f"{UNIT} is not loaded (bad-setting): {said[0]}; {said[1]}"]
    answers.early = [f"b.service: Job {UNIT}/start deleted to break ordering cycle starting with b.service/start"]
    answers.units[UNIT] = NEVER
    assert answers.reasons() == [f"{UNIT} was never started: {answers.early[0]}"]


def test_a_value_that_systemd_ignores_is_not_what_was_declared(answers: Answers) -> None:
    """cases_N6_type_simpel"""
    answers.early = [
        f"{UNITS_DIRECTORY}{UNIT}:7: Failed to parse service type, ignoring: simpel",
        f"{UNITS_DIRECTORY}{UNIT}:8: Unknown key 'ExecStrat' in section [Service], ignoring.",
    ]
    assert answers.reasons() == [f"{UNIT} has values that systemd ignores: {answers.early[0]}"]


SAID = {
    "of the template": ("t@.service:6: Failed to parse service type, ignoring: simpel", "t@one.service"),
    "of the template's drop-in": ("t@.service.d/x.conf:6: Invalid size, ignoring: x", "t@one.service"),
    "of the instance's drop-in": ("t@one.service.d/x.conf:6: Invalid size, ignoring: x", "t@one.service"),
    "of a unit of the store": ("basic.target.d/x.conf:2: Invalid size, ignoring: x", "basic.target"),
    "of what is not asked about": ("late.target.d/x.conf:2: Invalid size, ignoring: x", "late.target"),
    "without that word": ("a.service:3: StandardError= path is not absolute: relative", "a.service"),
    "of processors": ("a.service:3: Failed to parse CPU affinity 'x'", "a.service"),
}


@pytest.mark.parametrize(("line", "unit"), SAID.values(), ids=SAID.keys())
def test_a_value_is_ignored_wherever_it_was_declared(
    answers: Answers, monkeypatch: pytest.MonkeyPatch, line: str, unit: str
) -> None:
    """case 0.15: only the files of units with their own name were looked at, and lines with `ignoring`."""
    links = {"a.service": None, "t@.service": None, "multi-user.target.wants/t@one.service": "../t@.service"}
    files = {UNITS_DIRECTORY + name: File(link=to) for name, to in links.items()}
    monkeypatch.setattr(units, "read_outline", lambda _system: types.SimpleNamespace(files=files))
    answers.early = [
        f"{UNITS_DIRECTORY}{line}",
        f"{UNITS_DIRECTORY}a.service:4: Standard output type syslog is obsolete, automatically updating to journal.",
        f"{UNITS_DIRECTORY}a.service:4: Special user nobody configured, this is not safe!",
        f"/usr/lib/systemd/system/{line}",
    ]
    assert answers.reasons() == [f"{unit} has values that systemd ignores: {UNITS_DIRECTORY}{line}"]


@pytest.mark.parametrize("state", ["starting", "running"])
def test_a_unit_whose_starters_nothing_starts_is_no_good_news(
    answers: Answers, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """case 0.1: it was green."""
    links = {"default.target": "multi-user.target", "a.service": None, "x.target.wants/a.service": "../a.service"}
    files = {UNITS_DIRECTORY + name: File(link=to) for name, to in links.items()}
    monkeypatch.setattr(units, "read_outline", lambda _system: types.SimpleNamespace(files=files))
    answers.manager["SystemState"] = state
    answers.units = {UNIT: NEVER, "x.target": {**NEVER, "LoadState": "not-found"}}
    found = answers.judge()
    assert [str(problem) for problem in found.problems] == [
        "a.service is started by x.target alone, which nothing starts"
    ]
    assert found.final is (state == "running")
    answers.units = {"x.target": NEVER}  # someone has started it by hand
    assert answers.reasons() == []


def test_what_a_text_starts_is_to_be_active(answers: Answers, monkeypatch: pytest.MonkeyPatch, tmp_path: t.Any) -> None:
    """case 0.1: a unit that another one requires was not looked at."""
    place = tmp_path / "root" / UNITS_DIRECTORY[1:]
    place.mkdir(parents=True)
    (place / UNIT).write_text("[Unit]\nRequires=b.service\n")
    links = {UNIT: None, "b.service": None, "basic.target.wants/a.service": "../a.service"}
    files = {UNITS_DIRECTORY + name: File(link=to) for name, to in links.items()}
    monkeypatch.setattr(units, "read_outline", lambda _system: types.SimpleNamespace(files=files))
    answers.units["b.service"] = DEAD
    container: t.Any = types.SimpleNamespace(name="web", record=lambda: {"system": str(tmp_path)})
    (problem,) = units.judge(container, 5.0).problems
    assert str(problem) == "b.service has ended, without a failure; one that is to end is of Type=oneshot"
    assert answers.reasons() == [], "a file that is not there starts nothing"


def test_a_summary_is_bounded_and_names_what_the_others_wait_for(answers: Answers) -> None:
    problems = [units.UnitProblem(f"u{number}.service", units.WAITS) for number in range(50)]
    slow = units.UnitProblem("slow.service", "is activating (start)", True)
    assert units.Judgement("starting", [*problems, slow]).summary() == str(slow)
    said = units.Judgement("starting", problems).summary()
    assert said.endswith("; and 42 more")
    long = units.UnitProblem("a.service", "x" * 100_000)
    assert len(units.Judgement("running", [long] * 3).summary()) < 3 * units.REASON_LIMIT + 10


@pytest.mark.parametrize("way", ["no state", "a unit is missing", "nothing"])
def test_what_does_not_answer_is_no_good_news(answers: Answers, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    if way == "no state":
        answers.manager = {"SystemState": ""}
    elif way == "nothing":
        monkeypatch.setattr(units, "capture", lambda *_arguments: "")
    else:
        whole = answers.capture
        monkeypatch.setattr(units, "capture", lambda *asked: whole(*asked).replace("\n\n", "\n", 1))
    with pytest.raises(LauncherError, match="does not say what became of its units"):
        answers.judge()


@pytest.mark.parametrize("number", ["", "x", "-1", "٣", "9" * 30, "[not set]"])
def test_numbers_of_a_container_may_be_anything(answers: Answers, number: str) -> None:
    answers.units[UNIT] = {"NRestarts": number, "ActiveEnterTimestampMonotonic": number}
    assert answers.reasons() == []
