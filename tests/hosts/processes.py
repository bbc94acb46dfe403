# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long programs are waited for, and what they say."""

from __future__ import annotations

import re
import time

OF_TERMINALS = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|[@-Z\\-_a-z]|[()][0-9A-B])|[\x1b\r]")
"""What moves the cursor or colours text."""


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
