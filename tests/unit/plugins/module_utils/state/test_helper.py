# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A second process does parts of a work, in order, and leaves nothing behind, however either of the two ends."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.launcher.process import start_time
from ansible_collections.unshare.container.plugins.module_utils.state import helper as module
from ansible_collections.unshare.container.plugins.module_utils.state.helper import Helper


@pytest.fixture(autouse=True)
def two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})


def descriptors() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))


def children() -> str:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text()


def sum_of(given: t.Sequence[int], numbers: list[int]) -> tuple[int, int]:
    return sum(numbers), os.fstat(given[0]).st_ino


def test_what_waits_is_done_in_its_order(tmp_path: Path) -> None:
    said: list[object] = []
    before = descriptors()
    with Helper(sum_of) as helper:
        helper.then([], lambda _given: said.append("at once"))
        assert said == ["at once"]
        for number in range(20):
            directory = os.open(tmp_path, os.O_RDONLY)
            if helper.ready():
                helper.give([directory], [number, 1], lambda answer, given: said.append((*answer, len(given))))
            helper.then([directory], lambda given, number=number: said.append((number, os.fstat(given[0]).st_ino)))  # type: ignore[misc]
        while not helper.ready():
            pass
    inode = tmp_path.stat().st_ino
    assert [each for each in said[1:] if len(each) == 2] == [(number, inode) for number in range(20)]  # type: ignore[arg-type]
    assert said[1:3] == [(1, inode, 1), (0, inode)]
    assert descriptors() == before
    assert not children()


def test_few_steps_wait_at_a_time(tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    with Helper(sum_of) as helper:
        for _number in range(3 * module.WAITING):
            if helper.ready():
                helper.give([directory], [1], lambda _answer, _given: None)
            helper.then([os.dup(directory)], lambda _given: None)
            assert len(descriptors()) < 2 * module.WAITING + 32
    os.close(directory)


def test_a_helper_that_is_killed_is_an_error(tmp_path: Path) -> None:
    before = descriptors()

    def ends(_given: t.Sequence[int], _request: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def work() -> None:
        with Helper(ends) as helper:
            directory = os.open(tmp_path, os.O_RDONLY)
            helper.give([directory], None, lambda _answer, _given: None)
            helper.then([directory], lambda _given: pytest.fail("what comes later was done"))

    with pytest.raises(LauncherError, match="has ended before"):
        work()
    assert descriptors() == before
    assert not children()


def test_to_give_to_a_helper_that_was_killed_is_an_error() -> None:
    def work() -> None:
        with Helper(sum_of) as helper:
            os.kill(int(children()), signal.SIGKILL)
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
            helper.give([], [1], lambda _answer, _given: None)

    with pytest.raises(LauncherError, match="has ended before"):
        work()


def test_an_error_ends_a_helper_before_it_is_raised_further() -> None:
    """Whoever is told of it removes what was written, and nobody may write to that any more."""
    reading, writing = os.pipe()
    before = descriptors()

    def waits(given: t.Sequence[int], _request: object) -> None:
        os.write(given[0], b"1")
        signal.pause()

    def work() -> None:
        with Helper(waits) as helper:
            helper.give([writing], None, lambda _answer, _given: None)
            os.read(reading, 1)
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert not children()
    assert descriptors() == before
    os.close(reading)
    os.close(writing)


def test_an_action_that_fails_ends_it_too(tmp_path: Path) -> None:
    before = descriptors()

    def fails(_answer: object, _given: object) -> None:
        raise KeyError

    def work() -> None:
        with Helper(sum_of) as helper:
            directory = os.open(tmp_path, os.O_RDONLY)
            for _part in range(2):
                helper.give([directory], [1], fails)
            helper.then([directory], lambda _given: pytest.fail("what comes later was done"))

    with pytest.raises(KeyError):
        work()
    assert not children()
    assert descriptors() == before


def killed_at_work(lock: Path) -> None:
    """Have a process that has a lock be killed while its helper is at work; take the lock, and ask after the helper."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            with Helper(busy) as helper:
                helper.give([], None, lambda _answer, _given: None)
                os.write(writing, children().encode())
                helper.settle()
        finally:
            os._exit(1)
    helper_pid = int(os.read(reading, 100))
    os.kill(pid, signal.SIGKILL)
    with lock.open() as waiting:
        fcntl.flock(waiting, fcntl.LOCK_EX)
        assert start_time(helper_pid) is None  # it does not run, or has gone so far in its end that it writes no more
    os.waitpid(pid, 0)
    for end in (reading, writing):
        os.close(end)


def busy(_given: t.Sequence[int], _request: object) -> None:
    while True:
        pass


def test_v5_a_lock_is_free_when_the_helper_of_who_was_killed_writes_no_more(tmp_path: Path) -> None:
    for _round in range(20):
        killed_at_work(tmp_path / "lock")


def test_a_helper_that_stands_still_ends_with_who_was_killed() -> None:
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            with Helper(lambda _given, _request: None) as helping:
                helping.give([], None, lambda _answer, _given: None)
                helping.settle()
                os.kill(int(children()), signal.SIGSTOP)
                os.write(writing, children().encode())
                signal.pause()
        finally:
            os._exit(1)
    helper = os.pidfd_open(int(os.read(reading, 100)))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert select.select([helper], [], [], 20)[0]
    for descriptor in (helper, reading, writing):
        os.close(descriptor)


def test_a_signal_at_its_beginning_does_not_have_it_undo_what_its_parent_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork = os.fork

    def interrupted() -> int:
        child = fork()
        if not child:
            os.kill(os.getpid(), signal.SIGINT)
        return child

    monkeypatch.setattr(os, "fork", interrupted)
    said: list[tuple[int, int]] = []
    try:
        with Helper(sum_of) as helper:
            directory = os.open(tmp_path, os.O_RDONLY)
            helper.give([directory], [1, 2], lambda answer, _given: said.append(answer))
            os.close(directory)
    finally:
        (tmp_path / "undone").write_text(f"{os.getpid()}")
    assert said == [(3, tmp_path.stat().st_ino)]
    assert (tmp_path / "undone").read_text() == f"{os.getpid()}"
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_its_memory_is_given_back(tmp_path: Path) -> None:
    def shared() -> int:
        return Path("/proc/self/maps").read_text().count("/dev/zero (deleted)")

    before = shared()
    with Helper(sum_of) as helper:
        directory = os.open(tmp_path, os.O_RDONLY)
        helper.give([directory], [1], lambda _answer, _given: None)
        os.close(directory)
        assert shared() == before + 1
    assert shared() == before


@pytest.mark.parametrize("busy", [0, 1])
def test_other_processes_have_their_processors(busy: int) -> None:
    with Helper(sum_of, busy) as helper:
        assert helper.ready() == (busy == 0)


def test_without_work_there_is_none() -> None:
    with Helper(None) as helper:
        assert not helper.ready()
        assert not children()


@pytest.mark.parametrize("case", ["one processor", "no process", "no descriptor", "no socket", "no memory"])
def test_without_a_helper_all_is_done_here(monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    def fails(*_arguments: object) -> int:
        raise OSError

    before = descriptors()
    if case == "one processor":
        monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {1})
    elif case == "no process":
        monkeypatch.setattr(os, "fork", fails)
    elif case == "no socket":
        monkeypatch.setattr(module.socket, "socketpair", fails)
    elif case == "no memory":
        monkeypatch.setattr(module.mmap, "mmap", fails)
    else:
        monkeypatch.setattr(
            "ansible_collections.unshare.container.plugins.module_utils.launcher.linux.pidfd_open", fails
        )
    with Helper(sum_of) as helper:
        assert not helper.ready()
        done: list[int] = []
        helper.then([], lambda _given: done.append(1))
        assert done == [1]
    assert descriptors() == before
    assert not children()


def test_what_has_no_room_is_a_fault_of_the_program() -> None:
    with pytest.raises(ValueError, match="bytes"), Helper(sum_of) as helper:
        helper.give([], bytes(module.PART_ROOM), lambda _answer, _given: None)
