# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The docstring of a function says what it does, where ruff's D401 does not look: "Return whether", not "Whether"."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PLUGINS = Path(__file__).parents[2] / "plugins"
QUESTION = re.compile(r"(?:Whether|How|What|Who|Where|Which|When)\b")


def questions(source: str) -> list[str]:
    """Return the functions whose docstrings begin with a word of a question, and the properties that return nothing."""
    functions = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)]
    return [node.name for node in functions if not _is_said(ast.get_docstring(node) or "Return", _is_property(node))]


def _is_property(node: ast.FunctionDef) -> bool:
    return "property" in [ast.unparse(word) for word in node.decorator_list]


def _is_said(docstring: str, is_property: bool) -> bool:
    return docstring.startswith("Return") if is_property else QUESTION.match(docstring) is None


@pytest.mark.parametrize("path", sorted(PLUGINS.rglob("*.py")), ids=lambda path: str(path.relative_to(PLUGINS)))
def test_a_function_says_what_it_does(path: Path) -> None:
    assert questions(path.read_text("utf-8")) == []


def test_a_question_is_noticed() -> None:
    source = (
        'def one():\n    """Whether."""\n@property\ndef two():\n    """The two."""\ndef three():\n    """Make."""\n'
    )
    assert questions(source) == ["one", "two"]
