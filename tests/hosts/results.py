# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What was seen to work on which host: the record that the table of docs/requirements.md is made of.

A test says by the mark `shows` which rows of the table it counts for. A run with `HOSTS_TABLE=write` puts how its tests
have ended into the record, and leaves there what is said of others. So a row holds for a host when all tests that show
it have passed there at last, in whatever runs.
"""

from __future__ import annotations

import ast
import fcntl
import json
import os
import typing as t
from pathlib import Path

RECORD = Path(__file__).with_name("results.json")
WRITES = os.environ.get("HOSTS_TABLE") == "write"

ROWS = {
    "deployed": "deploy over SSH, change, roll back, remove without a trace",
    "boot": "`enabled` and not, through a reboot of the host; a shutdown waits for no container",
    "order": "order and dependencies of containers, at boot and at shutdown",
    "mounts": "a container waits for the mounts of its mappings",
    "interrupted": "whole after a power cut or a reboot while a system is written or switched",
    "rollout": "a rollout in waves over all of these hosts, with a reboot in its middle",
    "connection": "connection plugin and inventory plugin over SSH",
    "network": "a zone and its published port through a reboot; name servers and the packet filter follow the host",
    "limits": "limits of a container: at a start, changed while it runs, taken away",
    "limits inside": "limits of units inside",
    "volumes": "sizes of volumes on ext4 and XFS, changed while it runs; a full one is full inside and nowhere else",
    "upgrade": "software of the host that is upgraded, or removed, under running containers",
    "by hand": "started by hand: a unit of the host, which stops it at a shutdown",
    "no machined": "without `systemd-machined`",
    "machined": "`machinectl`, and `--machine=` of `systemctl`, `journalctl`, `loginctl`, `systemd-cgls` and others",
    "isolation": "the isolation suite, as root inside",
    "apparmor": "AppArmor is on",
    "eval": "`eval_container`",
    "long": "whole after 20 power cuts at random moments (`make test-hosts-long`)",
    "shutdown": "a shutdown with 20 containers (`make test-hosts-long`)",
}
"""What the tests show, in the order of the page."""

Record = dict[str, dict[str, str]]
"""For each test the word for each host: `passed` or `failed`."""

PASSED, FAILED, IN_PART, UNTRIED = "passed", "failed", "in part", ""
"""What there is to say of a row: that of a test, that some of its tests have passed and the others not run, nothing."""


def name_of(module: str, function: str) -> str:
    """Return what the record calls a test: its module, without the package, and its function."""
    return f"{module.rpartition('.')[2]}::{function}"


class Mark(t.NamedTuple):
    """A mark of a test: its name, and the words that it has."""

    name: str
    words: frozenset[str]


MARK = "pytest.mark."


def marks_of(expressions: t.Iterable[ast.expr]) -> list[Mark]:
    """Return the marks with arguments that expressions have."""
    calls = [part for each in expressions for part in ast.walk(each) if isinstance(part, ast.Call)]
    return [
        Mark(
            name.removeprefix(MARK), frozenset(str(word.value) for word in call.args if isinstance(word, ast.Constant))
        )
        for call in calls
        if (name := ast.unparse(call.func)).startswith(MARK)
    ]


def tests() -> t.Iterator[tuple[str, list[Mark]]]:
    """Yield each test of a host with all its marks. They are read, not imported: only a run of the tests knows them."""
    for path in sorted(RECORD.parent.glob("test_*.py")):
        body = ast.parse(path.read_text("utf-8")).body
        of_module = marks_of(
            line.value for line in body if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "pytestmark"
        )
        for function in body:
            if isinstance(function, ast.FunctionDef) and function.name.startswith("test_"):
                yield name_of(path.stem, function.name), marks_of(function.decorator_list) + of_module


def showing(row: str, host: str) -> list[str]:
    """Return the tests that show a row, and run on a host or with it."""
    return [
        name
        for name, marks in tests()
        if any(mark.name == "shows" and row in mark.words for mark in marks)
        and all(host in mark.words for mark in marks if mark.name == "on")
    ]


def word(record: Record, row: str, host: str) -> str:
    """Return what a record says of a row for a host."""
    words = [record.get(name, {}).get(host, UNTRIED) for name in showing(row, host)]
    if FAILED in words:
        return FAILED
    if PASSED in words:
        return IN_PART if UNTRIED in words else PASSED
    return UNTRIED


def read() -> Record:
    """Return the record as it is kept."""
    return t.cast("Record", json.loads(RECORD.read_text())) if RECORD.exists() else {}


def keep(found: t.Mapping[str, t.Mapping[str, str]]) -> None:
    """Put what a run has found into the record. Several processes of a run may do so at the same time.

    Args:
        found: for each test the word for each host.
    """
    with open(RECORD, "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        record = json.loads(file.read() or "{}")
        for name, words in found.items():
            record.setdefault(name, {}).update(words)
        known = [(name, dict(sorted(words.items()))) for name, words in sorted(record.items())]
        lines = [f"  {json.dumps(name)}: {json.dumps(words)}" for name, words in known]
        file.truncate(0)
        file.write("{\n" + ",\n".join(lines) + "\n}\n")


class Results:
    """What this run has found so far.

    Attributes:
        found: for each test the word for each host.
    """

    def __init__(self) -> None:
        self.found: Record = {}

    def note(self, name: str, hosts: t.Iterable[str], passed: bool) -> None:
        """Note how a part of a test has ended. It has passed on a host when all have: its set-up, its parameters."""
        words = self.found.setdefault(name, {})
        for host in hosts:
            words[host] = PASSED if passed and words.get(host) != FAILED else FAILED
