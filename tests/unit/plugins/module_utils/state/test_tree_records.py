# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is noted of trees: what a note that leaves something out says, and which notes are refused, by their place."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.kinds import ContractError, ContractRecord
from ansible_collections.unshare.container.plugins.module_utils.state.tree_records import (
    Piece,
    TreeArchive,
    TreeFacts,
    TreeRecord,
    plain_words,
)

CONTENT = "0" * 32
LEAST: list[tuple[type[ContractRecord], dict[str, t.Any], dict[str, t.Any]]] = [
    (TreeRecord, {"content": CONTENT, "source": "x"}, {"description": "", "made": 0}),
    (TreeFacts, {}, {"size": 0, "files": 0, "packages": {}, "distribution": {}}),
    (TreeArchive, {"checksum": "sha256:0", "size": 1}, {"content": "", "facts": TreeFacts()}),
    (Piece, {"path": "/a", "offset": 0, "size": 1, "digest": "x"}, {}),
]


@pytest.mark.parametrize(("kind", "least", "rest"), LEAST, ids=[kind.__name__ for kind, *_rest in LEAST])
def test_what_a_note_leaves_out(kind: type[ContractRecord], least: dict[str, t.Any], rest: dict[str, t.Any]) -> None:
    found = kind.read(least)
    assert {name: getattr(found, name) for name in kind.KINDS} == {**least, **rest}
    assert found.write() == least
    for name in least:
        with pytest.raises(ContractError, match=f"^{name}: is missing"):
            kind.read({key: value for key, value in least.items() if key != name})


@pytest.mark.parametrize(
    ("kind", "change", "said"),
    [
        (TreeRecord, {"content": ""}, "content: is no content of a tree"),
        (TreeRecord, {"content": "0" * 31}, "content: is no content of a tree"),
        (TreeArchive, {"content": "x"}, "content: is no content of a tree"),
        *((TreeRecord, {"made": value}, "made: is no count") for value in (-1, True, "1", 1.0)),
        *((Piece, {name: -1}, f"{name}: is no count") for name in ("offset", "size")),
        *((TreeFacts, {name: -1}, f"{name}: is no count") for name in ("size", "files")),
        (TreeArchive, {"size": None}, "size: is no count"),
        (TreeFacts, {"packages": {"a\n": "1"}}, "packages"),
        (TreeFacts, {"packages": {"a": "\x1b"}}, "packages"),
        (TreeFacts, {"packages": []}, "packages: is not of type dict"),
        (TreeFacts, {"distribution": {"id": "\x9b"}}, "distribution"),
        (TreeArchive, {"facts": {"size": -1}}, "facts.size: is no count"),
        (Piece, {"path": "a"}, "path: 'a' is no absolute path"),
    ],
)
def test_a_note_that_is_none_is_refused(kind: type[ContractRecord], change: dict[str, t.Any], said: str) -> None:
    least = next(least for other, least, _rest in LEAST if other is kind)
    with pytest.raises(ContractError, match=f"^{said}"):
        kind.read({**least, **change})


def test_a_terminal_obeys_no_words() -> None:
    assert plain_words("a\x1b[2J\nb\x9bé") == "a?[2J?b?é"
