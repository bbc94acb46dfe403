# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A container is registered with systemd-machined where there is one, until it ends; nothing of that fails a start."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host import bus
from ansible_collections.unshare.container.plugins.module_utils.launcher.paths import make_directory
from ansible_collections.unshare.container.plugins.module_utils.life import machined
from ansible_collections.unshare.container.plugins.module_utils.life.container import Container
from ansible_collections.unshare.container.plugins.module_utils.state.record import Status

MACHINE_ID = "00112233445566778899aabbccddeeff"
MANAGER = ("org.freedesktop.machine1", "/org/freedesktop/machine1", "org.freedesktop.machine1.Manager")
REGISTERED = (*MANAGER, "RegisterMachine", "sayssus", ["web", bytes.fromhex(MACHINE_ID), "unshare", "container", 7, ""])
UNREGISTERED = (*MANAGER, "UnregisterMachine", "s", ["web"])
ABSENT = (
    "org.freedesktop.DBus.Error.FileExists",
    "org.freedesktop.DBus.Error.ServiceUnknown",
    "org.freedesktop.DBus.Error.NameHasNoOwner",
    "org.freedesktop.DBus.Error.Spawn.ChildExited",
    "org.freedesktop.DBus.Error.Spawn.ExecFailed",
    "org.freedesktop.systemd1.NoSuchUnit",
    "org.freedesktop.systemd1.ShuttingDown",
    "org.freedesktop.systemd1.UnitMasked",
)
FAILURES = [
    bus.BusError("org.freedesktop.machine1.MachineExists", "Machine 'web' already exists"),
    bus.BusError("org.freedesktop.DBus.Error.AccessDenied", "Access denied"),
    bus.BusError("org.freedesktop.DBus.Error.TimedOut", "Failed to activate service"),
    TimeoutError("no answer in time"),
    ConnectionResetError(104, "reset"),
    ValueError("the bus has closed the connection"),
]
NOWHERE: list[Exception] = [
    *(bus.BusError(name, "The name is not activatable") for name in ABSENT),
    FileNotFoundError(2, "No such file"),
    ConnectionRefusedError(111, "Connection refused"),
]


class Calls:
    """In place of the bus: it keeps the calls, and fails as it is told."""

    def __init__(self) -> None:
        self.made: list[tuple[t.Any, ...]] = []
        self.failure: Exception | None = None

    def call(self, *arguments: t.Any) -> None:
        """Keep a call; a registration alone may start the service."""
        *call, seconds, path, starts = arguments
        assert path == "/run/dbus/system_bus_socket"
        assert starts == (call[3] == "RegisterMachine")
        assert seconds == (machined.START_SECONDS if starts else machined.EXCHANGE_SECONDS)
        self.made.append(tuple(call))
        if self.failure is not None:
            raise self.failure


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    calls = Calls()
    monkeypatch.setattr(bus, "call", calls.call)
    return calls


@pytest.fixture
def container(tmp_path: Path) -> Container:
    container = Container("web")
    container.directory, container.run_directory = str(tmp_path / "kept"), str(tmp_path / "run")
    for directory in (container.directory, container.run_directory):
        make_directory(directory)
    (tmp_path / "kept/config.json").write_text(json.dumps({"machine_id": MACHINE_ID}))
    container.write_record({"pid": 7, "start_time": 1})
    return container


def register(container: Container) -> tuple[dict[str, t.Any], list[str]]:
    """Return what is noted of a start, and what its warnings are."""
    status = machined.registered(container, Status("running", container.record()))
    return container.record() or {}, status.warnings


def test_it_is_registered_and_that_is_noted(calls: Calls, container: Container) -> None:
    assert register(container) == ({"pid": 7, "start_time": 1, "machine": True}, [])
    assert calls.made == [REGISTERED]


@pytest.mark.parametrize("failure", NOWHERE, ids=repr)
def test_where_there_is_none_nothing_is_said(calls: Calls, container: Container, failure: Exception) -> None:
    calls.failure = failure
    assert register(container) == ({"pid": 7, "start_time": 1}, [])


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
def test_a_failure_is_a_warning(calls: Calls, container: Container, failure: Exception) -> None:
    calls.failure = failure
    record, (warning,) = register(container)
    assert warning == machined.NOT_REGISTERED % ("web", failure)
    assert record["warnings"] == warning + "\n"
    assert "machine" not in record


@pytest.mark.parametrize("text", ["{", '{"machine_id": "no"}'])
def test_a_damaged_machine_id_is_a_warning(calls: Calls, container: Container, text: str) -> None:
    (Path(container.directory) / "config.json").write_text(text)
    assert len(register(container)[1]) == 1
    assert calls.made == []


def test_a_full_disk_does_not_end_it(calls: Calls, container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_record: object) -> t.NoReturn:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(container, "write_record", refuse)
    assert machined.registered(container, Status("running", {"pid": 7})).pid == 7


@pytest.mark.parametrize("failure", [None, *NOWHERE, *FAILURES], ids=repr)
@pytest.mark.parametrize("noted", [True, False])
def test_the_end_takes_it_away(
    calls: Calls, container: Container, monkeypatch: pytest.MonkeyPatch, noted: bool, failure: Exception | None
) -> None:
    """Nobody else's machine of that name is taken away: only what was noted."""
    calls.failure = failure
    container.write_record({"pid": 7, "start_time": 1, "machine": noted})
    monkeypatch.setattr(container, "_kill", lambda _process, _timeout: True)
    monkeypatch.setattr(container.cgroup, "remove", lambda: None)
    container.clear()
    assert calls.made == ([UNREGISTERED] if noted else [])
    assert list(Path(container.run_directory).iterdir()) == []
