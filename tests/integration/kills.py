# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kills of all that a container's life has of processes, at moments that nothing announces."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import typing as t
from pathlib import Path

from ansible_collections.unshare.container.plugins.module_utils.launcher.process import start_time

from .conftest import Machine
from .lives import Run, kill_pid, pause, reach

LAUNCH, BOOT, STOP = 0.02, 0.25, 0.15
"""Seconds that a launch, a boot and a stop take, about: the span in which a kill is to fall."""
KNOWN = ("LauncherError", "UnhealthyError", "NotRunning")
"""How a run may fail: another one may stop the container in between."""


class Killer:
    """Kills one thing at one moment, chosen at random, of a start, of a running container or of a stop."""

    def __init__(self, machine: Machine, choices: random.Random) -> None:
        self.machine = machine
        self.choices = choices
        self.done: dict[str, int] = {}
        self.last = ""

    def acts(self) -> list[t.Callable[[], None]]:
        """Return what it does, each as often as it is to be done beside the others."""
        return [self.in_start, self.in_start, self.in_script, self.in_run, self.in_stop]

    def strike(self) -> None:
        """Do one of them."""
        self.choices.choice(self.acts())()

    def _moment(self, *spans: float) -> None:
        pause(self.choices.uniform(0, self.choices.choice(spans)))

    def _count(self, what: str, hit: bool) -> None:
        key = what if hit else what + " (too late)"
        self.done[key] = self.done.get(key, 0) + 1
        self.last = key

    def _init(self) -> int:
        with contextlib.suppress(OSError, ValueError, KeyError):
            return int(json.loads(Path("/run/unshare", self.machine.name, "state.json").read_text())["pid"])
        return 0

    def in_start(self) -> None:
        """Kill the process that starts it, or one that helps."""
        reach(self.machine.name, "stopped")
        run = Run(lambda: reach(self.machine.name, "started", self.machine.system))
        victim = self.choices.choice(["caller", "child"])
        self._moment(LAUNCH, BOOT)
        if victim == "caller":
            self._count("module in its start", run.process.wait(0) is False)
            run.kill()
        else:
            children = run.children()  # PID 1, or one that helps with the root
            self._count("PID 1 in its start", bool(children) and kill_pid(self.choices.choice(children)))
        status, said = run.end()
        assert status in (0, -9) or any(kind in said for kind in KNOWN), said

    def in_script(self) -> None:
        """Kill its own script, which runs it."""
        reach(self.machine.name, "stopped")
        arguments = self.choices.choice([[], ["--detach"]])
        null = subprocess.DEVNULL
        script = subprocess.Popen([str(self.machine.system / "run-container"), *arguments], stdout=null, stderr=null)
        self._moment(LAUNCH * 3, BOOT * 2)
        self._count("run-container " + "".join(arguments), script.poll() is None)
        script.kill()
        script.wait(60)

    def in_run(self) -> None:
        """Kill its first process."""
        reach(self.machine.name, "started", self.machine.system)
        self._count("PID 1 in its run", kill_pid(self._init()))

    def in_stop(self) -> None:
        """Kill the process that stops or removes it, or its first process meanwhile."""
        reach(self.machine.name, "started", self.machine.system)
        init = self._init()
        run = Run(lambda: reach(self.machine.name, self.choices.choice(["stopped", "absent"])))
        self._moment(STOP)
        if self.choices.random() < 0.3:
            self._count("PID 1 in a stop", start_time(init) is not None and kill_pid(init))
            assert run.end()[0] == 0
        else:
            self._count("module in a stop", run.process.wait(0) is False)
            run.kill()
            run.end()
