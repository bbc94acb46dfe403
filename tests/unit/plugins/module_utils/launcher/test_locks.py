# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A container's lock: held by one, given back and taken again by the same object, and gone from the disk afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import locks
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(locks, "RUN_DIRECTORY", str(tmp_path / "run"))
    return tmp_path / "run/web"


def lock(directory: Path, closed: list[str] | None = None) -> locks.Lock:
    return locks.Lock("web", str(directory), 0.05, lambda: (closed if closed is not None else []).append("closed"))


def test_held_as_a_context_by_one_alone(directory: Path) -> None:
    closed: list[str] = []
    with lock(directory, closed):
        with pytest.raises(LauncherError, match=r"^container web: another process .*has held it for 0\.05 s"):
            lock(directory).acquire()
        assert directory.is_dir()
        assert closed == []
    assert closed == ["closed"]
    assert not directory.parent.exists()


def test_given_back_in_between_and_taken_again(directory: Path) -> None:
    closed: list[str] = []
    held = lock(directory, closed)
    with held:
        held.release()
        with lock(directory):
            pass
        held.acquire()
        with pytest.raises(LauncherError):
            lock(directory).acquire()
    with lock(directory):
        pass
    assert closed == ["closed"] * 2


def test_what_was_not_taken_again_is_given_back_once(directory: Path) -> None:
    closed: list[str] = []
    held = lock(directory, closed)
    with held:
        held.release()
        with lock(directory):  # another's, on a directory of the same name
            held.release()
            assert directory.is_dir()
    assert closed == ["closed"]


def test_a_directory_with_something_in_it_stays(directory: Path) -> None:
    with lock(directory):
        (directory / "state.json").touch()
    assert (directory / "state.json").exists()


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LauncherError, match="^container web: cannot be locked: "):
        locks.Lock("web", str(tmp_path / "file/web"), 0.05, lambda: None).acquire()
