# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Processes that a kill of the control group does not reach, or does not end: a stop ends them all the same."""

from __future__ import annotations

import errno
import os
import select
import sys
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import init, launch, linux, process
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.launcher.process import Process
from ansible_collections.unshare.container.plugins.module_utils.life import fuse

from .fuse_servers import Silent, holding, mounting
from .lives import Run, children, nothing_in_memory

if t.TYPE_CHECKING:
    from .conftest import Machine, MakeMachine

pytestmark = pytest.mark.root

NAME = "test-ends"
TIMEOUT = 0.5
GRACE = 4.0
"""Seconds that a stop may take beyond its time limit: it kills, and waits for the ends."""

READY = "/data/ready"
"""Where what runs inside says, with a file, that it is as it shall be."""

# The first thread ends by exit(2), the others ignore what can be ignored. `os.fork` would do away with the threads.
HEADLESS = f"""
import ctypes, os, signal, threading, time
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
first = os.getpid()
def go_on():
    while open(f"/proc/{{first}}/stat").read().rpartition(") ")[2][0] != "Z": time.sleep(0.001)
    open("{READY}", "w").close()
    while True: signal.pause()
PREPARE
threading.Thread(target=go_on).start()
ctypes.CDLL(None).syscall(EXIT, 0)
""".replace("EXIT", "93" if os.uname().machine == "aarch64" else "60")

# A thread in a group of its own makes those that hold the process threaded: what they hold cannot be read from them.
THREADED = """
group = "/sys/fs/cgroup/headless"
for path in (group, group + "/inner"):
    os.makedirs(path)
open(group + "/inner/cgroup.type", "w").write("threaded")
open(group + "/cgroup.procs", "w").write(str(os.getpid()))
open(group + "/inner/cgroup.threads", "w").write(str(os.getpid()))
"""

# A server in user space that has read the question of its own other thread, and waits for that thread's end. Who has
# opened the device shares the table of descriptors with it, so that the kill of the one closes nothing.
DEADLOCKED = f"""{mounting(",allow_other")}
import threading
_opcode, unique, _node = question()
reply(unique, opened)
asker = threading.Thread(target=lambda: os.path.exists("/tmp/own/name"))
asker.start()
question()
open("{READY}", "w").close()
asker.join()
"""

# A server in user space that never says what is in its file. A process, which keeps the device open, waits for that in
# a call into memory that is this file, and holds a lock of the control group's directory meanwhile. Another waits for
# the same lock as a writer, so that nobody gets it any more.
HOLDING = holding("""
def waits(pid):
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0] == "D"

def hold(address):
    libc.getdents64(os.open("/sys/fs/cgroup", os.O_RDONLY), address, ctypes.c_size_t(4096))

def asked():
    writer = os.fork()
    if writer == 0:
        os.mkdir("/sys/fs/cgroup/writer")
        os._exit(0)
    while not waits(writer):
        time.sleep(0.01)
""")


@pytest.fixture
def machine(make_machine: MakeMachine, tmp_path: Path) -> Machine:
    """Return a container that shares a directory."""
    data = tmp_path / "data"
    data.mkdir()
    mappings = [{"source": str(data), "target": "/data", "writable": True}]
    return make_machine(name=NAME, mappings=mappings, security={"fuse": True})


def instead_of_systemd(machine: Machine, tmp_path: Path, script: str) -> None:
    """Let a script be PID 1 of a running container, as root inside can."""
    (tmp_path / "data/init").write_text(f"#!/usr/bin/python3 -S\n{script}")
    os.chmod(tmp_path / "data/init", 0o755)
    machine.output("mount", "--bind", "/data/init", "/usr/lib/systemd/systemd")
    machine.shell("systemctl daemon-reexec </dev/null >/dev/null 2>&1 &")  # nobody answers it any more
    await_ready(tmp_path)


def beside_systemd(machine: Machine, tmp_path: Path, script: str) -> None:
    """Run a script inside that goes on."""
    (tmp_path / "data/script").write_text(script)
    machine.output("systemd-run", "--quiet", "--property=Delegate=yes", "/usr/bin/python3", "-S", "/data/script")
    await_ready(tmp_path)


def await_ready(tmp_path: Path) -> None:
    deadline = time.monotonic() + 20
    while not (tmp_path / "data/ready").exists():
        assert time.monotonic() < deadline, "what is to run inside does not"
        time.sleep(0.01)


def stop_in_time(machine: Machine) -> bool:
    """Stop it; whether it ran."""
    began = time.monotonic()
    ran = machine.stop(TIMEOUT)
    assert time.monotonic() - began < TIMEOUT + GRACE
    return ran


def test_a_pid_1_whose_first_thread_has_ended_runs_and_is_stopped(machine: Machine, tmp_path: Path) -> None:
    pid = machine.start().pid
    assert pid is not None
    instead_of_systemd(machine, tmp_path, HEADLESS.replace("PREPARE", ""))
    process = Process(pid, linux.pidfd_open(pid))
    assert not process.wait(0)
    assert machine.container.status().state == "running"
    assert stop_in_time(machine)
    assert process.wait(0)
    process.close()
    nothing_in_memory(machine.name)
    assert machine.start().state == "running"


@pytest.mark.parametrize("prepare", ["", THREADED], ids=["plain", "in a threaded group"])
def test_a_process_whose_first_thread_has_ended_and_that_is_not_recorded_is_killed(
    machine: Machine, tmp_path: Path, prepare: str
) -> None:
    """All that is known of it is its control group."""
    pid = machine.start().pid
    assert pid is not None
    instead_of_systemd(machine, tmp_path, HEADLESS.replace("PREPARE", prepare))
    Path("/run/unshare", machine.name, "state.json").unlink()
    process = Process(pid, linux.pidfd_open(pid))
    assert not stop_in_time(machine)
    assert process.wait(0)
    process.close()
    nothing_in_memory(machine.name)


@pytest.mark.parametrize("run", [instead_of_systemd, beside_systemd])
def test_a_file_system_that_waits_for_itself_is_aborted(
    machine: Machine, tmp_path: Path, silent: Silent, run: t.Callable[[Machine, Path, str], None]
) -> None:
    """That of the host is not."""
    machine.start()
    run(machine, tmp_path, DEADLOCKED)
    assert stop_in_time(machine)
    nothing_in_memory(machine.name)
    poll = select.poll()
    poll.register(silent.device, select.POLLIN)
    assert not poll.poll(0)  # an aborted connection is an error


def test_locks_that_root_inside_holds_keep_no_stop_waiting(machine: Machine, tmp_path: Path) -> None:
    machine.start()
    beside_systemd(machine, tmp_path, HOLDING)
    assert stop_in_time(machine)
    nothing_in_memory(machine.name)


@pytest.mark.parametrize("base", [0, -1])
def test_no_connection_of_the_hosts_is_aborted(silent: Silent, base: int) -> None:
    """Where a container has the host's own ids, nothing tells its connections from the host's."""
    fuse.abort(base, 1 << 16)
    poll = select.poll()
    poll.register(silent.device, select.POLLIN)
    assert not poll.poll(0)


def test_an_init_that_the_kernel_does_not_let_end_keeps_no_start_waiting(
    machine: Machine, silent: Silent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for its network, say, which the kernel does not make before it has removed those of others."""

    def wait(_init: init.FirstProcess, *_descriptors: int) -> t.NoReturn:
        os.close(silent.device)
        os.path.exists(f"/proc/self/fd/{directory}/name")
        os._exit(0)

    directory = os.open(silent.path, os.O_PATH)  # it may not go through those above
    monkeypatch.setattr(init.FirstProcess, "run", wait)
    asked = Run(lambda: len(os.read(silent.device, 1 << 17)) > 0)  # a question that was read is waited for to the end
    began = time.monotonic()
    with pytest.raises(LauncherError, match="cannot start: not in time: "):
        machine.start(timeout=TIMEOUT)
    assert time.monotonic() - began < TIMEOUT + 2 * process.KILL_SECONDS + 1
    assert asked.result() == "True"
    assert machine.container.status().state == "stopped"
    assert not machine.container.cgroup.wait_empty(0), "it did end"
    silent.abort()
    os.close(directory)
    monkeypatch.undo()
    assert machine.start().state == "running"


@pytest.mark.parametrize(
    ("in_child", "fails"),
    [(False, "caller"), (True, "child"), (True, "caller"), (True, "both")],
    ids=["alone", "in the child that builds", "after that child", "in both"],
)
def test_an_init_that_cannot_be_pinned_is_let_go_of(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, in_child: bool, fails: str
) -> None:
    before = set(children())
    pins = iter(range(100))
    pidfd_open, caller = linux.pidfd_open, os.getpid()

    def fail_once(pid: int) -> int:
        of_init = sys._getframe(2).f_code.co_filename.endswith("/launch.py")  # who asks for it to be pinned
        if of_init and fails in ("both", "caller" if os.getpid() == caller else "child") and next(pins) == 0:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return pidfd_open(pid)

    monkeypatch.setattr(launch.linux, "pidfd_open", fail_once)
    if in_child:
        monkeypatch.setattr(launch.Excursion, "possible", lambda _self: False)
    with pytest.raises(LauncherError, match="Too many open files"):
        machine.start(timeout=TIMEOUT)
    monkeypatch.undo()
    nothing_in_memory(machine.name)
    assert set(children()) <= before
