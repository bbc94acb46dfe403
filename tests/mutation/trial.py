# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Tries mutants, several at a time, each in a copy of the tree of its own."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import os
import pathlib
import resource
import selectors
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Iterator

import pytest

from .mutants import Mutant
from .selection import Selection

LEFT_BEHIND = (".git", ".venv", ".cache", ".ansible", ".build", ".collections", ".hypothesis")
# A mutant has this many seconds, and this many times what its tests take without it; a busy machine kills no mutant.
SECONDS, TIMES = 60.0, 4.0
MEMORY = 4 << 30
FIRST_TESTS, FIRST_FILES = 200, 2
PASSED = (int(pytest.ExitCode.OK), int(pytest.ExitCode.NO_TESTS_COLLECTED))
SURVIVED, KILLED, NOT_EXECUTED = "survived", "killed", "not executed"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of a mutant."""

    mutant: Mutant
    result: str


def copy_tree(source: pathlib.Path, target: pathlib.Path) -> None:
    """Copy what tests need, and give the copy its own name as a collection."""
    shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns(*LEFT_BEHIND))
    collection = target / ".collections/ansible_collections/unshare"
    collection.mkdir(parents=True)
    (collection / "container").symlink_to("../../..")


def environment(copy: pathlib.Path) -> dict[str, str]:
    """Return the variables that lead to the collection of COPY."""
    collections = str(copy / ".collections")
    return {
        "PYTHONPATH": collections,
        "ANSIBLE_COLLECTIONS_PATH": collections,
        "ANSIBLE_CONFIG": str(copy / "ansible.cfg"),
    }


def use_collection(copy: pathlib.Path) -> None:
    """Let this process import the collection from COPY alone."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "ansible_collections"]:
        del sys.modules[name]
    sys.path[:] = [entry for entry in sys.path if not entry.endswith("/.collections")]
    sys.path_importer_cache.clear()
    os.environ.update(environment(copy))


class _Only:
    """A plugin of pytest: runs the chosen tests in their order, and new ones, which a mutant may lead to."""

    def __init__(self, chosen: list[str], known: Iterable[str]) -> None:
        self.order = {name: index for index, name in enumerate(chosen)}
        self.known = frozenset(known)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        chosen = [item for item in items if item.nodeid in self.order or item.nodeid not in self.known]
        items[:] = sorted(chosen, key=lambda item: self.order.get(item.nodeid, len(self.order)))


def _in_turn(tests: list[str]) -> list[list[str]]:
    """Return the files of TESTS in two groups: those that have most of the first tests, and, to be read last, all else.

    To read all files takes longer than to run most tests.
    """
    files = [test.partition("::")[0] for test in tests]
    likely = [file for file, _count in collections.Counter(files[:FIRST_TESTS]).most_common(FIRST_FILES)]
    return [group for group in (likely, sorted({*files}.difference(likely))) if group]


class Trial:
    """Tries mutants in COPIES of the tree ORIGINAL."""

    def __init__(self, original: pathlib.Path, copies: list[pathlib.Path], selection: Selection) -> None:
        self.original = original
        self.selection = selection
        self.free = list(copies)
        self.running: dict[int, tuple[Mutant, pathlib.Path, float, int]] = {}
        self.selector = selectors.DefaultSelector()

    def outcomes(self, mutants: Iterable[Mutant]) -> Iterator[Outcome]:
        """Yield what becomes of each, in the order in which they end."""
        for mutant in mutants:
            tests = self.selection.tests_for(mutant)
            if not tests:
                yield Outcome(mutant, NOT_EXECUTED)
                continue
            while not self.free:
                yield from self._ended()
            self._start(mutant, tests)
        while self.running:
            yield from self._ended()

    def _start(self, mutant: Mutant, tests: list[str]) -> None:
        copy = self.free.pop()
        limit = SECONDS + TIMES * sum(self.selection.seconds[test] for test in tests)
        sys.stdout.flush()
        process = os.fork()
        if process == 0:
            status = 70
            try:
                status = self._run(mutant, copy, tests)
            finally:
                os._exit(status)
        descriptor = os.pidfd_open(process)
        self.selector.register(descriptor, selectors.EVENT_READ)
        self.running[descriptor] = (mutant, copy, time.monotonic() + limit, process)

    def _run(self, mutant: Mutant, copy: pathlib.Path, tests: list[str]) -> int:
        """Run the tests in this process, which ends then."""
        os.setsid()
        nothing = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nothing, descriptor)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        changed = copy / mutant.path
        changed.write_text(mutant.source, encoding="utf-8")
        # A compiled file is taken for the source's while that has the same size and time.
        os.utime(changed, (1, 1))
        os.chdir(copy)
        use_collection(copy)
        status = int(pytest.ExitCode.NO_TESTS_COLLECTED)
        for files in _in_turn(tests):
            plugins = [_Only(tests, self.selection.seconds)]
            status = int(pytest.main(["-q", "-x", "--no-header", *files], plugins=plugins))
            if status not in PASSED:
                break
        return status

    def _ended(self) -> Iterator[Outcome]:
        soonest = min(until for _mutant, _copy, until, _process in self.running.values())
        ready = [key.fd for key, _ in self.selector.select(max(0.0, soonest - time.monotonic()))]
        late = [fd for fd, (_m, _c, until, _p) in self.running.items() if until <= time.monotonic()]
        for descriptor in {*ready, *late}:
            mutant, copy, _until, process = self.running.pop(descriptor)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process, signal.SIGKILL)
            _, status = os.waitpid(process, 0)
            self.selector.unregister(descriptor)
            os.close(descriptor)
            shutil.copy2(self.original / mutant.path, copy / mutant.path)
            self.free.append(copy)
            code = os.waitstatus_to_exitcode(status)
            yield Outcome(mutant, SURVIVED if code in PASSED else KILLED)
