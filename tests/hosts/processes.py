# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs that never outlive the tests, and how long they are waited for."""

from __future__ import annotations

import os
import re
import signal
import time
import typing as t

from ansible_collections.unshare.container.plugins.module_utils.launcher import linux

OF_TERMINALS = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|[@-Z\\-_a-z]|[()][0-9A-B])|[\x1b\r]")
"""What moves the cursor or colours text."""


def end_with_parent() -> t.Callable[[], None]:
    """Return what a child calls before it executes a program that is to be killed when the calling thread ends."""
    parent = os.getpid()

    def prepare() -> None:
        linux.prctl(linux.PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it has ended in between, and nobody tells
            os._exit(1)

    return prepare


class Deadline:
    """A point in time until which something is waited for."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.began = time.monotonic()

    @property
    def passed(self) -> float:
        """Return the seconds since it was set."""
        return time.monotonic() - self.began

    @property
    def left(self) -> float:
        """Return the seconds until it comes, 0 when it has come."""
        return max(0.0, self.seconds - self.passed)


def plain(text: str) -> str:
    """Return what a terminal would show of a text, as lines."""
    return OF_TERMINALS.sub("", text)
