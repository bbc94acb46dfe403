# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""An export and an import that are killed at any moment leave the old or the new, whole (V5, V6)."""

from __future__ import annotations

import functools
import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.life.container import Container
from ansible_collections.unshare.container.plugins.module_utils.life.container_information import Information
from ansible_collections.unshare.container.plugins.module_utils.state import volumes
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout

from .archives import data_of, digest, export, fill, reach, restore, system
from .lives import Run, rounds, seeded

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

NAME = "test-killed-archives"


@pytest.fixture
def filled(container: Container) -> Container:
    return fill(container)


def test_v5_killed_at_any_moment_it_leaves_old_or_new(filled: Container, tmp_path: Path) -> None:
    data = data_of(NAME)
    for index in range(200):
        (data / f"file{index}").write_bytes(os.urandom(20000))
    path, later = tmp_path / "archive", tmp_path / "later"
    export(NAME, path)
    old = digest(NAME)
    (data / "new").write_text("new")
    export(NAME, later)
    new = digest(NAME)
    choices = seeded()
    seen = set()
    for number in range(rounds(20, 100)):
        archive = (path, later)[number % 2]
        run = Run(functools.partial(restore, NAME, archive, replace=True))
        run.process.wait(choices.uniform(0, 0.12))
        run.kill()
        run.end()
        found = digest(NAME)
        assert found in (old, new)
        seen.add((found == new) == (archive == later))
    restore(NAME, path, replace=True)
    assert digest(NAME) == old
    assert os.listdir(filled.directory) == ["volumes"]
    for _ in range(rounds(10, 50)):
        run = Run(lambda: export(NAME, tmp_path / "third") and None)
        run.process.wait(choices.uniform(0, 0.08))
        run.kill()
        run.end()
    export(NAME, tmp_path / "third")
    assert sorted(os.listdir(tmp_path)) == ["archive", "later", "third"]
    restore(NAME, tmp_path / "third", replace=True)


def test_v5_an_import_of_two_archives_that_is_killed_leaves_old_or_new(filled: Container, tmp_path: Path) -> None:
    data = data_of(NAME)
    for index in range(200):
        (data / f"file{index}").write_bytes(os.urandom(20000))
    base, rest = tmp_path / "base", tmp_path / "rest"
    export(NAME, base)
    (data / "new").write_text("new")
    export(NAME, rest, base=base)
    new = digest(NAME)
    restore(NAME, base, replace=True)
    old = digest(NAME)
    assert old != new
    choices = seeded()
    for _ in range(rounds(10, 50)):
        run = Run(functools.partial(restore, NAME, rest, base=base, replace=True))
        run.process.wait(choices.uniform(0, 0.2))
        run.kill()
        run.end()
        assert digest(NAME) in (old, new)
    restore(NAME, rest, base=base, replace=True)
    assert digest(NAME) == new
    assert os.listdir(filled.directory) == ["volumes"]


def test_v6_what_a_killed_import_left_is_seen_and_goes_with_the_next_deployment(filled: Container) -> None:
    left = Path(filled.directory, volumes.IMPORTING)
    (left / "data").mkdir(parents=True)

    def told() -> t.Any:
        return Information(Layout(), NAME, filled).gather()["leftovers"]

    assert told() == [str(left)]
    before = digest(NAME)
    reach(filled, system=system(NAME))
    assert told() == []
    assert not left.exists()
    assert digest(NAME) == before
    left.mkdir()
    reach(filled, "stopped")
    assert not left.exists()


def test_v6_what_a_killed_import_left_goes_with_the_volumes(filled: Container) -> None:
    (Path(filled.directory) / volumes.IMPORTING).mkdir()
    reach(filled, "absent", remove_volumes=True)
    assert not os.path.exists(filled.directory)


def test_v5_check_mode_leaves_what_a_killed_import_left(filled: Container, tmp_path: Path) -> None:
    path = tmp_path / "archive"
    export(NAME, path)
    left = Path(filled.directory, volumes.IMPORTING, "data")
    left.mkdir(parents=True)
    restore(NAME, path, replace=True, check=True)
    assert left.is_dir()
