# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A unit that systemd starts again after a failure says how it has failed, also while it begins."""

from __future__ import annotations

import pytest
from ansible_collections.unshare.container.plugins.module_utils.inside import units
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError

from .test_units import AGAIN, DEAD, UNIT, Answers

HOW = "Main process exited, code=exited, status=217/USER"
AGAIN_NOW = {"NRestarts": "4", "ActiveEnterTimestampMonotonic": "999990000"}


@pytest.mark.parametrize(
    ("properties", "reason"),
    [
        (AGAIN_NOW, "has been started again 4 times, the last time 0.0 s ago"),
        ({**AGAIN_NOW, "ActiveState": "activating", "SubState": "start"}, "is activating (start)"),
        ({**AGAIN_NOW, "ActiveState": "activating", "SubState": "start-pre"}, "is activating (start-pre)"),
    ],
)
def test_one_that_begins_again_says_how_it_has_ended(
    monkeypatch: pytest.MonkeyPatch, properties: dict[str, str], reason: str
) -> None:
    answers = Answers(monkeypatch)
    answers.units[UNIT] = properties
    answers.log, answers.said = [units._EXITED], f"{UNIT}: {HOW}\n"
    assert answers.reasons() == [f"{UNIT} {reason} ({HOW})"]
    for said in ("", "\n", f"of {UNIT}: {HOW}\n", "b.service: x\n"):
        answers.said = said
        assert answers.reasons() == [f"{UNIT} {reason}"]
    answers.said = f"{UNIT}: {'x' * 5000}\n"
    assert len(answers.judge().problems[0].reason) <= units.REASON_LIMIT

    def unanswered(*_arguments: object) -> str:
        raise LauncherError("journalctl did not answer")

    monkeypatch.setattr(units, "_said_lately", unanswered)
    assert answers.reasons() == [f"{UNIT} {reason}"]


@pytest.mark.parametrize(
    "properties",
    [
        {"ActiveState": "failed", "Result": "exit-code", "NRestarts": "5"},
        {**AGAIN, "Result": "exit-code"},
        {"ActiveState": "activating", "SubState": "start"},
        DEAD,
    ],
)
def test_how_it_has_ended_is_asked_of_those_alone(monkeypatch: pytest.MonkeyPatch, properties: dict[str, str]) -> None:
    answers = Answers(monkeypatch)
    answers.units[UNIT] = properties
    assert len(answers.reasons()) == 1
    assert not [command for command in answers.asked if units._EXITED in command]
