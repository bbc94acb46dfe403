# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The start and the stop of a container on a host: through its unit where systemd runs, else by a launcher.

A system was written with the launcher of its time. A person, or the host's boot, starts it with that one. So this
process starts a system itself only when the system's launcher is the one it has loaded. It lets the `run-container` of
any other system do it. To go back to a former system is to go back to all of its code.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any, ContextManager, Iterator, Protocol

from ..host.systemd_units import Systemd, unit_of
from ..host.unit_by_hand import units_by_hand
from ..launcher.errors import LauncherError, NotReady
from ..launcher.paths import RUN_DIRECTORY
from ..launcher.specification import read_outline
from ..state.library import fingerprint
from ..state.locks import Lock
from ..state.target import TargetError
from .again import run_launcher

WARNING = "run-container: warning: "
NO_UNITS = "the unit %s cannot be started: systemd does not run here"


class Starter(Protocol):
    """The interface for starting and stopping one container. The caller of each method holds the lock."""

    def lock(self, timeout: float) -> ContextManager[Any]:
        """Return the lock that reserves the container for this run. It waits for at most `timeout` seconds."""

    def start(self, system: Path, wait: bool, timeout: float) -> list[str]:
        """Start the container from `system`, the current one. Return the warnings.

        :param wait: whether to wait until it is ready, where that can be chosen.
        :param timeout: seconds for that.
        :raises LauncherError: NotReady when it was launched but did not become ready.
        """

    def stop(self, timeout: float) -> bool:
        """Stop the container, with a kill after `timeout` seconds. Return whether it ran."""

    def stops_with(self) -> list[str]:
        """Return the units that run, and that a stop of the container stops as well, since they require it."""

    def start_unit(self, unit: str, timeout: float) -> None:
        """Start a unit that stopped with the container, which runs again. Raise TargetError when it does not start."""

    def await_ready(self, timeout: float) -> bool:
        """Wait until the container's systemd has booted. Return whether it has within `timeout` seconds."""

    def remove(self, timeout: float) -> None:
        """Remove everything of the container's except the sources of its mappings."""


def starter(container: Any, systemd: Systemd) -> Starter:
    """Return the starter of `container` (a `life.container.Container`), through `systemd` if the host runs it."""
    return UnitStarter(container, systemd) if systemd.present else LauncherStarter(container)


class LauncherStarter:
    """The starter that uses the launcher. For a container of another launcher it runs that one's `run-container`."""

    def __init__(self, container: Any) -> None:
        self.container = container
        self._lock: Lock | None = None

    def lock(self, timeout: float) -> ContextManager[Any]:
        """Return the container's own lock. It is given back while another launcher, which takes it, runs."""
        held: Lock = self.container.lock(timeout)
        self._lock = held
        return held

    def start(self, system: Path, wait: bool, timeout: float) -> list[str]:
        """Start the container from `system`. Return the warnings."""
        if is_own(system):
            warnings: list[str] = self.container.start(str(system), wait, timeout).warnings
            return warnings
        with _released(self._lock):
            return _start_foreign(self.container, system, timeout)

    def stop(self, timeout: float) -> bool:
        """Stop the container. Return whether it ran."""
        return bool(self.container.stop(timeout))

    def stops_with(self) -> list[str]:
        """Return nothing: without a service manager no container stops with another."""
        return []

    def start_unit(self, unit: str, timeout: float) -> None:
        """Refuse the unit, which was one of a service manager that is not there."""
        raise TargetError(NO_UNITS % unit)

    def await_ready(self, timeout: float) -> bool:
        """Wait until the container's systemd has booted. Return whether it has in time."""
        return bool(self.container.await_ready(timeout))

    def remove(self, timeout: float) -> None:
        """Remove everything of the container's."""
        self.container.remove()


class UnitStarter:
    """The starter that uses a unit of systemd, which runs the launcher of the current system.

    It has a lock of its own, since the launcher that systemd starts takes the container's.
    """

    def __init__(self, container: Any, systemd: Systemd) -> None:
        self.container = container
        self.systemd = systemd
        self.unit = unit_of(container.name)
        self.by_hand = units_by_hand(container.name)
        self._stopped_with_it: list[str] = []

    def lock(self, timeout: float) -> ContextManager[Any]:
        """Return a lock beside the container's own. No name of a container begins with a dot."""
        directory = os.path.join(RUN_DIRECTORY, "." + self.container.name)
        container = self.container
        return Lock(container.name, directory, timeout, container.cgroup.close, container.thaw_left)

    def start(self, system: Path, wait: bool, timeout: float) -> list[str]:
        """Start the container's unit, and wait for it. Return the warnings."""
        self._end_by_hand(timeout)
        try:
            self.systemd.start(self.unit, timeout)
        except TargetError as error:
            message = str(error)
            try:
                self.systemd.stop(self.unit, timeout)  # or it would try again and again, under the hands of this run
            except TargetError as another:
                message += "; systemd goes on trying, for it cannot be stopped either: %s" % another
            raise NotReady(message, ended=True) from error
        for unit in self._stopped_with_it:
            self.start_unit(unit, timeout)
        warnings: list[str] = self.container.status().warnings
        return warnings

    def stop(self, timeout: float) -> bool:
        """Stop the container, however it was started. Return whether it ran.

        Containers that require it stop with it, until it starts.
        """
        ran = self.container.status().state == "running"
        if self.systemd.is_active(self.unit):
            self._stopped_with_it = self.stops_with()
            self.systemd.stop(self.unit, timeout)
        self._end_by_hand(timeout)
        with self.container.lock(timeout):
            return bool(self.container.stop(timeout)) or ran

    def stops_with(self) -> list[str]:
        """Return the active units that require that of the container, or one of these."""
        found = [self.unit] if self.systemd.is_active(self.unit) else []
        for unit in found:
            required = self.systemd.show(unit, "RequiredBy").split()
            found += [other for other in required if other not in found and self.systemd.is_active(other)]
        return found[1:]

    def start_unit(self, unit: str, timeout: float) -> None:
        """Start a unit that stopped with the container. Raise TargetError."""
        self.systemd.start(unit, timeout)

    def _end_by_hand(self, timeout: float) -> None:
        """Stop the unit of a start by hand, which may also be about to start the container again."""
        for unit in self.systemd.active_transients(self.by_hand):
            self.systemd.stop(unit, timeout)

    def await_ready(self, timeout: float) -> bool:
        """Wait until the container's systemd has booted. Return whether it has in time."""
        with self.container.lock(timeout):
            return bool(self.container.await_ready(timeout))

    def remove(self, timeout: float) -> None:
        """Remove everything of the container's."""
        with self.container.lock(timeout):
            self.container.remove()


def is_own(system: Path) -> bool:
    """Return whether the launcher beside `system` is the one that this process has loaded."""
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
