# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whoever takes a container's lock lets go on what a run has frozen that was killed, and nothing else."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import data
from ansible_collections.unshare.container.plugins.module_utils.launcher.process import boot_id, start_time
from ansible_collections.unshare.container.plugins.module_utils.state import locks
from ansible_collections.unshare.container.plugins.module_utils.state.record import FROZEN, RecordedContainer


class Group:
    """A control group that remembers what is written."""

    def __init__(self) -> None:
        self.written: list[tuple[str, str]] = []

    def exists(self) -> bool:
        return True

    def write(self, file: str, text: str) -> None:
        self.written.append((file, text))

    def close(self) -> None:
        pass


@pytest.fixture
def container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RecordedContainer:
    monkeypatch.setattr(locks, "RUN_DIRECTORY", str(tmp_path / "run"))
    found = RecordedContainer("web")
    found.run_directory = str(tmp_path / "run/web")
    os.makedirs(found.run_directory)
    found.cgroup = t.cast(t.Any, Group())
    return found


def note(container: RecordedContainer, **more: t.Any) -> Path:
    own = {"pid": os.getpid(), "start_time": start_time(os.getpid()), "boot_id": boot_id()}
    path = Path(container.run_directory, FROZEN)
    path.write_text(data.format_flat({**own, **more}))
    return path


def written(container: RecordedContainer) -> list[tuple[str, str]]:
    return t.cast(Group, container.cgroup).written


def test_nothing_is_done_where_nothing_is_noted(container: RecordedContainer) -> None:
    with container.lock(1):
        assert written(container) == []


@pytest.mark.parametrize("more", [{"start_time": 1}, {"boot_id": "another"}, {"pid": 0}])
def test_what_a_dead_run_has_frozen_goes_on(container: RecordedContainer, more: dict[str, t.Any]) -> None:
    path = note(container, **more)
    with container.lock(1):
        assert written(container) == [("cgroup.freeze", "0")]
        assert not path.exists()


def test_what_a_run_reads_stays_frozen(container: RecordedContainer) -> None:
    path = note(container)
    with container.lock(1):
        assert written(container) == []
    assert path.exists()


def test_a_guard_lets_go_on_only_what_its_parent_has_frozen(container: RecordedContainer) -> None:
    path = note(container)
    container.thaw(of=os.getpid() + 1)
    assert path.exists()
    container.thaw(of=os.getpid())
    assert written(container) == [("cgroup.freeze", "0")]
    assert not path.exists()


def test_a_lock_is_given_back_when_what_was_left_cannot_be_put_right(tmp_path: Path) -> None:
    def fail() -> None:
        raise PermissionError(1, "refused")

    directory = str(tmp_path / "web")
    with pytest.raises(locks.LauncherError, match="container web: cannot be locked: .*refused"):
        locks.Lock("web", directory, 1, lambda: None, fail).acquire()
    assert not os.path.exists(directory)
