# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure what a machine's root costs beside a declared one and beside peers; `make benchmark-roots` calls it.

All of them boot the same tree, which is the one of the tests. What is compared is measured in turns.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import shutil
import statistics
import subprocess
import sys
import typing as t
from pathlib import Path

from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout
from ansible_collections.unshare.container.tests.benchmarks import booted, sessions, subjects
from ansible_collections.unshare.container.tests.integration import machine_tree
from ansible_collections.unshare.container.tests.integration.conftest import write_system

DECLARED, EPHEMERAL, KEPT = "declared", "machine", "machine, kept"
ROOTS: dict[str, t.Any] = {DECLARED: "declared", EPHEMERAL: "machine", KEPT: {"kind": "machine", "layer": "kept"}}
NSPAWN = [
    *("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network", "--link-journal=no"),
    *booted.BOOTED_BY_NSPAWN,
]
"""Without ids of its own: with them, this version does not boot a copy or an overlay of a tree of root's."""

BOOTED_BY_PODMAN = ["--systemd=always", "--sdnotify=container"]
KIBIBYTE = 1 << 10
BLOCK = 512


class Roots(sessions.Session):
    """Containers of one tree."""

    BENCHMARKS = ("ready", "together")

    def __init__(self, directory: Path, arguments: argparse.Namespace, undo: contextlib.ExitStack) -> None:
        super().__init__(directory, arguments, undo)
        self.tree = machine_tree.made().resolve()
        self.made: dict[str, booted.Ours] = {}

    def _ours(self, kind: str, number: int) -> booted.Ours:
        """Return a container of ours, which is taken away at the end."""
        name = f"bench-{[*ROOTS].index(kind)}-{number}"
        if name not in self.made:
            system = write_system({"host_name": "bench"}, name, store=f"{self.tree}/usr", root=ROOTS[kind])
            self.undo.callback(shutil.rmtree, system)
            self.undo.callback(booted.forget, name)
            self.made[name] = booted.Ours(system, name)
        return self.made[name]

    def _peers(self, number: int) -> list[booted.Peer]:
        """Return those that are installed."""
        found = []
        own = [f"--directory={self.tree}", f"--machine=bench-{number}"]
        if shutil.which("systemd-nspawn"):
            found.append(booted.Peer("nspawn, overlay", number, [*NSPAWN, *own, "--volatile=overlay"]))
            found.append(booted.Peer("nspawn, ephemeral", number, [*NSPAWN, *own, "--ephemeral"]))
        else:
            self.unable["systemd-nspawn"] = "it is not installed"
        if shutil.which("podman"):
            podman, name = subjects.podman(self.directory), f"bench-{number}"
            words = [*podman, *subjects.PODMAN_RUN, f"--name={name}", *BOOTED_BY_PODMAN]
            words += ["--rootfs", f"{self.tree}:O", "/sbin/init"]
            found.append(booted.Peer("podman", number, words, [*podman, "stop", "--time=20", name]))
        else:
            self.unable["podman"] = "it is not installed"
        return found

    def ready(self) -> None:
        """Time a tree's system until it is ready: declared, as a machine, and by peers."""
        found: dict[str, t.Any] = {kind: self._ours(kind, 0) for kind in ROOTS}
        found.update((peer.name, peer) for peer in self._peers(0))
        for number in range(self.arguments.rounds + 1):
            for name in random.sample([*found], len(found)):
                seconds = found[name].start()
                _stop(found[name])
                if number:  # the first warms up
                    self.results.add("ready", name, seconds * 1000)
        own = self.results.samples["ready"][EPHEMERAL]
        for name, samples in self.results.samples["ready"].items():
            if name == EPHEMERAL:
                continue
            ratios = [of(own) / of(samples) for of in (min, statistics.median)]
            self.lines.append(f"ready, machine beside {name}: {ratios[0]:.2f} by the least, {ratios[1]:.2f} by medians")

    def together(self) -> None:
        """Start many at once until the last is ready, and see what each takes beside the tree."""
        for kind in ROOTS:
            machines = [self._ours(kind, number) for number in range(self.arguments.count)]
            before = _disk()
            taken: list[int] = []
            seconds, figures = booted.many(machines, measure=True, then=lambda: taken.append(_disk()))  # noqa: B023
            for name, value in figures.items():
                self.results.add(name, kind, value, "MB")
            self.results.add(f"together {len(machines)}", kind, seconds, "s")
            self.results.add("disk", kind, (taken[0] - before) / len(machines) / KIBIBYTE, "KiB")
        self.results.add("disk", "the tree", _size(self.tree) / KIBIBYTE, "KiB")


def _stop(subject: t.Any) -> None:
    """Stop a container, and keep what is kept of it."""
    if isinstance(subject, booted.Ours):
        with subject.container.lock(60):
            subject.container.stop(20)
    else:
        subject.stop()


def _size(path: Path) -> int:
    """Return the bytes on disk of a directory and of all below it."""
    found = subprocess.run(["du", "--summarize", "--block-size=1", path], capture_output=True, text=True, check=True)
    return int(found.stdout.split()[0])


def _disk() -> int:
    """Return the bytes on disk of all containers."""
    return _size(Path(Layout().state, "containers"))


def main() -> int:
    """Measure what the command line names."""
    parser = sessions.parser_of(Roots, __doc__, rounds=10)
    parser.add_argument("--count", type=int, default=50, help="containers at once (%(default)s)")
    return sessions.run(Roots, parser)


if __name__ == "__main__":
    sys.exit(main())
