# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure what a network of its own costs a container; `make benchmark-network` calls it.

The host is a network namespace of the benchmark, so that this machine's own network stays as it is, and the runtime
directory is in memory, as on other hosts. What is compared is measured in turns.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import time
import typing as t
from pathlib import Path

from ansible_collections.unshare.container.tests.benchmarks import booted, sessions, subjects, traffic
from ansible_collections.unshare.container.tests.integration.conftest import write_system
from ansible_collections.unshare.container.tests.integration.network_hosts import Namespace

NONE, ZONE = "no network", "zone"
NETWORKS: dict[str, t.Any] = {
    NONE: None,
    ZONE: {"interfaces": [{"name": "eth0", "zone": "bench"}], "host_access": True},
}
MOST_READY = 1.25
"""What ready with a zone may take, in times of ready without."""
LEAST_THROUGHPUT = 0.95
"""Of a peer's."""


def processor(who: int) -> float:
    """Return the seconds of a processor that this process, or its children, have taken so far."""
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


class Networks(sessions.Session):
    """Containers with a network of their own, on a host that is a network namespace."""

    BENCHMARKS = ("ready", "together", "throughput")
    PROGRAMS = (*subjects.PROGRAMS, "nft", "iperf3")

    def __init__(self, directory: Path, arguments: argparse.Namespace, undo: contextlib.ExitStack) -> None:
        super().__init__(directory, arguments, undo)
        Path("/run/unshare").mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run/unshare"], check=True)
        self.bases: dict[str, Path] = {}
        for number, (kind, network) in enumerate(NETWORKS.items()):
            self.bases[kind] = write_system({"host_name": "bench"}, f"bench-base-{number}", network=network)
            undo.callback(shutil.rmtree, self.bases[kind])
        host = Namespace(f"bench-{os.getpid()}")
        undo.callback(host.remove)
        host.make("link add uplink type bridge", f"addr add {traffic.HOST}/24 dev uplink", "link set uplink up")
        undo.enter_context(host.entered())

    def _system(self, kind: str, name: str) -> Path:
        """Return a system of a kind for a container of this name; made when there is none."""
        copy = self.directory / f"{'0' * 32}-{name}"
        if not copy.exists():
            subprocess.run(["cp", "-a", "--no-target-directory", self.bases[kind], copy], check=True)
            spec = json.loads((copy / "spec.json").read_text())
            (copy / "spec.json").write_text(json.dumps({**spec, "name": name}))
        return copy

    def _machines(self, kind: str, count: int) -> list[booted.Ours]:
        names = [f"bench-{number}" for number in range(count)]
        return [booted.Ours(self._system(kind, f"{name}-{kind[0]}"), f"{name}-{kind[0]}") for name in names]

    def ready(self) -> None:
        """Time a base system with systemd until it is ready, with a zone and without: wall, and the launcher's CPU."""
        found = {kind: self._machines(kind, 1)[0] for kind in NETWORKS}
        for number in range(self.arguments.rounds + 1):
            for kind in random.sample([*found], len(found)):
                before = processor(resource.RUSAGE_SELF) + processor(resource.RUSAGE_CHILDREN)
                seconds = found[kind].start()
                used = processor(resource.RUSAGE_SELF) + processor(resource.RUSAGE_CHILDREN) - before
                began = time.perf_counter()
                found[kind].stop()
                if number:  # the first warms up
                    self.results.add("ready", kind, seconds * 1000)
                    self.results.add("ready CPU", kind, used * 1000)
                    self.results.add("stop", kind, (time.perf_counter() - began) * 1000)
        for benchmark in ("ready", "ready CPU", "stop"):
            samples = self.results.samples[benchmark]
            ratios = [of(samples[ZONE]) / of(samples[NONE]) for of in (min, statistics.median)]
            self.lines.append(
                f"{benchmark}, zone beside none: {ratios[0]:.2f} by the least, {ratios[1]:.2f} by medians"
            )
            if benchmark == "ready":
                self.judge(f"ready at most {MOST_READY} times", min(ratios) <= MOST_READY)

    def together(self) -> None:
        """Many at once until the last is ready, with a zone and without, and the CPU of all launchers."""
        for count in self.arguments.counts:
            for kind in NETWORKS:
                machines = self._machines(kind, count)
                before = processor(resource.RUSAGE_CHILDREN)
                used: list[float] = []
                addresses: list[str] = []

                def look() -> None:
                    used.append(processor(resource.RUSAGE_CHILDREN) - before)  # noqa: B023
                    addresses.extend(a for m in machines for a in _addresses(m.container.name))  # noqa: B023

                seconds = booted.many(machines, then=look)[0]
                self.results.add(f"together {count}", kind, seconds, "s")
                self.results.add(f"together {count} CPU", kind, used[0] / count * 1000)
                said = f"  {count}, {kind}: {seconds:.2f} s, CPU of each launcher {used[0] / count * 1000:.1f} ms"
                print(said, file=sys.stderr, flush=True)
                if len(set(addresses)) != (2 * count if kind == ZONE else 0):
                    self.judge(f"{count} containers of a zone have addresses of their own", False)

    def throughput(self) -> None:
        """Send by iperf3 between two containers and their host, beside peers."""
        pairs: list[traffic.Pair] = []
        every: list[traffic.Pair] = [
            traffic.Ours(lambda name: self._system(ZONE, name)),
            traffic.ByNspawn(self.directory),
            traffic.ByPodman(self.directory),
            traffic.ByHand(),
        ]
        try:
            for pair in every:
                try:
                    pair.start()
                    pairs.append(pair)
                except traffic.Unable as error:
                    self.unable[pair.name] = str(error)
            for _round in range(self.arguments.rounds):
                for way in traffic.WAYS:
                    for streams in self.arguments.streams:
                        for pair in random.sample(pairs, len(pairs)):
                            self._send(pair, way, streams)
        finally:
            for pair in every:
                pair.stop()
        self._compare(pairs)

    def _send(self, pair: traffic.Pair, way: traffic.Way, streams: int) -> None:
        name = f"{way.name}, {streams}"
        if (way.published and not pair.port) or f"{pair.name}: {name}" in self.unable:
            return
        try:
            sent = traffic.measure(pair, way, streams, self.arguments.seconds)
        except traffic.Unable as error:
            self.unable[f"{pair.name}: {name}"] = str(error)
            return
        self.results.add(name, pair.name, sent.by_second, "Gbit/s")
        self.results.add(name + " CPU", pair.name, sent.by_processor, "Gbit/CPU s")

    def _compare(self, pairs: list[traffic.Pair]) -> None:
        for benchmark, samples in self.results.samples.items():
            own = samples.get(traffic.Ours.name)
            if not self.results.units[benchmark].startswith("Gbit/") or not own:
                continue
            for name in [pair.name for pair in pairs if pair.name in samples and samples[pair.name] is not own]:
                ratios = [of(own) / of(samples[name]) for of in (max, statistics.median)]
                said = f"{benchmark}, beside {name}: {ratios[0]:.2f} by the most, {ratios[1]:.2f} by medians"
                self.lines.append(said)
                if name != traffic.ByHand.name and self.results.units[benchmark] == "Gbit/s":
                    self.judge(f"{benchmark} at least {LEAST_THROUGHPUT} of {name}", max(ratios) >= LEAST_THROUGHPUT)


def _addresses(name: str) -> list[str]:
    path = Path("/run/unshare", name, "network.json")
    noted = json.loads(path.read_text()) if path.exists() else {"interfaces": []}
    return [address for interface in noted["interfaces"] for address in interface["addresses"]]


def main() -> int:
    """Measure what the command line names."""
    parser = sessions.parser_of(Networks, __doc__, rounds=10)
    parser.add_argument(
        "--counts", type=int, nargs="+", default=[10, 50, 100, 200], help="containers at once (10 50 100 200)"
    )
    parser.add_argument("--seconds", type=float, default=2, help="that are sent (2)")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4], help="connections that are sent by (1 4)")
    return sessions.run(Networks, parser)


if __name__ == "__main__":
    sys.exit(main())
