# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Users and groups of a declaration, added to those that a machine's tree or layer already has.

An account that is there keeps its id, and what else it is unless the declaration itself has it: its files bear that id.
So what the declaration gives to an account by its id is given to the id that the account has there (`Owners`). One that
is not there gets the declared id, or the next free one where another account has that.

The texts may be hostile: a line that is none of an account's stays as it is, and is never looked at again.
"""

from __future__ import annotations

from .errors import LauncherError
from .identity import COUNT
from .owners import Owners

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, List, Mapping

    Fields = List[str]
    Texts = Dict[str, str]

# passwd(5), group(5), shadow(5), gshadow(5): of each the number of fields, and which of them lists members.
FILES = {"/etc/passwd": 7, "/etc/group": 4, "/etc/shadow": 9, "/etc/gshadow": 4}
PASSWD, GROUP, SHADOW, GSHADOW = FILES
LAST_SYSTEM_ID = 999
SYSTEM_IDS, OTHER_IDS = range(101, 900), range(1000, 60000)
NO_PASSWORD = ("", "!", "*", "!*", "x")
OTHER_ID = (
    "the %s '%s' has the id %d in the tree or in its layer, where its files belong to that, and the declaration says "
    "%d: leave the id out, or say that one"
)
BEYOND = (
    "the %s '%s' has the id %d in the tree or in its layer, and this container has ids up to %d: give it one of these "
    "there, or call the declared one otherwise"
)
TAKEN = (
    "the %s '%s' cannot have the declared id %d: '%s' has it in the tree or in its layer; leave the id out, or say "
    "another one"
)


class _Table:
    """One of the files: its lines in their order, and those of accounts by name, of which the first counts."""

    def __init__(self, text: str, fields: int) -> None:
        self.lines: list[Fields] = [line.split(":") for line in text.split("\n") if line]
        self.by_name: dict[str, Fields] = {}
        for line in self.lines:
            if len(line) == fields and line[0] not in ("", "+", "-"):
                self.by_name.setdefault(line[0], line)

    def add(self, line: Fields) -> None:
        """Add the line of an account that is not there."""
        self.lines.append(line)
        self.by_name[line[0]] = line

    def ids(self) -> dict[int, str]:
        """Return which name has each id."""
        found: dict[int, str] = {}
        for name, line in self.by_name.items():
            number = _number(line[2])
            if number is not None:
                found.setdefault(number, name)
        return found

    def text(self) -> str:
        """Return the file's text."""
        return "".join(":".join(line) + "\n" for line in self.lines)


def merge(
    own: Texts, declared: Texts, users: Mapping[str, bool], groups: Mapping[str, bool], count: int = COUNT
) -> tuple[Texts, Owners]:
    """Return the texts of the files with the declared accounts in them, by path, and the ids that are others.

    Args:
        own: the texts that are there; one that is missing is empty.
        declared: the same of the declaration, which has the accounts alone that the machine is to have.
        users, groups: names of those that the declaration itself has, each with whether it says the id.
        count: how many ids the container has.

    Raises:
        LauncherError: an id that the declaration says cannot be had, or the container does not have one that is there.
    """
    tables = {path: _Table(own.get(path, ""), fields) for path, fields in FILES.items()}
    wanted = {path: _Table(declared.get(path, ""), fields) for path, fields in FILES.items()}
    owners = Owners(
        _number_all("user", tables[PASSWD], wanted[PASSWD], users, count),
        _number_all("group", tables[GROUP], wanted[GROUP], groups, count),
    )
    for line in wanted[PASSWD].by_name.values():
        _merge_user(tables[PASSWD], line, line[0] in users, owners)
    for path in (GROUP, GSHADOW):
        for line in wanted[path].by_name.values():
            _merge_group(tables[path], line, owners if path == GROUP else None)
    for line in wanted[SHADOW].by_name.values():
        _merge_password(tables[SHADOW], line, line[0] in users)
    return {path: table.text() for path, table in tables.items()}, owners


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 11 else None


def _number_all(kind: str, table: _Table, wanted: _Table, said: Mapping[str, bool], count: int) -> dict[int, int]:
    """Return the ids of declared accounts that are others than declared, by these."""
    taken = table.ids()
    found: dict[int, int] = {}
    waiting: list[tuple[str, int]] = []
    for name, line in wanted.by_name.items():
        declared = _number(line[2])
        if declared is None:
            continue
        known = table.by_name.get(name)
        number = _number(known[2]) if known is not None else None
        if number is None:
            waiting.append((name, declared))
            continue
        if number != declared and said.get(name):
            raise LauncherError(OTHER_ID % (kind, name, number, declared))
        if number >= count:
            raise LauncherError(BEYOND % (kind, name, number, count - 1))
        if number != declared:
            found[declared] = number
    for name, declared in waiting:
        number = declared
        if taken.get(declared, name) != name:
            if said.get(name):
                raise LauncherError(TAKEN % (kind, name, declared, taken[declared]))
            number = found[declared] = _free(declared, taken, count)
        taken[number] = name
    return found


def _free(declared: int, taken: dict[int, str], count: int) -> int:
    """Return a free id of the same range as a declared one, which the container has."""
    candidates = SYSTEM_IDS if declared <= LAST_SYSTEM_ID else OTHER_IDS
    free = next((number for number in candidates if number not in taken and number < count), None)
    if free is None:
        raise LauncherError("no id is free in the tree or its layer for an account with the declared id %d" % declared)
    return free


def _merge_user(table: _Table, line: Fields, is_declared: bool, owners: Owners) -> None:
    group = _number(line[3]) or 0
    own = line[:3] + ["%d" % owners.group(group)] + line[4:]
    own[2] = "%d" % owners.user(_number(line[2]) or 0)
    known = table.by_name.get(line[0])
    if known is None:
        table.add(own)
    elif is_declared:
        known[1:] = ["x", *own[2:]]


def _merge_group(table: _Table, line: Fields, owners: Owners | None) -> None:
    """Add a group of group(5), or of gshadow(5), where there are no ids; members are added to those that it has."""
    known = table.by_name.get(line[0])
    if known is None:
        table.add(line if owners is None else [*line[:2], "%d" % owners.group(_number(line[2]) or 0), line[3]])
        return
    members = [name for name in known[3].split(",") if name]
    known[3] = ",".join(members + [name for name in line[3].split(",") if name and name not in members])


def _merge_password(table: _Table, line: Fields, is_declared: bool) -> None:
    """Add an account, or give one that is there the password that the declaration has, if it has one."""
    known = table.by_name.get(line[0])
    if known is None:
        table.add(line)
    elif is_declared and line[1] not in NO_PASSWORD:
        known[1] = line[1]
