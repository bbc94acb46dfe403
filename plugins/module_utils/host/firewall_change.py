# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A change of the rules of the host's packet filter for containers, from some to others (N8).

To make all rules anew takes the longer the more containers there are. A change has what differs, and is one transaction
of nft(8). It begins with the removal of the marks that the former rules have: unless the tables are those it was made
for, it fails as a whole, and all is to be made anew.
"""

from __future__ import annotations

from .firewall import MARK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List

    from .loaded_rules import Outline

    Table = Dict[str, List[str]]  # `chain NAME` or the like, with the lines of what is in it

HOOK = "type "  # begins the first line of a base chain, and that of a map
ELEMENTS = "elements = { "


def change(former: str, new: str) -> str | None:
    """Return the commands that make new rules of the former ones; None where all has to be made anew.

    Args:
        former, new: texts of `firewall.ruleset`.
    """
    tables, others = _tables(former), _tables(new)
    if not tables or list(tables) != list(others):
        return None
    first: list[str] = []
    last: list[str] = []
    for name, table in tables.items():
        other = others[name]
        if _lasting(table) != _lasting(other):
            return None
        first += ["delete %s" % _placed(name, item) for item in table if MARK in item]
        first += _grown(name, table, other)
        last += _shrunk(name, table, other)
        last += ["add %s" % _placed(name, item) for item in other if MARK in item]
    return "\n".join(first + last) + "\n"


def outlines(text: str) -> dict[str, Outline]:
    """Return the outline of each table that a text of `firewall.ruleset` makes, as `loaded_rules` has it."""
    found: dict[str, Outline] = {}
    for name, table in _tables(text).items():
        outline = found.setdefault(name, {})
        for item, lines in table.items():
            if item.startswith("chain "):
                outline[item] = len(_rules(lines))
            elif item.startswith("map "):
                outline[item] = len(_elements(lines))
    return found


def marks(text: str) -> dict[str, str]:
    """Return the name of the chain in each table that such a text makes which tells what that was made of."""
    table = ""
    found = {}
    for line in text.split("\n"):
        if line.startswith("table "):
            table = line[len("table ") : -2]
        elif line.startswith("  chain " + MARK):
            found[table] = line.split()[1]
    return found


def _tables(text: str) -> dict[str, Table]:
    """Return the tables that a text makes."""
    found: dict[str, Table] = {}
    table: Table = {}
    lines: list[str] = []
    for line in text.split("\n"):
        if line.startswith("table ") and line.endswith(" {"):
            table = found.setdefault(line[len("table ") : -2], {})
        elif line.startswith("    "):
            lines.append(line.strip())
        elif line.startswith("  ") and line.endswith(" }"):
            item, _brace, content = line.strip().partition(" { ")
            table[item] = [content]
        elif line.startswith("  ") and line.endswith(" {"):
            lines = table.setdefault(line.strip()[:-2], [])
    return found


def _lasting(table: Table) -> Table:
    """Return what of a table is there as long as the table is: its base chains' hooks, its sets, and maps' types."""
    return {
        item: lines if item.startswith("set ") else lines[:1]
        for item, lines in table.items()
        if not item.startswith("chain ") or "".join(lines[:1]).startswith(HOOK)
    }


def _placed(table: str, item: str) -> str:
    """Return how commands name a part of a table: `chain inet unshare NAME`."""
    kind, _blank, name = item.partition(" ")
    return "%s %s %s" % (kind, table, name)


def _rules(lines: list[str]) -> list[str]:
    return lines[1:] if "".join(lines[:1]).startswith(HOOK) else lines


def _elements(lines: list[str]) -> list[str]:
    found = [line[len(ELEMENTS) : -2].split(", ") for line in lines if line.startswith(ELEMENTS)]
    return found[0] if found else []


def _grown(name: str, table: Table, other: Table) -> list[str]:
    """Return the commands for what comes or changes: chains first, for rules and maps name them."""
    chains = [item for item in other if item.startswith("chain ") and MARK not in item]
    commands = ["add %s" % _placed(name, item) for item in chains if item not in table]
    for item in chains:
        rules = _rules(other[item])
        if item in table and _rules(table[item]) == rules:
            continue
        if item in table:
            commands.append("flush %s" % _placed(name, item))
        place = _placed(name, item)[len("chain ") :]
        commands += ["add rule %s %s" % (place, rule) for rule in rules]
    for item in other:
        if item.startswith("map "):
            commands += _moved(name, item, table[item], other[item])
    return commands


def _moved(name: str, item: str, former: list[str], new: list[str]) -> list[str]:
    """Return the commands for the elements of a map that go or come. Their keys may be equal."""
    sides = (_elements(former), _elements(new))
    place = _placed(name, item)[len("map ") :]
    commands = []
    for word, here, there in (("delete", *sides), ("add", *reversed(sides))):
        known = set(there)
        different = [element for element in here if element not in known]
        if different:
            commands.append("%s element %s { %s }" % (word, place, ", ".join(different)))
    return commands


def _shrunk(name: str, table: Table, other: Table) -> list[str]:
    """Return the commands for chains that go, which nothing names any more."""
    gone = [_placed(name, item) for item in table if item.startswith("chain ") and item not in other]
    gone = [place for place in gone if MARK not in place]
    return ["flush " + place for place in gone] + ["delete " + place for place in gone]
