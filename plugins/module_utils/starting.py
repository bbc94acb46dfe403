# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Starting a system with its own launcher, whichever that is.

A system was written with the launcher of its time, and runs with that one when a person or the host's boot starts it.
So it does here: this process starts a system that brings the launcher it has loaded itself, and lets the
`run-container` of any other do it. Going back to a former system goes back to all of its code.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any, Iterator

from .launcher import fingerprint, times
from .launcher.errors import LauncherError, NotReady
from .launcher.locks import Lock

WARNING = "run-container: warning: "
GRACE = 30.0
"""Seconds, beyond its time limit, after which a `run-container` is given up."""


def start(container: Any, lock: Lock, system: Path, wait: bool, timeout: float) -> list[str]:
    """Start `container` (a `launcher.container.Container`) from `system`; return the warnings.

    A foreign launcher is always waited for: it knows no other way to leave a container running.

    :param lock: the container's lock, which is held, and is let go of while a foreign launcher takes it itself.
    :param wait: whether to wait until it is ready.
    :param timeout: seconds for that.
    :raises LauncherError: NotReady when it was launched but did not become ready.
    """
    if getattr(container, "through_unit", False):  # systemd calls the launcher of the current system
        warnings_of_unit: list[str] = container.start(str(system), wait, timeout).warnings
        return warnings_of_unit
    if is_own(system):
        warnings: list[str] = container.start(str(system), wait, timeout).warnings
        return warnings
    with _released(lock):
        return _start_foreign(container, system, timeout)


def is_own(system: Path) -> bool:
    """Whether the launcher beside `system` is the one that this process has loaded."""
    try:
        specification = json.loads((system / "spec.json").read_text("utf-8"))
        return bool(specification["launcher"] == fingerprint())
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LauncherError(f"{system}/spec.json cannot be read ({error}); write the system anew") from error


@contextlib.contextmanager
def _released(lock: Lock) -> Iterator[None]:
    lock.release()
    try:
        yield
    finally:
        lock.acquire()


def _start_foreign(container: Any, system: Path, timeout: float) -> list[str]:
    import subprocess

    command = [str(system / "run-container"), "--detach", f"--timeout={times.text(timeout)}"]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=timeout + GRACE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LauncherError(f"container {container.name}: {command[0]} cannot start it: {error}") from error
    said = done.stderr.decode("utf-8", "replace")
    if done.returncode == 0:
        return [line[len(WARNING) :] for line in said.split("\n") if line.startswith(WARNING)]
    message = said.strip() or f"{command[0]} ended with status {done.returncode}"
    if container.status().state == "running":
        raise NotReady(message, ended=False)
    raise LauncherError(message)
