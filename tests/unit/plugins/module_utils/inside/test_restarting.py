# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which outdated units are restarted, and what a container's systemd is told for that."""

from __future__ import annotations

import types
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.inside import restarting
from ansible_collections.unshare.container.plugins.module_utils.inside.outdated import escape
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError


class Inside:
    """A container whose systemd answers in turn: with a status, or not at all."""

    def __init__(self, *answers: int | None, running: bool = True) -> None:
        self.name = "web"
        self.answers = list(answers)
        self.asked: list[list[str]] = []
        self.state = "running" if running else "stopped"

    def status(self) -> t.Any:
        return types.SimpleNamespace(state=self.state)

    def ask(self, _container: t.Any, command: list[str], timeout: float) -> tuple[int, str]:
        assert timeout > 0
        self.asked.append(command)
        answer = self.answers.pop(0) if self.answers else 0
        if answer is None:
            raise LauncherError("did not answer")
        return answer, ""


def restart(monkeypatch: pytest.MonkeyPatch, inside: Inside, units: list[str], timeout: float = 5.0) -> bool:
    monkeypatch.setattr(restarting.questions, "ask", inside.ask)
    monkeypatch.setattr(restarting, "PAUSE_WHILE_SILENT", 0.01)
    return restarting.restart(t.cast(t.Any, inside), units, timeout)


@pytest.mark.parametrize(
    ("unit", "can_be"),
    [
        ("redis-server.service", True),
        ("a\\x2db@c:1.service", True),
        ("user@1000.service", True),
        ("init.scope", True),
        ("session-1.scope", False),
        ("x.socket", False),
        ("unshare.entered", False),
        ("-.slice", False),
        ("*.service", False),
        ("a b.service", False),
        ("a\n.service", False),
        (".service", False),
    ],
)
def test_what_can_be_restarted(unit: str, can_be: bool) -> None:
    assert restarting.restartable([escape(unit)]) == ([escape(unit)] if can_be else [])


def test_services_are_restarted_together_by_their_own_names(monkeypatch: pytest.MonkeyPatch) -> None:
    inside = Inside()
    assert restart(monkeypatch, inside, [escape("a\\x2db.service"), "c.service"])
    assert inside.asked == [["systemctl", "try-restart", "--", "a\\x2db.service", "c.service"]]


def test_pid_1_executes_itself_when_all_others_are_restarted(monkeypatch: pytest.MonkeyPatch) -> None:
    inside = Inside(0, 0, 1, None, 0)
    assert restart(monkeypatch, inside, ["c.service", "init.scope"])
    assert [command[1] for command in inside.asked] == ["try-restart", "daemon-reexec", "show", "show", "show"]


def test_a_failure_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not restart(monkeypatch, Inside(256), ["c.service"])


@pytest.mark.parametrize(("running", "said"), [(False, "did not answer"), (True, "does not answer since it executed")])
def test_a_pid_1_that_does_not_come_back(monkeypatch: pytest.MonkeyPatch, running: bool, said: str) -> None:
    inside = Inside(0, *[None] * 500, running=running)
    with pytest.raises(LauncherError, match=said):
        restart(monkeypatch, inside, ["init.scope"], 0.05)
