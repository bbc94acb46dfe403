# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Root inside takes all that the container can have, so that nothing is left for the host to enter with."""

from __future__ import annotations

import subprocess
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import enter
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError

from . import isolation_record
from .isolation import MODES, limit_tasks, make_hostile

if t.TYPE_CHECKING:
    from .conftest import Machine, MakeMachine

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

NAME = "test-isolation-out"
TIMEOUT = 2.0
GRACE = 8.0
"""Seconds that a stop may take beyond its time limit: thousands of control groups are removed."""

GROUPS = "all control groups, after removing that of entered processes"
TASKS = "all tasks"
TAKING = {
    GROUPS: """
import itertools, os, sys
os.chdir("/sys/fs/cgroup")
os.mkdir("own")
def read(path):
    with open(path) as file:
        return file.read()
while os.path.exists("unshare.entered"):
    for pid in read("unshare.entered/cgroup.procs").split():
        with open("own/cgroup.procs", "w") as file:
            file.write(pid)
    os.rmdir("unshare.entered")
try:
    for number in itertools.count():
        os.mkdir("own/%d" % number)
except OSError as error:
    print("taken", number, error.errno, flush=True)
sys.stdin.read()
""",
    TASKS: """
import os, select, signal
taken = 0
while not select.select([0], [], [], 0.001)[0]:
    try:
        while True:
            if os.fork() == 0:
                signal.pause()
            taken += 1
    except BlockingIOError as error:
        if taken:
            print("taken", taken, error.errno, flush=True)
        taken = 0
""",
    "the limits of PID 1": """
import resource, sys
taken = 0
for name in dir(resource):
    if name.startswith("RLIMIT_") and name not in ("RLIMIT_NICE", "RLIMIT_RTPRIO"):
        resource.prlimit(1, getattr(resource, name), (0, 0))
        taken += 1
print("taken", taken, flush=True)
sys.stdin.read()
""",
}
"""Scripts that take it, say how much, and hold it until their input ends."""


def meet(machine: Machine, meant: str) -> str:
    """Enter in every way, and ask; `refused` when nothing keeps the host from that but what is meant, or what does."""
    said = []
    for user in ("root", "nobody"):
        entered = machine.run("true", user=user)
        if entered.returncode:
            said.append(f"as {user}: {entered.stderr}")
    for ask in (lambda: enter.capture(machine.container, ["true"], 20), machine.container.failed_units):
        try:
            ask()
        except LauncherError as error:
            said.append(str(error))
    return "; ".join(text for text in said if not meant or meant not in text) or "refused"


def stop(machine: Machine) -> str:
    """Stop it; how that went."""
    began = time.monotonic()
    try:
        machine.stop(TIMEOUT)
    except LauncherError as error:
        return str(error)
    return "refused" if time.monotonic() - began < TIMEOUT + GRACE else "too slow"


@pytest.mark.parametrize("mode", MODES)
def test_the_host_can_always_enter(make_machine: MakeMachine, tmp_path: Path, mode: str) -> None:
    words: dict[str, str] = {}
    absent: set[str] = set()
    for name, script in TAKING.items():
        machine = make_hostile(make_machine, mode, NAME, tmp_path / "data")
        limit_tasks(machine)
        machine.start()
        attempts = [f"keep the host out by {name}", f"hold on by {name}"]
        # A limit holds for the host's own processes inside, too; but it is said which.
        meant = "as many tasks as its limit `tasks_max`" if name == TASKS else ""
        if name == TASKS and mode == "identity" and not machine.container.cgroup.has("pids.max"):
            absent.update(attempts)  # nothing on this host counts the tasks of one container of uid 0
            words.update(dict.fromkeys(attempts, "absent"))
            continue
        machine.output("sh", "-c", "cat > /tmp/take", input=script)
        command = [str(machine.system / "enter-container"), "--", "python3", "-I", "/tmp/take"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as taking:
            assert taking.stdout is not None
            assert taking.stdout.readline().startswith("taken ")
            words.update(zip(attempts, (meet(machine, meant), stop(machine)), strict=True))
            taking.communicate(timeout=30)
        machine.destroy()
    isolation_record.check(mode, "out", "out", words, absent)
