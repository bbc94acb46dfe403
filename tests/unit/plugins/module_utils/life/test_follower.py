# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The copies of network files follow the host: for a container in the foreground, and for all that run."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import network_files, watch
from ansible_collections.unshare.container.plugins.module_utils.life import follower, following
from ansible_collections.unshare.container.plugins.module_utils.life.follower import Follower
from ansible_collections.unshare.container.plugins.module_utils.state import record as record_module

from ..launcher.test_network_files import record
from ..specifications import SPECIFICATION

SECONDS = 1.0
"""In which a change is seen inside."""

ALONE = pytest.mark.timeout(60)


@pytest.fixture
def etc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory in the place of the host's /etc."""
    place = tmp_path / "etc"
    place.mkdir()
    (place / "resolv.conf").write_text("nameserver 192.0.2.0\n")
    monkeypatch.setattr(network_files, "NETWORK_FILES", ("/etc/resolv.conf",))
    monkeypatch.setattr(follower, "NETWORK_FILES", (str(place / "resolv.conf"),))
    known = network_files._content
    monkeypatch.setattr(network_files, "_content", lambda path: known(str(place / os.path.basename(path))))
    return place


def prepare(run: Path) -> Path:
    """Make the copies of a container; return that of resolv.conf."""
    run.mkdir(parents=True)
    network_files.prepare(str(run), [record("/etc/resolv.conf")], run.name, os.getuid())
    return run / network_files.DIRECTORY / "resolv.conf"


def replace(path: Path, text: str) -> None:
    path.with_name("new").write_text(text)
    path.with_name("new").rename(path)


def await_text(path: Path, text: str) -> None:
    """Wait until a file has a text."""
    now = watch.Watch([str(path)])
    deadline = time.monotonic() + 20 * SECONDS
    try:
        while path.read_text() != text:
            assert time.monotonic() < deadline, path.read_text()
            now.wait()
    finally:
        now.close()


@ALONE
def test_one_in_the_foreground_follows_until_it_ends(tmp_path: Path, etc: Path) -> None:
    copy = prepare(tmp_path / "run/web")
    following_one = Follower(str(tmp_path / "run/web"), "web")
    try:
        for number in range(20):
            text = f"nameserver 192.0.2.{number}\n"
            if number % 2:
                (etc / "resolv.conf").write_text(text)
            else:
                replace(etc / "resolv.conf", text)
            await_text(copy, text)
        process = following_one.process
        assert process is not None
        pid = process.pid
        os.kill(pid, signal.SIGINT)  # as a terminal sends it to all, while the container is being stopped
        replace(etc / "resolv.conf", "last\n")
        await_text(copy, "last\n")
    finally:
        following_one.close()
    assert not Path(f"/proc/{pid}").exists()
    following_one.close()


@ALONE
def test_what_changed_before_it_began_is_seen(tmp_path: Path, etc: Path) -> None:
    copy = prepare(tmp_path / "run/web")
    replace(etc / "resolv.conf", "earlier\n")
    following_one = Follower(str(tmp_path / "run/web"), "web")
    try:
        await_text(copy, "earlier\n")
    finally:
        following_one.close()


def test_a_container_without_copies_has_none(tmp_path: Path) -> None:
    assert Follower(str(tmp_path), "web").process is None


class Used:
    """What stands for a container's use."""

    def __init__(self, system: str) -> None:
        self.system = system


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> t.Callable[..., Path]:
    """Return a function that has a container run; it returns its copy of resolv.conf."""
    monkeypatch.setattr(following, "RUN_DIRECTORY", str(tmp_path / "run"))
    monkeypatch.setattr(record_module, "RUN_DIRECTORY", str(tmp_path / "run"))
    used: dict[str, Used] = {}
    monkeypatch.setattr(following.RecordedContainer, "use", lambda container: used.get(container.name))

    def run(name: str, spec: str | None = None) -> Path:
        system = tmp_path / "systems" / name
        system.mkdir(parents=True)
        (system / "spec.json").write_text(json.dumps({**SPECIFICATION, "host_name": name}) if spec is None else spec)
        used[name] = Used(str(system))
        return prepare(tmp_path / "run" / name)

    return run


def test_all_that_run_follow(etc: Path, running: t.Callable[..., Path], tmp_path: Path) -> None:
    copies = [running(f"c{number}") for number in range(3)]
    ended = prepare(tmp_path / "run/ended")
    (tmp_path / "run/.lock").mkdir()
    replace(etc / "resolv.conf", "new\n")
    assert following.refresh_all(1) == []
    assert [copy.read_text() for copy in copies] == ["new\n"] * 3
    assert ended.read_text() == "nameserver 192.0.2.0\n"


def test_a_damaged_one_keeps_nobody(etc: Path, running: t.Callable[..., Path]) -> None:
    running("bad", spec="{")
    copy = running("good")
    replace(etc / "resolv.conf", "new\n")
    (complaint,) = following.refresh_all(1)
    assert complaint.startswith("container bad: ")
    assert copy.read_text() == "new\n"


def test_who_holds_its_copies_keeps_nobody_else_waiting(etc: Path, running: t.Callable[..., Path]) -> None:
    held, *others = [running(name) for name in ("held", "one", "two")]
    descriptor = os.open(held.parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        replace(etc / "resolv.conf", "new\n")
        began = time.monotonic()
        assert following.refresh_all(1) == []
        assert time.monotonic() - began < 10 * SECONDS  # it would be for ever
        assert [copy.read_text() for copy in others] == ["new\n"] * 2
    finally:
        os.close(descriptor)
    assert following.refresh_all(1) == []
    assert held.read_text() == "new\n"


def test_a_container_runs_on_where_there_can_be_no_further_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(tmp_path / "web")

    def refuse() -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(follower.os, "fork", refuse)
    made = Follower(str(tmp_path / "web"), "web")
    assert made.process is None
    made.close()
