# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which test runs each command and each block of the pages, and which of them are only checked, with the reason.

A test takes what it runs from a `Page`, which fails when something of the page is left at the end. So a block that is
added to a page is run, or the test of that page fails.
"""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

from ansible_collections.unshare.container.tests import guides

QUALITY, INTEGRATION, HOSTS = "tests/quality", "tests/integration", "tests/hosts"

RUN_BY = {
    "README.md": f"{INTEGRATION}/test_guides.py",
    "README.md#Installation": f"{QUALITY}/test_installation.py",
    "README.md#Try it": f"{INTEGRATION}/test_guides_running.py",
    "README.md#What a restart takes away": f"{INTEGRATION}/test_guides_running.py",
    "docs/architecture.md": f"{INTEGRATION}/test_guides_running.py",
    "docs/at-boot.md": f"{INTEGRATION}/test_at_boot.py",
    "docs/at-boot.md#Hosts without systemd": f"{INTEGRATION}/test_guides_running.py",
    "docs/at-scale.md": f"{INTEGRATION}/test_at_scale.py",
    "docs/connecting.md": f"{INTEGRATION}/test_guides_fleet.py",
    "docs/day-2.md": f"{INTEGRATION}/test_guides.py",
    "docs/day-2.md#Secrets": f"{INTEGRATION}/test_guides_declared.py",
    "docs/day-2.md#Two versions of a service": f"{INTEGRATION}/test_guides_declared.py",
    "docs/eval.md": f"{INTEGRATION}/test_guides_running.py",
    "docs/networking.md": f"{INTEGRATION}/test_guides_networking.py",
    "docs/operating_system.md": f"{INTEGRATION}/test_guides_declared.py",
    "docs/rollout.md": f"{INTEGRATION}/test_guides_fleet.py",
    "docs/running.md": f"{INTEGRATION}/test_guides_running.py",
    "docs/security.md#AppArmor": f"{HOSTS}/test_host_changes.py",
    "docs/services.md": f"{INTEGRATION}/test_guides_declared.py",
    "docs/services.md#Changing a list of services": f"{QUALITY}/test_guides.py",
    "docs/storage.md": f"{INTEGRATION}/test_guides_storage.py",
    "docs/storage.md#Move to another host": f"{INTEGRATION}/test_guides_moves.py",
    "docs/testing-your-roles.md": f"{INTEGRATION}/test_molecule.py",
    "docs/testing-your-roles.md#A role that installs packages": f"{INTEGRATION}/test_molecule_packages.py",
    "docs/trees.md": f"{INTEGRATION}/test_trees.py",
    "docs/trees.md#To a fleet": f"{INTEGRATION}/test_trees_fleet.py",
    "roles/containers/README.md": f"{INTEGRATION}/test_guides_declared.py",
    "roles/system_container/README.md": f"{INTEGRATION}/test_guides_declared.py",
}
"""The tests that run what stands in a page, or in a section of it that another test runs."""

LONG = "measures for minutes, or hours; its options are compared with those of the program"
DRAWS = "needs a library that tests do not install; tests/quality/test_plots.py looks at what it draws"
IMAGES = "needs a registry of images; its options are compared with those of the program"
UPGRADES = "upgrades the machine that runs the tests"

ONLY_CHECKED = {
    ("README.md", "ansible-galaxy collection install unshare.container"): "needs a server; the others install the same",
    ("README.md", "make test"): "is what runs the tests",
    ("docs/at-scale.md", "make benchmark-fleet"): LONG,
    ("docs/at-scale.md", "ansible-builder build"): IMAGES,
    ("docs/at-scale.md", "ansible-runner run"): IMAGES,
    ("docs/day-2.md", "apt-get update"): UPGRADES,
    ("docs/day-2.md", "apt-get upgrade"): UPGRADES,
    ("docs/rollout.md", "make benchmark-fleet"): LONG,
    ("tests/benchmarks/README.md", "make benchmark"): LONG,
    ("tests/benchmarks/README.md", "make benchmark BENCHMARK_ARGS"): LONG,
    ("tests/benchmarks/README.md", "make benchmark-archives"): LONG,
    ("tests/benchmarks/README.md", "make benchmark-archives BENCHMARK_ARGS"): LONG,
    ("tests/benchmarks/README.md", "make benchmark-connection"): LONG,
    ("tests/benchmarks/README.md", "make benchmark-network"): LONG,
    ("tests/benchmarks/README.md", "make benchmark-network BENCHMARK_ARGS"): LONG,
    ("tests/benchmarks/README.md", "make benchmark-plots"): DRAWS,
    ("tests/benchmarks/README.md", "make benchmark-plots BENCHMARK_ARGS"): DRAWS,
    ("tests/benchmarks/README.md", "make benchmark-roots"): LONG,
    ("tests/benchmarks/README.md", "make benchmark-roots BENCHMARK_ARGS"): LONG,
    ("tests/benchmarks/README.md", "make benchmark-fleet"): LONG,
    ("tests/benchmarks/README.md", "make benchmark-fleet BENCHMARK_ARGS"): LONG,
    ("tests/benchmarks/README.md", "make benchmark-scale"): LONG,
    ("tests/benchmarks/README.md", "make benchmark-scale BENCHMARK_ARGS"): LONG,
    ("tests/mutation/README.md", "make mutation"): LONG,
    ("tests/mutation/README.md", "make mutation SAMPLE"): LONG,
    ("tests/mutation/README.md", "make mutation MUTATION_ARGS='--room"): LONG,
    ("tests/mutation/README.md", "make mutation MUTATION_ARGS='--module"): LONG,
}
"""What no test runs, by its page and how it begins, with the reason. `tests/quality/test_guides.py` checks it."""


class Step(t.NamedTuple):
    """Something that a reader of a page does: a command, or a block that he writes into a file.

    Attributes:
        block: where it stands.
        text: the command, or the block's text.
    """

    block: guides.Block
    text: str

    @property
    def only_checked(self) -> list[tuple[str, str]]:
        """Return the entries of ONLY_CHECKED that speak of it; the longest that fits is the one that does."""
        fitting = [key for key in ONLY_CHECKED if key[0] == self.block.page and begins(self.text, key[1])]
        return [max(fitting, key=lambda key: len(key[1]))] if fitting else []

    @property
    def test(self) -> str | None:
        """Return the test that runs it."""
        page = self.block.page
        return RUN_BY.get(f"{page}#{self.block.section}", RUN_BY.get(page))


def begins(text: str, words: str) -> bool:
    """Return whether a text begins with whole words."""
    return re.match(rf"{re.escape(words)}(?![\w-])", text) is not None


def steps(page: str) -> list[Step]:
    """Return what a reader of a page does, in its order."""
    found = []
    for block in guides.blocks(page):
        if block.is_commands:
            found += [Step(block, command) for command in block.commands()]
        elif not block.is_drawing:
            found.append(Step(block, block.text))
    return found


class Page:
    """What a test runs of a page. Used as a context, it fails when something of that was not taken.

    Args:
        page: path of the page in the repository.
        test: path of the test's file.
    """

    def __init__(self, page: str, test: str) -> None:
        own = str(Path(test).resolve().relative_to(guides.REPOSITORY))
        self.left = [step for step in steps(page) if step.test == own and not step.only_checked]
        assert self.left, f"{own} runs nothing of {page}"

    def __enter__(self) -> Page:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        if kind is None:
            assert self.left == [], f"left out: {[(step.block.place, step.text) for step in self.left]}"

    def take(self, begin: str) -> Step:
        """Return the next step that is the content of a file, or that begins with a text."""
        step = next((s for s in self.left if s.block.file == begin or s.text.startswith(begin)), None)
        assert step, f"the page has no further '{begin}'"
        self.left.remove(step)
        return step

    def section(self, name: str) -> list[Step]:
        """Return all steps of a section that are left."""
        taken = [step for step in self.left if step.block.section == name]
        assert taken, f"the page has nothing in '{name}'"
        self.left = [step for step in self.left if step not in taken]
        return taken

    def rest(self) -> list[Step]:
        """Return all steps that are left."""
        taken, self.left = self.left, []
        return taken


VARYING = [
    (re.compile(r"\b[0-9a-f]{32}\b"), "HASH"),
    (re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?"), "TIME"),
    (re.compile(r"\bPID \d+"), "PID N"),
    (re.compile(r"\b\d+(?:\.\d+)?(?: ?(?:s|ms|seconds))\b"), "DURATION"),
]
"""What differs from run to run, and what stands for it."""


def normalised(text: str) -> list[str]:
    """Return the lines of an output, without what differs from run to run and what JSON adds."""
    for pattern, word in VARYING:
        text = pattern.sub(word, text)
    return [" ".join(line.split()).strip('",') for line in text.splitlines() if line.strip()]


def not_printed(shown: str, printed: str) -> list[str]:
    """Return the lines of an output in a page that a program did not print, in this order. `…` stands for anything."""
    lines = normalised(printed)
    lacking = []
    for line in normalised(shown):
        pattern = re.compile(".*".join(map(re.escape, line.split("…"))))
        place = next((number for number, said in enumerate(lines) if pattern.fullmatch(said)), None)
        if place is None:
            lacking.append(line)
        else:
            lines = lines[place + 1 :]
    return lacking
