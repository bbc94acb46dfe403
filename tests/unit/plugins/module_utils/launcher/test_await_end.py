# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The middle process of an entry is let go of in a bounded time, whatever keeps it from its end."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time

import pytest
from ansible_collections.unshare.container.plugins.module_utils.inside import enter
from ansible_collections.unshare.container.plugins.module_utils.launcher import process


@pytest.fixture(autouse=True)
def left(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """Return the children whose ends nobody waits for."""
    found: set[int] = set()
    monkeypatch.setattr(process, "_left", found)
    return found


def child(pauses: bool) -> int:
    pid = os.fork()
    if pid == 0:
        if pauses:
            signal.pause()
        os._exit(0)
    return pid


def descriptors() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))


def test_one_that_ends_is_reaped(left: set[int]) -> None:
    before = descriptors()
    middle = child(pauses=False)
    enter._await_end(middle)
    with pytest.raises(ChildProcessError):
        os.waitpid(middle, os.WNOHANG)
    assert left == set()
    assert descriptors() == before


@pytest.mark.parametrize("stopped", [False, True])
def test_one_that_does_not_end_is_killed_and_left(
    monkeypatch: pytest.MonkeyPatch, left: set[int], stopped: bool
) -> None:
    monkeypatch.setattr(enter, "REAP_TIMEOUT", 0.1)
    before = descriptors()
    middle = child(pauses=True)
    if stopped:
        os.kill(middle, signal.SIGSTOP)
    began = time.monotonic()
    enter._await_end(middle)
    assert 0.1 <= time.monotonic() - began < 5
    assert left == {middle}
    assert descriptors() == before
    ended = os.waitid(os.P_PID, middle, os.WEXITED | os.WNOWAIT)
    assert ended is not None
    assert ended.si_status == signal.SIGKILL
    process.reap_left()
    assert left == set()
    with pytest.raises(ChildProcessError):
        os.waitpid(middle, os.WNOHANG)


@pytest.mark.parametrize("sibling", [False, True])
def test_a_child_that_cannot_be_pinned_is_ended(monkeypatch: pytest.MonkeyPatch, sibling: bool) -> None:
    """It must not go on where nobody can end it; one that this process may not reap is ended all the same."""

    def fail(_pid: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    pid = os.fork()
    if pid == 0:
        signal.pause()
        os._exit(0)
    monkeypatch.setattr(process.linux, "pidfd_open", fail)
    if sibling:
        tries = os.fork()
        if tries == 0:
            with contextlib.suppress(OSError):
                process.Process.pin_child(pid)
            os._exit(0)
        os.waitpid(tries, 0)
        assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == signal.SIGKILL
    else:
        with pytest.raises(OSError, match="Too many open files"):
            process.Process.pin_child(pid)
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, 0)


@pytest.mark.parametrize("kept", ["a command", "a command whose number it has", "a child left before"])
def test_a_child_that_was_given_is_reaped_also_with_the_number_of_one_before(
    monkeypatch: pytest.MonkeyPatch, left: set[int], kept: str
) -> None:
    """The kernel gives the number of a command to another once the command is reaped, by whomever."""
    given = child(pauses=False)
    os.waitid(os.P_PID, given, os.WEXITED | os.WNOWAIT)
    started = process.start_time(given, ended=True)
    assert started is not None
    commands = {"a command": {given: started}, "a command whose number it has": {given: started - 1}}.get(kept, {})
    monkeypatch.setattr(process, "_commands", commands)
    monkeypatch.setattr(process, "_entered", True)
    if kept == "a child left before":
        process.leave(given)
    # As of a process in a pid namespace below this one.
    monkeypatch.setattr(process, "_numbers", lambda pid: ["1"] if pid == "self" else ["1", "2"])
    process._reap_given()
    if kept == "a command whose number it has":
        with pytest.raises(ChildProcessError):
            os.waitpid(given, os.WNOHANG)
        return
    assert process.reap_within(given, time.monotonic() + 1) == 0
    assert commands == {}


def test_children_that_have_not_ended_are_not_asked_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel names those that were given and have ended, among thousands that have not."""
    given, live = [child(pauses=False) for _number in range(3)], child(pauses=True)
    asked: list[int] = []

    def ask(kind: int, pid: int, options: int) -> os.waitid_result | None:
        asked.append(kind)
        return waitid(kind, pid, options)

    waitid = os.waitid
    monkeypatch.setattr(process, "_commands", {})
    monkeypatch.setattr(process, "_entered", True)
    monkeypatch.setattr(process, "_numbers", lambda pid: ["1"] if pid == "self" else ["1", "2"])
    for pid in given:
        waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    monkeypatch.setattr(os, "waitid", ask)
    process.reap_left()
    os.kill(live, signal.SIGKILL)
    os.waitpid(live, 0)
    assert set(asked) == {os.P_ALL}
    for pid in given:
        with pytest.raises(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def test_children_that_are_made_as_fast_as_they_are_reaped_keep_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hostile process inside can give children without end; a stop looks at its time limit in between."""
    reaped: list[int] = []
    monkeypatch.setattr(process, "_ended", lambda _kind, pid=7: pid)
    monkeypatch.setattr(process, "_is_given", lambda _pid: True)
    monkeypatch.setattr(process, "reap", reaped.append)
    monkeypatch.setattr(process, "read_text", lambda _path: "")
    process._reap_given()
    assert len(reaped) == process.AT_ONCE


def test_behind_a_child_of_its_own_that_has_ended_a_given_one_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel names one child that has ended, perhaps each time one for which somebody else waits."""
    own, given = child(pauses=False), child(pauses=False)
    monkeypatch.setattr(process, "_commands", {})
    monkeypatch.setattr(process, "_entered", True)
    monkeypatch.setattr(process, "_numbers", lambda pid: ["1", "2"] if pid == str(given) else ["1"])
    for pid in (own, given):
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    process.reap_left()
    with pytest.raises(ChildProcessError):
        os.waitpid(given, os.WNOHANG)
    assert os.waitpid(own, os.WNOHANG)[0] == own


def test_children_that_have_not_ended_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """There may be one for each of a thousand containers, and each stop and each question looks for given ones."""
    looked: set[str] = set()
    live, given = [child(pauses=True) for _number in range(3)], child(pauses=False)

    def numbers(pid: str) -> list[str]:
        looked.add(pid)
        return {"self": ["1"], str(given): ["1", "2"]}.get(pid, [])

    monkeypatch.setattr(process, "_commands", {})
    monkeypatch.setattr(process, "_entered", True)
    monkeypatch.setattr(process, "_numbers", numbers)
    try:
        os.waitid(os.P_PID, given, os.WEXITED | os.WNOWAIT)
        process.reap_left()
        assert str(given) in looked
        assert not {str(pid) for pid in live} & looked
        with pytest.raises(ChildProcessError):
            os.waitpid(given, os.WNOHANG)
    finally:
        for pid in live:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        process.reap(given)


@pytest.mark.parametrize(
    ("depth", "numbers", "given"),
    [
        (1, ["9"], False),
        (1, ["9", "1"], False),
        (1, ["9", "2"], True),
        (1, ["9", "7", "1"], True),
        (2, ["9", "8"], False),
        (2, ["9", "8", "1"], False),
        (2, ["9", "8", "2"], True),
        (1, [], False),
        (0, [], False),
    ],
)
def test_a_child_is_given_from_a_namespace_below_and_not_its_first(
    monkeypatch: pytest.MonkeyPatch, depth: int, numbers: list[str], given: bool
) -> None:
    monkeypatch.setattr(process, "_numbers", lambda pid: ["5"] * depth if pid == "self" else numbers)
    assert process._is_given(9) is given
