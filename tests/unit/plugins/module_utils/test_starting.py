# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A system is started by the launcher that it brings, whichever that is."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils import launcher, starting
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError, NotReady

if t.TYPE_CHECKING:
    from ansible_collections.unshare.container.plugins.module_utils.launcher import locks

from .target_helpers import FakeContainer


def foreign(directory: Path, script: str) -> Path:
    (directory / "spec.json").write_text(json.dumps({"launcher": "another"}))
    (directory / "run-container").write_text(f"#!/bin/sh\n{script}\n")
    (directory / "run-container").chmod(0o755)
    return directory


class Lock:
    """Remembers when it was held."""

    def __init__(self, said: Path) -> None:
        self.said = said
        self.turns: list[str] = []

    def acquire(self) -> None:
        self.turns.append("taken")

    def release(self) -> None:
        self.turns.append("released before" if not self.said.exists() else "released after")


def start(container: FakeContainer, system: Path) -> tuple[list[str], Lock]:
    lock = Lock(system / "said")
    container.name = "web"  # type: ignore[attr-defined]
    warnings = starting.start(container, t.cast("locks.Lock", lock), system, True, 7.5)
    return warnings, lock


def test_its_own_is_started_here(tmp_path: Path) -> None:
    foreign(tmp_path, "exit 1")
    (tmp_path / "spec.json").write_text(json.dumps({"launcher": launcher.fingerprint()}))
    container = FakeContainer()
    start(container, tmp_path)
    assert container.calls == ["start"]


def test_another_is_run_with_the_lock_let_go(tmp_path: Path) -> None:
    script = 'echo "$@" > "$(dirname "$0")/said"; echo "run-container: warning: /srv/x was left out" >&2'
    container = FakeContainer()
    warnings, lock = start(container, foreign(tmp_path, script))
    assert container.calls == []
    assert (tmp_path / "said").read_text() == "--detach --timeout=7.5\n"
    assert warnings == ["/srv/x was left out"]
    assert lock.turns == ["released before", "taken"]


@pytest.mark.parametrize(("running", "error"), [(None, LauncherError), ("/system", NotReady)])
def test_what_another_says_is_the_error(tmp_path: Path, running: str | None, error: type[Exception]) -> None:
    container = FakeContainer()
    container.running = running
    with pytest.raises(error, match="^run-container: it does not$") as caught:
        start(container, foreign(tmp_path, "echo run-container: it does not >&2; exit 125"))
    assert type(caught.value) is error


def test_a_system_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(LauncherError, match="write the system anew"):
        start(FakeContainer(), tmp_path)
