# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure what a task costs in a container, beside the same task on its host, in one run on this machine.

Four connections are compared: `local` and `nsenter` on this machine, `ssh` and `nsenter` through one real sshd on the
loopback. One playbook runs the same task with each in turn, again and again, so that what else the machine does meets
all alike; a task's time is what passes in Ansible from its announcement until its result.

    python -m ansible_collections.unshare.container.tests.benchmarks.connection --json results.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import typing as t
from pathlib import Path

from ansible_collections.unshare.container.tests.integration.conftest import Machine, write_system
from ansible_collections.unshare.container.tests.integration.connection_hosts import SshHost, ansible

NAME = "test-benchmark-connection"
PLUGIN = "unshare.container.nsenter"
PAIRS = (("local", "nsenter"), ("ssh", "nsenter-through-ssh"))
MODES = ("pipelining", "no pipelining")
TARGET = 1.3
"""What a task in a container may cost of the same task on its host, with pipelining."""


def inventory(host: SshHost) -> dict[str, t.Any]:
    """Return an inventory with a host for each of the four connections."""
    own = {"ansible_connection": PLUGIN, "ansible_unshare_container": NAME}
    hosts = {
        "local": {"ansible_connection": "local"},
        "nsenter": own,
        "ssh": host.variables(ansible_connection="ssh"),
        "nsenter-through-ssh": {**own, **host.variables()},
    }
    return {"all": {"hosts": hosts}}


def playbook(turns: int) -> list[dict[str, t.Any]]:
    """So many turns, and one before them that opens the connection which SSH keeps."""
    task = {"ansible.builtin.command": "/bin/true", "changed_when": False}
    subjects = [subject for pair in PAIRS for subject in pair]
    order = [subject for turn in range(turns + 1) for subject in subjects[turn % 4 :] + subjects[: turn % 4]]
    return [{"hosts": subject, "gather_facts": False, "tasks": [task]} for subject in order]


def measure(host: SshHost, turns: int, mode: str) -> dict[str, list[float]]:
    """Return the milliseconds of each task, by its connection."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "hosts.json").write_text(json.dumps(inventory(host)))
        (directory / "playbook.json").write_text(json.dumps(playbook(turns)))
        result = ansible(
            "ansible-playbook",
            "-i",
            directory / "hosts.json",
            directory / "playbook.json",
            directory=directory,
            ANSIBLE_PIPELINING=str(mode == "pipelining"),
            ANSIBLE_CALLBACK_PLUGINS=str(Path(__file__).parent / "callbacks"),
            ANSIBLE_CALLBACKS_ENABLED="task_times",
            TASK_TIMES=str(directory / "times"),
        )
        if result.returncode != 0:
            raise SystemExit(result.stdout + result.stderr)
        samples: dict[str, list[float]] = {}
        for line in (directory / "times").read_text().splitlines():
            seconds, _, subject = line.partition(" ")
            samples.setdefault(subject, []).append(round(float(seconds) * 1000, 2))
    return {subject: each[1:] for subject, each in samples.items()}


def compare(mode: str, samples: dict[str, list[float]]) -> list[dict[str, t.Any]]:
    """Medians in milliseconds, and the ratio of each pair's."""
    found = []
    for plain, container in PAIRS:
        medians = {subject: round(statistics.median(samples[subject]), 2) for subject in (plain, container)}
        ratio = round(medians[container] / medians[plain], 3)
        found.append({"mode": mode, "of": plain, "ms per task": medians, "ratio": ratio})
    return found


def main() -> int:
    """Measure, print and write; 1 when the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=40, help="tasks of each connection (%(default)s)")
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES, help="with pipelining, without, or both")
    parser.add_argument("--json", type=Path, help="write the results there")
    arguments = parser.parse_args()
    machine = Machine(NAME, write_system({"host_name": NAME}, NAME))
    host = SshHost("test-benchmark-ssh")
    try:
        machine.start()
        samples = {mode: measure(host, arguments.turns, mode) for mode in arguments.modes}
    finally:
        host.close()
        machine.destroy()
    results = [result for mode in samples for result in compare(mode, samples[mode])]
    for result in results:
        costs = ", ".join(f"{name} {cost:.1f} ms" for name, cost in result["ms per task"].items())
        print(f"{result['mode']:14} {costs}: {result['ratio']:.2f} of {result['of']}")
    if arguments.json:
        report = {"target": TARGET, "turns": arguments.turns, "results": results, "samples": samples}
        arguments.json.write_text(json.dumps(report, indent=1) + "\n")
    missed = [result for result in results if result["mode"] == "pipelining" and result["ratio"] > TARGET]
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
