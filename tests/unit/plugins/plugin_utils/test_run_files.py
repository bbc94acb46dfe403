# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the workers of a run share by files."""

from __future__ import annotations

import multiprocessing
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.plugin_utils.run_files import RunFiles

WORKERS = 6


def work(directory: Path, barrier: t.Any, made: t.Any, answers: t.Any, failures: int) -> None:
    """Ask for a text at the same moment as all other workers. The first `failures` of those that make it fail."""

    def make() -> str:
        with made.get_lock():
            made.value += 1
            if made.value <= failures:
                raise ValueError("it cannot be made")
            return f"made by maker {made.value}"

    barrier.wait(60)
    try:
        answers.put(RunFiles(str(directory), "shared").made("text", make))
    except ValueError as error:
        answers.put(str(error))


@pytest.mark.parametrize("failures", [0, 1, 3])
def test_one_worker_makes_what_all_ask_for(tmp_path: Path, failures: int) -> None:
    """The hosts of a run are worked on at the same time, and what they have in common costs the controller once."""
    forking = multiprocessing.get_context("fork")
    barrier, made, answers = forking.Barrier(WORKERS), forking.Value("i", 0), forking.Queue()
    workers = [forking.Process(target=work, args=(tmp_path, barrier, made, answers, failures)) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    said = sorted(answers.get(timeout=60) for _ in workers)
    for worker in workers:
        worker.join(60)
    assert said == ["it cannot be made"] * failures + [f"made by maker {failures + 1}"] * (WORKERS - failures)
    assert made.value == failures + 1
    assert RunFiles(str(tmp_path), "shared").read("text") == f"made by maker {failures + 1}"


def test_what_is_there_is_not_made(tmp_path: Path) -> None:
    files = RunFiles(str(tmp_path), "shared")
    files.write("text", "there")
    assert files.made("text", lambda: pytest.fail("it is made again")) == "there"
