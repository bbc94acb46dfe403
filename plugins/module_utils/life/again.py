# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container that has rebooted itself, and that no process on the host watches: entering it starts it again.

Only PID 1's parent learns how PID 1 ended (reboot(2)), and the parent is not ours. So the container leaves a mark
during its shutdown: a unit that reboot.target wants (`plugin_utils/base_units`) sets the sticky bit of the container's
own control group, which stays until the container is cleared away. Root inside can set it at any time, and gains
nothing by that: the container comes back as after a reboot, and only when the host's root asks for it.
"""

from __future__ import annotations

import os

from ..inside.enter import ENTER_TIMEOUT
from ..launcher import times
from ..launcher.errors import LauncherError
from . import by_hand
from .container import Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from ..state.record import Status

GRACE = 30.0  # seconds, beyond its own time limits, after which a `run-container` is given up
SHARES = (
    "container %s: has rebooted itself, and was started with --share or --expose, which are not kept; "
    "start it again with them"
)


def bring_back(container: Container) -> bool:
    """Start a container that has rebooted itself, in a process of its own. Return whether it runs now.

    While another process holds the container's lock, this waits: that process may be starting the container.

    Raises:
        LauncherError: it has rebooted itself and could not be started.
    """
    with container.lock(ENTER_TIMEOUT):
        record = container.record() or {}
        if not container.is_to_come_back():
            return container.status().state == "running"
        if record.get("shares"):
            raise LauncherError(SHARES % container.name)
    # Its own launcher, whichever version that is; and the container is not to be a child of who only enters it.
    timeout = float(record.get("timeout", ENTER_TIMEOUT))
    try:
        code, said = run_launcher(str(record.get("system")), "--again", timeout, 2 * timeout)
    except LauncherError as error:
        message = "container %s: has rebooted itself, and cannot be started: %s"
        raise LauncherError(message % (container.name, error)) from error
    running = container.status().state == "running"  # one that is not ready in time runs, and can be looked at
    if code and not running:
        message = "container %s: has rebooted itself, and does not start: %s"
        raise LauncherError(message % (container.name, said.strip()))
    return running


def run_launcher(system: str, option: str, timeout: float, longest: float) -> tuple[int, str]:
    """Run a system's `run-container`, which starts it in a process of its own. Return its exit status and messages.

    Args:
        system: the directory.
        option: `--again` or `--detach`.
        timeout: seconds that the container has to become ready.
        longest: seconds that all of that may take; after `GRACE` more it is given up.

    Raises:
        LauncherError: it cannot be executed, or has been given up.
    """
    import subprocess

    command = [system + "/run-container", option, "--timeout=" + times.as_text(timeout)]
    try:
        done = by_hand.run_silently(command, longest + GRACE)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LauncherError("%s: %s" % (command[0], error)) from error
    return done.returncode, done.stderr.decode("utf-8", "replace")


def refuse(container: Container) -> None:
    """Raise an error for a container that has rebooted itself, saying how it is started. Do nothing for any other.

    Raises:
        LauncherError: it has rebooted itself.
    """
    with container.lock(ENTER_TIMEOUT):
        if container.is_to_come_back():
            message = "container %s: has rebooted itself; the next 'enter-container' without --no-start starts it"
            raise LauncherError(message % container.name)


def start_again(container: Container, system: str, timeout: float, explain: Callable[[Status], None]) -> int:
    """Start a container again if it has rebooted itself; else do nothing. Return the exit status."""

    def is_wanted() -> bool:
        record = container.record() or {}
        if not container.is_to_come_back():
            return False
        if record.get("shares"):
            raise LauncherError(SHARES % container.name)
        if os.path.realpath(str(record.get("system"))) != system:
            message = "container %s: ran %s, so call the run-container there"
            raise LauncherError(message % (container.name, record.get("system")))
        return True

    by_hand.start(container, system, [], [], timeout, explain, is_wanted)
    return 0
