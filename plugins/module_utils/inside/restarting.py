# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restart of units that go on with software which the host has replaced, while all others run on (P5).

Their names are the container's word: only what systemd can have as the name of a service is handed to it, and it is the
container's own systemd that restarts them. Sessions and commands that were entered belong to somebody, and end with
him.
"""

from __future__ import annotations

import re
import time

from ..launcher.errors import LauncherError
from . import questions
from .outdated import INIT, name_of_escaped

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..state.record import RecordedContainer

SERVICE = re.compile(r"[A-Za-z0-9:_.@\\-]+\.service")
PAUSE_WHILE_SILENT = 0.1  # seconds between two questions to a systemd that executes itself


def restartable(units: list[str]) -> list[str]:
    """Return those of outdated units, by their escaped names, that can be restarted while the container runs."""
    return [unit for unit in units if unit == INIT or SERVICE.fullmatch(name_of_escaped(unit))]


def restart(container: RecordedContainer, units: list[str], timeout: float) -> bool:
    """Restart units that are restartable, in the order of their dependencies, and have PID 1 execute itself at last.

    Args:
        timeout: seconds for all of it.

    Returns:
        Whether systemd has said that all of them came up.

    Raises:
        LauncherError: systemd does not answer in time.
    """
    deadline = time.monotonic() + timeout
    services = [name_of_escaped(unit) for unit in units if unit != INIT]
    well = True
    if services:
        well = questions.ask(container, ["systemctl", "try-restart", "--", *services], timeout)[0] == 0
    if INIT in units:
        questions.ask(container, ["systemctl", "daemon-reexec"], max(deadline - time.monotonic(), PAUSE_WHILE_SILENT))
        _await_answer(container, deadline)
    return well


def _await_answer(container: RecordedContainer, deadline: float) -> None:
    """Wait until systemd takes questions again. Raise LauncherError when it does not in time."""
    while True:
        left = max(deadline - time.monotonic(), PAUSE_WHILE_SILENT)
        try:
            if not questions.ask(container, ["systemctl", "show", "--property=Version"], left)[0]:
                return
        except LauncherError:
            if container.status().state != "running":
                raise
        if time.monotonic() >= deadline:
            raise LauncherError("container %s: its systemd does not answer since it executed itself" % container.name)
        time.sleep(PAUSE_WHILE_SILENT)  # while it takes no question there is nothing to wait for
