# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure the launcher beside its peers, in one run, on this machine; `make benchmark` calls it.

What is compared is measured in turns, so that what else the machine does meets all alike. Times are medians, with the
least beside them; the ratio is that of the medians to the peer's that a benchmark names.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import typing as t
from pathlib import Path

from ansible_collections.unshare.container.plugins.module_utils.launcher import linux, mount_calls
from ansible_collections.unshare.container.tests.benchmarks import booted, subjects
from ansible_collections.unshare.container.tests.integration.conftest import write_system

TRUE = ["/usr/bin/true"]
BENCHMARKS = ("launch", "mounts", "ready", "together", "memory")
REFERENCE = {"launch": "crun", "mounts": "crun", "ready": "systemd-nspawn -b"}
TARGETS = {
    ("launch", "module", "crun"): 0.9,
    ("launch", "run-container", "runc"): 1.0,
    ("mounts 500", "module", "crun"): 2.0,
    ("ready", "module", "systemd-nspawn -b"): 0.4,
}
"""What the launcher is to reach: the ratio of its median to a peer's, at most."""


class Results:
    """Samples by benchmark and subject, as text and as JSON."""

    def __init__(self) -> None:
        self.samples: dict[str, dict[str, list[float]]] = {}
        self.units: dict[str, str] = {}

    def add(self, benchmark: str, subject: str, value: float, unit: str = "ms") -> None:
        self.samples.setdefault(benchmark, {}).setdefault(subject, []).append(round(value, 3))
        self.units[benchmark] = unit

    def median(self, benchmark: str, subject: str) -> float | None:
        samples = self.samples.get(benchmark, {}).get(subject)
        return statistics.median(samples) if samples else None

    def table(self) -> str:
        """All of it, with ratios, and the targets."""
        lines = [f"{'benchmark':18} {'subject':22} {'median':>10} {'least':>10} {'spread':>7}  of peer"]
        for benchmark, by_subject in self.samples.items():
            reference = REFERENCE.get(benchmark.split()[0], "")
            base = self.median(benchmark, reference)
            for subject, samples in sorted(by_subject.items(), key=lambda item: statistics.median(item[1])):
                middle = statistics.median(samples)
                quarters = statistics.quantiles(samples, n=4) if len(samples) > 3 else [middle] * 3
                spread = (quarters[2] - quarters[0]) / middle if middle else 0
                ratio = f"{middle / base:.2f} {reference}" if base else ""
                figures = f"{middle:>7.2f} {self.units[benchmark]:2} {min(samples):>7.2f} {self.units[benchmark]:2}"
                lines.append(f"{benchmark:18} {subject:22} {figures} {spread:>6.0%}  {ratio}")
        for (benchmark, subject, peer), most in TARGETS.items():
            ours, theirs = self.median(benchmark, subject), self.median(benchmark, peer)
            if ours is not None and theirs:
                word = "met" if ours / theirs <= most else "MISSED"
                lines.append(f"target: {benchmark}, {subject} at most {most} of {peer}: {ours / theirs:.2f}, {word}")
        return "\n".join(lines)

    def document(self) -> dict[str, t.Any]:
        """For a plot: one entry a benchmark and subject, with every sample."""
        results = [
            {"benchmark": benchmark, "subject": subject, "unit": self.units[benchmark], "samples": samples}
            for benchmark, by_subject in self.samples.items()
            for subject, samples in by_subject.items()
        ]
        host = {"kernel": platform.release(), "processors": os.cpu_count(), "load": os.getloadavg()}
        host["python"] = platform.python_version()
        return {"host": host, "versions": versions(), "results": results}


def versions() -> dict[str, str]:
    """Return the first line that each installed peer prints as its version."""
    found = {}
    for name in {name.partition(",")[0]: True for name in subjects.PEERS}:
        try:
            said = subprocess.run([name, "--version"], capture_output=True, text=True, timeout=20).stdout
        except OSError:
            continue
        found[name] = said.partition("\n")[0]
    return found


def in_turns(results: Results, benchmark: str, rounds: int, all_subjects: list[t.Any]) -> None:
    """Measure each `rounds` times, all once before any twice, in an order that changes."""
    order = list(all_subjects)
    for subject in order:
        subject.run()
    for _round in range(rounds):
        random.shuffle(order)
        for subject in order:
            before = subject.processor()
            results.add(benchmark, subject.name, subject.run() * 1000)
            results.add(benchmark + " CPU", subject.name, (subject.processor() - before) * 1000)


class Session:
    """One run of the benchmarks, in a directory of its own."""

    def __init__(self, directory: Path, arguments: argparse.Namespace) -> None:
        self.directory = directory
        self.rounds: int = arguments.rounds
        self.counts: list[int] = arguments.counts
        self.results = Results()
        self.base = write_system({"host_name": "bench"}, "bench")
        self.peers = subjects.peers(directory)
        self.all = self._subjects()

    def _subjects(self) -> list[t.Any]:
        found: list[t.Any] = list(self.peers)
        found.append(subjects.Module("module", self._copy("module")))
        found.append(subjects.Module("module, base system", self._copy("whole"), equal=False))
        found.append(subjects.Script("run-container", self._copy("script")))
        return found

    def _copy(self, name: str) -> Path:
        """Make a copy of the base system for a subject to change, and return its path."""
        copy = self.directory / f"{'0' * 32}-bench-{name}"
        subprocess.run(["cp", "-a", "--no-target-directory", self.base, copy], check=True)
        return copy

    def launch(self) -> None:
        """Time a program that ends at once: from the call until all is cleared away."""
        for subject in self.all:
            subject.prepare(TRUE, [])
        in_turns(self.results, "launch", self.rounds, self.all)

    def mounts(self) -> None:
        """Time the same program with 10, 100 and 500 directories bound read-only."""
        for count in (10, 100, 500):
            shared = [self.directory / "shared" / str(number) for number in range(count)]
            for path in shared:
                path.mkdir(parents=True, exist_ok=True)
            for subject in self.all:
                subject.prepare(TRUE, shared)
            in_turns(self.results, f"mounts {count}", max(3, self.rounds // (1 + count // 50)), self.all)

    def ready(self) -> None:
        """Time a base system with systemd: from the call until it says that it is ready."""
        found: list[t.Any] = [booted.Ours(self.base, 0)]
        if self._has_nspawn():
            found.append(booted.ByNspawn(self.directory, 0))
        for number in range(max(3, self.rounds // 3) + 1):
            random.shuffle(found)
            for system in found:
                seconds = system.time()
                if number:  # the first warms up
                    self.results.add("ready", system.name, seconds * 1000)

    def _has_nspawn(self) -> bool:
        return any(peer.name == "systemd-nspawn" for peer in self.peers)

    def together(self) -> None:
        """Many base systems at once, until the last is ready."""
        for count in self.counts:
            seconds, _figures = booted.many([booted.Ours(self.base, number) for number in range(count)])
            self.results.add(f"together {count}", "module", seconds, "s")
            if count <= 10 and self._has_nspawn():
                seconds, _figures = booted.many([booted.ByNspawn(self.directory, number) for number in range(count)])
                self.results.add(f"together {count}", "systemd-nspawn -b", seconds, "s")

    def memory(self) -> None:
        """Measure the memory of an idle base system, one of many: by `free`, and by its processes' share."""
        count = max(self.counts)
        _seconds, figures = booted.many([booted.Ours(self.base, number) for number in range(count)], measure=True)
        for name, value in figures.items():
            self.results.add(name, f"module, of {count}", value, "MB")
        if self._has_nspawn():
            count = min(10, count)
            _seconds, figures = booted.many([booted.ByNspawn(self.directory, n) for n in range(count)], measure=True)
            for name, value in figures.items():
                self.results.add(name, f"systemd-nspawn -b, of {count}", value, "MB")

    def close(self) -> None:
        for subject in self.all:
            if isinstance(subject, subjects.Module):
                subject.close()
        subprocess.run(["rm", "-rf", self.base], check=True)
        subjects.forget_groups_of_nspawn()
        for name in ("bench-module", "bench"):
            booted.forget(name)


def own_mounts() -> None:
    """Enter a mount namespace in which control groups are as crun wants them: version 2, alone."""
    linux.unshare(linux.CLONE_NEWNS)
    mount_calls.make_private("/")
    if not os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        subprocess.run(["umount", "--lazy", "/sys/fs/cgroup"], check=True)
        subprocess.run(["mount", "-t", "cgroup2", "cgroup2", "/sys/fs/cgroup"], check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("benchmarks", nargs="*", choices=[*BENCHMARKS, []], help="all of them by default")
    parser.add_argument("--rounds", type=int, default=30, help="how often a launch is measured (30)")
    parser.add_argument(
        "--counts", type=int, nargs="+", default=[1, 10, 50, 100], help="containers at once (1 10 50 100)"
    )
    parser.add_argument("--output", type=Path, help="file for the results as JSON")
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("must be run as root")
    # An end like that of Ctrl-C, after which what was made is taken away.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    own_mounts()
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir="/var/tmp") as name:
        directory = Path(name)
        directory.chmod(0o755)
        session = Session(directory, arguments)
        try:
            for benchmark in arguments.benchmarks or BENCHMARKS:
                print(f"{benchmark}: {getattr(session, benchmark).__doc__}", file=sys.stderr)
                getattr(session, benchmark)()
        finally:
            session.close()
    print(session.results.table())
    if arguments.output:
        arguments.output.write_text(json.dumps(session.results.document(), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
