# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Root inside holds the locks of pipes that it shares with the host: who reads, resizes or closes them waits.

A pipe is held by splice(2) from a socket that stays silent. Any user inside can do that, and no signal to the waiting
process ends it. So the waiting process must be one that nobody waits for.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.courier import HELD_SECONDS

from . import isolation_record
from .connection_hosts import ansible
from .isolation import MODES, make_hostile, stop
from .test_isolation_waits import GRACE, TIMEOUT, put, took, wait
from .test_shell import Terminal

if t.TYPE_CHECKING:
    from .conftest import Machine, MakeMachine

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

NAME = "test-isolation-held"
LONG = 40
"""Seconds after which a holder ends by itself."""

ATTEMPTS = 5
"""Tasks that may be over before root inside, who shares the processors with all others, holds one."""

SLEEP = ["/usr/bin/sleep", "12345"]
"""A program that is known by its words."""

MASTER = (5, 2)
SLAVES = 136
"""What masters of ptys are opened by, and the number of their slaves' devices (devices.txt)."""

CAUGHT = 0.5
"""Seconds for which what was written is not read: then its reader waits for the lock."""

HOLD = f"""
import ctypes, fcntl, os, select, signal, socket, sys, termios, time
libc = ctypes.CDLL(None)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
signal.signal(signal.SIGUSR1, lambda *_: None)
silent, kept = socket.socketpair()
def holder(out, text):
    child = os.fork()
    if child == 0:
        os.setsid()
        signal.alarm({LONG})
        while True:
            os.write(out, text)
            libc.splice(silent.fileno(), None, out, None, 4096, 0)
    return child
def read(out, text):
    os.write(out, text)
    while fcntl.ioctl(out, termios.FIONREAD, bytes(4)) != bytes(4):
        time.sleep(0.02)
def catch(out, path):
    poll = select.poll()
    poll.register(os.open(path, os.O_RDONLY | os.O_NONBLOCK), select.POLLIN)
    child = holder(out, bytes(32768))
    since = time.monotonic()
    while time.monotonic() - since < {CAUGHT}:
        time.sleep(0.02)
        if not poll.poll(0):
            since = time.monotonic()
            os.kill(child, signal.SIGUSR1)
"""
DEEDS = {
    "silent": f"""
read(1, b"x")
ready, begun = os.pipe()
child = os.fork()
if child == 0:
    os.setsid()
    signal.alarm({LONG})
    os.write(begun, b".")
    libc.splice(silent.fileno(), None, 1, None, 4096, 0)
    os._exit(0)
os.read(ready, 1)
while open(f"/proc/{{child}}/stat").read().rpartition(")")[2].split()[0] != "S":
    time.sleep(0.01)
os._exit(7)
""",
    "end": "catch(1, '/proc/self/fd/1')\nos._exit(7)",
    "stay": f"catch(1, '/proc/self/fd/1')\ntime.sleep({LONG})",
    "other": f"catch(os.open(sys.argv[1], os.O_WRONLY), sys.argv[1])\ntime.sleep({LONG})",
    "file": f"""
out = os.open(sys.argv[1], os.O_RDWR)
fcntl.flock(out, fcntl.LOCK_EX)
fcntl.lockf(out, fcntl.LOCK_EX)
signal.alarm({LONG})
while True:
    try: os.write(out, bytes(1 << 20))
    except OSError: os.truncate(out, 1 << 62), os.truncate(out, 0)
""",
    "watch": """
seen = {os.getpid()}
while True:
    for name in filter(str.isdigit, os.listdir("/proc")):
        path = f"/proc/{name}/fd/1"
        try:
            status = open(f"/proc/{name}/stat").read()
            if name in seen or status.rpartition(")")[2].split()[1] != "0" or name == "1": continue
            out = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError: continue
        seen.add(name)
        if os.fork() == 0:
            os.set_blocking(out, True)
            catch(out, path)
            os._exit(0)
""",
}
"""Held when the command ends, whose output has been read; from before its end on; while it runs on; by somebody else;
a file, by who locks, fills and empties it; of whoever enters."""

ASK = """
import sys
from ansible_collections.unshare.container.plugins.module_utils.inside import questions
from ansible_collections.unshare.container.plugins.module_utils.life.container import Container
print(questions.ask(Container(sys.argv[1]), ["python3", "-S", sys.argv[2]], float(sys.argv[3])))
"""
EVALUATE = """
import json, sys
from ansible_collections.unshare.container.tests.integration.eval_commands import PYTHON, Evaluator
evaluate = Evaluator(0)
try:
    outcome = evaluate(PYTHON, "-S", "-c", sys.argv[1], **json.loads(sys.argv[2]))
    print(outcome.code, outcome.expired)
finally: evaluate.close()
"""


def script(deed: str) -> str:
    """Return the text of a program that holds its standard output."""
    return HOLD + DEEDS[deed]


def number(deed: str) -> str:
    """Return the name of its file inside, made by `put_all`."""
    return f"/tmp/{list(DEEDS).index(deed)}"


def put_all(machine: Machine) -> None:
    """Write the programs to files inside."""
    put(machine, *map(script, DEEDS))


def state(pid: int | str) -> str:
    """Return the state of a process of the host: D when no signal ends what it waits for, "" when there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def children(pid: int) -> list[int]:
    """Return the children of a process."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def held(pid: int) -> list[int]:
    """Return what a process has left to wait, of its children; wait for one. It does not wait itself."""
    deadline = time.monotonic() + 20
    while True:
        found = [child for child in children(pid) if state(child) == "D"]
        time.sleep(CAUGHT)
        if found and [state(child) for child in found] == ["D"] * len(found):
            assert state(pid) != "D"
            return found
        assert time.monotonic() < deadline, "nothing is held"


def gone(pids: list[int]) -> bool:
    """Return whether processes end."""
    deadline = time.monotonic() + GRACE
    while any(map(state, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(state, pids))


@contextlib.contextmanager
def killed(process: subprocess.Popen[t.Any]) -> t.Iterator[subprocess.Popen[t.Any]]:
    """Kill a process at the end."""
    try:
        yield process
    finally:
        process.kill()


def quiet(*words: str, **options: t.Any) -> subprocess.Popen[t.Any]:
    """Run a program of the host whose output nobody looks at."""
    return subprocess.Popen(
        words, **{"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **options}
    )


@pytest.mark.parametrize("mode", MODES)
def test_who_enters_is_not_held(make_machine: MakeMachine, tmp_path: Path, mode: str) -> None:
    words = {}
    machine = make_hostile(make_machine, mode, NAME, tmp_path / "data")
    machine.start()
    put_all(machine)
    enter = [str(machine.system / "enter-container"), "--", "python3", "-S"]

    left = []
    for deed in ("silent", "end"):
        process = quiet(*enter, number(deed))
        if deed == "end":
            left += held(process.pid)
        words[f"keep an entry waiting by a pipe that is held, {deed}"] = wait(process, HELD_SECONDS)
        assert process.returncode == 7
        assert all(state(child) == "D" for child in left), "the command was let go of by whoever held it"

    process = quiet(*enter, number("stay"))
    left += held(process.pid)
    began = time.monotonic()
    process.kill()
    process.wait(60)
    words["keep an entry from being killed by a pipe that is held"] = took(began, 0)

    for deed in ("end", "stay"):
        process = quiet(sys.executable, "-c", ASK, NAME, number(deed), "3")
        left += held(process.pid)
        words[f"keep a question waiting by a pipe that is held, {deed}"] = wait(process, 3)

    machine.stop(TIMEOUT)
    assert gone(left), "who was held is left"
    isolation_record.check(mode, "held entry", "wait", words)


def test_output_goes_on_to_who_reads_it(make_machine: MakeMachine) -> None:
    """Who is left behind holds nothing of the caller's: its reader sees the end."""
    machine = make_machine(name=NAME)
    machine.start()
    put_all(machine)
    ended = machine.run("python3", "-S", number("silent"), timeout=20)
    assert (ended.returncode, ended.stdout) == (7, "x")
    assert "warning: some of its output may be missing" in ended.stderr


def test_who_starts_is_not_held(make_machine: MakeMachine) -> None:
    """By a sibling, either, that got its output through a shared directory, and goes on when it is stopped."""
    words = {}
    machine = make_machine(name=NAME, init={"argv": SLEEP, "ready": "notify", "stop_signal": "SIGKILL"})
    running = quiet(str(machine.system / "run-container"), "--timeout=8", "--detach")
    init = entered(running.pid)
    holder = quiet(sys.executable, "-c", script("file"), f"/proc/{init}/fd/1")
    with killed(running), killed(holder):
        assert children(running.pid) == [init], "somebody else could be held"
        words["keep a start waiting by the file that takes its output"] = wait(running, 8)
        assert holder.poll() is None
        assert stop(machine, TIMEOUT, GRACE) == "refused"

    machine = make_machine(name=NAME, init={"argv": SLEEP, "ready": "exec", "stop_signal": "SIGKILL"})
    running = quiet(str(machine.system / "run-container"), "--timeout=8")
    holder = quiet(sys.executable, "-c", script("other"), f"/proc/{entered(running.pid)}/fd/1")
    with killed(running), killed(holder):
        left = held(running.pid)
        running.terminate()
        for child in children(holder.pid):  # it holds PID 1, too, which closes the pipe when it ends
            os.kill(child, signal.SIGKILL)
        words["keep a container in the foreground waiting by a pipe that is held"] = wait(running, 8)
        assert gone(left), "who was held is left"
        assert stop(machine, TIMEOUT, GRACE) == "refused"
    isolation_record.check("auto", "held start", "wait", words)


@pytest.mark.parametrize("namespaces", [None, ["user", "mnt"]])
def test_a_single_command_is_not_held(namespaces: list[str] | None) -> None:
    given = json.dumps({"timeout": 3, **({"namespaces": namespaces} if namespaces else {})})
    deeds = {"stay": "137 True", **({"end": "7 False"} if namespaces else {})}  # else the holder ends with the command
    for deed, outcome in deeds.items():
        process = quiet(sys.executable, "-c", EVALUATE, script(deed), given, stdout=subprocess.PIPE, text=True)
        with killed(process):
            left = held(process.pid)
            assert process.communicate(timeout=3 + 5 + GRACE)[0].strip() == outcome
        assert namespaces or gone(left), "who was held is left"


def test_a_task_is_not_held(make_machine: MakeMachine, tmp_path: Path) -> None:
    """Of Ansible's, in a container where each command that enters is held: its time limit ends it."""
    machine = make_machine(name=NAME)
    machine.start()
    put_all(machine)
    with killed(quiet(str(machine.system / "enter-container"), "--", "python3", "-S", number("watch"))):
        for _attempt in range(ATTEMPTS):
            result = ansible(
                *("ansible", "-i", f"{NAME},", "-c", "unshare.container.nsenter", "-T", "4"),
                *("-m", "command", "-a", "sleep 2", NAME),
                directory=tmp_path,
                ANSIBLE_TASK_TIMEOUT="4",
            )
            if "Timed out" in result.stdout:
                break
            assert result.returncode == 0, result.stdout + result.stderr
        else:
            pytest.fail(f"none of {ATTEMPTS} tasks was held")
        machine.stop(TIMEOUT)


def identities(pid: int) -> set[tuple[int, ...]]:
    """Return the pipes and ptys of which a process has an end; the masters of all ptys are one."""
    found: set[tuple[int, ...]] = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            status = entry.stat()
            if stat.S_ISFIFO(status.st_mode):
                found.add((status.st_dev, status.st_ino))
            elif status.st_rdev == os.makedev(5, 2):
                found.add(MASTER)
            elif os.major(status.st_rdev) == SLAVES:
                found.add((status.st_dev, status.st_rdev))
    return found


def entered(server: int) -> int:
    """Return the child of a process that runs its program in a container; wait for it."""
    own = os.readlink("/proc/self/ns/pid")
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        for child in children(server):
            with contextlib.suppress(FileNotFoundError):
                runs = SLEEP[-1].encode() in Path(f"/proc/{child}/cmdline").read_bytes()
                if runs and os.readlink(f"/proc/{child}/ns/pid") != own:
                    return child
        time.sleep(0.05)
    raise AssertionError("nothing has entered")


def look(server: int) -> None:
    """See that of what is shared with a container a process has nothing, and one child of it has the other ends."""
    inside = entered(server)
    shared = identities(inside)
    assert shared
    assert not (shared | {MASTER}) & identities(server)
    ends = shared | {MASTER}
    assert len([child for child in children(server) if child != inside and identities(child) & ends]) == 1


@pytest.mark.parametrize("at_terminal", [False, True])
def test_who_serves_has_no_end_of_what_is_shared(make_machine: MakeMachine, at_terminal: bool) -> None:
    """Not even a copy, for whoever closes the last one waits, too."""
    machine = make_machine(name=NAME)
    machine.start()
    server = [str(machine.system / "enter-container"), "--", *SLEEP]
    asker = [sys.executable, "-c", ASK.replace('"python3", "-S", sys.argv[2]', f"*{SLEEP}"), NAME, "", "60"]
    for words in [server] if at_terminal else [server, asker]:
        serve(words, at_terminal)
    machine.stop(TIMEOUT)


@pytest.mark.parametrize("at_terminal", [False, True])
def test_who_runs_a_container_has_no_end_of_what_is_shared(make_machine: MakeMachine, at_terminal: bool) -> None:
    machine = make_machine(name=NAME, init={"argv": SLEEP, "ready": "exec", "stop_signal": "SIGKILL"})
    serve([str(machine.system / "run-container")], at_terminal)
    machine.stop(TIMEOUT)


def serve(words: list[str], at_terminal: bool) -> None:
    """Look at a program of the host's while it serves, and kill it."""
    terminal = Terminal(*words) if at_terminal else None
    process = terminal.process if terminal is not None else quiet(*words)
    with killed(process):
        look(process.pid)
    process.wait(60)
    if terminal is not None:
        os.close(terminal.master)
        os.close(terminal.slave)
