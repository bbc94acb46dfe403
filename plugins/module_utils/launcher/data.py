# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""JSON without the `json` package, whose import (regular expressions and all) takes longer than a launch.

The interpreter's own C scanner is used where it is there; the package otherwise, and for an error's words.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


WORDS = {None: "null", True: "true", False: "false"}


class _Context:
    """The attributes that the C scanner reads of a `json.JSONDecoder`."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float

    def __init__(self) -> None:
        self.memo: dict[str, str] = {}


def parse(text: str, where: str) -> dict[str, Any]:
    """Return the mapping that a JSON text holds.

    Raises:
        ValueError: it holds none; the message names `where`.
    """
    value = None
    try:
        from _json import make_scanner

        value = make_scanner(_Context())(text.strip(), 0)[0]  # type: ignore[arg-type]
    except (ImportError, StopIteration, ValueError, RecursionError):
        import json

        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError("%s: is damaged: %s" % (where, error)) from error
    if not isinstance(value, dict):
        raise ValueError("%s: is damaged: it holds no JSON object" % where)
    return value


def is_integer(value: object) -> bool:
    """Return whether a value is a whole number. Python's true and false are numbers, too, but do not count."""
    return isinstance(value, int) and not isinstance(value, bool)


def format_flat(record: dict[str, Any]) -> str:
    """Return the JSON text of a mapping whose values are strings, numbers, booleans or None."""
    return format_nested(dict(sorted(record.items()))) + "\n"


def format_nested(value: Any) -> str:
    """Return the JSON text of a value, which may hold lists, and mappings whose keys are texts."""
    if isinstance(value, dict):
        return "{%s}" % ", ".join("%s: %s" % (_quoted(key), format_nested(item)) for key, item in value.items())
    if isinstance(value, list):
        return "[%s]" % ", ".join(map(format_nested, value))
    if value is None or isinstance(value, bool):
        return WORDS[value]
    return _quoted(value) if isinstance(value, str) else repr(value)


def _quoted(text: str) -> str:
    try:
        from _json import encode_basestring_ascii as quote
    except ImportError:
        from json.encoder import py_encode_basestring_ascii as quote
    return quote(text)


def first_words(table: str) -> list[str]:
    """Return the first word of each line of a table, such as the units that systemctl(1) lists.

    A line ends with a newline alone; a unit's description may hold other characters that str.splitlines() splits at.
    """
    return [words[0] for words in map(str.split, table.split("\n")) if words]
