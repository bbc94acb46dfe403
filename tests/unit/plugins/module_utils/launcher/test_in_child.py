# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a child of the launcher says, whole and in time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import time
import types
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import automounts, excursion
from ansible_collections.unshare.container.plugins.module_utils.launcher import launch as launch_module
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.life import container as container_module


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 1 << 20])
def test_an_answer_of_any_size_comes_whole(size: int) -> None:
    assert excursion.in_child(lambda: "x" * size, 20, ()) == "x" * size


def test_an_error_of_any_size_comes_whole() -> None:
    def fail() -> str:
        raise LauncherError("y" * 200000)

    with pytest.raises(LauncherError) as caught:
        excursion.in_child(fail, 20, ())
    assert str(caught.value) == "y" * 200000


def test_one_that_does_not_end_is_given_up() -> None:
    def wait() -> str:
        signal.pause()
        return ""

    began = time.monotonic()
    with pytest.raises(TimeoutError):
        excursion.in_child(wait, 0.2, ())
    assert time.monotonic() - began < 5


def files_open() -> str:
    """Return the files that this process has open, a line each, but those that name a file system or itself."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.append(f"{name} " + os.readlink(f"/proc/self/fd/{name}"))
    return "\n".join(found)


@pytest.fixture
def held(tmp_path: Path) -> t.Iterator[list[str]]:
    """Return what names a lock and a stream that this process has open, and a child must not have."""
    lock = os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    read, write = os.pipe()
    yield [str(tmp_path / "lock"), os.readlink(f"/proc/self/fd/{write}")]
    for descriptor in (lock, read, write):
        os.close(descriptor)


def check(said: str, held: list[str]) -> None:
    lines = dict(line.split(" ", 1) for line in said.split("\n"))
    assert {"0", "1", "2"} <= lines.keys()
    assert not [name for name in held if name in lines.values()]
    own = [os.readlink(f"/proc/self/fd/{number}") for number in range(3)]
    assert not [number for number in range(3) if lines[str(number)] == own[number]]


def test_a_child_has_what_it_needs_and_no_more(held: list[str], tmp_path: Path) -> None:
    needed = os.open(tmp_path, os.O_RDONLY)
    said = excursion.in_child(files_open, 20, (needed, None))
    check(said, held)
    assert f"{needed} {tmp_path}" in said.split("\n")
    os.close(needed)


def test_its_streams_are_dead_and_no_file_is_taken_for_one(tmp_path: Path) -> None:
    def work() -> str:
        opened = os.open(tmp_path, os.O_RDONLY)
        said = [str(opened > 2), repr(os.read(0, 1))]
        for number in range(3):
            with contextlib.suppress(OSError):
                said.append(str(os.write(number, b"x")))
        return " ".join(said)

    assert excursion.in_child(work, 20, ()) == "True b''"


def test_who_says_nothing_of_what_a_child_needs_gets_none() -> None:
    with pytest.raises(TypeError, match="keep"):
        excursion.in_child(lambda: "", 20)  # type: ignore[call-arg]


def test_who_kills_what_is_left_may_be_left_itself(held: list[str], tmp_path: Path) -> None:
    """A file system that waits for itself holds the lock of a control group's directory."""
    hierarchy = os.open(tmp_path, os.O_RDONLY)

    def kill_each() -> None:
        assert os.listdir(hierarchy)
        (tmp_path / "said").write_text(files_open())

    container = container_module.Container.__new__(container_module.Container)
    container.cgroup = t.cast(
        "t.Any", types.SimpleNamespace(hierarchy=hierarchy, kill_each=kill_each, wait_empty=lambda _seconds: True)
    )
    assert container._kill_each()
    check((tmp_path / "said").read_text(), held)
    os.close(hierarchy)


def test_who_triggers_an_automount_may_be_left(
    held: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = types.SimpleNamespace(point="/net", kind=automounts.AUTOMOUNT)
    monkeypatch.setattr(automounts.mount_table, "read", lambda: [entry])
    monkeypatch.setattr(automounts.mount_table, "read_kind", lambda _kind: [entry], raising=False)
    monkeypatch.setattr(automounts, "touch", lambda _path: str((tmp_path / "said").write_text(files_open())))
    record = types.SimpleNamespace(is_bind=True, source="/net/x", mount_may_fail=False)
    assert automounts.trigger([t.cast("t.Any", record)], time.monotonic() + 20) == []
    check((tmp_path / "said").read_text(), held)


def test_who_builds_the_root_may_be_left(held: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the pipes to the first process, and what that one gets."""
    numbers = [os.open(tmp_path, os.O_RDONLY) for _number in range(6)]

    def build(*_arguments: object) -> None:
        (tmp_path / "said").write_text(files_open())

    for name in ("chdir", "umask"):
        monkeypatch.setattr(launch_module.os, name, lambda _value: None)
    monkeypatch.setattr(launch_module.linux, "unshare", lambda _flags: None)
    monkeypatch.setattr(launch_module.mount_calls, "make_private", lambda _path: None)
    monkeypatch.setattr(launch_module.Launch, "_build", build)
    plan = types.SimpleNamespace(cgroup=numbers[4], output=numbers[5], host_mounts=None)
    launch = launch_module.Launch(t.cast("t.Any", plan))
    launch._build_in_child((numbers[0], numbers[1]), (numbers[2], numbers[3]), time.monotonic() + 20)
    said = (tmp_path / "said").read_text()
    check(said, held)
    assert {f"{number} {tmp_path}" for number in numbers} <= set(said.split("\n"))
    for number in numbers:
        os.close(number)


def test_a_child_that_cannot_be_pinned_has_done_its_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it has written may be the number of another process, which nobody else knows."""

    def fail(_pid: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(excursion.linux, "pidfd_open", fail)
    children = Path("/proc/thread-self/children")
    before = children.read_text()
    assert excursion.in_child(lambda: "done", 10, keep=()) == "done"
    assert children.read_text() == before
