# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two hosts between which a container moves, and the steps of a run, as the playbook takes them."""

from __future__ import annotations

import contextlib
import itertools
import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import NotReady
from ansible_collections.unshare.container.plugins.module_utils.launcher.names import system_name
from ansible_collections.unshare.container.plugins.module_utils.launcher.paths import remove_entries
from ansible_collections.unshare.container.plugins.module_utils.life import moving
from ansible_collections.unshare.container.plugins.module_utils.life.move_steps import ADMIT, COPY, Move
from ansible_collections.unshare.container.plugins.module_utils.life.moving import Moving
from ansible_collections.unshare.container.plugins.module_utils.state import holds, volumes
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout, TargetError

from ..target_helpers import FakeContainer

NAMES = {"one": "two", "two": "one"}


class FakeHost:
    """A host whose container is started and stopped as the real one is, as far as notes of moves go."""

    def __init__(self, root: Path, name: str) -> None:
        self.name = name
        self.layout = Layout(root / name)
        self.layout.containers.mkdir(parents=True)
        self.directory = str(self.layout.container("web"))
        self.container = FakeContainer()
        self.started = 0
        self.requiring: list[str] = []
        self.broken: list[str] = []
        """What does not start: units that require the container, and "web", the container."""
        self.system = self.layout.systems / system_name("0" * 32, "web")
        launcher = self.system / moving.HOLDS_MODULE
        launcher.parent.mkdir(parents=True)
        launcher.touch()

    def deploy(self) -> None:
        """Do what a play does, or a boot: it starts the container unless it runs."""
        if self.container.running is None:
            begin = holds.let_start("web", self.directory, None)
            self.layout.generations("web").mkdir(parents=True, exist_ok=True)
            if not self.layout.current("web").is_symlink():
                self.layout.current("web").symlink_to(self.system)
            (self.data / "written").mkdir(parents=True, exist_ok=True)
            begin()
            self.container.running = "system"
            self.started += 1

    @property
    def data(self) -> Path:
        return Path(self.directory, "volumes", "data")

    def remove(self) -> None:
        """Do what is done for `state: absent, remove_volumes: true`."""
        self.container.running = None
        remove_entries(self.directory, ("current", "generations"))
        volumes.part_with("web", self.directory, asked=True)

    def moving(self) -> Moving:
        return Moving(self.layout, "web", NAMES[self.name], 1.0)


class FakeStarter:
    """What starts and stops the container of a host."""

    def __init__(self, host: FakeHost) -> None:
        self.host = host

    def lock(self, timeout: float) -> t.Any:
        return contextlib.nullcontext()

    def start(self, system: Path, wait: bool, timeout: float) -> list[str]:
        if "web" in self.host.broken:
            raise NotReady("it has failed", ended=True)
        self.host.deploy()
        return ["a warning"]

    def stops_with(self) -> list[str]:
        return list(self.host.requiring) if self.host.container.running is not None else []

    def start_unit(self, unit: str, timeout: float) -> None:
        if unit in self.host.broken:
            raise TargetError("it fails")
        self.host.deploy()  # which the unit requires
        if unit not in self.host.requiring:
            self.host.requiring.append(unit)

    def stop(self, timeout: float) -> bool:
        self.host.requiring.clear()
        return self.host.container.stop(timeout)


class Hosts:
    """Two hosts, the first of which has the container; and the steps of the playbook, in its order."""

    def __init__(self, root: Path) -> None:
        self.one, self.two = FakeHost(root, "one"), FakeHost(root, "two")
        self.name = ""
        self.step = ""
        self.names = itertools.count()

    def forward(self) -> t.Iterator[t.Callable[[], object]]:
        """Yield each step of a move, which is done before the next is asked for."""
        there, here = self.one.moving().look(), self.two.moving().look()
        self.step = Move("web", "one", "two").first_step(there, here)
        self.name = str(there.hold.get("move", ""))
        if self.step == COPY:
            withdrawn = str(here.hold["move"]) if here.hold.get("state") == holds.WITHDRAWN else None
            yield lambda: self.hold("new%d" % next(self.names), withdrawn)
            yield lambda: self.two.moving().expect(self.name, False)
            yield self.copy
            yield lambda: self.one.moving().give(self.name, False)
        if self.step in (COPY, ADMIT):
            yield lambda: self.two.moving().admit(self.name, there.volumes, False)
        yield self.two.deploy
        yield self.one.remove

    def hold(self, name: str, withdrawn: str | None = None) -> None:
        _changed, found = self.one.moving().hold(name, withdrawn, False)
        self.name = found.move

    def copy(self) -> None:
        """Import the volumes."""
        holds.refuse_import("web", self.two.directory, self.name)
        assert self.one.container.running is None
        assert not self.two.data.exists(), "an import replaces nothing"
        (self.two.data / "written").mkdir(parents=True)

    def back(self) -> t.Iterator[t.Callable[[], object]]:
        """Yield each step of the way back."""
        if self.step not in (COPY, ADMIT):
            return
        found: dict[str, t.Any] = {}

        def withdraw() -> None:
            _changed, found["withdrawn"], found["move"] = self.two.moving().withdraw(self.name or None, False)

        yield withdraw
        yield lambda: found.update(released=self.one.moving().release(found["move"], False)[1])
        if found["withdrawn"] and found["released"]:
            yield self.two.remove

    def check(self) -> None:
        """Fail if both run, or would be started by a boot, or none could be started."""
        running = [host.name for host in (self.one, self.two) if host.container.running is not None]
        assert len(running) <= 1
        would = []
        for host in (self.one, self.two):
            if host.layout.generations("web").is_dir() and holds.refusal(host.directory) is None:
                would.append(host.name)
        assert len(would) <= 1
        assert would or holds.is_noted(self.one.directory)

    def do(self, steps: t.Iterator[t.Callable[[], object]], count: int = 99) -> int:
        """Do so many of some steps, and look at both hosts after each. Return how many there were."""
        done = 0
        for step in steps:
            if done == count:
                break
            step()
            self.check()
            done += 1
        return done

    def has_moved(self) -> None:
        assert self.two.container.running is not None
        assert not os.path.lexists(self.one.directory)
        assert not holds.is_noted(self.two.directory)
        assert (self.two.data / "written").is_dir()


def two_hosts(root: Path, monkeypatch: pytest.MonkeyPatch) -> Hosts:
    """Return two hosts whose modules find the container of the host on which they run."""
    made = Hosts(root)
    by_root = {str(host.layout.root): host for host in (made.one, made.two)}

    class Found(Moving):
        def __init__(self, layout: Layout, *rest: t.Any) -> None:
            host = by_root[str(layout.root)]
            monkeypatch.setattr(moving, "Container", lambda name: host.container)
            monkeypatch.setattr(moving, "starter", lambda container, systemd: FakeStarter(host))
            super().__init__(layout, *rest)

    monkeypatch.setattr(FakeHost, "moving", lambda host: Found(host.layout, "web", NAMES[host.name], 1.0))
    made.one.deploy()
    made.check()
    return made
