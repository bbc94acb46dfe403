# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The move of a container, interrupted anywhere: it runs on one host at most, and the next run finishes it (V5)."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import time
import typing as t

import pytest

from .fleet_hosts import Fleet
from .lives import rounds, seeded
from .moves import NAME, Mover, of_host

pytestmark = [pytest.mark.root, pytest.mark.long, pytest.mark.timeout(3600)]

LINES = 34
"""How many tasks a move has, about."""
VICTIMS = ("controller", "controller and workers", "module", "connection", "old host's power", "new host's power")
LONGEST = 0.6
"""Seconds into a task at which something is killed, at most."""


def lose_power(mover: Mover, index: int) -> None:
    """End all that runs on a host at once, with all that is in its memory, and have its boot start the container."""
    host = mover.host(index)
    first = int(host.first())  # takes connections, as after a boot
    deadline = time.monotonic() + 30
    while True:
        pids = set()
        for file in list(host.cgroup.rglob("cgroup.procs")):
            with contextlib.suppress(OSError):  # a group that has just gone
                pids |= {int(pid) for pid in file.read_text().split()} - {first}
        if not pids:
            break
        assert time.monotonic() < deadline, pids
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)  # nobody says when the last of them has ended
    memory = ("/run/unshare", "/run/unshare.names", "/run/unshare.code", "/run/unshare.configs", "/run/ansible")
    host.inside("rm", "-rf", *memory)
    host.inside(f"/var/lib/unshare/containers/{NAME}/current/run-container", "--detach")


class Interrupted:
    """A run of a move in which something is killed once, at a moment that nothing announces.

    Attributes:
        said: what the run has printed.
        victim: what was killed.
    """

    def __init__(self, mover: Mover, old: int, new: int, choices: random.Random) -> None:
        self.mover = mover
        self.old = old
        self.choices = choices
        self.said = ""
        tasks, self.pause = choices.randrange(1, LINES), choices.uniform(0, LONGEST)
        self.victim = choices.choice(VICTIMS)
        self.process = subprocess.Popen(
            mover.command(old, new),
            env=mover.fleet.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said += line
            tasks -= line.startswith("TASK [")
            if not tasks:
                self.strike()
                break
        self.end()

    def strike(self) -> None:
        """Kill what was chosen; where there is none of it, the controller."""
        time.sleep(self.pause)
        if "power" in self.victim:
            lose_power(self.mover, self.old if "old" in self.victim else 1 - self.old)
            return
        if self.victim in ("module", "connection"):
            words = ("ansible", "python") if self.victim == "module" else ("sshd-session", "sshd: root")
            pids = [pid for host in self.mover.fleet.hosts for pid in of_host(host, *words)]
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if pids:
                return
            self.victim += " (none), controller"
        if "workers" in self.victim:
            os.killpg(self.process.pid, signal.SIGKILL)
        else:
            self.process.kill()

    def end(self) -> None:
        """Wait for its end, and for nothing that it has left behind."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.said += self.process.communicate(timeout=240)[0]
        self.process.kill()
        self.process.wait(60)


def interrupted(mover: Mover, times: int) -> None:
    """Move it to and fro, with a kill each time, after which the same run again must succeed."""
    choices = seeded()
    old = 0
    for number in range(times):
        new = 1 - old
        run = Interrupted(mover, old, new, choices)
        task = run.said.rpartition("TASK [")[2].partition("]")[0]
        print(f"{number}: {run.victim} killed; code {run.process.returncode}; last task: {task}; ", end="", flush=True)
        print(f"old: {mover.state(old) or mover.runs(old)}, new: {mover.state(new) or mover.runs(new)}", flush=True)
        assert not (mover.runs(old) and mover.runs(new)), run.said
        mover.acknowledged()
        mover.move(old, new).succeeded()
        mover.is_at(new)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.process.pid, signal.SIGKILL)  # workers of the one that was killed
        old = new


@pytest.fixture
def mover() -> t.Iterator[Mover]:
    """Yield two hosts, of which the first has the container."""
    with Fleet(2, ranges=8, on_disk=True) as fleet:  # in memory nothing counts as unchanged
        made = Mover(fleet)
        made.deploy(0)
        yield made


def test_v5_a_move_is_killed_and_run_again(mover: Mover) -> None:
    interrupted(mover, rounds(6, 20))
