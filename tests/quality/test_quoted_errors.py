# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The errors that the guides quote are errors that the code raises."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOREIGN = {
    "permission denied": "the kernel",
    "Failed to connect to the host via ssh": "Ansible",
    "sudo: a password is required": "sudo",
}
"""Quotations of errors that other programs raise."""
VALUE = "\0"
"""What stands for a value in a message of the code, and for `…` in a quotation."""


def message(node: ast.expr) -> str:
    """Return the text of an expression that makes one, with VALUE for each value in it."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return re.sub(r"%(\.\d+)?[sdrgx]", VALUE, node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(message(part) if isinstance(part, ast.Constant) else VALUE for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return message(node.left) + message(node.right)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod):
        return message(node.left)
    return VALUE


def messages() -> list[str]:
    """Return all texts of the plugins except their documentation."""
    found = []
    for path in sorted((ROOT / "plugins").rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        nodes = [node for node in ast.walk(tree) if isinstance(node, ast.expr) and id(node) not in documentation]
        found += [message(node) for node in nodes if isinstance(node, (ast.Constant, ast.JoinedStr, ast.BinOp))]
    return [text for text in found if text.strip(VALUE)]


def quotations(page: str) -> list[str]:
    """Return what a page quotes, in the first column of its tables, of the errors that somebody sees."""
    text = (ROOT / "docs" / page).read_text("utf-8")
    tables = re.findall(r"^\| you see \|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    cells = [row.split(" | ", 1)[0] for table in tables for row in table.splitlines()]
    return [quoted for cell in cells for quoted in re.findall(r"\*([^*]+)\*", cell)]


def is_raised(quoted: str, known: list[str]) -> bool:
    """Return whether messages have the words of a quotation: each run of words between values and full stops."""
    parts = [part.strip(" ,:;") for part in re.split(r"…|(?<=\.) ", quoted)]
    runs = [part.split() for part in parts if part not in FOREIGN and " " in part]
    return bool(runs or FOREIGN.keys() & set(parts)) and all(any(has(text, run) for text in known) for run in runs)


def has(text: str, run: list[str]) -> bool:
    """Return whether a message has a run of words, at least two of them literally; values can stand for the others."""
    words = [rf"(?:{re.escape(word)}|\S*{VALUE}\S*)" for word in run]
    return re.search(r"\s+".join(words), text) is not None and sum(word.strip(",:;'") in text for word in run) >= 2


@pytest.mark.parametrize("page", ["connecting.md", "running.md"])
def test_quoted_errors_are_raised(page: str) -> None:
    known = messages()
    found = quotations(page)
    assert len(found) >= 8
    assert [quoted for quoted in found if not is_raised(quoted, known)] == []


@pytest.mark.parametrize(
    "quoted", ["program … of service … is not in the store", "container web: is tired; wake it first", "PID 1 is ready"]
)
def test_other_errors_are_not(quoted: str) -> None:
    assert not is_raised(quoted, messages())
