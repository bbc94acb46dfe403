# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What holds for all unit tests."""

from __future__ import annotations

import contextlib
import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import process

LATE_SECONDS = 30.0
"""The time in which a killed process ends on a machine that is slow for a moment."""


def children() -> set[int]:
    """Return the process IDs of this process's children, also of those that have ended and were not waited for."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # a thread has ended, and its children are another's
            found |= {int(pid) for pid in (task / "children").read_text().split()}
    return found


@pytest.fixture(autouse=True)
def processes() -> t.Iterator[None]:
    """Hold each test to the processes that were there before it: one that is left is an error of this test.

    The launcher leaves a child that was killed and does not end in time, and reaps it when it next looks: here.
    """
    before = children()
    yield
    for pid in process._left & children():
        late = process.Process(pid, os.pidfd_open(pid))
        late.wait(LATE_SECONDS)
        late.close()
    process.reap_left()
    left = []
    for pid in children() - before:
        with contextlib.suppress(OSError):  # it has been reaped by now
            left.append(Path(f"/proc/{pid}/stat").read_text())
    assert not left, "this test has left processes"
