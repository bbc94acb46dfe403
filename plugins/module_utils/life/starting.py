# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a container is started and stopped on a host: through its unit where systemd is, else by a launcher.

A system was written with the launcher of its time, and runs with that one when a person or the host's boot starts it.
So it does here: this process starts a system that brings the launcher it has loaded itself, and lets the
`run-container` of any other do it. Going back to a former system goes back to all of its code.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any, ContextManager, Iterator, Protocol

from ..host.systemd_units import Systemd, unit_of
from ..launcher.errors import LauncherError, NotReady
from ..launcher.paths import RUN_DIRECTORY
from ..launcher.specification import read_outline
from ..state.library import fingerprint
from ..state.locks import Lock
from ..state.target import TargetError
from .again import run_launcher

WARNING = "run-container: warning: "


class Starter(Protocol):
    """Starts and stops one container. Each method is to be called with its lock held."""

    def lock(self, timeout: float) -> ContextManager[Any]:
        """Return the lock that holds the container for this run alone, and waits for at most `timeout` seconds."""

    def start(self, system: Path, wait: bool, timeout: float) -> list[str]:
        """Start it from `system`, the current one; return the warnings.

        :param wait: whether to wait until it is ready, where that can be chosen.
        :param timeout: seconds for that.
        :raises LauncherError: NotReady when it was launched but did not become ready.
        """

    def stop(self, timeout: float) -> bool:
        """Stop it, with a kill after `timeout` seconds; return whether it ran."""

    def await_ready(self, timeout: float) -> bool:
        """Wait until its systemd has booted; return whether it has within `timeout` seconds."""

    def remove(self, timeout: float) -> None:
        """Remove all that is the container's, its mappings' data excepted."""


def starter(container: Any, systemd: Systemd) -> Starter:
    """Return what starts `container` (a `life.container.Container`) on a host with this `systemd`, or without."""
    return UnitStarter(container, systemd) if systemd.present else LauncherStarter(container)


class LauncherStarter:
    """Has the launcher start a container, and waits for one that is not its own: that knows no other way."""

    def __init__(self, container: Any) -> None:
        self.container = container
        self._lock: Lock | None = None

    def lock(self, timeout: float) -> ContextManager[Any]:
        """Return the container's own lock, which a launcher that is not this process's is to take itself."""
        held: Lock = self.container.lock(timeout)
        self._lock = held
        return held

    def start(self, system: Path, wait: bool, timeout: float) -> list[str]:
        """Start it from `system`; return the warnings."""
        if is_own(system):
            warnings: list[str] = self.container.start(str(system), wait, timeout).warnings
            return warnings
        with _released(self._lock):
            return _start_foreign(self.container, system, timeout)

    def stop(self, timeout: float) -> bool:
        """Stop it; return whether it ran."""
        return bool(self.container.stop(timeout))

    def await_ready(self, timeout: float) -> bool:
        """Wait until its systemd has booted; return whether it has in time."""
        return bool(self.container.await_ready(timeout))

    def remove(self, timeout: float) -> None:
        """Remove all that is its own."""
        self.container.remove()


class UnitStarter:
    """Has systemd start a container through its unit, which runs the launcher of the current system.

    Its lock is one of its own: the launcher that systemd starts takes the container's.
    """

    def __init__(self, container: Any, systemd: Systemd) -> None:
        self.container = container
        self.systemd = systemd
        self.unit = unit_of(container.name)
        self._stopped_with_it: list[str] = []

    def lock(self, timeout: float) -> ContextManager[Any]:
        """Return a lock beside the container's own. No name of a container begins with a dot."""
        directory = os.path.join(RUN_DIRECTORY, "." + self.container.name)
        return Lock(self.container.name, directory, timeout, self.container.cgroup.close)

    def start(self, system: Path, wait: bool, timeout: float) -> list[str]:
        """Start its unit, which is always waited for; return the warnings."""
        try:
            self.systemd.start(self.unit, timeout)
        except TargetError as error:
            self.systemd.stop(self.unit, timeout)  # or it would try again and again, under the hands of this run
            raise NotReady(str(error), ended=True) from error
        for unit in self._stopped_with_it:
            self.systemd.start(unit, timeout)
        warnings: list[str] = self.container.status().warnings
        return warnings

    def stop(self, timeout: float) -> bool:
        """Stop it, however it was started; return whether it ran.

        Containers that require it stop with it, until it starts.
        """
        ran = self.container.status().state == "running"
        if self.systemd.is_active(self.unit):
            required = self.systemd.show(self.unit, "RequiredBy").split()
            self._stopped_with_it = [unit for unit in required if self.systemd.is_active(unit)]
            self.systemd.stop(self.unit, timeout)
        with self.container.lock(timeout):
            return bool(self.container.stop(timeout)) or ran

    def await_ready(self, timeout: float) -> bool:
        """Wait until its systemd has booted; return whether it has in time."""
        with self.container.lock(timeout):
            return bool(self.container.await_ready(timeout))

    def remove(self, timeout: float) -> None:
        """Remove all that is its own."""
        with self.container.lock(timeout):
            self.container.remove()


def is_own(system: Path) -> bool:
    """Whether the launcher beside `system` is the one that this process has loaded."""
    return read_outline(str(system)).launcher == fingerprint()


@contextlib.contextmanager
def _released(lock: Lock | None) -> Iterator[None]:
    """Give the lock back for the length of the block."""
    if lock is None:
        raise LauncherError("a container is started with its lock held")
    lock.release()
    try:
        yield
    finally:
        lock.acquire()


def _start_foreign(container: Any, system: Path, timeout: float) -> list[str]:
    try:
        code, said = run_launcher(str(system), "--detach", timeout, timeout)
    except LauncherError as error:
        raise LauncherError(f"container {container.name}: cannot be started: {error}") from error
    if code == 0:
        return [line[len(WARNING) :] for line in said.split("\n") if line.startswith(WARNING)]
    message = said.strip() or f"{system}/run-container ended with status {code}"
    if container.status().state == "running":
        raise NotReady(message, ended=False)
    raise LauncherError(message)
