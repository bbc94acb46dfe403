# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What was seen to work on which host: the record that the table of docs/requirements.md is made of.

A test says by the mark `shows` which rows of the table it counts for. `make hosts-table` runs the tests and writes the
record; a run of some tests, or on some hosts, replaces what it has found and leaves the rest.
"""

from __future__ import annotations

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
"""For each row the word for each host: `passed` or `failed`."""


def read() -> Record:
    """Return the record as it is kept."""
    return t.cast("Record", json.loads(RECORD.read_text())) if RECORD.exists() else {}


def keep(found: t.Mapping[str, t.Mapping[str, str]]) -> None:
    """Put what a run has found into the record. Several processes of a run may do so at the same time.

    Args:
        found: for each row the word for each host.
    """
    with open(RECORD, "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        record = json.loads(file.read() or "{}")
        for row, words in found.items():
            record.setdefault(row, {}).update(words)
        known = [(row, dict(sorted(record[row].items()))) for row in ROWS if row in record]
        lines = [f"  {json.dumps(row)}: {json.dumps(words)}" for row, words in known]
        file.truncate(0)
        file.write("{\n" + ",\n".join(lines) + "\n}\n")


class Results:
    """What this run has found so far.

    Attributes:
        found: for each row the word for each host.
    """

    def __init__(self) -> None:
        self.found: Record = {}

    def note(self, rows: t.Iterable[str], hosts: t.Iterable[str], passed: bool) -> None:
        """Note how a part of a test has ended. A row holds for a host when all tests that show it have passed there."""
        for row in rows:
            words = self.found.setdefault(row, {})
            for host in hosts:
                words[host] = "passed" if passed and words.get(host) != "failed" else "failed"
