# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The messages that the pages quote are messages of the code.

Pages quote in italics. So italics of three words or more are a quotation, unless EMPHASISED names them.
"""

from __future__ import annotations

import ast
import functools
import re
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.tests import guides

ROOT = Path(__file__).resolve().parents[2]
FOREIGN = {
    "permission denied": "the kernel",
    "disk quota exceeded": "the kernel",
    "no space left on device": "the kernel",
    "Failed to connect to the host via ssh": "Ansible",
    "sudo: a password is required": "sudo",
    "Failed to connect to bus": "systemctl",
}
"""Quotations of errors that other programs raise."""
EMPHASISED = {
    "Settings, Jobs, Paths to expose to isolated jobs",
    "a start and a deployment refuse a writable directory or file system that users of the host can reach",
    "but overlayfs, mounted inside, can copy one up",
    "start, enter, stop",
}
"""What stands in italics and is no quotation."""
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


@functools.cache
def messages() -> tuple[str, ...]:
    """Return all texts of the plugins except their documentation."""
    found = []
    for path in sorted((ROOT / "plugins").rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        nodes = [node for node in ast.walk(tree) if isinstance(node, ast.expr) and id(node) not in documentation]
        found += [message(node) for node in nodes if isinstance(node, (ast.Constant, ast.JoinedStr, ast.BinOp))]
    return tuple(text for text in found if text.strip(VALUE))


def italics(text: str) -> list[str]:
    """Return what stands in italics in the sentences and tables of a text, outside of code."""
    sentences = re.sub(r"```.*?```|^    [^\n]*$", "", text, flags=re.DOTALL | re.MULTILINE)
    plain = re.sub(r"`[^`]*`", lambda code: code[0].replace("*", "-"), sentences)
    found = re.findall(r"(?<![\w*\\])\*(?![\s*])([^*|]+?)\*(?![\w*])", plain)
    return [" ".join(part.split()) for part in found]


def quotations(text: str) -> list[str]:
    """Return what a page quotes: italics of three words, or any in the first column of a table of what one sees."""
    tables = re.findall(r"^\| you see \|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    cells = [row.split(" | ", 1)[0] for table in tables for row in table.splitlines()]
    seen = [quoted for cell in cells for quoted in italics(cell)]
    return [*seen, *(text for text in italics(text) if len(text.split()) >= 3 and text not in [*EMPHASISED, *seen])]


def is_raised(quoted: str, known: t.Sequence[str]) -> bool:
    """Return whether messages have the words of a quotation: each run of words between values and full stops."""
    parts = [part.strip(" ,:;") for part in re.split(r"…|(?<=\.) ", quoted)]
    runs = [part.split() for part in parts if part not in FOREIGN and " " in part]
    return bool(runs or FOREIGN.keys() & set(parts)) and all(any(has(text, run) for text in known) for run in runs)


def has(text: str, run: list[str]) -> bool:
    """Return whether a message has a run of words, at least two of them literally; values can stand for the others."""
    words = [rf"(?:{re.escape(word)}|\S*{VALUE}\S*)" for word in run]
    return re.search(r"\s+".join(words), text) is not None and sum(word.strip(",:;'") in text for word in run) >= 2


def test_quoted_errors_are_raised() -> None:
    known = messages()
    found = {page: quotations((ROOT / page).read_text("utf-8")) for page in guides.PAGES}
    assert [(page, quoted) for page in found for quoted in found[page] if not is_raised(quoted, known)] == []
    assert {page for page in found if len(found[page]) >= 8} == {"docs/connecting.md", "docs/running.md"}


def test_each_exception_is_needed() -> None:
    text = " ".join(part for page in guides.PAGES for part in italics((ROOT / page).read_text("utf-8")))
    assert [words for words in [*EMPHASISED, *FOREIGN] if words not in text] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It says *the store is\n  empty; fill it* then.", ["the store is empty; fill it"]),
        (
            "| you see | it means |\n|---|---|\n| *it ended*, *so it is* | *it is so* |\n",
            ["it ended", "so it is", "it is so"],
        ),
        ("Call `a *b* c`, or *really* `ansible_*` and `x_*`.", []),
        ("- **Strong words of a list.** *Three words here*", ["Three words here"]),
        ("    *code of three words*\n\n```sh\necho *a b c*\n```\n", []),
    ],
)
def test_what_is_a_quotation(text: str, found: list[str]) -> None:
    assert quotations(text) == found


@pytest.mark.parametrize(
    "quoted", ["program … of service … is not in the store", "container web: is tired; wake it first", "PID 1 is ready"]
)
def test_other_errors_are_not(quoted: str) -> None:
    assert not is_raised(quoted, messages())
