# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What each attempt gives in each mode: the record that holds the launcher, and that docs/security.md is made of.

`make security-table` measures it anew. An attempt that this machine has nothing for (a file of the kernel, an ABI, a
version 1 hierarchy) is neither measured nor compared; what the record says of it was measured where there is one. One
that the record says nothing of, as it was made where there was nothing for it, is held to the rest of its row.
"""

from __future__ import annotations

import errno
import json
import os
import typing as t
from pathlib import Path

from .attempts import rows

RECORD = Path(__file__).with_name("isolation_record.json")
WRITES = os.environ.get("SECURITY_TABLE") == "write"
REFUSED = frozenset(errno.errorcode.values()) | {"nothing", "inside", "stripped", "refused"}
"""Words of an attempt that did not get through."""


class Entry(t.TypedDict):
    """What is known of an attempt: the row of the table that it counts for, the test that makes it, and modes."""

    row: str
    part: str
    refused: list[str]
    through: list[str]


Record = dict[str, Entry]


def read() -> Record:
    """Return the record as it is kept."""
    return t.cast("Record", json.loads(RECORD.read_text())) if RECORD.exists() else {}


def write(record: Record) -> None:
    """Keep it, an attempt a line, in the order of the table."""
    order = list(rows.ROWS)
    lines = [
        f"  {json.dumps(name)}: {json.dumps(entry)}"
        for name, entry in sorted(record.items(), key=lambda item: (order.index(item[1]["row"]), item[0]))
        if entry["refused"] or entry["through"]
    ]
    RECORD.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def through(words: t.Mapping[str, str]) -> dict[str, str]:
    """Return what got through, of the words for attempts."""
    return {name: word for name, word in words.items() if word not in REFUSED}


def check(
    mode: str,
    part: str,
    rows_of: t.Mapping[str, str] | str,
    words: t.Mapping[str, str],
    absent: t.Collection[str] = (),
) -> None:
    """Hold what was measured against the record; with `SECURITY_TABLE=write` put it there.

    Args:
        part: a name for what is measured at once: all attempts that the record has of it are made, or are absent.
        rows_of: the row for each attempt, or for all.
        words: the word for each.
        absent: attempts for which this machine has nothing.
    """
    attempts = dict.fromkeys(words, rows_of) if isinstance(rows_of, str) else rows_of
    measured = {name: word for name, word in words.items() if name not in absent}
    if WRITES:
        _keep(mode, part, attempts, measured, absent)
    got = through(measured)
    known = of_mode(mode)
    unexpected = unexpected_of(mode, attempts, measured)
    assert not unexpected, f"{mode}: got through, and must not: {unexpected}"
    held = {name for name in known.keys() & measured.keys() - got.keys() if mode in known[name]["through"]}
    assert not held, f"{mode}: refused, and the record says that it gets through; run `make security-table`: {held}"
    stale = {name for name, entry in known.items() if entry["part"] == part} - measured.keys() - set(absent)
    assert not stale, f"{mode}: in the record, and made no more; run `make security-table`: {stale}"
    moved = {name for name in known.keys() & measured.keys() if known[name]["row"] != attempts[name]}
    assert not moved, f"in another row of the record; run `make security-table`: {moved}"


def of_mode(mode: str) -> Record:
    """Return what the record has of a mode."""
    return {name: entry for name, entry in read().items() if mode in entry["refused"] + entry["through"]}


def unexpected_of(mode: str, rows_of: t.Mapping[str, str], words: t.Mapping[str, str]) -> dict[str, str]:
    """Return the attempts that got through, of those with their words, and must not: by the record, or by their row."""
    known = of_mode(mode)
    open_rows = {entry["row"] for entry in known.values() if mode in entry["through"]}
    return {
        name: word
        for name, word in through(words).items()
        if (mode not in known[name]["through"] if name in known else rows_of[name] not in open_rows)
    }


def _keep(
    mode: str, part: str, attempts: t.Mapping[str, str], measured: t.Mapping[str, str], absent: t.Collection[str]
) -> None:
    record = read()
    got = through(measured)
    for name, entry in record.items():
        if entry["part"] == part and name not in absent:
            for modes in (entry["refused"], entry["through"]):
                if mode in modes:
                    modes.remove(mode)
    order = list(rows.MODES)
    for name in measured:
        entry = record.setdefault(name, {"row": "", "part": "", "refused": [], "through": []})
        entry["row"], entry["part"] = attempts[name], part
        modes = entry["through"] if name in got else entry["refused"]
        modes.append(mode)
        modes.sort(key=order.index)
    write(record)
