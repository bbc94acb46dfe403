# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A container at rest: nothing in it changes its volumes while they are read, or replaced.

One that runs is frozen, or, where that is asked, stopped and started again. Nobody else starts it meanwhile, by its
unit, by hand or by another run.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import Any, ContextManager, Iterator

from ..launcher.errors import LauncherError
from ..launcher.specification import read_spec
from ..state.snapshot_record import READ_FROZEN, READ_NOT_RUNNING, READ_STOPPED
from ..state.target import Layout, TargetError, message_of
from . import examination, strangers
from .frozen import Frozen
from .starting import LauncherStarter, Starter

RUNS = (
    "container {name!r}: runs, and its volumes cannot be replaced meanwhile: with stop: true it is stopped for that, "
    "and started again; or stop it before"
)
NOT_THERE = (
    "volume {volume}: the current system of the container {name!r} declares it, and it has no directory on this host: "
    "what is saved is without it; the next start makes it, empty"
)
STARTED_MEANWHILE = "container {name!r}: somebody has started it meanwhile: try again"


class AtRest:
    """A container that can be brought to rest.

    :param container: the launcher's view of it.
    :param starter: what stops and starts it.
    :param stop: whether it may be stopped, and is started again afterwards.
    :param timeout: seconds to wait for another run, and for each stop and start.
    :ivar warnings: those of its start.
    :ivar began: when its data were as they are at rest, in seconds since 1970.
    :ivar seconds: for how long it took part in nothing.
    :ivar not_started: why it does not start again; empty when it does.
    """

    def __init__(self, layout: Layout, container: Any, starter: Starter, stop: bool, timeout: float) -> None:
        self.layout = layout
        self.container = container
        self.starter = starter
        self.stop = stop
        self.timeout = timeout
        self.name = str(container.name)
        self.warnings: list[str] = []
        self.began = self.seconds = 0.0
        self.not_started = ""

    def lock(self) -> ContextManager[Any]:
        """Return the lock by which runs take turns. The caller of the other methods holds it."""
        return self.starter.lock(self.timeout)

    def runs(self) -> bool:
        """Return whether the container runs."""
        return bool(self.container.status().state == "running")

    def warn_of_missing(self) -> None:
        """Collect a warning for each volume that the current system declares, and that is not there to be saved."""
        system = self.layout.current_system(self.name)
        if system is None:
            return
        try:
            specification = read_spec(str(system))
        except LauncherError:
            return  # a start will say what is wrong with it
        for mount in specification.file_systems:
            if mount.volume is not None and not os.path.isdir(mount.source):
                self.warnings.append(NOT_THERE.format(volume=mount.volume.name, name=self.name))

    def refuse(self, restart: bool = False) -> None:
        """Raise TargetError when it runs and is not to be stopped, or could not be started again afterwards.

        :param restart: whether it is started afterwards also when it does not run.
        """
        runs = self.runs()
        if runs and not self.stop:
            raise TargetError(RUNS.format(name=self.name))
        if runs or restart:
            system = self._system()
            examination.examine(self.layout, self.name, system).refuse(self.name)

    @contextlib.contextmanager
    def reading(self) -> Iterator[str]:
        """Have the container change nothing for the length of a block.

        :return: how, of `state.snapshot_record.CONSISTENCIES`.
        :raises TargetError, LauncherError, OSError: that cannot be, or the container does not go on.
        """
        if self.stop and self.runs():
            with self.stopped():
                yield READ_STOPPED
            return
        with self.alone():
            if not self.runs():
                self.began = time.time()
                yield READ_NOT_RUNNING
                return
            with Frozen(self.container) as frozen:
                self.began = time.time()
                yield READ_FROZEN
            self.seconds = frozen.seconds

    @contextlib.contextmanager
    def stopped(self, restart: bool = False) -> Iterator[None]:
        """Have the container not run for the length of a block. Start it again afterwards if it ran.

        What the block has done stays done when the start fails: `not_started` says why, and `tell_start` raises it.

        :param restart: whether to start it also when it does not run.
        :raises TargetError, LauncherError, OSError: it is not to be stopped, could not be started again, or somebody
            has started it meanwhile.
        """
        self.refuse(restart)
        runs = self.runs()
        began = time.monotonic()
        try:
            if runs:
                self.starter.stop(self.timeout)
            with self.alone():
                if self.runs():
                    raise TargetError(STARTED_MEANWHILE.format(name=self.name))
                self.began = time.time()
                yield
        except BaseException as error:
            if runs or restart:
                self._start_after(error)
            raise
        if runs or restart:
            try:
                self._start()
            except (LauncherError, TargetError, OSError) as error:
                self.not_started = message_of(error, self.name)
            self.seconds = time.monotonic() - began

    def tell_start(self, done: str) -> None:
        """Raise TargetError when the container has not started again after what is `done`."""
        if self.not_started:
            raise TargetError(f"{done}, but the container does not start again: {self.not_started}")

    def alone(self) -> ContextManager[Any]:
        """Return the lock that keeps everybody else from starting the container, where that of runs is another."""
        own = isinstance(self.starter, LauncherStarter)
        held: ContextManager[Any] = contextlib.nullcontext() if own else self.container.lock(self.timeout)
        return held

    def _system(self) -> Path:
        system = self.layout.current_system(self.name)
        if system is None:
            raise strangers.without_system(self.name)
        return system

    def _start(self) -> None:
        self.warnings += self.starter.start(self._system(), True, self.timeout)

    def _start_after(self, error: BaseException) -> None:
        """Start what was stopped for something that has failed; that is what is to be said."""
        if self.runs():
            return
        try:
            self._start()
        except (LauncherError, TargetError, OSError) as second:
            said = message_of(error, self.name) if isinstance(error, Exception) else "interrupted"
            raise TargetError(f"{said}\nNor does it start again: {message_of(second, self.name)}") from error
