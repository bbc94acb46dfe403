# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rounds of checks: how often, for how long, and what is not waited for."""

from __future__ import annotations

import subprocess
import time
import types
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.launcher.process import Process
from ansible_collections.unshare.container.plugins.module_utils.life import health

from ..target_helpers import FakeContainer, wanted_health


class Clock:
    """Time that passes by sleeping only."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(health, "time", clock)
    monkeypatch.setattr(health, "_pause", lambda _container, seconds: clock.sleep(seconds))
    return clock


def ends(answers: t.Sequence[bool], clock: Clock, **changes: t.Any) -> tuple[list[str], float]:
    """Return the complaints at the end, and the seconds until then, for these answers of a check, the last for ever."""
    left = list(answers)

    def probe(_container: t.Any, _timeout: float) -> None:
        if not (left.pop(0) if len(left) > 1 else left[0]):
            raise health.Ill("it is not")

    container = FakeContainer()
    container.running = "/system"
    begun = clock.now
    return health.await_health(container, wanted_health(**changes), [probe]), clock.now - begun


def test_well_at_once(clock: Clock) -> None:
    assert ends([True], clock) == ([], 0.0)


def test_well_in_time(clock: Clock) -> None:
    complaints, after = ends([False, False, True], clock)
    assert complaints == []
    assert after == pytest.approx(0.4)


def test_never_well(clock: Clock) -> None:
    complaints, after = ends([False], clock)
    assert complaints == ["it is not"]
    assert 3.5 <= after <= 5.0


def test_well_now_and_then_is_not_well(clock: Clock) -> None:
    complaints, after = ends([True, False, True, True], clock, steady=1.0)
    assert complaints == []
    assert after >= 0.4 + 1.0
    assert ends([True, False] * 50, clock, steady=1.0)[0] != []


@pytest.mark.parametrize("timeout", [0.3, 5.0, 12.0])
def test_all_checks_together_end_in_the_time_limit(clock: Clock, timeout: float) -> None:
    """However many there are, and however long each may take."""

    def probe(_container: t.Any, seconds: float) -> None:
        assert seconds > 0
        clock.sleep(seconds)
        raise health.Ill("too late")

    container = FakeContainer()
    container.running = "/system"
    complaints = health.await_health(container, wanted_health(timeout=timeout), [probe] * 20)
    assert complaints == ["too late"] * (len(complaints) - 1) + ["the time limit was over before all was asked"]
    assert clock.now - 100.0 <= timeout + 0.001


@pytest.mark.parametrize(("timeout", "longest"), [(2.0, 2.0), (5.0, 5.0), (30.0, 5.0), (31.0, 31 / 6), (300.0, 50.0)])
def test_a_single_check_has_its_share_of_the_time_limit(clock: Clock, timeout: float, longest: float) -> None:
    """A host that is slow, and is given more time, is given it for each answer, too."""
    given: list[float] = []

    def probe(_container: t.Any, seconds: float) -> None:
        given.append(seconds)

    container = FakeContainer()
    container.running = "/system"
    assert health.await_health(container, wanted_health(timeout=timeout), [probe]) == []
    assert given == [longest]


def test_a_round_that_was_cut_short_does_not_hide_what_was_wrong_before(clock: Clock) -> None:
    answers = iter(["it is ill"])

    def probe(_container: t.Any, seconds: float) -> None:
        said = next(answers, None)
        if said is None:
            clock.sleep(seconds)
        raise health.Ill(said or "timed out")

    container = FakeContainer()
    container.running = "/system"
    assert health.await_health(container, wanted_health(timeout=3.0), [probe]) == ["it is ill"]


def test_a_complaint_is_bounded(clock: Clock) -> None:
    def probe(_container: t.Any, _timeout: float) -> None:
        raise health.Ill("x" * 1_000_000)

    container = FakeContainer()
    container.running = "/system"
    (complaint,) = health.await_health(container, wanted_health(), [probe])
    assert len(complaint) == health.COMPLAINT_LIMIT


def test_what_has_ended_is_not_waited_for(clock: Clock) -> None:
    def probe(_container: t.Any, _timeout: float) -> None:
        raise LauncherError("it does not run")

    assert health.await_health(FakeContainer(), wanted_health(), [probe]) == ["it has ended"]
    assert clock.now == 100.0


def test_what_has_run_well_long_enough_by_now_is_not_waited_for(clock: Clock) -> None:
    container = FakeContainer()
    container.running = "/system"
    for lives, seconds in ((None, 0.0), (5.0, 0.0), (0.4, 0.6)):
        container.lives = lives
        begun = clock.now
        assert health.await_health(container, wanted_health(steady=1.0)) == []
        assert clock.now - begun == pytest.approx(seconds)
    begun = clock.now
    asked = wanted_health(steady=1.0)
    assert health.await_health(container, asked, [health.check_running, lambda *_arguments: None]) == []
    assert clock.now - begun >= 1.0, "of another check nobody knows"


@pytest.mark.parametrize(("steady", "rounds"), [(0.0, 1), (1.0, 2), (2.0, 3), (4.4, 6)])
def test_checks_that_know_the_past_are_made_again_when_enough_of_it_has_passed(
    clock: Clock, steady: float, rounds: int
) -> None:
    """A round costs the container some processes: what has happened in between, systemd still knows in the next one."""
    begun, asked = clock.now, []

    def probe(_container: t.Any, _timeout: float) -> float:
        asked.append(clock.now)
        return clock.now - begun

    container = FakeContainer()
    container.running = "/system"
    assert health.await_health(container, wanted_health(steady=steady), [probe]) == []
    assert (clock.now - begun, len(asked)) == (pytest.approx(steady, abs=0.02), rounds)


def test_the_end_of_a_container_is_not_slept_through() -> None:
    """Its init ends in the first second of a pause of a minute."""
    with subprocess.Popen(["sleep", "0.2"]) as child:
        container = types.SimpleNamespace(process=lambda: Process.pin(child.pid))
        begun = time.monotonic()
        health._pause(container, 60.0)
        assert time.monotonic() - begun < 30
    health._pause(types.SimpleNamespace(process=lambda: None), 60.0)


def test_what_no_waiting_mends_is_not_waited_for(clock: Clock) -> None:
    container = FakeContainer(["a.service"])
    container.running = "/system"
    assert health.await_health(container, wanted_health()) == ["a.service has failed (exit-code)"]
    assert clock.now == 100.0
    assert health.await_health(FakeContainer(state="stopping"), wanted_health()) == ["it is going down"]
    assert clock.now == 100.0


def test_what_ends_in_the_last_round_has_ended(clock: Clock) -> None:
    container = FakeContainer()
    container.running = "/system"

    def probe(_container: t.Any, _timeout: float) -> None:
        container.running = None

    assert health.await_health(container, wanted_health(), [probe]) == ["it has ended"]


def test_an_init_of_which_nothing_is_asked_must_be_there_for_a_while(clock: Clock) -> None:
    """cases_U14: it may not be a program at all."""
    (probe,) = health.probes_of(wanted_health(running=False))
    container = FakeContainer()
    container.running = "/system"
    container.age = 0.2
    assert health.await_health(container, wanted_health(running=False, steady=1.0)) == []
    assert clock.now >= 100.8
    container.running = None
    with pytest.raises(health.Ill, match="it has ended"):
        probe(container, 1.0)
