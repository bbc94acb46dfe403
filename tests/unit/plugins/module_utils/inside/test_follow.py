# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A command counts as run when it has executed its program, and not when its report has ended."""

from __future__ import annotations

import os
import signal
import time
import types
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.inside import enter
from ansible_collections.unshare.container.plugins.module_utils.inside.passage import CAN_RUN
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError


@pytest.fixture(autouse=True)
def commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enter, "enters", lambda _pid: None)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def be_command(way: str, report: int, go: int) -> None:
    """Be the process that is to run the command, in one of several ways."""
    if way == "killed at once":
        die()
    if way == "ended at once":
        os._exit(0)
    os.write(report, CAN_RUN)
    if way == "killed when it could run":
        die()
    os.read(go, 1)
    if way == "killed when it was let go":
        die()
    if way == "failed":
        os.write(report, b"error no such program\n")
        os._exit(1)
    os.execv("/bin/sh", ["sh", "-c", way])


def follow(way: str) -> int:
    """Follow a command that goes this way; return the wait status of its program."""
    report, reported = os.pipe()
    waited, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(report)
            os.close(go)
            be_command(way, reported, waited)
        finally:
            os._exit(99)
    middle = os.fork()
    if middle == 0:
        os._exit(0)
    os.write(reported, b"pid %d\n" % pid)
    os.close(reported)
    os.close(waited)
    entry = enter.Entry.__new__(enter.Entry)
    entry.container = t.cast("t.Any", types.SimpleNamespace(name="web"))
    limits = t.cast("t.Any", types.SimpleNamespace(attributes=types.SimpleNamespace(give=lambda _pid: True)))
    try:
        assert entry._follow(report, go, middle, limits, time.monotonic() + 20) == pid
        return os.waitpid(pid, 0)[1]
    except LauncherError:
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        raise
    finally:
        os.close(report)
        os.close(go)


@pytest.mark.parametrize(
    "way", ["killed at once", "ended at once", "killed when it could run", "killed when it was let go"]
)
def test_one_that_ends_before_its_program_runs_was_not_run(way: str) -> None:
    with pytest.raises(LauncherError, match="container web: cannot enter: who enters was killed before the command"):
        follow(way)


def test_what_it_says_of_its_failure_is_the_error() -> None:
    with pytest.raises(LauncherError, match="container web: cannot enter: no such program"):
        follow("failed")


@pytest.mark.parametrize(("program", "status"), [("exit 0", 0), ("exit 3", 3 << 8), ("kill -9 $$", 9)])
def test_what_a_program_does_is_its_own(program: str, status: int) -> None:
    assert follow(program) == status
