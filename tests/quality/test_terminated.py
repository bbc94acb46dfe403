# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A run of the tests that is ended from outside removes what it has made: a container outlives its starter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import signal
import pytest

@pytest.fixture
def made(tmp_path_factory):
    yield
    print("IT IS GONE", flush=True)

def test_that_waits(made):
    print("IT IS THERE", flush=True)
    signal.pause()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_was_made_is_removed(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    plugin = "ansible_collections.unshare.container.tests.conftest"
    words = ["-m", "pytest", "-s", "-c", os.devnull, f"--rootdir={tmp_path}", "-p", "no:cacheprovider", "-p", plugin]
    command = [sys.executable, *words, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "IT IS THERE" in line:
                break
        process.send_signal(number)
        rest, _errors = process.communicate(timeout=60)
    assert "IT IS GONE" in rest
