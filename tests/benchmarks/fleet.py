# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a fleet costs the controller, beside a play of one `ansible.builtin.ping` on the same hosts in the same run.

Hosts are sshds in namespaces of this machine, so that their work is in the wall time, too; the controller's time is
that of the processors, of `ansible-playbook` and all that it waits for. The measured play is the role `containers` with
one container a host. Before each measured run there is one of the ping, and ratios are to the median of these.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import signal
import statistics
import subprocess
import sys
import time
import typing as t
from pathlib import Path

from ansible_collections.unshare.container.tests.integration.fleet_hosts import Fleet

PLAYBOOK = str(Path(sys.executable).parent / "ansible-playbook")
TARGETS = {"first": 4.0, "change": 3.5, "nothing": 2.3}
"""The most that a run may cost, in pings."""

PING = [{"hosts": "all", "gather_facts": False, "tasks": [{"ansible.builtin.ping": None}]}]
DEPLOY = [{"hosts": "all", "gather_facts": False, "roles": ["unshare.container.containers"]}]

Sample = dict[str, float]


def declared(text: str) -> dict[str, t.Any]:
    """Return a web server with an account, a timer and a page."""
    return {
        "host_name": "web.example.org",
        "users": [{"name": "alice", "uid": 1000}],
        "services": [
            {"type": "static-web-server", "value": {"root": "/etc/site", "port": 8080}},
            {"type": "simple", "value": {"name": "site", "target": "etc", "value": {"site/index.html": text}}},
            {"type": "unit", "value": {"name": "idle", "command": ["/usr/bin/sleep", "infinity"]}},
        ],
    }


class Measured:
    """A fleet, and the plays that are run on it."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.plays = {}
        for name, play in (("ping", PING), ("deploy", DEPLOY)):
            self.plays[name] = fleet.directory / f"{name}.yml"
            self.plays[name].write_text(json.dumps(play))

    def run(self, play: str, text: str = "", name: str = "bench") -> Sample:
        """Run a play; its wall time and the controller's time of the processors, in seconds."""
        containers = {name: {"operating_system": declared(text)}}
        inventory = self.fleet.inventory({"containers": containers, "containers_purge": True})
        command = [PLAYBOOK, "-i", str(inventory), str(self.plays[play])]
        before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        done = subprocess.run(command, env=self.fleet.environment(), capture_output=True, text=True)
        wall, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode != 0:
            raise SystemExit(f"{play}: {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-2000:]}")
        return {"wall": wall, "controller": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}


def measure(count: int, rounds: int) -> dict[str, t.Any]:
    """Measure one size of fleet. Return the samples and their summary."""
    samples: dict[str, list[Sample]] = {name: [] for name in ("ping", *TARGETS)}
    with Fleet(count) as fleet:
        measured = Measured(fleet)
        measured.run("ping")  # connections are made, and caches filled
        for number in range(rounds):
            name = f"bench-{number}"
            for kind, text in (("first", "one"), ("change", "two"), ("nothing", "two")):
                samples["ping"].append(measured.run("ping"))
                samples[kind].append(measured.run("deploy", text, name))
    result: dict[str, t.Any] = {
        "hosts": count,
        "rounds": rounds,
        "samples": samples,
        "seconds_per_host": {},
        "ratios": {},
    }
    for kind, taken in samples.items():
        middle = {what: statistics.median(sample[what] for sample in taken) for what in ("wall", "controller")}
        result["seconds_per_host"][kind] = {what: round(value / count, 4) for what, value in middle.items()}
        if kind != "ping":
            pings = result["seconds_per_host"]["ping"]
            result["ratios"][kind] = {what: round(middle[what] / count / pings[what], 2) for what in middle}
    return result


def main() -> int:
    """Measure, print a table, and write JSON when asked to; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", default="1,10,50,100", help="sizes of the fleet (%(default)s)")
    parser.add_argument("--rounds", type=int, default=0, help="rounds of each size (3 up to 10 hosts, else 1)")
    parser.add_argument("--output", help="where to write JSON")
    arguments = parser.parse_args()
    # An end like that of Ctrl-C, after which the hosts of the fleet are taken away.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    machine = {"kernel": platform.release(), "processors": os.cpu_count(), "load_before": os.getloadavg()}
    results = []
    missed = False
    print("hosts  run       wall s/host  controller s/host  ratios (wall, controller; at most)", flush=True)
    for count in map(int, arguments.hosts.split(",")):
        result = measure(count, arguments.rounds or (3 if count <= 10 else 1))
        results.append(result)
        for kind, seconds in result["seconds_per_host"].items():
            ratios = result["ratios"].get(kind)
            said = ""
            if ratios:
                met = max(ratios.values()) <= TARGETS[kind]
                missed = missed or not met
                said = f"{ratios['wall']:.2f}  {ratios['controller']:.2f}  ({TARGETS[kind]}{'' if met else ', missed'})"
            print(f"{count:5}  {kind:8}  {seconds['wall']:11.3f}  {seconds['controller']:17.3f}  {said}", flush=True)
    if arguments.output:
        text = json.dumps({"machine": machine, "targets": TARGETS, "results": results}, indent=1)
        Path(arguments.output).write_text(text + "\n", "utf-8")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
