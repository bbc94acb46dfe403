# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which tests could notice a mutant: those that execute its lines, found by one run of all tests under coverage."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import json
import pathlib
import sys
import time
import typing as t
from collections import defaultdict
from collections.abc import Iterator

import coverage
import pytest

from .mutants import Mutant

PACKAGE = "ansible_collections.unshare.container."
# How far a table is followed from the module that holds it to those that import it.
IMPORTS_FOLLOWED = 2
AT_IMPORT = ""


class _Recorder:
    """A plugin of pytest: notes what each test executes, and how long it takes."""

    def __init__(self, measured: coverage.Coverage) -> None:
        self.measured = measured
        self.seconds: dict[str, float] = {}
        self.failed: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and report.nodeid not in self.failed:
            self.failed.append(report.nodeid)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> t.Generator[None, t.Any, t.Any]:
        self.measured.switch_context(item.nodeid)
        begun = time.monotonic()
        try:
            return (yield)
        finally:
            self.seconds[item.nodeid] = time.monotonic() - begun
            self.measured.switch_context(AT_IMPORT)


def digest_of(tree: pathlib.Path) -> str:
    """Return what tells the sources and tests of TREE from all others."""
    digest = hashlib.sha256()
    for top in ("plugins", "roles", "tests/unit"):
        for path in sorted((tree / top).rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                digest.update(f"{path.relative_to(tree)}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def record(tree: pathlib.Path, tests: str, output: pathlib.Path, digest: str) -> int:
    """Run TESTS in TREE, the present directory, and write what they execute to OUTPUT; returns pytest's status."""
    measured = coverage.Coverage(data_file=None, source=[str(tree / "plugins")], config_file=False, messages=False)
    recorder = _Recorder(measured)
    measured.start()
    status = pytest.main(["-q", "--no-header", tests], plugins=[recorder])
    measured.stop()
    data = measured.get_data()
    lines = {str(pathlib.Path(path).relative_to(tree)): data.contexts_by_lineno(path) for path in data.measured_files()}
    told = {"digest": digest, "seconds": recorder.seconds, "failed": recorder.failed, "lines": lines}
    output.write_text(json.dumps(told), encoding="utf-8")
    return int(status)


@dataclasses.dataclass(frozen=True)
class Selection:
    """What one run of all tests told.

    Attributes:
        seconds: of each test.
        lines: for each file and line, the tests that execute it; AT_IMPORT for what runs when it is imported.
        failed: the tests that failed, which tell nothing.
        importers: for each file, the files that import it, those of tests among them.
    """

    seconds: dict[str, float]
    lines: dict[str, dict[int, frozenset[str]]]
    failed: list[str]
    importers: dict[str, frozenset[str]]

    @classmethod
    def read(cls, recorded: pathlib.Path, tree: pathlib.Path, digest: str) -> Selection | None:
        """Return what `record` wrote to RECORDED about TREE; None when it is about other sources, or not there."""
        found = json.loads(recorded.read_text(encoding="utf-8")) if recorded.exists() else {}
        if found.get("digest") != digest:
            return None
        untold = set(found["failed"])
        lines = {
            path: {int(number): frozenset(tests).difference(untold) for number, tests in numbers.items()}
            for path, numbers in found["lines"].items()
        }
        return cls(found["seconds"], lines, found["failed"], _importers(tree))

    def tests_for(self, mutant: Mutant) -> list[str]:
        """Return the tests that could notice it, those first that are near and quick; none is "not executed"."""
        numbers = self.lines.get(mutant.path, {})
        found = set[str]().union(*(numbers.get(line, frozenset()) for line in mutant.lines))
        if not mutant.at_import and AT_IMPORT not in found:
            return sorted(found, key=lambda test: (self.seconds[test], test))
        ordered: list[str] = []
        near = {mutant.path}
        seen: set[str] = set()
        for _distance in range(IMPORTS_FOLLOWED + 1):
            tests = set().union(*(self._tests_of(path) for path in near)).difference(ordered)
            ordered += sorted(tests, key=lambda test: (self.seconds[test], test))
            seen |= near
            near = set().union(*(self.importers.get(path, frozenset()) for path in near)) - seen
        return ordered

    def _tests_of(self, path: str) -> set[str]:
        if path.startswith("tests/"):
            return {test for test in self.seconds if test.partition("::")[0] == path}.difference(self.failed)
        return set().union(*self.lines.get(path, {}).values()) - {AT_IMPORT}


def _importers(tree: pathlib.Path) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for top in ("plugins", "tests/unit"):
        for path in sorted((tree / top).rglob("*.py")):
            name = str(path.relative_to(tree))
            for imported in _imported(name, path.read_text(encoding="utf-8")):
                for candidate in (f"{imported}.py", f"{imported}/__init__.py"):
                    if (tree / candidate).is_file():
                        found[candidate].add(name)
    return {path: frozenset(names) for path, names in found.items()}


def _imported(name: str, source: str) -> Iterator[str]:
    """Yield what the file NAME imports of the collection, as paths without suffix, attributes of modules included."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            if node.level:
                above = name.split("/")[: -node.level]
                base = "/".join([*above, *(node.module or "").split(".")]).rstrip("/")
            elif (node.module or "").startswith(PACKAGE):
                base = str(node.module).removeprefix(PACKAGE).replace(".", "/")
            else:
                continue
            yield base
            yield from (f"{base}/{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith(PACKAGE):
                    yield alias.name.removeprefix(PACKAGE).replace(".", "/")


if __name__ == "__main__":
    sys.exit(record(pathlib.Path.cwd(), sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]))
