# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure what a container costs its host beside many others; `make benchmark-scale` calls it.

The containers run a program that waits, so that what is measured is the collection's own work. Each figure is the
processor time of one operation, with that of its children, on ten containers of those that are there.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import typing as t
from pathlib import Path

from ansible_collections.unshare.container.plugins.module_utils.life import container_information, following, software
from ansible_collections.unshare.container.plugins.module_utils.life.container import Container
from ansible_collections.unshare.container.plugins.module_utils.life.container_information import Information
from ansible_collections.unshare.container.plugins.module_utils.state import configs
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout
from ansible_collections.unshare.container.tests.benchmarks import booted, sessions, subjects
from ansible_collections.unshare.container.tests.benchmarks.module_process import processor_seconds
from ansible_collections.unshare.container.tests.integration.conftest import write_system
from ansible_collections.unshare.container.tests.integration.network_hosts import Namespace
from ansible_collections.unshare.container.tests.integration.playbooks import ended

WAITING = ["/usr/bin/sleep", "infinity"]
NETWORK = {"interfaces": [{"zone": {"name": "bench", "subnets": ["10.77.0.0/16"]}}]}
OWN = ("/run/unshare", "/var/lib/unshare")
"""Directories that the benchmark has for itself, so that no other container of the machine is counted."""
TIMEOUT = 1800.0
"""Seconds in which a run of Ansible ends."""
ROLE = [{"hosts": "all", "gather_facts": False, "roles": ["unshare.container.containers"]}]
REPORT = [{"hosts": "all", "gather_facts": False, "tasks": [{"unshare.container.system_container_info": {}}]}]
SAMPLE = 10
MOST_GROWTH = 1.5


class Scale(sessions.Session):
    """One container beside many."""

    BENCHMARKS = ("alone", "zone", "zones", "deployed")
    PROGRAMS = ("nft",)

    def __init__(self, directory: Path, arguments: argparse.Namespace, undo: contextlib.ExitStack) -> None:
        super().__init__(directory, arguments, undo)
        for own in OWN:
            Path(own).mkdir(parents=True, exist_ok=True)
            subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", own], check=True)
        configs.CONFIGS_FILE = str(directory / "configs")  # another one than the host has
        host = Namespace("bench-scale")
        undo.callback(host.remove)
        host.make("link set lo up")
        undo.enter_context(host.entered())

    def alone(self) -> None:
        """Containers without a network."""
        self._measure("alone", lambda number: None)

    def zone(self) -> None:
        """Containers that are all in one zone."""
        self._measure("zone", lambda number: "bench")

    def zones(self) -> None:
        """Containers in zones of ten."""
        self._measure("zones", lambda number: f"bench{number // SAMPLE}")

    def deployed(self) -> None:
        """Containers of a base system that the role has deployed: whole runs of Ansible, divided by their number."""
        inventory, play = self.directory / "hosts.json", self.directory / "play.json"

        def run(operation: str, count: int, tasks: list[dict[str, t.Any]], **variables: t.Any) -> None:
            host = {"ansible_connection": "local", "ansible_python_interpreter": subjects.INTERPRETER, **variables}
            inventory.write_text(json.dumps({"all": {"hosts": {"bench": host}}}))
            play.write_text(json.dumps(tasks))
            words = ["-i", str(inventory), str(play)]
            self._time(
                f"deployed, {operation}", count, count, lambda: ended(words, os.environ, timeout=TIMEOUT).succeeded()
            )

        for count in self.arguments.counts:
            names = [f"bench-{number}" for number in range(count)]
            declared = {name: {"operating_system": {"host_name": name}} for name in names}
            run("first deployment", count, ROLE, containers=declared)
            run("nothing to do", count, ROLE, containers=declared)
            run("report", count, REPORT)
            run("removal", count, ROLE, containers={}, containers_purge=True)

    def _measure(self, kind: str, zone_of: t.Callable[[int], str | None]) -> None:
        made: list[booted.Ours] = []
        base = write_system({"host_name": "bench"}, "bench", network=NETWORK if zone_of(0) else None)
        with contextlib.ExitStack() as undo:
            undo.callback(shutil.rmtree, base)
            subjects.set_up(base, WAITING, [], equal=False)
            for count in self.arguments.counts:
                new = [self._one(kind, base, number, zone_of(number)) for number in range(len(made), count)]
                for one in new:
                    undo.callback(one.stop)
                for one in new[:-SAMPLE]:
                    one.start()
                made += new
                self._at(kind, count, new[-SAMPLE:])
        for operation in ("first start", "stop", "start"):
            medians = [self.results.median(f"{kind}, {operation}", f"of {count}") for count in self.arguments.counts]
            least, most = medians[0], medians[-1]
            if least and most and len(medians) > 1:
                said = f"{kind}: {operation} of one of {self.arguments.counts[-1]} at most {MOST_GROWTH} times that of"
                self.judge(f"{said} one of {self.arguments.counts[0]}: {most / least:.2f}", most / least <= MOST_GROWTH)

    def _one(self, kind: str, base: Path, number: int, zone: str | None) -> booted.Ours:
        """Return a container that was not started yet."""
        name = f"bench-{kind}-{number}"
        system = self.directory / f"{'0' * 32}-{name}"
        subprocess.run(["cp", "-a", "--no-target-directory", base, system], check=True)
        spec = json.loads((system / "spec.json").read_text())
        for interface in (spec.get("network") or {}).get("interfaces", []):
            interface.update(parent=zone)
            if kind == "zones":
                interface.update(subnets=[f"10.{78 + number // 2560}.{number // SAMPLE % 256}.0/24"])
        (system / "spec.json").write_text(json.dumps({**spec, "name": name}))
        return booted.Ours(system, name)

    def _at(self, kind: str, count: int, some: list[booted.Ours]) -> None:
        """Measure with this many containers, all but some of which run."""

        def start() -> None:
            for one in some:
                one.start()

        self._time(f"{kind}, first start", count, SAMPLE, start)
        containers = [one.container for one in some]

        def stop() -> None:
            for container in containers:
                with container.lock(60):
                    container.stop(20)

        self._time(f"{kind}, stop", count, SAMPLE, stop)
        self._time(f"{kind}, start", count, SAMPLE, start)
        names = container_information.names(Layout(), Path("/run/unshare"))
        self._time(f"{kind}, status", count, len(names), lambda: [Container(name).status() for name in names])
        self._time(f"{kind}, collection of garbage, all", count, 1, lambda: software.collect(Layout()))
        self._time(f"{kind}, report", count, len(names), lambda: [_report(name) for name in names])
        self._time(f"{kind}, refresh", count, count, lambda: following.refresh_all(60))

        stop()

        def remove() -> None:
            for container in containers:
                with container.lock(60):
                    container.remove()

        self._time(f"{kind}, removal", count, SAMPLE, remove)
        start()

    def _time(self, operation: str, count: int, times: int, act: t.Callable[[], object]) -> None:
        before, began = processor_seconds(), time.perf_counter()
        act()
        self.results.add(operation, f"of {count}", (processor_seconds() - before) / times * 1000)
        self.results.add(f"{operation}, wall", f"of {count}", (time.perf_counter() - began) / times * 1000)


def _report(name: str) -> dict[str, t.Any]:
    return Information(Layout(), name, Container(name)).gather()


def main() -> int:
    """Measure what the command line names."""
    parser = sessions.parser_of(Scale, __doc__, rounds=1)
    parser.add_argument(
        "--counts", type=int, nargs="+", default=[10, 100, 500, 1000], help="containers (10 100 500 1000)"
    )
    return sessions.run(Scale, parser)


if __name__ == "__main__":
    sys.exit(main())
