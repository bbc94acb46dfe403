# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every module of the target's side is in a room, and each room's imports are looked at (`lint-imports`)."""

from __future__ import annotations

import tomllib
import typing as t
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ROOT / "plugins/module_utils"


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
