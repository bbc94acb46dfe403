# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every module of the collection has its mutants tried, or a reason why not."""

from __future__ import annotations

import shutil
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.tests.mutation import rooms

ROOT = Path(__file__).parents[2]
PURE = {"declaration", "contract", "derivation", "fold", "services", "rendering", "rollout", "planning"}
"""The rooms whose code only computes; all others touch what a target or Ansible gives."""


def test_every_module_is_tried_or_excused() -> None:
    found = rooms.modules_of_rooms(ROOT)
    assert all(found.values())


def test_the_scores_are_those_that_are_required() -> None:
    assert rooms.least_scores() == {name: 85 if name in PURE else 70 for name in rooms.modules_of_rooms(ROOT)}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "plugins", tmp_path / "plugins", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def add(tree: Path) -> None:
    (tree / "plugins/plugin_utils/new.py").touch()


def remove(tree: Path) -> None:
    (tree / "plugins/plugin_utils/pam.py").unlink()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (add, "plugins/plugin_utils/new.py: in no room, and not named as one that is not pure"),
        (remove, "rendering: no module is named by 'pam.py'"),
    ],
)
def test_what_is_new_or_gone_is_noticed(tree: Path, change: t.Callable[[Path], None], said: str) -> None:
    change(tree)
    with pytest.raises(rooms.RoomError) as raised:
        rooms.modules_of_rooms(tree)
    assert str(raised.value) == f"rooms.toml: {said}"
