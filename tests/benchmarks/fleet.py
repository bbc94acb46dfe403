# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a fleet costs the controller, beside a play of one `ansible.builtin.ping` on the same hosts in the same run.

Hosts are sshds in namespaces of this machine, so that their work is in the wall time, too. The controller's time is
that of the processors, of `ansible-playbook` and all that it waits for; the hosts' is that of their control groups,
with the containers in them. The measured play is the role `containers` with one container a host. Before each measured
run there is one of the ping, and ratios are to the median of these. What is sent is counted at the interfaces that lead
to the hosts. `fleet_peers` has what it is compared with, in the same run.
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
import tempfile
import time
import typing as t
from pathlib import Path

import ansible.release
from ansible_collections.unshare.container.plugins.plugin_utils.declared_containers import (
    DerivedSystems,
    declared_containers,
)
from ansible_collections.unshare.container.tests.benchmarks import fleet_peers
from ansible_collections.unshare.container.tests.integration.fleet_hosts import Fleet

PLAYBOOK = str(Path(sys.executable).parent / "ansible-playbook")
TARGETS = {
    "first": {"wall": 4.0, "controller": 4.0},
    "change": {"wall": 1.5, "controller": 1.6},
    "nothing": {"wall": 1.2, "controller": 1.2},
}
"""The most that a run of the role may cost, in pings."""

RUNS = (("first", "one"), ("change", "two"), ("nothing", "two"))
"""The runs of a round, each with the text of its page."""

STAY_CONNECTED = "-C -o ControlMaster=auto -o ControlPersist=1800s"
"""Options of ssh: no run logs in anew because the one before took longer than Ansible's minute."""

TIMES = ("wall", "controller", "hosts")
PEERS = ("plain", "pyinfra", "mitogen")
PING = [{"hosts": "all", "gather_facts": False, "tasks": [{"ansible.builtin.ping": None}]}]
DEPLOY = [{"hosts": "all", "gather_facts": False, "roles": ["unshare.container.containers"]}]

Sample = dict[str, float]
Samples = dict[str, list[Sample]]


class Failed(Exception):
    """A run has failed."""


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
    """A fleet, and what is run on it."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.mitogen = fleet_peers.mitogen_environment()
        self.pyinfra = fleet_peers.pyinfra_program()

    def absent(self) -> dict[str, str]:
        """Return the peers that are not measured, and why."""
        there = {"plain": True, "pyinfra": self.pyinfra, "mitogen": self.mitogen}
        return {name: "it is not installed" for name in PEERS if not there[name]}

    def ping(self, strategy: str = "") -> Sample:
        """Ping every host, with Ansible's own strategy or with that of Mitogen."""
        return self._timed(self._playbook(PING, {}), self.mitogen if strategy else None)

    def run(self, subject: str, text: str, name: str) -> Sample:
        """Have each host run a container with a page.

        Args:
            subject: `role`, or one of PEERS.
            text: that of the page.
            name: of a container, which the subjects `role` and `mitogen` make in the place of any other.
        """
        directory = f"/run/{subject}"
        if subject == "pyinfra":
            assert self.pyinfra
            return self._timed(fleet_peers.pyinfra_command(self.fleet, directory, text, self.pyinfra))
        if subject == "plain":
            return self._timed(self._playbook(fleet_peers.plain_play(directory, text), {}))
        containers = {name: {"operating_system": declared(text)}}
        command = self._playbook(DEPLOY, {"containers": containers, "containers_purge": True})
        return self._timed(command, self.mitogen if subject == "mitogen" else None)

    def clear(self, subject: str) -> None:
        """Take away what a round of a subject by hand has left."""
        if subject in ("plain", "pyinfra"):
            fleet_peers.remove(self.fleet, f"/run/{subject}")

    def _playbook(self, play: t.Any, variables: dict[str, t.Any]) -> list[str]:
        path = self.fleet.directory / "play.yml"
        path.write_text(json.dumps(play))
        return [PLAYBOOK, "-i", str(self.fleet.inventory(variables)), str(path)]

    def _traffic(self, way: str) -> int:
        """Return the bytes that have gone over the interfaces that lead to the hosts; `tx` is towards them."""
        paths = (Path("/sys/class/net", host.link, "statistics", f"{way}_bytes") for host in self.fleet.hosts)
        return sum(int(path.read_text()) for path in paths)

    def _used(self) -> float:
        """Return for how many seconds the hosts have used processors."""
        name, used = (self.fleet.cgroup / "cpu.stat").read_text().split()[:2]
        assert name == "usage_usec"
        return int(used) / 1e6

    def _timed(self, command: list[str], more: dict[str, str] | None = None) -> Sample:
        """Run a command: wall time, and time of the processors on the controller and on hosts, in seconds, and bytes.

        :raises Failed: with what it printed.
        """
        ways = {"sent": "tx", "received": "rx"}
        bytes_before = {name: self._traffic(way) for name, way in ways.items()}
        used = self._used()
        before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        environment = self.fleet.environment(ANSIBLE_SSH_ARGS=STAY_CONNECTED, **(more or {}))
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=self.fleet.directory)
        wall, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
        if done.returncode != 0:
            raise Failed(f"{command[0]}: {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-2000:]}")
        controller = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        sample = {"wall": wall, "controller": controller, "hosts": self._used() - used}
        return {**sample, **{name: self._traffic(way) - bytes_before[name] for name, way in ways.items()}}


def measure(count: int, rounds: int, left_out: t.Collection[str] = ()) -> dict[str, t.Any]:
    """Measure one size of fleet. Return the samples and their summary.

    Args:
        count: hosts.
        rounds: of each subject.
        left_out: peers that are not measured.
    """
    samples: Samples = {}
    with Fleet(count) as fleet:
        measured = Measured(fleet)
        absent = {**measured.absent(), **dict.fromkeys(left_out, "it was left out")}
        measured.ping()  # connections are made, and caches filled
        for number in range(rounds):
            for subject in ("role", *PEERS):
                if subject not in absent:
                    try:
                        _round(measured, subject, f"bench-{subject}-{number}", samples)
                    except Failed as error:
                        if subject == "role":
                            raise SystemExit(str(error)) from error
                        absent[subject] = str(error)
    return {"hosts": count, "rounds": rounds, "not_measured": absent, "samples": samples, **summary(samples, count)}


def _round(measured: Measured, subject: str, name: str, samples: Samples) -> None:
    """Run all of RUNS of a subject, each after a ping. Add the samples, by the subject but for the role."""
    prefix = "" if subject == "role" else f"{subject} "
    measured.clear(subject)
    if subject == "mitogen":
        pinged = measured.ping("mitogen")
        samples.setdefault("mitogen ping", []).append(pinged)
    for kind, text in RUNS:
        pinged, done = measured.ping(), measured.run(subject, text, name)
        samples.setdefault("ping", []).append(pinged)
        samples.setdefault(prefix + kind, []).append(done)


def summary(samples: Samples, count: int) -> dict[str, t.Any]:
    """Return medians for each host, in seconds and bytes, and those of the seconds in pings."""
    result: dict[str, t.Any] = {"seconds_per_host": {}, "bytes_per_host": {}, "ratios": {}}
    pings = {what: statistics.median(sample[what] for sample in samples["ping"]) for what in TIMES}
    for kind, taken in samples.items():
        middle = {what: statistics.median(sample[what] for sample in taken) for what in taken[0]}
        result["seconds_per_host"][kind] = {what: round(middle[what] / count, 4) for what in pings}
        result["bytes_per_host"][kind] = {what: round(middle[what] / count) for what in ("sent", "received")}
        if kind != "ping":
            result["ratios"][kind] = {what: round(middle[what] / pings[what], 2) for what in pings}
    return result


def derivation(count: int) -> dict[str, float]:
    """Derive the systems of so many hosts, each of which declares another one, in this process, as a worker does.

    Return the wall time and the time of the processor, in seconds.
    """
    with tempfile.TemporaryDirectory() as directory:
        systems = DerivedSystems(directory)
        begun, processor = time.monotonic(), time.process_time()
        for number in range(count):
            for item in declared_containers({"web": {"operating_system": declared(f"host {number}")}}):
                systems.announcement(item)
        return {
            "hosts": count,
            "wall": round(time.monotonic() - begun, 2),
            "processor": round(time.process_time() - processor, 2),
        }


def missed(result: dict[str, t.Any]) -> list[str]:
    """Return the runs of the role that cost more pings than they may."""
    ratios = result["ratios"]
    return [
        kind for kind, targets in TARGETS.items() if any(ratios[kind][what] > most for what, most in targets.items())
    ]


def show(result: dict[str, t.Any]) -> None:
    """Print the results of one size of fleet."""
    for kind, seconds in result["seconds_per_host"].items():
        said = ""
        ratios, targets, moved = result["ratios"].get(kind), TARGETS.get(kind), result["bytes_per_host"][kind]
        if ratios:
            said = " ".join(f"{ratios[what]:6.2f}" for what in TIMES)
        if ratios and targets:
            met = kind not in missed(result)
            said += f"  ({targets['wall']}, {targets['controller']}{'' if met else ': missed'})"
        print(
            f"{result['hosts']:5}  {kind:15}  {seconds['wall']:8.3f}  {seconds['controller']:10.3f}"
            f"  {seconds['hosts']:9.3f}"
            f"  {moved['sent'] / 1000:7.1f}  {moved['received'] / 1000:7.1f}  {said}",
            flush=True,
        )
    for name, why in result["not_measured"].items():
        print(f"{result['hosts']:5}  {name} was not measured: {why}", flush=True)


def main() -> int:
    """Measure, print a table, and write JSON when asked to; 1 when a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", default="1,10,50,100", help="sizes of the fleet (%(default)s)")
    parser.add_argument("--rounds", type=int, default=0, help="rounds of each size (3 up to 10 hosts, else 1)")
    parser.add_argument("--derived", type=int, default=1000, help="hosts whose systems are derived (%(default)s)")
    parser.add_argument("--without", nargs="*", choices=PEERS, default=[], help="peers that are left out")
    parser.add_argument("--output", help="where to write JSON")
    arguments = parser.parse_args()
    # An end like that of Ctrl-C, after which the hosts of the fleet are taken away.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    machine = {"kernel": platform.release(), "processors": os.cpu_count(), "load_before": os.getloadavg()}
    versions = {"ansible-core": ansible.release.__version__, "python": platform.python_version()}
    versions |= fleet_peers.versions()
    print(", ".join(f"{name} {version}" for name, version in versions.items()))
    derived = derivation(arguments.derived)
    print(
        f"{derived['hosts']} different declarations are derived in {derived['wall']:.2f} s by one process "
        f"({derived['processor']:.2f} s of its processor)"
    )
    print("hosts  run              wall s/h  control s/h  hosts s/h  kB to h  kB from  in pings: the three (at most)")
    results = []
    for count in map(int, arguments.hosts.split(",")):
        results.append(measure(count, arguments.rounds or (3 if count <= 10 else 1), arguments.without))
        show(results[-1])
    if arguments.output:
        document = {"machine": machine, "versions": versions, "targets": TARGETS, "derivation": derived}
        Path(arguments.output).write_text(json.dumps({**document, "results": results}, indent=1) + "\n", "utf-8")
    return int(any(missed(result) for result in results))


if __name__ == "__main__":
    sys.exit(main())
