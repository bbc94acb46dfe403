# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the benchmarks have in common: samples, targets, turns, the command line, and a directory that is removed."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import typing as t
from pathlib import Path

from ansible_collections.unshare.container.plugins.module_utils.launcher import linux, mount_calls
from ansible_collections.unshare.container.tests.benchmarks import subjects


class Results:
    """Samples by benchmark and subject."""

    def __init__(self) -> None:
        self.samples: dict[str, dict[str, list[float]]] = {}
        self.units: dict[str, str] = {}

    def add(self, benchmark: str, subject: str, value: float, unit: str = "ms") -> None:
        """Add a sample."""
        self.samples.setdefault(benchmark, {}).setdefault(subject, []).append(round(value, 3))
        self.units[benchmark] = unit

    def median(self, benchmark: str, subject: str) -> float | None:
        """Return the median of a subject's samples; None without any."""
        samples = self.samples.get(benchmark, {}).get(subject)
        return statistics.median(samples) if samples else None

    def document(self, programs: t.Iterable[str]) -> dict[str, t.Any]:
        """Return all of it for a plot: one entry a benchmark and subject, with every sample.

        Args:
            programs: whose versions are named.
        """
        results = [
            {"benchmark": benchmark, "subject": subject, "unit": self.units[benchmark], "samples": samples}
            for benchmark, by_subject in self.samples.items()
            for subject, samples in by_subject.items()
        ]
        host = {"kernel": platform.release(), "processors": os.cpu_count(), "load": os.getloadavg()}
        model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
        host["processor"] = model.group(1) if model else platform.machine()
        host["distribution"] = platform.freedesktop_os_release()["PRETTY_NAME"]
        host["python"] = platform.python_version()
        return {"host": host, "versions": versions(programs), "results": results}


class Session:
    """One run of some benchmarks, in a directory of its own. Each benchmark is a method without arguments.

    Attributes:
        PROGRAMS: those whose versions the results name.
        undo: takes away at the end what the benchmarks make outside of the directory.
        lines: what is said below the table: ratios and targets.
        missed: whether a target is missed.
        unable: why a subject was not measured, by its name.
    """

    BENCHMARKS: t.ClassVar[tuple[str, ...]]
    PROGRAMS: t.ClassVar[tuple[str, ...]] = subjects.PROGRAMS

    def __init__(self, directory: Path, arguments: argparse.Namespace, undo: contextlib.ExitStack) -> None:
        self.directory = directory
        self.arguments = arguments
        self.undo = undo
        undo.callback(subjects.forget_groups)
        self.results = Results()
        self.lines: list[str] = []
        self.missed = False
        self.unable: dict[str, str] = {}

    def judge(self, target: str, met: bool) -> None:
        """Say whether a target is met."""
        self.lines.append(f"target: {target}: {'met' if met else 'MISSED'}")
        self.missed = self.missed or not met

    def text(self) -> str:
        """Return all of it, for people."""
        lines = [f"{'benchmark':28} {'subject':22} {'median':>8} {'least':>8} {'most':>8}"]
        for benchmark, by_subject in self.results.samples.items():
            for subject, samples in by_subject.items():
                figures = [statistics.median(samples), min(samples), max(samples)]
                text = " ".join(f"{figure:>8.2f}" for figure in figures)
                lines.append(f"{benchmark:28} {subject:22} {text} {self.results.units[benchmark]}")
        return "\n".join([*lines, *self.lines, *self.not_measured()])

    def not_measured(self) -> list[str]:
        """Return a line for people about each subject that was not measured."""
        return [f"not measured: {name}: {why}" for name, why in self.unable.items()]


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


def versions(programs: t.Iterable[str]) -> dict[str, str]:
    """Return the first line that each installed program prints as its version."""
    found = {}
    for name in programs:
        try:
            said = subprocess.run([name, "--version"], capture_output=True, text=True, timeout=20).stdout
        except OSError:
            continue
        found[name] = said.partition("\n")[0]
    return found


def own_mounts() -> None:
    """Enter a mount namespace in which control groups are as crun wants them: version 2, alone."""
    linux.unshare(linux.CLONE_NEWNS)
    mount_calls.make_private("/")
    if not os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        subprocess.run(["umount", "--lazy", "/sys/fs/cgroup"], check=True)
        subprocess.run(["mount", "-t", "cgroup2", "cgroup2", "/sys/fs/cgroup"], check=True)


def parser_of(session: type[Session], description: str | None, rounds: int) -> argparse.ArgumentParser:
    """Return a command line that chooses benchmarks of a session.

    Args:
        session: its kind.
        description: of the program, of which the first line is taken.
        rounds: how often a subject is measured when the command line does not say.
    """
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("benchmarks", nargs="*", choices=[*session.BENCHMARKS, []], help="all of them by default")
    parser.add_argument("--rounds", type=int, default=rounds, help="how often each is measured (%(default)s)")
    parser.add_argument("--output", type=Path, help="file for the results as JSON")
    return parser


def run(session_type: type[Session], parser: argparse.ArgumentParser) -> int:
    """Measure, print a table, and write JSON when asked to; 1 when a target is missed."""
    arguments = parser.parse_args()
    if os.geteuid() != 0:
        parser.error("must be run as root")
    # An end like that of Ctrl-C, after which what was made is taken away.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    own_mounts()
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir="/var/tmp") as name, contextlib.ExitStack() as undo:
        directory = Path(name)
        directory.chmod(0o755)
        session = session_type(directory, arguments, undo)
        for benchmark in arguments.benchmarks or session.BENCHMARKS:
            print(f"{benchmark}: {getattr(session, benchmark).__doc__}", file=sys.stderr)
            getattr(session, benchmark)()
    print(session.text())
    if arguments.output:
        document = {
            **session.results.document(session.PROGRAMS),
            "not_measured": session.unable,
            "compared": session.lines,
        }
        arguments.output.write_text(json.dumps(document, indent=1) + "\n")
    return int(session.missed)
