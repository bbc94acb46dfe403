# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Root inside takes all that its container can have, or spoils it, to keep the host from entering."""

from __future__ import annotations

import os
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.inside import questions
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError

from . import isolation_record
from .isolation import MODES, limit_tasks, make_hostile, stop

if t.TYPE_CHECKING:
    from .conftest import Machine, MakeMachine

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

NAME = "test-isolation-out"
TIMEOUT = 2.0
GRACE = 8.0
"""Seconds that a stop may take beyond its time limit: thousands of control groups are removed."""

QUESTIONS = 20
KEPT = 2
"""Control groups that the entering of any number of processes may make."""

OWN = """
import errno, itertools, os, select, subprocess, sys
os.chdir("/sys/fs/cgroup")
def read(path):
    with open(path) as file:
        return file.read()
def write(path, text):
    with open(path, "w") as file:
        file.write(text)
def move_away():
    os.makedirs("own", exist_ok=True)
    for pid in read("unshare.entered/cgroup.procs").split():
        write("own/cgroup.procs", pid)
def remove():
    while os.path.exists("unshare.entered"):
        try:
            move_away()
            os.rmdir("unshare.entered")
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.ENOENT, errno.ESRCH):
                raise
def thread():
    for name in read("cgroup.subtree_control").split():
        write("cgroup.subtree_control", "-" + name)
    os.mkdir("own")
    while True:
        for path, _names, _files in os.walk("."):
            for pid in read(path + "/cgroup.procs").split() if path != "." else ():
                write("cgroup.procs", pid)
        try:
            write("own/cgroup.type", "threaded")
            break
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
    print("taken", read("unshare.entered/cgroup.type"), flush=True)
def until_the_end(deed):
    first = True
    while not select.select([0], [], [], 0)[0]:
        try:
            deed()
        except OSError:
            pass
        if first:
            print("taken", flush=True)
        first = False
def fill():
    try:
        for number in itertools.count():
            os.mkdir("own/%d" % number)
    except OSError as error:
        print("taken", number, error.errno, flush=True)
"""
"""What the scripts below begin with that get at the control group of entered processes."""

FREEZER = """#!/usr/bin/python3 -I
import ctypes, os
libc = ctypes.CDLL(None)
NEW_NAMESPACES = 0x02020000
if libc.unshare(NEW_NAMESPACES) == 0:
    os.makedirs("/tmp/groups", exist_ok=True)
    if libc.mount(b"groups", b"/tmp/groups", b"cgroup2", 0, None) == 0:
        for name in ("cgroup.freeze", "cgroup.procs"):
            try:
                os.chmod("/tmp/groups/" + name, 0o666)
                open("/tmp/groups/" + name, "w").write("1")
            except OSError:
                pass
"""
"""A program that freezes the control group that it is in, and whatever else is there."""

TASKS = "all tasks"
SCHEDULING = "the scheduling of PID 1, and a processor"
MEANT = {TASKS: "as many tasks as its limit `tasks_max`", SCHEDULING: "systemctl did not answer"}
"""What is said all the same: a limit holds for the host's own processes inside, too, and PID 1 itself has lost it."""

GROUPS = {
    "all control groups, after removing that of entered processes": "remove()\nfill()\nsys.stdin.read()",
    "all control groups, and one in place of that of entered processes": """
remove()
os.mkdir("unshare.entered")
fill()
sys.stdin.read()
""",
    "removing the control group of entered processes again and again": """
move_away()
until_the_end(lambda: os.rmdir("unshare.entered"))
""",
    "a control group in place of that of entered processes, again and again": """
remove()
until_the_end(lambda: (os.mkdir("unshare.entered"), os.rmdir("unshare.entered")))
""",
    "a threaded control group": "thread()\nsys.stdin.read()",
    "freezing the control group that entered processes get instead": f"""
thread()
with open("/tmp/true", "w") as file:
    file.write({FREEZER!r})
os.chmod("/tmp/true", 0o755)
subprocess.run(["mount", "--bind", "/tmp/true", "/usr/bin/true"], check=True)
sys.stdin.read()
""",
    "freezing, killing and bounding what is in the control group of entered processes": """
move_away()
DEEDS = {"freeze": "1", "kill": "1", "type": "threaded", "max.depth": "0"}
DEEDS = {**{"cgroup." + name: text for name, text in DEEDS.items()}, "pids.max": "0", "memory.max": "0"}
def deed():
    for name, text in DEEDS.items():
        try:
            write("unshare.entered/" + name, text)
        except OSError:
            pass
until_the_end(deed)
""",
}
TAKING = {
    **{name: OWN + script for name, script in GROUPS.items()},
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
    SCHEDULING: """
import os, signal, sys
processor = min(os.sched_getaffinity(0))
os.sched_setscheduler(1, os.SCHED_IDLE, os.sched_param(0))
os.sched_setaffinity(1, {processor})
os.setpriority(os.PRIO_PROCESS, 1, 19)
with open("/proc/1/oom_score_adj", "w") as file:
    file.write("1000")
loops = []
for _number in range(60):
    loops.append(os.fork())
    if loops[-1] == 0:
        os.sched_setaffinity(0, {processor})
        os.setsid()  # where each session has its share of a processor (sched(7)), as many shares
        while True:
            pass
print("taken", len(loops), flush=True)
sys.stdin.read()
for loop in loops:
    os.kill(loop, signal.SIGKILL)
""",
}
"""Scripts that take it, say how much, and hold it until their input ends."""


def meet(machine: Machine, meant: str) -> str:
    """Enter in every way, and ask; `refused` when nothing keeps the host from that but what is meant, or what does."""
    said = []
    before = groups(machine)
    for _question in range(QUESTIONS):  # what is made anew by each is noticed, and what is lost by chance
        try:
            questions.capture(machine.container, ["true"], 20)
        except LauncherError as error:
            said.append(str(error))
            break
    for user in ("root", "nobody"):
        entered = machine.run("true", user=user)
        if entered.returncode:
            said.append(f"as {user}: {entered.stderr}")
    for ask in (lambda: questions.capture(machine.container, ["true"], 20), machine.container.failed_units):
        try:
            ask()
        except LauncherError as error:
            if "its systemd does not say" not in str(error):  # which is an answer, and in time
                said.append(str(error))
    if groups(machine) > before + KEPT:
        said.append(f"{groups(machine) - before} control groups more")
    return "; ".join(text for text in said if not meant or meant not in text) or "refused"


def groups(machine: Machine) -> int:
    """Return the number of the container's control groups."""
    line = machine.container.cgroup.read("cgroup.stat").splitlines()[0]
    assert line.startswith("nr_descendants ")
    return int(line.split()[1])


@pytest.mark.long
@pytest.mark.parametrize("mode", MODES)
def test_the_host_can_always_enter(make_machine: MakeMachine, tmp_path: Path, mode: str) -> None:
    words: dict[str, str] = {}
    absent: set[str] = set()
    for name, script in TAKING.items():
        machine = make_hostile(make_machine, mode, NAME, tmp_path / "data")
        limit_tasks(machine)
        machine.start()
        attempts = [f"keep the host out by {name}", f"hold on by {name}"]
        if name == TASKS and mode == "identity" and not machine.container.cgroup.has("pids.max"):
            absent.update(attempts)  # nothing on this host counts the tasks of one container of uid 0
            words.update(dict.fromkeys(attempts, "absent"))
            machine.destroy()
            continue
        machine.output("sh", "-c", "cat > /tmp/take", input=script)
        command = [str(machine.system / "enter-container"), "--", "python3", "-I", "/tmp/take"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as taking:
            assert taking.stdout is not None
            assert taking.stdout.readline().startswith("taken")
            words.update(
                zip(attempts, (meet(machine, MEANT.get(name, "")), stop(machine, TIMEOUT, GRACE)), strict=True)
            )
            taking.communicate(timeout=30)
        machine.destroy()
    isolation_record.check(mode, "out", "out", words, absent)


LEAVING = {
    "its user namespace": "leave(0x10000000)",
    "all of its namespaces but that of processes": "leave(0x5e020000)",
    "its user namespace and the next, as another user": """
os.setresgid(1000, 1000, 1000)
os.setresuid(1000, 1000, 1000)
leave(0x10000000)
for name, text in (("uid_map", "0 1000 1"), ("setgroups", "deny"), ("gid_map", "0 1000 1")):
    with open("/proc/self/" + name, "w") as file:
        file.write(text)
leave(0x10000000)
""",
}
"""What PID 1 leaves, and how."""

LEAVE = """
import ctypes, os, signal
libc = ctypes.CDLL(None)
def leave(flags):
    assert libc.unshare(flags) == 0
    libc.prctl(4, 1, 0, 0, 0)  # dumpable: it may write to its files in /proc
with open("/data/left", "w") as told:
    exec({!r})
    told.write("left")
while True:
    signal.pause()
"""
"""A PID 1 that has no id in its own user namespace any more."""


@pytest.mark.parametrize("mode", MODES)
def test_the_host_enters_what_pid_1_has_left(make_machine: MakeMachine, tmp_path: Path, mode: str) -> None:
    data = tmp_path / "data"
    words: dict[str, str] = {}
    for what, deed in LEAVING.items():
        init = {"argv": ["/usr/bin/python3", "-I", "-c", LEAVE.format(deed)], "ready": "exec"}
        machine = make_hostile(make_machine, mode, NAME, data, init=init)
        (data / "left").unlink(missing_ok=True)
        os.mkfifo(data / "left")
        started = machine.start()
        own = os.readlink("/proc/self/ns/user")
        assert (data / "left").read_text() == "left"
        assert os.readlink(f"/proc/{started.pid}/ns/user") != own
        attempts = [f"keep the host out by leaving {what}", f"hold on by leaving {what}"]
        said = meet(machine, "")
        if said == "refused":
            ids = machine.output("cat", "/proc/self/uid_map").split()
            said = "refused" if ids == ["0", str(started.uid_base), str(started.uid_count)] else f"the ids are {ids}"
        words.update(zip(attempts, (said, stop(machine, TIMEOUT, GRACE)), strict=True))
        machine.destroy()
    isolation_record.check(mode, "left namespaces", "out", words)
