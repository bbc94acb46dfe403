# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of docs/security.md, made from what the isolation suite measured. Run as a program, it updates the page."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.unshare.container.tests.integration import isolation_record
from ansible_collections.unshare.container.tests.integration.attempts import rows
from ansible_collections.unshare.container.tests.quality import marked

PAGE = Path(__file__).resolve().parents[2] / "docs" / "security.md"
BEGIN = "<!-- made from the isolation suite's record: begin -->"
END = "<!-- made from the isolation suite's record: end -->"


def cell(record: isolation_record.Record, row: str, mode: str) -> str:
    """Return what the table says of a row in a mode: `no`, `yes`, `some`, words of its own, or a dash: not tried."""
    entries = [entry for entry in record.values() if entry["row"] == row]
    through = sum(mode in entry["through"] for entry in entries)
    refused = sum(mode in entry["refused"] for entry in entries)
    if not through:
        return "no" if refused else "–"
    return rows.NOTES.get((row, mode)) or rows.HARMLESS.get(row) or ("**some**" if refused else "**yes**")


def table(record: isolation_record.Record) -> str:
    """Return the table."""
    lines = ["| attempt | how many | " + " | ".join(rows.MODES.values()) + " |", "|---" * (len(rows.MODES) + 2) + "|"]
    for row, text in rows.ROWS.items():
        count = sum(entry["row"] == row for entry in record.values())
        lines.append(f"| {text} | {count} | " + " | ".join(cell(record, row, mode) for mode in rows.MODES) + " |")
    return "\n".join(lines)


def updated(page: str) -> str:
    """Return PAGE with its table made anew; ValueError without the marks."""
    return marked.replaced(page, PAGE, BEGIN, END, table(isolation_record.read()) + "\n")


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
