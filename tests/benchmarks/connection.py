# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure what a task costs in a container, beside the same task on its host, in one run on this machine.

Four connections are compared in turns: `local` and `nsenter` on this machine, `ssh` and `nsenter` through the same real
sshd on the loopback. A task's cost is that of a playbook with many tasks less that of one with few, by their number.

    python -m ansible_collections.unshare.container.tests.benchmarks.connection --json results.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
import typing as t
from pathlib import Path

from ansible_collections.unshare.container.tests.integration.conftest import Machine, write_system
from ansible_collections.unshare.container.tests.integration.connection_hosts import SshHost, ansible

NAME = "test-benchmark-connection"
PLUGIN = "unshare.container.nsenter"
PAIRS = {"local": ("local", "nsenter"), "ssh": ("ssh", "nsenter through ssh")}
TARGET = 1.3
"""What a task in a container may cost of the same task on its host, with pipelining."""

FEW, MANY = 2, 22
MODES = ("pipelining", "no pipelining")


def playbook(tasks: int) -> str:
    """A play with so many equal tasks."""
    task = {"ansible.builtin.command": "/bin/true", "changed_when": False}
    return json.dumps([{"hosts": "all", "gather_facts": False, "tasks": [task] * tasks}])


def variables(connection: str, host: SshHost) -> dict[str, t.Any]:
    """The connection variables of one of the four."""
    if connection == "local":
        return {"ansible_connection": "local"}
    if connection == "ssh":
        return host.variables(ansible_connection="ssh")
    own = {"ansible_connection": PLUGIN, "ansible_unshare_container": NAME}
    return {**own, **(host.variables() if "ssh" in connection else {})}


class Measurement:
    """The samples of one run.

    Args:
        directory: for playbooks and inventories.
    """

    def __init__(self, directory: Path, host: SshHost, modes: t.Sequence[str] = MODES) -> None:
        self.directory = directory
        self.samples: dict[str, dict[str, list[float]]] = {mode: {} for mode in modes}
        for tasks in (FEW, MANY):
            (directory / f"{tasks}.json").write_text(playbook(tasks))
        for pair in PAIRS.values():
            for connection in pair:
                inventory = {"all": {"hosts": {"subject": variables(connection, host)}}}
                (directory / f"{connection}.json").write_text(json.dumps(inventory))

    def _seconds(self, connection: str, tasks: int, pipelining: str) -> float:
        began = time.monotonic()
        result = ansible(
            "ansible-playbook",
            "-i",
            self.directory / f"{connection}.json",
            self.directory / f"{tasks}.json",
            directory=self.directory,
            ANSIBLE_PIPELINING=str(pipelining == "pipelining"),
        )
        took = time.monotonic() - began
        if result.returncode != 0:
            raise SystemExit(result.stdout + result.stderr)
        return took

    def turn(self) -> None:
        """One sample of each."""
        for pipelining, by_connection in self.samples.items():
            for pair in PAIRS.values():
                for connection in pair:
                    few = self._seconds(connection, FEW, pipelining)
                    many = self._seconds(connection, MANY, pipelining)
                    cost = (many - few) / (MANY - FEW) * 1000
                    by_connection.setdefault(connection, []).append(round(cost, 2))

    def results(self) -> list[dict[str, t.Any]]:
        """Medians in milliseconds and their ratios."""
        found = []
        for pipelining, by_connection in self.samples.items():
            for plain, container in PAIRS.values():
                medians = {name: round(statistics.median(by_connection[name]), 2) for name in (plain, container)}
                # Of the pairs, each measured at the same time: what else the machine does meets both.
                pairs = zip(by_connection[container], by_connection[plain], strict=True)
                ratio = statistics.median(ours / theirs for ours, theirs in pairs)
                found.append({"mode": pipelining, "of": plain, "ms per task": medians, "ratio": round(ratio, 3)})
        return found


def main() -> int:
    """Measure, print and write; 1 when the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5, help="samples of each (%(default)s)")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES, help="with pipelining, without, or both")
    parser.add_argument("--json", type=Path, help="write the results there")
    arguments = parser.parse_args()
    machine = Machine(NAME, write_system({"host_name": NAME}, NAME))
    host = SshHost("test-benchmark-ssh")
    try:
        machine.start()
        with tempfile.TemporaryDirectory() as directory:
            measurement = Measurement(Path(directory), host, arguments.modes)
            for _turn in range(arguments.turns):
                measurement.turn()
    finally:
        host.close()
        machine.destroy()
    results = measurement.results()
    for result in results:
        costs = ", ".join(f"{name} {cost:.1f} ms" for name, cost in result["ms per task"].items())
        print(f"{result['mode']:14} {costs}: {result['ratio']:.2f} of {result['of']}")
    if arguments.json:
        report = {"target": TARGET, "turns": arguments.turns, "results": results, "samples": measurement.samples}
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    missed = [result for result in results if result["mode"] == "pipelining" and result["ratio"] > TARGET]
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
