# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every module of the target's side is in a room, and each room's imports are looked at (`lint-imports`)."""

from __future__ import annotations

import ast
import re
import tomllib
import typing as t
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ROOT / "plugins/module_utils"


NAMES = sorted(path.parent.name for path in ROOMS.glob("*/__init__.py"))


@pytest.fixture(scope="module")
def rules() -> dict[str, t.Any]:
    rules: dict[str, t.Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    return rules


def test_every_module_is_in_a_room(rules: dict[str, t.Any]) -> None:
    modules = [path.relative_to(ROOMS) for path in ROOMS.rglob("*.py")]
    assert [path for path in modules if len(path.parts) != 2] == []
    assert rules["root_packages"] == [f"module_utils.{room}" for room in sorted({path.parts[0] for path in modules})]


def test_no_import_is_excused(rules: dict[str, t.Any]) -> None:
    """Circles are looked for in every room, and neither an import is left out nor those for types alone."""
    layers, circles = [], []
    for contract in rules["contracts"]:
        assert not {key for key in contract if "ignore" in key or "skip" in key}
        layers += [room.strip() for layer in contract.get("layers", []) for room in layer.split("|")]
        circles += contract.get("ancestors", [])
    assert sorted(layers) == sorted(circles) == rules["root_packages"]
    assert not rules.get("exclude_type_checking_imports", False)


def test_the_rules_are_checked_with_all_else() -> None:
    recipe = (ROOT / "Makefile").read_text().partition("\nlint-python:")[2].partition("\n\n")[0]
    assert "/lint-imports" in recipe


@pytest.mark.parametrize("room", [*NAMES, "../plugin_utils"])
def test_a_room_tells_what_is_in_it(room: str) -> None:
    """Its list, where a contributor looks first, has each of its modules, and none that is not there."""
    told = ast.get_docstring(ast.parse((ROOMS / room / "__init__.py").read_text()), clean=False) or ""
    listed = {
        name for heads in re.findall(r"^ {4}(\w+(?:, \w+)*) {2,}", told, re.MULTILINE) for name in heads.split(", ")
    }
    there = {path.stem for path in (ROOMS / room).glob("*.py")} - {"__init__"}
    assert listed <= there
    assert there <= listed | set(re.findall(r"`(\w+)`", told))


def test_what_texts_call_a_module_is_one() -> None:
    """Wherever a text names `room/module`, that is there."""
    pattern = re.compile(rf"`((?:{'|'.join(NAMES)})/\w+)(?:\.py)?`")
    texts = [*ROOT.glob("docs/*.md"), ROOT / "README.md", *ROOT.glob("plugins/**/*.py")]
    named = {(path.name, name) for path in texts for name in pattern.findall(path.read_text())}
    assert len(named) > 20
    assert {(file, name) for file, name in named if not (ROOMS / f"{name}.py").is_file()} == set()
