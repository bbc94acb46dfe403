# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the signals that `run-container` gets in the foreground do to its container."""

from __future__ import annotations

import signal
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.stop_signals import SCOPE_STOP
from ansible_collections.unshare.container.plugins.module_utils.life import foreground

HUP, INT, TERM, KILL = signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGKILL
SHUT_DOWN = signal.SIGRTMIN + 4


class Init:
    """A first process that heeds signals from the beginning on, and remembers them."""

    def __init__(self) -> None:
        self.got: list[int] = []

    def heeds(self, number: int) -> bool:
        return True

    def signal(self, number: int) -> None:
        self.got.append(number)


@pytest.fixture
def alarm(monkeypatch: pytest.MonkeyPatch) -> t.Iterator[None]:
    monkeypatch.setattr(foreground._signal, "setitimer", lambda *_arguments: None)
    former = signal.getsignal(signal.SIGALRM)
    yield
    signal.signal(signal.SIGALRM, former)


@pytest.mark.parametrize(
    ("signals", "got"),
    [
        ([TERM], [SHUT_DOWN]),
        ([HUP, INT], [SHUT_DOWN, KILL]),
        ([SCOPE_STOP], [SHUT_DOWN]),
        # The host shuts down: it stops the scope, and hangs up the terminal, one before the other.
        ([SCOPE_STOP, HUP], [SHUT_DOWN]),
        ([HUP, SCOPE_STOP], [SHUT_DOWN]),
        ([SCOPE_STOP, SCOPE_STOP], [SHUT_DOWN]),
        # Somebody insists.
        ([SCOPE_STOP, HUP, INT], [SHUT_DOWN, KILL]),
        ([HUP, SCOPE_STOP, INT, INT], [SHUT_DOWN, KILL]),
    ],
)
@pytest.mark.usefixtures("alarm")
def test_a_second_signal_of_a_person_kills(signals: list[int], got: list[int]) -> None:
    init = Init()
    supervisor = foreground._Supervisor(t.cast("t.Any", init), SHUT_DOWN, 60)
    for number in signals:
        supervisor._on_signal(number)
        supervisor._on_signal(signal.SIGALRM)
    assert init.got == got
    assert supervisor.asked
