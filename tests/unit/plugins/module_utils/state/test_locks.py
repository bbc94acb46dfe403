# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A container's lock: held by one, given back and taken again by the same object, and gone from the disk afterwards."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.state import locks


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


@pytest.mark.parametrize("blocked", [False, True])
def test_another_holder_is_waited_for_no_longer_than_asked(directory: Path, blocked: bool) -> None:
    """Who called this process may have blocked the signal of a timer."""
    directory.mkdir(parents=True)
    other = os.open(directory, os.O_RDONLY)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGALRM] if blocked else [])
    try:
        fcntl.flock(other, fcntl.LOCK_EX)
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        with pytest.raises(LauncherError, match=r"another process \(PID [0-9]+\) has held it for 0.05 s"):
            lock(directory).acquire()
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(other)


def test_a_lock_that_was_not_taken_is_not_given_back(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of its descriptor may be another file's by then."""
    made = lock(directory)

    def fail(*_arguments: object) -> bool:
        raise PermissionError(13, "no")

    monkeypatch.setattr(locks, "is_same", fail)
    with pytest.raises(LauncherError, match="cannot be locked"):
        made.acquire()
    assert made.descriptor == -1


@pytest.mark.parametrize(("holders", "waits", "held"), [("aa", 2, False), ("abb", 3, False), ("abab", 5, True)])
def test_who_waits_in_a_queue_gives_up_when_one_holder_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holders: str, waits: int, held: bool
) -> None:
    monkeypatch.setattr(locks, "NETWORK_LOCK", str(tmp_path / "lock"))
    left = iter(holders)
    waited: list[float] = []

    def hold(_descriptor: int, what: str, timeout: float, _deadline: float) -> None:
        waited.append(timeout)
        if not held or len(waited) <= len(holders):
            raise LauncherError(what)

    monkeypatch.setattr(locks, "holder", lambda _descriptor: next(left))
    monkeypatch.setattr(locks, "_hold", hold)
    with contextlib.nullcontext() if held else pytest.raises(LauncherError), locks.NetworkLock():
        pass
    assert waited == [locks.ALLOCATION_TIMEOUT] * waits


@pytest.mark.parametrize("place", ["_make", "open_to_lock", "_hold", "is_same"])
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
def test_a_signal_leaves_no_directory(
    directory: Path, monkeypatch: pytest.MonkeyPatch, place: str, before: bool
) -> None:
    """Whose handler ends the process by an exception, at any step of taking the lock."""
    real = getattr(locks, place)

    def interrupted(*given: object) -> object:
        monkeypatch.setattr(locks, place, real)
        if not before:
            real(*given)
        raise KeyboardInterrupt

    monkeypatch.setattr(locks, place, interrupted)
    with pytest.raises(KeyboardInterrupt):
        lock(directory).acquire()
    assert not directory.exists()


def test_a_signal_while_another_has_it_leaves_that_ones(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_given: object) -> None:
        raise KeyboardInterrupt

    with lock(directory):
        monkeypatch.setattr(locks, "_hold", interrupted)
        with pytest.raises(KeyboardInterrupt):
            lock(directory).acquire()
        assert directory.is_dir()
