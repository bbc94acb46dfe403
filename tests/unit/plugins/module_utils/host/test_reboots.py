# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How often a container that reboots itself is started again, by a clock of the test's own; and the wait before it."""

from __future__ import annotations

import signal
import threading
import time
import types
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host import reboots, systemd_units
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.launcher.stop_signals import HEEDED
from ansible_collections.unshare.container.plugins.module_utils.life import foreground


class Clock:
    """Time that passes only while a container runs or is waited for."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.pauses.append(seconds)
        self.now += seconds
        return False


@pytest.mark.parametrize("runs", [0.0, 0.1, 2.0])
def test_one_that_reboots_at_once_is_started_ever_later_and_then_no_more(runs: float) -> None:
    clock = Clock()
    counted = reboots.Reboots("web", clock, clock.wait)
    for _number in range(reboots.BURST - 1):
        clock.now += runs
        assert counted.again()
    with pytest.raises(LauncherError, match=r"^container web: was started 60 times in 600 seconds"):
        counted.again()
    assert clock.pauses == sorted(clock.pauses)
    assert clock.pauses[:3] == [1.0, 2.0, 4.0]
    assert clock.now - 1000 < reboots.INTERVAL


def test_the_load_is_bounded_however_long_it_runs_between_reboots() -> None:
    for runs in (1.0, 5.0, 9.0, 11.0, 30.0):
        clock = Clock()
        counted = reboots.Reboots("web", clock, clock.wait)
        times = [clock.now]
        try:
            while len(times) < 200:
                clock.now += runs
                counted.again()
                times.append(clock.now)
        except LauncherError:
            pass
        for start in times:
            assert sum(start <= other < start + reboots.INTERVAL for other in times) <= reboots.BURST


def test_a_reboot_now_and_then_is_followed_by_a_start_at_once() -> None:
    clock = Clock()
    counted = reboots.Reboots("web", clock, clock.wait)
    for _number in range(3 * reboots.BURST):
        clock.now += reboots.INTERVAL
        assert counted.again()
    assert clock.pauses == []


def test_what_is_said_of_reboots_to_the_letter(capfd: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    counted = reboots.Reboots("web", clock, clock.wait)
    for _number in range(6):
        assert counted.again()
    lines = [
        f"run-container: container web reboots itself often; it starts again in {pause} s" for pause in (1, 2, 4, 5, 5)
    ]
    assert capfd.readouterr().err.splitlines() == lines
    counted.starts = [clock.now] * 60
    with pytest.raises(LauncherError) as raised:
        counted.again()
    assert str(raised.value) == (
        "container web: was started 60 times in 600 seconds, for it reboots itself again and again; it stays down. "
        "See what reboots it inside, and start it again"
    )


def test_a_start_is_forgotten_after_the_interval() -> None:
    clock = Clock()
    counted = reboots.Reboots("web", clock, clock.wait)
    counted.starts = [clock.now - 600.0] * 60 + [clock.now - 599.9] * 59
    assert counted.again()
    assert len(counted.starts) == 60


def test_a_start_that_is_not_wanted_any_more_does_not_count() -> None:
    clock = Clock()
    counted = reboots.Reboots("web", clock, lambda _seconds: True)
    assert counted.again()
    before = list(counted.starts)
    assert not counted.again()
    assert counted.starts == before


def test_who_reads_that_it_waits_may_ask_for_the_end_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[int] = []
    former = signal.signal(signal.SIGTERM, lambda caught, _frame: called.append(caught))
    monkeypatch.setattr(reboots.os, "write", lambda _descriptor, _line: signal.raise_signal(signal.SIGTERM))
    try:
        counted = reboots.Reboots("web", wait=reboots.wait)
        assert counted.again()
        assert not counted.again()
    finally:
        signal.signal(signal.SIGTERM, former)
    assert called == []


def test_a_unit_is_started_as_often() -> None:
    for version in (252, 254):
        text = systemd_units.template(version)
        assert f"StartLimitBurst={reboots.BURST}\n" in text
        assert f"StartLimitIntervalSec={reboots.INTERVAL:g}s\n" in text


@pytest.mark.parametrize("number", sorted(HEEDED))
def test_a_signal_ends_the_wait_at_once_and_is_no_more_than_that(number: int) -> None:
    called: list[int] = []
    former = signal.signal(number, lambda caught, _frame: called.append(caught))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    try:
        began = time.monotonic()
        waiting = threading.get_ident()
        timer = threading.Timer(0.2, lambda: signal.pthread_kill(waiting, number))
        # A thread that does not take the signal itself.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, HEEDED)
        timer.start()
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        assert reboots.wait(30)
        assert time.monotonic() - began < 10
        timer.join()
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask
        assert called == []
        assert not reboots.wait(0.01)
    finally:
        signal.signal(number, former)


REBOOTED, POWERED_OFF = signal.SIGHUP, signal.SIGINT


def run(
    monkeypatch: pytest.MonkeyPatch, ends: t.Sequence[tuple[int, bool]], again: t.Callable[[], bool]
) -> tuple[int, int]:
    """Run what ends in these ways, one after the other; the exit status, and how often it ran."""
    left = iter(ends)
    monkeypatch.setattr(foreground, "_run_once", lambda *_arguments: next(left))
    monkeypatch.setattr(reboots, "Reboots", lambda name: types.SimpleNamespace(again=again))
    container: t.Any = types.SimpleNamespace(name="web")
    status = foreground.run_in_foreground(container, "/system", [], 30.0, lambda status: None)
    return status, len(ends) - len(list(left))


def test_only_a_reboot_is_counted_and_the_caller_can_end_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    count = lambda: asked.append(True) or True  # type: ignore[func-returns-value]  # noqa: E731
    ends = [(REBOOTED, False), (REBOOTED, False), (POWERED_OFF, False)]
    assert run(monkeypatch, ends, count) == (0, 3)
    assert len(asked) == 2
    assert run(monkeypatch, [(REBOOTED, True), (POWERED_OFF, False)], count) == (0, 1)
    assert len(asked) == 2
    assert run(monkeypatch, [(REBOOTED, False), (POWERED_OFF, False)], lambda: False) == (0, 1)
