# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""With the last container its directories go, which runs lock to take turns: whoever waits for one has it again."""

from __future__ import annotations

import os
import threading
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.state import locks
from ansible_collections.unshare.container.plugins.module_utils.state.locks import AllocationLock, open_to_lock
from ansible_collections.unshare.container.plugins.module_utils.state.systems import Systems
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout, exclusive, remove_empty

from ..target_helpers import content


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path)


def test_nothing_is_left(layout: Layout) -> None:
    systems = Systems(layout)
    path = systems.write(content(), None)
    layout.containers.mkdir()
    systems.remove([path])
    remove_empty(layout)
    assert not layout.state.exists()
    remove_empty(layout)
    assert Systems(layout).of_container("web") == []
    systems.remove([])
    assert not layout.state.exists()
    assert systems.write(content(), None).is_dir()


@pytest.mark.parametrize("what", ["systems/0-x", "containers/other", "somebody's"])
def test_what_is_not_empty_stays(layout: Layout, what: str) -> None:
    layout.containers.mkdir(parents=True)
    layout.systems.mkdir()
    kept = layout.state / what
    kept.mkdir()
    remove_empty(layout)
    left = {str(path.relative_to(layout.state)) for path in layout.state.rglob("*")}
    assert left == {what, *({str(Path(what).parent)} - {"."})}


def test_who_holds_a_directory_keeps_it(layout: Layout) -> None:
    with exclusive(layout.systems):
        remove_empty(layout)
        assert layout.systems.is_dir()
    remove_empty(layout)
    assert not layout.systems.exists()


LOCKS: dict[str, t.Callable[[Path], t.Any]] = {"systems": exclusive, "containers": lambda _directory: AllocationLock()}


@pytest.mark.parametrize("name", LOCKS)
def test_who_has_waited_holds_the_directory_that_is_there(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Another run removes it, and keeps what it has held of it open until the waiting one has looked."""
    monkeypatch.setattr(locks, "STATE_DIRECTORY", str(layout.state))
    directory = layout.state / name
    directory.mkdir(parents=True)
    opened: list[bool] = []

    def removed_meanwhile(path: str) -> int:
        descriptor = open_to_lock(path)
        if not opened:
            directory.rmdir()
        opened.append(True)
        return descriptor

    for module in (locks, "ansible_collections.unshare.container.plugins.module_utils.state.target"):
        place = f"{module}.open_to_lock" if isinstance(module, str) else f"{module.__name__}.open_to_lock"
        monkeypatch.setattr(place, removed_meanwhile)
    with LOCKS[name](directory):
        assert len(opened) == 2
        other = open_to_lock(str(directory))
        try:
            with pytest.raises(BlockingIOError):
                locks.fcntl.flock(other, locks.fcntl.LOCK_EX | locks.fcntl.LOCK_NB)
        finally:
            os.close(other)


def test_many_runs_at_once(layout: Layout) -> None:
    """Each writes a system and removes it, and the directories when that was the last: no run fails."""
    errors: list[BaseException] = []

    def run(number: int) -> None:
        systems = Systems(layout)
        try:
            for count in range(8):
                path = systems.write(content(motd=f"{number} {count}"), None)
                systems.remove([path])
                remove_empty(layout)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    remove_empty(layout)
    assert not layout.state.exists()
