# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What Ansible sends with a module: the modules that it imports, and those that these import."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.state import library

PLUGINS = Path(__file__).parents[2] / "plugins"
MODULES = sorted((PLUGINS / "modules").glob("*.py"))


@functools.cache
def imported(path: Path) -> frozenset[Path]:
    """Return the files of the collection that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            found |= {base.with_suffix(".py"), *(base / f"{name.name}.py" for name in node.names)}
    return frozenset(each for each in found if each.is_file())


def sent(path: Path) -> set[str]:
    """Return the modules, as the library calls them, that Ansible sends with one of its own."""
    found: set[Path] = set()
    waiting = [path]
    while waiting:
        new = imported(waiting.pop()) - found
        found |= new
        waiting += new
    utils = PLUGINS / "module_utils"
    return {str(each.relative_to(utils).with_suffix("")) for each in found if each.is_relative_to(utils)}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_a_module_that_starts_containers_brings_the_library_to_compare(path: Path) -> None:
    """The sources tell whether a system has this module's launcher, and Ansible sends what is imported."""
    with_module = sent(path)
    if "life/starting" in with_module:
        assert set(library.MODULES) - with_module == set()


def test_some_modules_start_containers() -> None:
    assert [path.stem for path in MODULES if "life/starting" in sent(path)] == [
        "container_archive",
        "container_move",
        "container_snapshot",
        "containers",
        "system_container",
    ]
