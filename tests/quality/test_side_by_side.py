# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Several processes of pytest run each test once, and their run counts, fails and ends like one of pytest's own."""

from __future__ import annotations

import ast
import os
import re
import signal
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.tests import claims

FILES = 9
TEST = """
import os
import pytest
from pathlib import Path

LOG = Path(__file__).parents[1] / "log"

@pytest.mark.parametrize("number", range(3))
def test_it(number):
    with LOG.open("a") as log:
        log.write(f"{Path(__file__).name} {number} {os.getpid()}\\n")
"""
PARTS = """
from ansible_collections.unshare.container.tests import claims

def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.callspec.params["number"])
    for item in items:
        item.stash[claims.PART] = f"part {item.callspec.params['number']}"
"""
WAITING = """
import os
import signal
import pytest

@pytest.fixture
def made():
    yield
    os.write(1, b"IT IS GONE\\n")

def test_that_waits(made):
    os.write(1, b"IT IS THERE\\n")
    signal.pause()
"""


def command(directory: Path, *words: str) -> list[str]:
    """Return the command that runs the tests of a directory in two processes."""
    program = [sys.executable, "-m", "ansible_collections.unshare.container.tests.side_by_side", "--processes=2"]
    plugin = ["-p", "ansible_collections.unshare.container.tests.conftest"]
    return [*program, *plugin, "-c", os.devnull, f"--rootdir={directory}", *words, str(directory)]


def finish(directory: Path, *words: str) -> tuple[int, str]:
    """Run the tests of a directory; the exit status, and what was printed."""
    done = subprocess.run(command(directory, *words), capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout


def last(text: str) -> str:
    """Return the counts of the closing line."""
    found = re.fullmatch(r"=+ (.*) in [\d.]+s =+", text.splitlines()[-1])
    assert found, text
    return found[1]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Return a directory of tests, which write down who has run them."""
    for number in range(FILES):
        directory = tmp_path / f"part_{number % 4}"
        directory.mkdir(exist_ok=True)
        (directory / f"test_{number}.py").write_text(TEST)
    return tmp_path


def runs(directory: Path) -> t.Iterator[list[str]]:
    """Yield the file, the number and the process of each test that was run."""
    return map(str.split, (directory / "log").read_text().splitlines())


def test_each_test_is_run_once_and_a_file_by_one_process(files: Path) -> None:
    status, text = finish(files)
    assert (status, last(text)) == (0, f"{3 * FILES} passed")
    assert sorted((file, number) for file, number, _pid in runs(files)) == [
        (f"test_{file}.py", str(number)) for file in range(FILES) for number in range(3)
    ]
    assert len({(file, pid) for file, _number, pid in runs(files)}) == FILES


def test_a_part_that_is_no_file_is_run_by_one_process(files: Path) -> None:
    """Neither are two parts of a file bound to one, nor two files of a part to two."""
    (files / "conftest.py").write_text(PARTS)
    status, text = finish(files)
    assert (status, last(text)) == (0, f"{3 * FILES} passed")
    ran = {(number, pid) for _file, number, pid in runs(files)}
    assert sorted(number for number, _pid in ran) == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("test", "closing"),
    [
        ("def test_it(): assert 'no' == 'yes'", f"1 failed, {3 * FILES} passed"),
        ("import absent", "2 errors"),  # both processes collect all
        (
            "import pytest\n@pytest.fixture\ndef it(): raise OSError\ndef test_it(it): pass",
            f"{3 * FILES} passed, 1 error",
        ),
        ("import os, signal\ndef test_it(): os.kill(os.getpid(), signal.SIGKILL)", ""),
    ],
    ids=["a failed test", "a file that cannot be imported", "a fixture that fails", "a killed process"],
)
def test_what_fails_in_one_process_fails_the_run(files: Path, test: str, closing: str) -> None:
    (files / "test_wrong.py").write_text(test)
    status, text = finish(files)
    assert status != 0
    assert last(text) == closing or not closing


def test_skipped_and_chosen_tests_are_counted(files: Path) -> None:
    (files / "test_left_out.py").write_text("import pytest\ndef test_one(): pytest.skip('so')")
    status, text = finish(files, "-k", "left_out or (test_3.py and test_it[1])")
    assert (status, last(text)) == (0, "1 passed, 1 skipped")


def test_none_are_counted_when_none_is_chosen(files: Path) -> None:
    status, text = finish(files, "-k", "no_test_has_this_name")
    assert (status, last(text)) == (5, "no tests ran")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_ended_removes_what_it_has_made(tmp_path: Path, number: signal.Signals) -> None:
    for file in ("test_one.py", "test_two.py"):
        (tmp_path / file).write_text(WAITING)
    with subprocess.Popen(command(tmp_path, "-s"), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = 0
        while found < 2:
            line = process.stdout.readline()
            assert line, "it has ended"
            found += "IT IS THERE" in line
        process.send_signal(number)
        rest, _errors = process.communicate(timeout=60)
    assert rest.count("IT IS GONE") == 2
    assert process.returncode != 0


def test_no_file_of_tests_takes_the_containers_of_another_for_its_own() -> None:
    """What a file leaves behind is told by the name of its containers, wherever that stands in theirs."""
    directory = Path(__file__).parents[1] / "integration"
    texts = {path.name: path.read_text() for path in directory.glob("test_*.py")}
    found = [(file, re.search(r'^NAME = f?"([^"]+)"$', text, re.MULTILINE)) for file, text in texts.items()]
    names = [(file, match[1].replace("{PREFIX}", "test-")) for file, match in found if match]
    assert len(names) > 30
    words = {file: re.findall(r'"(test-[\w-]+)"', text) for file, text in texts.items()}
    taken = [
        (file, other) for file, name in names for other in words if other != file and name in " ".join(words[other])
    ]
    assert taken == []


def names_of_containers(tree: ast.Module) -> set[str]:
    """Return the constants of a file of tests that have names of its containers."""
    found = set()
    for node in tree.body:
        if isinstance(node, ast.Assign) and re.search(r"""['"{]test-|PREFIX""", ast.unparse(node.value)):
            found |= {word.id for target in node.targets for word in ast.walk(target) if isinstance(word, ast.Name)}
    return found


def borrowed(trees: t.Mapping[str, ast.Module]) -> list[tuple[str, str, str]]:
    """Return what files of tests import from each other that makes containers of the other's names."""
    found = []
    for file, tree in trees.items():
        for node in ast.walk(tree):
            lender = trees.get(node.module or "") if isinstance(node, ast.ImportFrom) and node.level == 1 else None
            if lender is None or not isinstance(node, ast.ImportFrom):
                continue
            names = names_of_containers(lender)
            wanted = {alias.name for alias in node.names}
            for item in lender.body:
                if isinstance(item, (ast.FunctionDef, ast.ClassDef)) and item.name in wanted:
                    words = {word.id for word in ast.walk(item) if isinstance(word, ast.Name)}
                    found += [(file, item.name, name) for name in sorted(words & names)]
            found += [(file, name, name) for name in sorted(wanted & names)]
    return found


def test_a_name_is_of_the_first_that_claims_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(claims.DIRECTORY, str(tmp_path))
    asked = [claims.claimant("container test-one", f"tests/test_{number}.py") for number in (1, 2, 1)]
    assert asked == ["tests/test_1.py"] * 3
    assert claims.claimant("container test-two", "tests/test_2.py") == "tests/test_2.py"


def test_no_file_of_tests_makes_the_containers_of_another() -> None:
    """Both may run at once; what two of them need, and which is told the name, stands in a file without tests."""
    directory = Path(__file__).parents[1] / "integration"
    trees = {path.stem: ast.parse(path.read_text()) for path in directory.glob("test_*.py")}
    assert sum(len(names_of_containers(tree)) for tree in trees.values()) > 50
    assert borrowed(trees) == []


def test_a_borrowed_name_is_noticed() -> None:
    lender = ast.parse('NAME = "test-mine"\ndef run():\n    start(NAME)\ndef look():\n    pass\n')
    borrower = ast.parse("from .test_lender import look, run\nfrom .helpers import other\n")
    assert borrowed({"test_lender": lender, "test_borrower": borrower}) == [("test_borrower", "run", "NAME")]
