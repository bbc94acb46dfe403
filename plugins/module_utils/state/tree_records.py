# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host notes of its trees: of each name, which content it leads to and how that was made; of a content, facts.

Both are small files of JSON, each replaced whole.
"""

from __future__ import annotations

import json
from typing import Any, Dict

from ..launcher import kinds
from ..launcher.kinds import ContractError, ContractRecord
from ..launcher.names import is_digest

Change = Dict[str, str]
"""A package that differs: `name`, `before` and `after`, its versions, empty where it is not there."""


def plain_words(text: str) -> str:
    """Return a text of somebody's for a person to read, in one line: what a terminal would obey is a `?` in it."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _content(value: object) -> str:
    if not is_digest(value):
        raise ContractError("is no content of a tree")
    return str(value)


def _word(value: object) -> str:
    """Return a text that is shown in one line. Raise ContractError for one that a terminal would obey."""
    text = kinds.text_or_none(value)
    if not text.isprintable():
        raise ContractError("has a character that cannot be shown")
    return text


class TreeRecord(ContractRecord):
    """What a name leads to.

    Attributes:
        content: the digest of the tree's content, by which it is stored.
        source: the digest of the declaration that it was made from.
        description: that declaration in a few words, without what may be secret.
        made: when, in seconds since 1970.
    """

    content: str
    source: str
    description: str = ""
    made: int = 0

    KINDS = {"content": _content, "source": kinds.text, "description": kinds.text_or_none, "made": kinds.count}


class TreeFacts(ContractRecord):
    """What was seen in a tree when it was made.

    Attributes:
        size: bytes of its files.
        files: how many files, directories and links it has.
        packages: versions by the names of packages, as far as its package database could be read.
        distribution: some words of its os-release(5).
    """

    size: int = 0
    files: int = 0
    packages: dict[str, str] = {}
    distribution: dict[str, str] = {}

    KINDS = {
        "size": kinds.count,
        "files": kinds.count,
        "packages": kinds.mapping_of(_word, _word),
        "distribution": kinds.mapping_of(kinds.text, _word),
    }


def _content_or_none(value: object) -> str:
    return "" if value == "" else _content(value)


class TreeArchive(ContractRecord):
    """An archive of a tree, as the controller has it.

    Attributes:
        checksum: of its file, ALGORITHM:DIGITS.
        size: bytes of its file.
        content: the digest of the content of the tree in it; empty where only unpacking it can tell.
        facts: of that tree, where they are known.
    """

    checksum: str
    size: int
    content: str = ""
    facts: TreeFacts = TreeFacts()

    KINDS = {"checksum": kinds.text, "size": kinds.count, "content": _content_or_none, "facts": TreeFacts.read}


class Piece(ContractRecord):
    """A piece of an archive, which lies on the host in a file of its own, wherever whoever sent it could write.

    Attributes:
        path: that file.
        offset: where the piece belongs.
        size: its bytes.
        digest: their SHA-256, in hexadecimal.
    """

    path: str
    offset: int
    size: int
    digest: str

    KINDS = {"path": kinds.path, "offset": kinds.count, "size": kinds.count, "digest": kinds.text}


def record_text(record: ContractRecord) -> str:
    """Return a record as the text of its file."""
    return json.dumps(record.write(), indent=1, sort_keys=True) + "\n"


def parsed(text: str) -> Any:
    """Return the plain data in the text of a record's file. Raise ContractError when it is no JSON."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise ContractError("is damaged (%s)" % error) from None


def changed_packages(before: dict[str, str], after: dict[str, str]) -> list[Change]:
    """Return the packages that differ, by name."""
    names = sorted({*before, *after})
    return [
        {"name": name, "before": before.get(name, ""), "after": after.get(name, "")}
        for name in names
        if before.get(name) != after.get(name)
    ]


def package_lines(changes: list[Change], key: str) -> str:
    """Return the lines of a diff's side (`before` or `after`) for packages that differ."""
    return "".join("%s %s\n" % (change["name"], change[key]) for change in changes if change[key])
