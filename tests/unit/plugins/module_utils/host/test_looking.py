# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Looks at the host's paths end, whatever somebody in a container has made of these paths."""

from __future__ import annotations

import fcntl
import os
import re
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host import looking, preflight
from ansible_collections.unshare.container.plugins.module_utils.host.facts import HostFacts
from ansible_collections.unshare.container.plugins.module_utils.launcher import lookup
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.life import examination
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout, TargetError

from ..specifications import SMALL, specification

VALUES = [None, [], ["one", "two"], [["a"], ["b", "\u00fc\udcff"]], {"a": 1}, "x" * 300_000]


@pytest.mark.parametrize("value", VALUES, ids=[str(number) for number in range(len(VALUES))])
def test_the_result_comes_back(value: t.Any) -> None:
    assert looking.in_time(lambda: value) == value


def test_errors_come_back() -> None:
    def refuse() -> None:
        raise TargetError("no such store")

    def fail() -> None:
        raise OSError(5, "Input/output error")

    with pytest.raises(TargetError, match="^no such store$"):
        looking.in_time(refuse)
    with pytest.raises(LauncherError, match="Input/output error"):
        looking.in_time(fail)


@pytest.mark.parametrize("path", ["/srv/silent", "/srv/" + "long" * 2000, "/srv/\udcff"])
def test_one_that_does_not_end_is_left_behind(tmp_path: Path, path: str) -> None:
    """The message names what was looked at last."""
    host = HostFacts(tmp_path)

    def wait() -> None:
        for before in ("/srv/longer/than/what/comes", path):
            host.path(before)
        time.sleep(60)

    began = time.monotonic()
    with pytest.raises(looking.Unanswered) as error:
        looking.in_time(wait, 2)
    assert time.monotonic() - began < 20
    named = path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")[:4000]
    assert str(error.value).startswith(named)
    assert re.search(r"has not answered for [12]\.\d s", str(error.value))
    assert looking.in_time(lambda: 1) == 1, "the next one is looked at again"


@pytest.mark.parametrize("looks", [True, False])
def test_a_path_is_blamed_for_no_others_time(tmp_path: Path, looks: bool) -> None:
    """The last of many looks is not what has taken the time, and a link on its way is none to remove."""
    host = HostFacts(tmp_path)

    def work() -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if looks:
                host.exists("/srv/innocent")

    with pytest.raises(looking.Unanswered) as error:
        looking.in_time(work, 2.5)
    assert "innocent" not in str(error.value)
    assert str(error.value).startswith("this host was not examined within 2.5 s")


def test_one_child_for_all() -> None:
    assert looking.in_time(lambda: looking.in_time(os.getppid)) == os.getpid()


def test_the_child_holds_no_lock(tmp_path: Path) -> None:
    with open(tmp_path / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        there = f"/proc/self/fd/{lock.fileno()}"
        assert looking.in_time(lambda: os.path.lexists(there)) is False


def test_an_examination_that_does_not_end_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looking, "SECONDS", 0.3)

    def wait(host: HostFacts, _wanted: object) -> list[str]:
        host.exists("/srv/silent")
        time.sleep(60)
        return []

    monkeypatch.setattr(preflight, "problems", wait)
    monkeypatch.setattr(examination, "read_spec", lambda _system: specification(**SMALL))
    monkeypatch.setattr(examination, "damages", lambda _system: [])
    found = examination.examine(Layout(tmp_path), "web", tmp_path)
    assert [said.partition(" for ")[0] for said in found.problems] == ["/srv/silent has not answered"]
    with pytest.raises(TargetError, match="'web' cannot be started, and is left as it is: /srv/silent"):
        found.refuse("web")
    with pytest.raises(looking.Unanswered, match="/srv/silent"):
        preflight.check_host(HostFacts(tmp_path), specification(**SMALL))


MAGIC = ["/proc/self/root/etc", "/proc/self/cwd", "/proc/self/fd/0", "/proc/thread-self/root"]


@pytest.mark.parametrize("target", MAGIC)
def test_no_link_of_proc_is_followed(tmp_path: Path, target: str) -> None:
    (tmp_path / "link").symlink_to(target)
    host = HostFacts()
    for look in (host.open, host.status, lookup.open_on_host):
        with pytest.raises(OSError, match="Too many levels"):
            look(str(tmp_path / "link"))
    assert host.exists(str(tmp_path / "link")), "nobody knows better"


def test_other_links_lead_below_the_root(tmp_path: Path) -> None:
    (tmp_path / "srv").mkdir()
    (tmp_path / "link").symlink_to("/srv")
    (tmp_path / "nowhere").symlink_to("/etc/passwd")
    host = HostFacts(tmp_path)
    assert host.status("/link").st_ino == (tmp_path / "srv").stat().st_ino
    assert not host.exists("/nowhere")
    with pytest.raises(OSError, match="Too many levels"):
        host.open("/link", links=False)
    os.close(host.open("/srv", links=False))
