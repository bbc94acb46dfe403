# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the sources call things."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "plugins").rglob("*.py"))


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"), str(path))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_contexts_are_entered_by_with_alone(path: Path) -> None:
    """What is taken and given back at other places than the ends of a block has methods for that."""
    called = [node for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]
    found = [
        call.lineno
        for call in called
        if isinstance(call.func, ast.Attribute) and call.func.attr in ("__enter__", "__exit__")
    ]
    assert found == []


REPLACING = {"os.rename", "os.replace", "tempfile.mkstemp", "tempfile.NamedTemporaryFile"}


def test_files_are_replaced_in_one_way() -> None:
    """By `write_atomically`; directories and links, which it cannot write, get their names by methods of a Path."""
    found = {
        str(path.relative_to(ROOT))
        for path in SOURCES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in REPLACING
    }
    assert found == {"plugins/module_utils/launcher/paths.py"}
