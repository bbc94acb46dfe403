# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The journal of a rollout on the controller: the outcome of each host, wave by wave, and whether it goes on.

A play's tasks run in processes of their own. Each writes one file for its host, and failures are counted as the files
in a directory. So no step of a host looks at all other hosts.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import typing as t
import urllib.parse
from pathlib import Path

from ..module_utils.host.readable_results import harmless
from ..module_utils.launcher.paths import write_atomically

JournalRecord = dict[str, t.Any]

SHOWN = 12
"""Lines of a failure's message that the text shows; the page has all of them."""

NAMED_UNITS = 5
"""Units of a container that the text names."""

SWITCHED = "switched"
RESTARTED = "restarted"
UNCHANGED = "unchanged"
ROLLED_BACK = "rolled back"
FAILED = "failed"
UNREACHABLE = "unreachable"
NOT_STAGED = "not staged"
HELD_BACK = "held back"
UNDONE = "undone"
STAGED = "staged"

SERVING = (SWITCHED, RESTARTED, UNCHANGED, ROLLED_BACK)
"""Outcomes of hosts whose containers run, and are well."""

BAD = (FAILED, ROLLED_BACK, UNREACHABLE, NOT_STAGED)
"""Outcomes that count as failures."""

MEANINGS = {
    SWITCHED: "runs its new systems, and is well",
    RESTARTED: "runs its former systems, has restarted units whose software was outdated, and is well",
    UNCHANGED: "ran them already, and is well",
    ROLLED_BACK: "was not well with a new system, and runs the former one again",
    FAILED: "is not as it should be; look at it",
    UNREACHABLE: "could not be reached",
    NOT_STAGED: "could not take the new systems; what runs was not touched",
    HELD_BACK: "was not switched, because the rollout had stopped",
    UNDONE: "was switched, and went back when the rollout stopped",
    STAGED: "has the new systems, and runs the former ones",
}
"""The meaning of each outcome, for people."""


class Journal:
    """The journal of a rollout, below `directory`."""

    def __init__(self, directory: str) -> None:
        self.directory = Path(directory) / "unshare-rollout"

    def has_begun(self) -> bool:
        """Return whether there is a journal."""
        return (self.directory / "begun").exists()

    def begin(self) -> None:
        """Begin a new journal."""
        shutil.rmtree(self.directory, ignore_errors=True)
        for name in ("hosts", "waves", "failures"):
            (self.directory / name).mkdir(parents=True)
        self._write("begun", {"time": time.time()})

    def open_wave(self, hosts: list[str]) -> int:
        """Note the hosts of the next wave. Return its number, from 1."""
        number = len(os.listdir(self.directory / "waves")) + 1
        self._write(f"waves/{number}", {"hosts": hosts, "time": time.time()})
        return number

    def stopped(self) -> str | None:
        """Return why the rollout has stopped, or None while it goes on."""
        found = self._read("stopped")
        return None if found is None else str(found["reason"])

    def stop(self, reason: str) -> None:
        """Stop the rollout: no further host is switched."""
        self._write("stopped", {"reason": reason})

    def record(self, host: str) -> JournalRecord:
        """Return the record of a host."""
        return self._read(f"hosts/{_file(host)}") or {"host": host}

    def note(self, host: str, record: JournalRecord) -> None:
        """Add to the record of a host, in a form that a terminal and a page can show."""
        self._write(f"hosts/{_file(host)}", {**self.record(host), **harmless(record), "host": host})

    def fail(self, host: str, wave: int, size: int, limit: float) -> None:
        """Count a failure in a wave (0 is the staging) of `size` hosts. Stop the rollout beyond `limit` percent."""
        failures = self.directory / "failures" / str(wave)
        failures.mkdir(exist_ok=True)
        (failures / _file(host)).touch()
        count = len(os.listdir(failures))
        if 100.0 * count > limit * size and self.stopped() is None:
            where = f"wave {wave}" if wave else "staging"
            self.stop(f"{count} of {_hosts(size)} failed in {where}; {limit:g} % may")

    def summary(self, check: bool = False) -> JournalRecord:
        """Return the summary: `hosts` in the order of their waves, `waves`, `counts`, `stopped`, `begun`, `ended`."""
        waves = {}
        for name in sorted(os.listdir(self.directory / "waves"), key=int):
            waves[int(name)] = t.cast("list[str]", (self._read(f"waves/{name}") or {}).get("hosts", []))
        records = [self._read(f"hosts/{name}") or {} for name in sorted(os.listdir(self.directory / "hosts"))]
        place = {host: (number, index) for number, hosts in waves.items() for index, host in enumerate(hosts)}
        records.sort(key=lambda record: (*place.get(record["host"], (len(waves) + 1, 0)), record["host"]))
        counts: dict[str, int] = {}
        for record in records:
            outcome = record.setdefault("outcome", STAGED)
            counts[outcome] = counts.get(outcome, 0) + 1
            if record["host"] in place:
                record.setdefault("wave", place[record["host"]][0])
        return {
            "hosts": records,
            "waves": len(waves),
            "counts": counts,
            "stopped": self.stopped(),
            "begun": (self._read("begun") or {}).get("time", time.time()),
            "ended": time.time(),
            "check": check,
            "failed": self.stopped() is not None or any(outcome in BAD for outcome in counts),
        }

    def _read(self, name: str) -> JournalRecord | None:
        try:
            return t.cast(JournalRecord, json.loads((self.directory / name).read_text("utf-8")))
        except FileNotFoundError:
            return None

    def _write(self, name: str, value: JournalRecord) -> None:
        aside = self.directory / f".{os.getpid()}"
        write_atomically(str(self.directory / name), json.dumps(value), aside=str(aside))


def outcome_of(result: JournalRecord) -> str:
    """Return the outcome of a host, from the result of the module `containers`."""
    if not result.get("failed"):
        changed = [entry for entry in result.get("containers", []) if entry.get("changed")]
        if changed and all(entry.get("restarted_units") for entry in changed):
            return RESTARTED
        return SWITCHED if result.get("changed") else UNCHANGED
    failed = [entry for entry in result.get("containers", []) if entry.get("failed")]
    back = bool(failed) and all(entry.get("rolled_back_to") is not None for entry in failed)
    return ROLLED_BACK if back else FAILED


def headline(summary: JournalRecord) -> str:
    """Return one sentence that sums up the rollout."""
    total = len(summary["hosts"])
    counts = ", ".join(f"{count} {outcome}" for outcome, count in summary["counts"].items())
    how = f"stopped: {summary['stopped']}" if summary["stopped"] else "completed"
    if not summary["stopped"] and summary["failed"]:
        how = "completed, with failures"
    kind = "rollout (check mode, nothing was changed)" if summary["check"] else "rollout"
    return f"{kind} {how}. {_hosts(total)}: {counts or 'none'}"


def text(summary: JournalRecord) -> list[str]:
    """Return the summary as lines of text."""
    lines = [headline(summary)]
    for record in summary["hosts"]:
        wave = f"wave {record['wave']}" if "wave" in record else "no wave"
        lines.append(f"{record['host']} ({wave}): {record['outcome']}" + _containers(record))
        if record["outcome"] in BAD:
            lines += [f"    {line}" for line in _excerpt(str(record.get("message", "")).splitlines())]
    return lines


def _excerpt(lines: list[str]) -> list[str]:
    """Return the first line, which says what the text is about, and the last ones, which say how it ended."""
    return lines if len(lines) <= SHOWN else [lines[0], "...", *lines[-SHOWN + 2 :]]


def _containers(record: JournalRecord) -> str:
    said = []
    for entry in record.get("containers", []):
        words = [str(entry["name"])]
        if entry.get("generation") is not None:
            words.append(f"generation {entry['generation']}")
        if entry.get("boot_seconds") is not None:
            words.append(f"booted in {entry['boot_seconds']:.2f} s")
        if entry.get("restarted_units"):
            words.append(f"restarted {_named(entry['restarted_units'])}")
        if entry.get("outdated_units"):
            words.append(f"(still outdated: {_named(entry['outdated_units'])})")
        said.append(" ".join(words))
    return "; " + ", ".join(said) if said else ""


def _named(units: list[str]) -> str:
    """Return the first of some units, and how many more there are."""
    more = f" and {len(units) - NAMED_UNITS} more" if len(units) > NAMED_UNITS else ""
    return ", ".join(units[:NAMED_UNITS]) + more


def _hosts(count: int) -> str:
    return f"{count} host" if count == 1 else f"{count} hosts"


def _file(host: str) -> str:
    return urllib.parse.quote(host, safe="")
