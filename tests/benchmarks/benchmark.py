# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure the launcher beside its peers, in one run, on this machine; `make benchmark` calls it.

What is compared is measured in turns, so that what else the machine does meets all alike. Times are medians, with the
least beside them; the ratio is that of the medians to the peer's that a benchmark names.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import statistics
import subprocess
import sys
import typing as t
from pathlib import Path

from ansible_collections.unshare.container.tests.benchmarks import booted, sessions, subjects
from ansible_collections.unshare.container.tests.integration.conftest import write_system

TRUE = ["/usr/bin/true"]
SPIN = ["setpriv", "--pdeathsig=KILL", sys.executable, "-c", "while True: pass"]
"""Keeps a processor busy until it is killed, or its parent ends."""

REFERENCE = {"launch": "crun", "mounts": "crun", "ready": "systemd-nspawn -b"}
TARGETS = {
    ("launch", "module", "crun"): 0.75,
    ("launch CPU", "module", "crun"): 0.9,
    ("launch loaded", "module", "crun"): 0.95,
    ("launch loaded CPU", "module", "crun"): 0.9,
    ("launch", "run-container", "runc"): 1.0,
    ("mounts 500", "module", "crun"): 2.0,
    ("ready", "module", "systemd-nspawn -b"): 0.4,
}
"""What the launcher is to reach: the ratio of its median to a peer's, at most."""


class Launcher(sessions.Session):
    """The launcher beside its peers."""

    BENCHMARKS = ("launch", "loaded", "mounts", "ready", "together", "memory")

    def __init__(self, directory: Path, arguments: argparse.Namespace, undo: contextlib.ExitStack) -> None:
        super().__init__(directory, arguments, undo)
        self.rounds: int = arguments.rounds
        self.counts: list[int] = arguments.counts
        self.base = write_system({"host_name": "bench"}, "bench")
        undo.callback(shutil.rmtree, self.base)
        self.peers, self.unable = subjects.peers(directory)
        self.all = self._subjects()
        for name in ("bench-module", "bench"):
            undo.callback(booted.forget, name)
        for subject in self.all:
            if isinstance(subject, subjects.Module):
                undo.callback(subject.close)

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
        sessions.in_turns(self.results, "launch", self.rounds, self.all)

    def loaded(self) -> None:
        """Time the same while each processor is kept busy by another program."""
        for subject in self.all:
            subject.prepare(TRUE, [])
        with contextlib.ExitStack() as ended:
            for _processor in os.sched_getaffinity(0):
                ended.callback(ended.enter_context(subprocess.Popen(SPIN)).kill)
            sessions.in_turns(self.results, "launch loaded", self.rounds, self.all)

    def mounts(self) -> None:
        """Time the same program with 10, 100 and 500 directories bound read-only."""
        for count in (10, 100, 500):
            shared = [self.directory / "shared" / str(number) for number in range(count)]
            for path in shared:
                path.mkdir(parents=True, exist_ok=True)
            for subject in self.all:
                subject.prepare(TRUE, shared)
            sessions.in_turns(self.results, f"mounts {count}", max(3, self.rounds // (1 + count // 50)), self.all)

    def ready(self) -> None:
        """Time a base system with systemd: from the call until it says that it is ready."""
        found: list[t.Any] = [booted.Ours(self.base, 0)]
        if self._has_nspawn():
            found.append(booted.by_nspawn(self.directory, 0))
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
                seconds, _figures = booted.many([booted.by_nspawn(self.directory, number) for number in range(count)])
                self.results.add(f"together {count}", "systemd-nspawn -b", seconds, "s")

    def memory(self) -> None:
        """Measure the memory of an idle base system, one of many: by `free`, and by its processes' share."""
        count = max(self.counts)
        _seconds, figures = booted.many([booted.Ours(self.base, number) for number in range(count)], measure=True)
        for name, value in figures.items():
            self.results.add(name, f"module, of {count}", value, "MB")
        if self._has_nspawn():
            count = min(10, count)
            _seconds, figures = booted.many([booted.by_nspawn(self.directory, n) for n in range(count)], measure=True)
            for name, value in figures.items():
                self.results.add(name, f"systemd-nspawn -b, of {count}", value, "MB")

    def text(self) -> str:
        """Return all of it for people, with ratios, and the targets."""
        lines = [f"{'benchmark':18} {'subject':22} {'median':>10} {'least':>10} {'spread':>7}  of peer"]
        for benchmark, by_subject in self.results.samples.items():
            reference = REFERENCE.get(benchmark.split()[0], "")
            base = self.results.median(benchmark, reference)
            for subject, samples in sorted(by_subject.items(), key=lambda item: statistics.median(item[1])):
                middle = statistics.median(samples)
                quarters = statistics.quantiles(samples, n=4) if len(samples) > 3 else [middle] * 3
                spread = (quarters[2] - quarters[0]) / middle if middle else 0
                ratio = f"{middle / base:.2f} {reference}" if base else ""
                unit = self.results.units[benchmark]
                figures = f"{middle:>7.2f} {unit:2} {min(samples):>7.2f} {unit:2}"
                lines.append(f"{benchmark:18} {subject:22} {figures} {spread:>6.0%}  {ratio}")
        for (benchmark, subject, peer), most in TARGETS.items():
            ours, theirs = self.results.median(benchmark, subject), self.results.median(benchmark, peer)
            if ours is not None and theirs:
                word = "met" if ours / theirs <= most else "MISSED"
                lines.append(f"target: {benchmark}, {subject} at most {most} of {peer}: {ours / theirs:.2f}, {word}")
        return "\n".join([*lines, *self.not_measured()])


def main() -> int:
    """Measure what the command line names."""
    parser = sessions.parser_of(Launcher, __doc__, rounds=30)
    parser.add_argument(
        "--counts", type=int, nargs="+", default=[1, 10, 50, 100], help="containers at once (1 10 50 100)"
    )
    return sessions.run(Launcher, parser)


if __name__ == "__main__":
    sys.exit(main())
