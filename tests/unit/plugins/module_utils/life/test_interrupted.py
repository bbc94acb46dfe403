# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A signal ends a launcher, also one that comes where Python drops exceptions."""

from __future__ import annotations

import signal
import typing as t
import weakref

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.stop_signals import HEEDED
from ansible_collections.unshare.container.plugins.module_utils.life import main
from ansible_collections.unshare.container.plugins.module_utils.state.record import Status


class Collected:
    """Something whose end calls somebody back."""


@pytest.fixture
def handlers(monkeypatch: pytest.MonkeyPatch) -> t.Iterator[None]:
    """Handle signals as the launcher does; afterwards none has come."""
    monkeypatch.setattr(main, "_asked", 0)
    former = {number: signal.getsignal(number) for number in HEEDED}
    signal.signal(signal.SIGTERM, main._interrupt)
    yield
    for number, handler in former.items():
        signal.signal(number, handler)


def explain() -> None:
    main._explain(Status("running", {"pid": 7}), "/system", main.Arguments([], (), (), ""))


@pytest.mark.usefixtures("handlers")
def test_it_raises_where_it_comes() -> None:
    with pytest.raises(SystemExit, match="^143$"):
        signal.raise_signal(signal.SIGTERM)


@pytest.mark.usefixtures("handlers")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_was_dropped_is_raised_before_anybody_is_told_of_a_start(capfd: pytest.CaptureFixture[str]) -> None:
    collected = Collected()
    callback = weakref.ref(collected, lambda _reference: signal.raise_signal(signal.SIGTERM))
    del collected
    assert callback() is None, "it was called, and what it raised is gone"
    with pytest.raises(SystemExit, match="^143$"):
        explain()
    assert "running" not in capfd.readouterr().err


@pytest.mark.usefixtures("handlers")
def test_without_a_signal_a_start_is_explained(capfd: pytest.CaptureFixture[str]) -> None:
    explain()
    assert "running as PID 7" in capfd.readouterr().err
