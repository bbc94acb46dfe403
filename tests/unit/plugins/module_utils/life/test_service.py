# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a start in a unit says, to the unit's log and to whom has asked for it by hand."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import types
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import (
    RUNS_ELSEWHERE,
    AlreadyRunning,
    LauncherError,
    NotReady,
)
from ansible_collections.unshare.container.plugins.module_utils.life import machined, service

RUNS = types.SimpleNamespace(state="running", pid=7)
STOPPED = types.SimpleNamespace(state="stopped", pid=None)


class Container:
    """In place of the launcher's container: `start` fails as it is told. Files remember what happened in a child."""

    def __init__(self, place: Path, failure: Exception | None = None, state: t.Any = STOPPED) -> None:
        self.name = "web"
        self.place = place
        self.failure = failure
        self.state = state
        self.cgroup = types.SimpleNamespace(move_below_unit=lambda: (place / "moved").touch())

    @contextlib.contextmanager
    def lock(self, timeout: float) -> t.Iterator[None]:
        yield

    def status(self) -> t.Any:
        return RUNS if (self.place / "started").exists() else self.state

    def stop(self, timeout: float) -> bool:
        (self.place / "started").unlink(missing_ok=True)
        (self.place / "stopped").touch()
        return True

    def start(self, system: str, wait: bool, timeout: float, extra_file_systems: list[t.Any]) -> t.Any:
        if self.failure is None or not getattr(self.failure, "ended", True):
            (self.place / "started").write_text(f"{system} {extra_file_systems}")
        if self.failure is not None:
            raise self.failure
        return RUNS


@pytest.fixture
def said(tmp_path: Path) -> Path:
    path = tmp_path / "said"
    path.touch()
    return path


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Iterator[socket.socket]:
    """Return the socket of a service manager."""
    monkeypatch.setattr(service, "BARRIER_SECONDS", 0.0)
    monkeypatch.setattr(machined, "registered", lambda _container, status: status)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield manager


def start(container: Container, said: Path | str) -> int:
    return service.start_in_unit(t.cast("t.Any", container), "/system", 5, lambda _status: None, ["a mount"], str(said))  # type: ignore[list-item]


def start_interrupted(container: Container, said: Path) -> None:
    """Start it in a process that a SIGTERM ends as it ends the launcher, and which gets one meanwhile."""

    def interrupt(number: int, _frame: object) -> t.NoReturn:
        raise SystemExit(128 + number)

    former = signal.signal(signal.SIGTERM, interrupt)
    try:
        with pytest.raises(SystemExit, match="^143$"):
            start(container, said)
    finally:
        signal.signal(signal.SIGTERM, former)


def heard(manager: socket.socket) -> list[str]:
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(manager.recv(4096).decode())
    return found


@pytest.mark.parametrize("by_hand", [True, False])
def test_systemd_is_told_of_the_first_process(
    tmp_path: Path, said: Path, manager: socket.socket, by_hand: bool
) -> None:
    container = Container(tmp_path)
    assert start(container, said if by_hand else "") == 0
    assert heard(manager) == ["MAINPID=7\nREADY=1\nSTATUS=Runs /system", "BARRIER=1"]
    assert (tmp_path / "started").read_text() == "/system ['a mount']"
    assert (tmp_path / "moved").exists()
    assert said.read_text() == ("begun\n" if by_hand else "")


def test_one_that_is_not_ready_goes_on_running_by_hand_alone(
    tmp_path: Path, said: Path, manager: socket.socket, capfd: pytest.CaptureFixture[str]
) -> None:
    assert start(Container(tmp_path, NotReady("was not ready in time", False)), said) == 0
    assert heard(manager)[0].startswith("MAINPID=7\nREADY=1\n")
    assert said.read_text() == "begun\nwas not ready in time\n"
    assert capfd.readouterr().err == "run-container: was not ready in time\n"
    (tmp_path / "started").unlink()
    assert start_again(tmp_path, manager) == service.FAILED


def start_again(place: Path, manager: socket.socket) -> int:
    """Start it in its unit of a deployment, which is to start it anew."""
    os.environ["NOTIFY_SOCKET"] = str(place / "notify")
    status = start(Container(place, NotReady("was not ready in time", False)), "")
    assert heard(manager) == []
    return status


@pytest.mark.parametrize(
    ("failure", "state", "status"),
    [
        (LauncherError("it does not"), STOPPED, service.FAILED),
        (NotReady("it does not", True), STOPPED, service.FAILED),
        (OSError("it does not"), STOPPED, service.FAILED),
        (AlreadyRunning("it does not"), STOPPED, RUNS_ELSEWHERE),
        (None, RUNS, RUNS_ELSEWHERE),
    ],
)
@pytest.mark.parametrize("by_hand", [True, False])
def test_a_failure_is_told(
    tmp_path: Path,
    said: Path,
    manager: socket.socket,
    capfd: pytest.CaptureFixture[str],
    failure: Exception | None,
    state: t.Any,
    status: int,
    by_hand: bool,
) -> None:
    assert start(Container(tmp_path, failure, state), said if by_hand else "") == status
    assert heard(manager) == []
    message = "it does not" if failure else "container web: runs outside of its unit, as PID 7; stop it first"
    assert capfd.readouterr().err == f"run-container: {message}\n"
    assert said.read_text() == (f"begun\n{message}\n" if by_hand else "")


@pytest.mark.parametrize("in_time", [True, False])
def test_a_start_that_is_stopped_undoes_itself(
    tmp_path: Path, said: Path, manager: socket.socket, monkeypatch: pytest.MonkeyPatch, in_time: bool
) -> None:
    """So it has ended when systemd goes on to what follows a stop, which does not touch a container that runs."""
    container = Container(tmp_path)
    start_it = container.start

    def start_slowly(*arguments: t.Any, **options: t.Any) -> t.Any:
        read, write = os.pipe()
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write)
        try:
            os.kill(os.getppid(), signal.SIGTERM)
            os.read(read, 1)  # until the signal has come, however soon
            raise AssertionError("no signal came")
        except SystemExit:
            (tmp_path / "undone").touch()
            if not in_time:
                return start_it(*arguments, **options)
            raise

    monkeypatch.setattr(container, "start", start_slowly)
    start_interrupted(container, said)
    assert (tmp_path / "undone").exists()
    assert not (tmp_path / "started").exists()
    assert heard(manager) == []


@pytest.mark.parametrize("elsewhere", [False, True])
def test_one_that_is_stopped_in_the_moment_of_its_start_does_not_run(
    tmp_path: Path, said: Path, manager: socket.socket, monkeypatch: pytest.MonkeyPatch, elsewhere: bool
) -> None:
    """Who has started it has ended by then, so its number may be another process's. What runs elsewhere goes on."""
    container = Container(tmp_path, AlreadyRunning("it does") if elsewhere else None)
    here, status_of = os.getpid(), container.status
    stopped: list[float] = []

    def status() -> t.Any:
        if os.getpid() == here:
            os.kill(here, signal.SIGTERM)
        return status_of()

    monkeypatch.setattr(container, "status", status)
    monkeypatch.setattr(container, "stop", stopped.append)
    start_interrupted(container, said)
    assert (tmp_path / "started").exists() != elsewhere
    assert stopped == ([] if elsewhere else [5])
    assert heard(manager) == []


@pytest.mark.parametrize("ends", [False, True])
def test_one_that_runs_outside_goes_on_when_its_refused_start_is_stopped(
    tmp_path: Path, said: Path, manager: socket.socket, monkeypatch: pytest.MonkeyPatch, ends: bool
) -> None:
    """Unless that has ended meanwhile, and the start was not refused."""
    container = Container(tmp_path, state=RUNS)
    here = os.getpid()
    stopped: list[float] = []

    @contextlib.contextmanager
    def lock(timeout: float) -> t.Iterator[None]:
        if os.getpid() != here:
            container.state = STOPPED if ends else RUNS
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
            os.kill(here, signal.SIGTERM)
            signal.sigwait([signal.SIGTERM])
            if not ends:
                raise SystemExit(143)
        yield

    monkeypatch.setattr(container, "lock", lock)
    monkeypatch.setattr(container, "stop", stopped.append)
    start_interrupted(container, said)
    assert stopped == ([5] if ends else [])


def test_one_that_was_started_when_the_signal_came_is_stopped_by_who_has_started_it(
    tmp_path: Path, said: Path, manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It alone knows that."""

    def interrupted(_container: object, _status: object) -> t.NoReturn:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        os.kill(os.getppid(), signal.SIGTERM)
        signal.sigwait([signal.SIGTERM])
        raise SystemExit(143)

    monkeypatch.setattr(machined, "registered", interrupted)
    container = Container(tmp_path)
    start_interrupted(container, said)
    assert (tmp_path / "stopped").exists()
    assert not (tmp_path / "started").exists()
    assert heard(manager) == []


def test_only_systemd_starts_it_so(tmp_path: Path, said: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    with pytest.raises(LauncherError, match="use --detach"):
        start(Container(tmp_path), said)
    assert said.read_text() == ""
