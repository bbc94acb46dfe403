# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which controllers a container gets; the hierarchy is a directory, whose kernel this test is."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import cgroup, limits

WHOLE = "unshare/web"


class Hierarchy(cgroup.ControlGroup):
    """A hierarchy whose root has controllers, and in which some cannot be handed down together."""

    def __init__(self, directory: Path, controllers: str, refused: tuple[str, ...] = ()) -> None:
        super().__init__("web")
        self.directory = directory
        self.refused = refused
        self._hierarchy = os.open(directory, os.O_RDONLY)
        self.has_enabled: dict[str, set[str]] = {}
        self.known = controllers
        self._furnish(".")

    def _furnish(self, path: str) -> None:
        for file in cgroup.DELEGATED:
            (self.directory / path / file).touch()

    def _make_one(self, path: str) -> None:
        super()._make_one(path)
        self._furnish(path)

    def controllers_of(self, path: str) -> set[str]:
        return set(self.known.split()) if path == "." else self.has_enabled.get(os.path.dirname(path) or ".", set())

    def _read(self, path: str) -> str:
        group, _slash, file = path.rpartition("/")
        if file == "cgroup.controllers":
            return " ".join(sorted(self.controllers_of(group)))
        return " ".join(sorted(self.has_enabled.get(group, set())))

    def _write(self, path: str, text: str) -> None:
        group, _slash, file = path.rpartition("/")
        if file != "cgroup.subtree_control":
            return
        enabled = self.has_enabled.setdefault(group, set())
        changes = text.split()
        if any(change[1:] in self.refused for change in changes):
            raise PermissionError(1, "refused")
        for change in changes:
            assert change[1:] in self.controllers_of(group)
            (enabled.add if change[0] == "+" else enabled.discard)(change[1:])


@pytest.fixture(autouse=True)
def no_notes(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setattr(cgroup, "RUN_DIRECTORY", str(tmp_path_factory.mktemp("run")))


def create(group: Hierarchy) -> None:
    os.close(group.create(os.geteuid()))
    group.close()


@pytest.mark.parametrize(
    ("controllers", "handed"),
    [
        ("cpu io memory pids", "cpu memory pids"),
        ("cpuset cpu io memory hugetlb pids rdma misc", "cpu cpuset hugetlb memory misc pids rdma"),
        ("io", ""),
        ("memory pids", "memory pids"),
        ("", ""),
    ],
)
def test_none_is_handed_down_that_delays_who_holds_a_lock(tmp_path: Path, controllers: str, handed: str) -> None:
    """The whole has them all, for its own limits."""
    group = Hierarchy(tmp_path, controllers)
    create(group)
    assert group.controllers_of(WHOLE + "/payload") == set(handed.split())
    assert group.controllers_of(WHOLE) == set(controllers.split())


def test_one_that_was_handed_down_before_is_taken_back(tmp_path: Path) -> None:
    group = Hierarchy(tmp_path, "cpu io memory pids")
    group.has_enabled[WHOLE] = {"io", "cpu"}
    create(group)
    assert group.controllers_of(WHOLE + "/payload") == {"cpu", "memory", "pids"}


@pytest.mark.parametrize("refused", ["cpu", "io"])
def test_what_the_host_refuses_keeps_back_no_other(tmp_path: Path, refused: str) -> None:
    group = Hierarchy(tmp_path, "cpu io memory pids", (refused,))
    create(group)
    assert group.controllers_of(WHOLE + "/payload") == {"cpu", "memory", "pids"} - {refused}


def test_what_limits_use_is_what_the_whole_has() -> None:
    """A limit whose controller is withheld is set on the whole alone, which does without the payload's file."""
    assert {limit.controller for limit in limits.LIMITS.values()} >= set(cgroup.WITHHELD)


def test_a_limit_of_a_withheld_controller_is_the_wholes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = cgroup.ControlGroup("web")
    (tmp_path / WHOLE / "payload").mkdir(parents=True)
    for path in ("cgroup.controllers", "io.bfq.weight", "memory.max", "payload/memory.max"):
        (tmp_path / WHOLE / path).write_text("io memory\n" if path == "cgroup.controllers" else "")
    group._hierarchy = os.open(tmp_path, os.O_RDONLY)
    group._made = WHOLE
    wanted: dict[str, t.Any] = {"io_weight": 50, "memory_max": 4096}
    assert limits.apply(group, wanted) == []
    assert (tmp_path / WHOLE / "io.bfq.weight").read_text() == "50"
    assert (tmp_path / WHOLE / "payload/memory.max").read_text() == "4096"
    assert not list((tmp_path / WHOLE / "payload").glob("io.*"))
    group.close()
