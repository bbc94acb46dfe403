# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of docs/requirements.md, made from what the tests on hosts have found. Run, it updates the page."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.unshare.container.tests.hosts import results
from ansible_collections.unshare.container.tests.hosts.recipes import RECIPES, Recipe
from ansible_collections.unshare.container.tests.quality import marked

PAGE = Path(__file__).resolve().parents[2] / "docs" / "requirements.md"
BEGIN = "<!-- made from the results of the tests on hosts: begin -->"
END = "<!-- made from the results of the tests on hosts: end -->"
WORDS = {results.PASSED: "yes", results.FAILED: "**no**", results.IN_PART: "in part", results.UNTRIED: "–"}


def cell(record: results.Record, row: str, recipe: Recipe) -> str:
    """Return what the table says of a row for a host."""
    return WORDS[results.word(record, row, recipe.name)] if recipe.runs_containers else "no"


def table(record: results.Record) -> str:
    """Return the table: a column for each host, the newest first."""
    recipes = list(RECIPES.values())[::-1]
    facts = {
        "Linux": [recipe.linux for recipe in recipes],
        "systemd": [recipe.systemd for recipe in recipes],
        "Python": [recipe.python for recipe in recipes],
        "can run containers": ["yes" if recipe.runs_containers else f"no: lacks {recipe.lacks}" for recipe in recipes],
        **{text: [cell(record, row, recipe) for recipe in recipes] for row, text in results.ROWS.items()},
    }
    lines = ["| | " + " | ".join(recipe.distribution for recipe in recipes) + " |", "|---" * (len(recipes) + 1) + "|"]
    return "\n".join(lines + [f"| {text} | " + " | ".join(cells) + " |" for text, cells in facts.items()])


def updated(page: str) -> str:
    """Return PAGE with its table made anew; ValueError without the marks."""
    return marked.replaced(page, PAGE, BEGIN, END, table(results.read()) + "\n")


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
