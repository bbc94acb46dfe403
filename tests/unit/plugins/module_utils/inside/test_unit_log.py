# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What systemd's early log says of units, whatever a container makes of it, and how long it takes to learn that."""

from __future__ import annotations

import time
import types
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.inside import unit_log, units
from ansible_collections.unshare.container.plugins.module_utils.inside.unit_log import UnitLog
from ansible_collections.unshare.container.plugins.module_utils.state.declared_units import UNITS_DIRECTORY as AT

LOG = [
    AT + "a.service:7: Unknown key 'ExecStrat' in section [Service], ignoring.",
    AT + "a.service:7: Failed to parse service type, ignoring: simpel",
    AT + "a.service.d/b.conf:2: Invalid size, ignoring: 1X",
    AT + "ba.service:1: Assignment outside of section. Ignoring.",
    AT + "t@.service:4: Invalid size, ignoring: 2X",
    "a.service: Cannot add dependency job, ignoring: Unit a.service has a bad unit file setting.",
    "b.service: Found ordering cycle on a.service/start",
    "Started a.service-like.service.",
    "xa.service: Refusing.",
    "a.service",
]
SECONDS = 2.0
"""Processor time that may pass, where a few tenths do, and where more than that by far passed once."""


def log(*lines: str) -> UnitLog:
    return UnitLog("".join(f"<28>systemd[1]: {line}\n" for line in lines))


@pytest.mark.parametrize(
    ("unit", "lines"), [("a.service", [0, 1, 2, 5, 6, 9]), ("xa.service", [8]), ("ba.service", [3]), ("c.service", [])]
)
def test_which_lines_name_a_unit(unit: str, lines: list[int]) -> None:
    found = log(*LOG, *LOG).naming(["x.service", unit])
    assert found == ({unit: [LOG[number] for number in lines]} if lines else {})


def test_which_lines_are_about_the_file_of_a_unit() -> None:
    found = log(*LOG, *LOG)
    assert found.ignored("a.service") == LOG[1:3]
    assert found.ignored("t@one.service") == found.ignored("t@.service") == [LOG[4]]
    assert found.ignored("c.service") == []
    assert found.others_with_ignored(["a.service", "t@one.service"]) == ["ba.service"]


def test_what_others_write_to_that_log_does_not_count() -> None:
    assert UnitLog(f"<28>systemd[2]: {LOG[1]}\nsystemd[1]: {LOG[2]}\n\n<").ignored("a.service") == [LOG[2]]


def test_a_log_is_bounded_by_this_host() -> None:
    long = AT + "a.service:7: " + "x" * 100_000
    assert [len(line) for line in log(long + "y", "z", "b.service: x" * 300).naming(["b.service"])["b.service"]] == [
        unit_log.LINE_LIMIT - len("<28>systemd[1]: ")
    ]
    assert UnitLog("systemd[1]: a.service\n" + "x" * unit_log.EARLY_LIMIT).naming(["a.service"]) == {}


def hostile(log: str = "", more: str = "", states: str = "ActiveState=active\nLoadState=loaded") -> str:
    """Return the answer of a container that has a hundred units, which its log and further blocks follow."""
    blocks = ["SystemState=running\nUserspaceTimestampMonotonic=1"]
    blocks += [f"Id={name}\n{states}" for name in NAMES]
    return "\n\n".join(blocks) + more + "\n----\n" + log


NAMES = sorted([f"{'u' * 40}{number}.service" for number in range(400)])
SAYS = "systemd[1]: " + AT
HOSTILE = {
    "a line of at signs": hostile(SAYS + "@" * 900_000 + ":1: z"),
    "lines of at signs": hostile("\n".join(SAYS + "@" * 1900 + f"{number}:1: z" for number in range(400))),
    "a line of colons and digits": hostile(SAYS + ":1" * 400_000 + ": z"),
    "a name of colons": hostile("systemd[1]: " + ":" * 900_000, states="LoadState=error"),
    "names that are almost those": hostile("systemd[1]: " + ("u" * 41) * 20_000, states="LoadState=error"),
    "many short lines": hostile("\n".join(f"{SAYS}{number:x}:1: z" for number in range(20_000))),
    "many lines that name nothing": hostile("systemd[1]: \n" * 60_000, states="LoadState=error"),
    "empty blocks": hostile(more="\n\n" * 400_000),
    "empty lines": hostile(more="\n" * 900_000),
    "many failed units": hostile(more="\n\nId=x" * 100_000),
    "a long name": hostile(more="\n\nResult=x\nId=" + "x" * 900_000),
    "a long result": hostile(states="ActiveState=failed\nLoadState=loaded\nResult=" + "x" * 2000),
    "a long state": hostile().replace("SystemState=running", "SystemState=" + "x" * 900_000),
}


@pytest.mark.parametrize("answer", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_a_container_answers_costs_the_host_little(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    """Once an answer within its limit took minutes of processor time, and gave 100,000 problems."""
    declared = types.SimpleNamespace(
        own=[], names=lambda: NAMES, wanted=lambda _active: set(NAMES), left_out=lambda _wanted: {}, is_own=bool
    )
    monkeypatch.setattr(units, "_declared", lambda _system: declared)
    monkeypatch.setattr(units, "capture", lambda *_asked: answer[: 1 << 20])
    container: t.Any = types.SimpleNamespace(name="web", record=dict)
    before = time.process_time()
    found = units.judge(container, 5.0)
    texts = found.texts()
    summary = found.summary()
    assert time.process_time() - before < SECONDS
    assert len(texts) <= len(NAMES) + units.OTHERS + 1
    assert max(map(len, [*found.units, found.state, ""])) <= unit_log.UNIT_NAME_LIMIT
    assert max(map(len, [*texts, ""])) <= unit_log.UNIT_NAME_LIMIT + 1 + units.REASON_LIMIT
    assert len(summary) < 10 * units.REASON_LIMIT


def test_units_beyond_the_limit_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = HOSTILE["many failed units"][: 1 << 20]
    declared = types.SimpleNamespace(
        own=[],
        names=lambda: NAMES,
        wanted=lambda _active: set(),
        left_out=lambda _wanted: {},
        is_own=lambda _name: False,
    )
    monkeypatch.setattr(units, "_declared", lambda _system: declared)
    monkeypatch.setattr(units, "capture", lambda *_asked: answer)
    found = units.judge(t.cast("t.Any", types.SimpleNamespace(name="web", record=dict)), 5.0)
    assert len(found.problems) == units.OTHERS
    assert found.left_out == 100_000 - units.OTHERS
    assert found.texts()[-1] == f"and {found.left_out} more"
    assert found.summary().endswith(f"and {100_000 - units.SHOWN} more")


def test_judging_ends_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Units that end again and again are asked about one after another, each with a question of its own."""
    now = [1000.0]
    lately = "NRestarts=9\nActiveEnterTimestampMonotonic=999900000\nRestart=always\nRestartUSec=5s"
    answer = hostile(states=f"ActiveState=active\nLoadState=loaded\n{lately}")

    def capture(_container: t.Any, command: list[str], timeout: float) -> str:
        if command[0] != "journalctl":
            return answer
        now[0] += 0.05
        assert timeout > 0.05, "the answer would be late"
        return ""

    declared = types.SimpleNamespace(
        own=[], names=lambda: NAMES, wanted=lambda _active: set(NAMES), left_out=lambda _wanted: {}, is_own=bool
    )
    monkeypatch.setattr(units, "_declared", lambda _system: declared)
    monkeypatch.setattr(units, "capture", capture)
    monkeypatch.setattr(units, "time", types.SimpleNamespace(monotonic=lambda: now[0]))
    found = units.judge(t.cast("t.Any", types.SimpleNamespace(name="web", record=dict)), 5.0)
    assert len(found.problems) == len(NAMES), "what is not said of a unit is no good news"
    assert now[0] <= 1005.0
