# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A container is started through its unit, or by the launcher that its system brings, whichever that is."""

from __future__ import annotations

import json
import os
import types
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError, NotReady
from ansible_collections.unshare.container.plugins.module_utils.launcher.process import boot_id, start_time
from ansible_collections.unshare.container.plugins.module_utils.life import again, starting
from ansible_collections.unshare.container.plugins.module_utils.life.start import (
    MORE_WARNINGS,
    WARNINGS_LIMIT,
    noted_warnings,
)
from ansible_collections.unshare.container.plugins.module_utils.life.starting import (
    LauncherStarter,
    Starter,
    UnitStarter,
    starter,
)
from ansible_collections.unshare.container.plugins.module_utils.state import library, locks
from ansible_collections.unshare.container.plugins.module_utils.state.record import RecordedContainer
from ansible_collections.unshare.container.plugins.module_utils.state.target import TargetError

from ..specifications import specification
from ..target_helpers import FakeContainer, FakeSystemd

UNIT, OTHER = "unshare-container@web.service", "unshare-container@other.service"
BY_HAND = ["unshare-by-hand-web.service", "unshare-by-hand-web.scope"]


def foreign(directory: Path, script: str) -> Path:
    (directory / "spec.json").write_text(json.dumps(specification(launcher="another").write()))
    (directory / "run-container").write_text(f"#!/bin/sh\n{script}\n")
    (directory / "run-container").chmod(0o755)
    return directory


class Lock:
    """Remembers when it was held."""

    def __init__(self, said: Path) -> None:
        self.said = said
        self.turns: list[str] = []

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_error: object) -> None:
        self.release()

    def acquire(self) -> None:
        self.turns.append("taken")

    def release(self) -> None:
        self.turns.append("released before" if not self.said.exists() else "released after")


def start(container: FakeContainer, system: Path, timeout: float = 7.5) -> tuple[list[str], Lock]:
    lock = Lock(system / "said")
    container.lock = lambda timeout: lock  # type: ignore[method-assign, assignment, return-value]
    starter = LauncherStarter(container)
    with starter.lock(1):
        warnings = starter.start(system, True, timeout)
    return warnings, lock


@pytest.fixture
def run_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(starting, "RUN_DIRECTORY", str(tmp_path / "run"))
    return tmp_path / "run"


def test_its_own_is_started_here(tmp_path: Path) -> None:
    foreign(tmp_path, "exit 1")
    (tmp_path / "spec.json").write_text(json.dumps(specification(launcher=library.fingerprint()).write()))
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
    assert lock.turns == ["taken", "released before", "taken", "released after"]


@pytest.mark.parametrize(("running", "error"), [(None, LauncherError), ("/system", NotReady)])
def test_what_another_says_is_the_error(tmp_path: Path, running: str | None, error: type[Exception]) -> None:
    container = FakeContainer()
    container.running = running
    with pytest.raises(error, match="^run-container: it does not$") as caught:
        start(container, foreign(tmp_path, "echo run-container: it does not >&2; exit 125"))
    assert type(caught.value) is error


def test_a_system_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(LauncherError, match="stage the system again"):
        start(FakeContainer(), tmp_path)


def test_nothing_is_let_go_of_that_is_not_held(tmp_path: Path) -> None:
    with pytest.raises(LauncherError, match="with its lock held"):
        LauncherStarter(FakeContainer()).start(foreign(tmp_path, "exit 0"), True, 5)


@pytest.mark.parametrize(("present", "kind"), [(True, UnitStarter), (False, LauncherStarter)])
def test_what_starts_is_chosen_by_the_host(present: bool, kind: type[Starter]) -> None:
    assert type(starter(FakeContainer(), FakeSystemd(present))) is kind


def test_the_launcher_does_all_with_one_lock(tmp_path: Path, own_launcher: None) -> None:
    container = FakeContainer()
    chosen = starter(container, FakeSystemd(present=False))
    with chosen.lock(1):
        assert chosen.start(tmp_path, True, 5) == []
        assert chosen.await_ready(5)
        assert chosen.stop(5)
        assert not chosen.stop(5)
        chosen.remove(5)
    assert container.calls == ["lock", "start", "stop", "remove"]


def test_a_unit_is_started_and_stopped_with_what_requires_it(run_directory: Path) -> None:
    systemd, container = FakeSystemd(), FakeContainer()
    container.cgroup = types.SimpleNamespace(close=lambda: None)
    chosen = starter(container, systemd)
    with chosen.lock(1):
        assert (run_directory / ".web").is_dir()
        assert container.calls == []  # the launcher that systemd starts takes the container's own lock
        chosen.start(Path("/system"), True, 5)
    assert systemd.orders == [f"start {UNIT}"]
    assert container.calls == []
    systemd.required_by = OTHER
    systemd.active.add(OTHER)
    container.running = "/system"
    assert chosen.stop(5)
    assert not systemd.is_active(UNIT)
    chosen.start(Path("/system"), True, 5)
    assert systemd.orders[1:] == [f"stop {UNIT}", f"start {UNIT}", f"start {OTHER}"]


def test_v5_what_stops_with_a_unit_is_known_before(run_directory: Path) -> None:
    """Also what requires a container that requires it, and in a circle."""
    systemd = FakeSystemd()
    chosen = starter(FakeContainer(), systemd)
    systemd.requiring = {UNIT: "b.service gone.service a.service", "a.service": "c.service", "c.service": UNIT}
    systemd.active |= {"a.service", "b.service", "c.service"}
    assert chosen.stops_with() == []
    systemd.active.add(UNIT)
    assert chosen.stops_with() == ["b.service", "a.service", "c.service"]
    chosen.start_unit("c.service", 5)
    assert systemd.orders == ["start c.service"]
    alone = starter(FakeContainer(), FakeSystemd(present=False))
    assert alone.stops_with() == []
    with pytest.raises(TargetError, match=r"the unit c\.service cannot be started: systemd does not run here"):
        alone.start_unit("c.service", 5)


@pytest.mark.parametrize("by_hand", BY_HAND)
@pytest.mark.parametrize("running", ["/system", None])
def test_one_that_was_started_by_hand_is_taken_over(run_directory: Path, running: str | None, by_hand: str) -> None:
    """Its unit may be about to start it again, although it does not run."""
    systemd, container = FakeSystemd(), FakeContainer()
    container.cgroup = types.SimpleNamespace(close=lambda: None)
    chosen = starter(container, systemd)
    systemd.active.add(by_hand)
    container.running = running
    assert chosen.stop(5) == (running is not None)
    assert systemd.orders == [f"stop {by_hand}"]
    systemd.active.add(by_hand)
    chosen.start(Path("/system"), True, 5)
    assert systemd.orders[1:] == [f"stop {by_hand}", f"start {UNIT}"]


def test_the_warnings_of_a_unit_are_those_that_its_start_has_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = RecordedContainer("web")
    container.run_directory = str(tmp_path)
    given = ["/srv/\ud8ff\n was left out", "no filter"]
    note = {"pid": os.getpid(), "start_time": start_time(os.getpid()), "boot_id": boot_id()}
    container.write_record({**note, "warnings": noted_warnings(given)})
    warnings = starter(container, FakeSystemd()).start(Path("/system"), True, 5)
    assert warnings == ["/srv/\ud8ff was left out", "no filter"]
    container.write_record(note)  # as a former version notes a start
    assert starter(container, FakeSystemd()).start(Path("/system"), True, 5) == []


@pytest.mark.parametrize("count", [0, 1, 3, 10_000])
@pytest.mark.parametrize("size", [1, 100, 10_000, 100_000])
def test_no_more_warnings_are_noted_than_there_is_room_for(count: int, size: int) -> None:
    given = [f"{number}".ljust(size, "x") for number in range(count)]
    noted = noted_warnings(given)
    assert len(noted) <= WARNINGS_LIMIT
    *whole, last = noted.splitlines() or [""]
    assert whole == given[: len(whole)]
    assert last == MORE_WARNINGS or [*whole, last] == (given or [""])


@pytest.mark.parametrize("act", ["stop", "await_ready", "remove"])
def test_what_the_launcher_does_beside_a_unit_is_done_with_the_containers_own_lock(act: str) -> None:
    container = FakeContainer()
    getattr(starter(container, FakeSystemd()), act)(5)
    assert container.calls[0] == "lock"


def test_a_unit_that_does_not_start_is_stopped() -> None:
    systemd = FakeSystemd()
    systemd.broken = True
    with pytest.raises(NotReady, match="it went wrong") as caught:
        starter(FakeContainer(), systemd).start(Path("/system"), True, 5)
    assert caught.value.ended
    assert systemd.orders[-1] == f"stop {UNIT}"


@pytest.mark.parametrize("script", ["exec sleep 60", None], ids=["hangs", "cannot be executed"])
def test_a_foreign_launcher_that_gives_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None
) -> None:
    monkeypatch.setattr(again, "GRACE", 0.2)
    system = foreign(tmp_path, script or "")
    if script is None:
        (system / "run-container").unlink()
    with pytest.raises(LauncherError, match=rf"^container web: cannot be started: {system}/run-container: "):
        start(FakeContainer(), system, timeout=0.1)


def test_no_lock_of_a_unit_test_is_one_of_the_host(tmp_path_factory: pytest.TempPathFactory) -> None:
    container = RecordedContainer("web")
    unit, held = UnitStarter(container, FakeSystemd()).lock(1), container.lock(1)
    assert isinstance(unit, locks.Lock)
    for path in (container.run_directory, unit.directory, held.directory):
        assert path.startswith(str(tmp_path_factory.getbasetemp()))
    with unit, held:
        assert Path(unit.directory).is_dir()
        assert Path(held.directory).is_dir()
    assert not Path(held.directory).parent.exists()  # which the last one removes
