# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for a systemd that an earlier run has started. One that this run starts says itself when it is ready."""

from __future__ import annotations

import time
from typing import Any

from .launcher import enter
from .launcher.errors import LauncherError

BOOTED = frozenset(("running", "degraded", "maintenance", "stopping"))
"""States that `systemctl is-system-running` says after the boot."""

PAUSE = 0.05
"""Seconds between two questions, while systemd does not take any yet."""


def await_ready(container: Any, timeout: float) -> bool:
    """Whether the systemd of `container` (a `launcher.container.Container`) has booted within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            return False
        try:
            answer = enter.capture(container, ["systemctl", "is-system-running", "--wait"], left)
        except LauncherError:
            answer = ""
        if answer.strip() in BOOTED:
            return True
        time.sleep(PAUSE)
