# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A file of the host changes in any way, its links included: who waits for that is told, and of nothing else."""

from __future__ import annotations

import os
import select
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import watch
from ansible_collections.unshare.container.plugins.module_utils.launcher.watch import Watch, steps_to

SECONDS = 10.0


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """Return a directory with the ways that a file can have."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "run/one").mkdir(parents=True)
    (tmp_path / "run/two").mkdir()
    for path in ("etc/plain", "run/one/target", "run/two/target"):
        (tmp_path / path).write_text("old\n")
    (tmp_path / "etc/linked").symlink_to("../run/now/target")
    (tmp_path / "run/now").symlink_to(tmp_path / "run/one")
    return tmp_path / "etc"


def rename(path: Path) -> None:
    new = path.with_name("new")
    new.write_text("new\n")
    new.rename(path)


def relink(path: Path, target: str) -> None:
    new = path.with_name("new")
    new.symlink_to(target)
    new.rename(path)


CHANGES: dict[str, tuple[str, t.Callable[[Path], t.Any]]] = {
    "written": ("plain", lambda etc: (etc / "plain").write_text("new\n")),
    "replaced": ("plain", lambda etc: rename(etc / "plain")),
    "removed": ("plain", lambda etc: (etc / "plain").unlink()),
    "moved away": ("plain", lambda etc: (etc / "plain").rename(etc / "old")),
    "replaced by a link": ("plain", lambda etc: relink(etc / "plain", "../run/one/target")),
    "its target written": ("linked", lambda etc: (etc / "../run/one/target").write_text("new\n")),
    "its target replaced": ("linked", lambda etc: rename(etc / "../run/one/target")),
    "its target removed": ("linked", lambda etc: (etc / "../run/one/target").unlink()),
    "linked elsewhere": ("linked", lambda etc: relink(etc / "linked", "../run/two/target")),
    "linked elsewhere on the way": ("linked", lambda etc: relink(etc / "../run/now", "two")),
    "its directory replaced": ("linked", lambda etc: (etc / "../run/one").rename(etc / "../run/three")),
    "made": ("absent", lambda etc: (etc / "absent").write_text("new\n")),
    "its directory made": ("run/some/absent", lambda etc: (etc / "run").mkdir()),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_change_is_told(etc: Path, case: str) -> None:
    name, change = CHANGES[case]
    watched = Watch([str(etc / name)])
    try:
        assert not is_told(watched, 0)
        change(etc)
        assert is_told(watched, SECONDS)
    finally:
        watched.close()


@pytest.mark.parametrize(
    "act",
    [
        lambda etc: (etc / "plain").read_text(),
        lambda etc: (etc / "other").write_text("new\n"),
        lambda etc: rename(etc / "other"),
        lambda etc: (etc / "../run/two/target").write_text("new\n"),
    ],
    ids=["read", "other", "other replaced", "linked no more"],
)
def test_of_nothing_else(etc: Path, act: t.Callable[[Path], t.Any]) -> None:
    watched = Watch([str(etc / "plain"), str(etc / "linked")])
    try:
        act(etc)
        assert not is_told(watched, 0)
        rename(etc / "plain")
        assert is_told(watched, SECONDS)
    finally:
        watched.close()


def is_told(watched: Watch, seconds: float) -> bool:
    """Return whether a change is told within so many seconds."""
    while select.select([watched.descriptor], [], [], seconds)[0]:
        if watched._is_change(os.read(watched.descriptor, 1 << 16)):
            return True
    return False


def test_more_events_than_are_kept_are_a_change(etc: Path) -> None:
    watched = Watch([str(etc / "plain")])
    watched.close()
    lost = watch._HEAD.pack(-1, 0x4000, 0, 0)
    assert watched._is_change(lost)
    assert not watched._is_change(watch._HEAD.pack(-1, 0x8, 0, 0))


@pytest.mark.parametrize("target", ["loop", "./loop", "../etc/loop/x"])
def test_links_in_a_circle_end(etc: Path, target: str) -> None:
    (etc / "loop").symlink_to(target)
    assert 1 <= len(steps_to(str(etc / "loop"))) <= watch.MOST_STEPS
    watched = Watch([str(etc / "loop")])
    watched.close()


def test_the_steps_of_a_way(etc: Path) -> None:
    found = steps_to(str(etc / "linked"))
    top = str(etc.parent)
    assert found[-5:-3] != []
    assert (str(etc), "linked") in found
    assert (f"{top}/run", "now") in found
    assert found[-1] == (f"{top}/run/one", "target")
    assert steps_to("//etc/./x") == [("/", "etc"), ("/etc", "x")]
