# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A hostile root keeps the host waiting by what only it can end: in a start, in an entry, in a stop."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.inside import questions
from ansible_collections.unshare.container.plugins.module_utils.launcher import process
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError, NotReady

from . import isolation_record
from .isolation import MODES, make_hostile
from .lives import children

if t.TYPE_CHECKING:
    from pathlib import Path

    from .conftest import Machine, MakeMachine

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

NAME = "test-isolation-waits"
TIMEOUT = 1.0
GRACE = 4.0
"""Seconds that the host may take beyond its time limit: it kills, and waits for the ends."""

START_TIMEOUT = 3.0
"""That of a start, by which what it does is done."""

LONG = 60
"""Seconds for which what is tried would keep the host waiting."""

# Messages for the host with files whose closing takes long. Their senders have ended, so that the host has them last.
LINGERING = f"""
import array, ctypes, os, signal, socket, struct, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
host = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
host.connect(os.environ["NOTIFY_SOCKET"])
def connection():
    with socket.create_server(("127.0.0.1", 0)) as server:
        sender = socket.create_connection(server.getsockname())
        other = server.accept()[0]
    if os.fork():
        sender.close()
        time.sleep({LONG})
    other.close()
    sender.setblocking(False)
    try:
        while True: sender.send(bytes(65536))
    except BlockingIOError: pass
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, {LONG}))
    return sender
def send(times, count):
    sent, tell = socket.socketpair()
    go, barrier = os.pipe()
    for _time in range(times):
        if os.fork():
            sent.recv(1)
            continue
        os.close(barrier)
        files = []
        for _number in range(count):
            taken, given = socket.socketpair()
            if os.fork() == 0:
                made = connection()
                given.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [made.fileno()]))])
                os._exit(0)
            files += socket.recv_fds(taken, 1, 1)[1]
        tell.send(b"x")
        os.read(go, 1)
        host.sendmsg([b"STATUS=x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))])
        tell.send(b"x")
        os._exit(0)
    os.close(go)
    os.close(barrier)
    for _time in range(times): sent.recv(1)
    time.sleep(0.1)
"""
STARTS = {
    "connections that linger": "send(8, 1)",
    "messages with many of them": "send(4, 3)",
    "messages with them without end": "while True: send(4, 1)",
    "them beside messages without end": "if os.fork(): send(8, 1)\nelse:\n    while True: host.send(b'STATUS=y')",
    "them when it is ready": "send(8, 1)\nhost.send(b'READY=1')",
}
"""What an init does on its way; in the last case it becomes ready."""

STEAL = """
import os, time
try: read = os.open("/proc/self/fd/1", os.O_RDONLY | os.O_NONBLOCK)
except OSError: raise SystemExit
end = time.monotonic() + 0.8
while time.monotonic() < end:
    os.write(1, b"x")
    try: os.read(read, 1)
    except BlockingIOError: pass
if os.fork() == 0: time.sleep(60)
"""
FLOOD = """
import fcntl, os, sys
out = os.open(sys.argv[1], os.O_WRONLY) if len(sys.argv) > 1 else 1
try: fcntl.fcntl(out, 1031, 1 << 20)
except OSError: pass
if len(sys.argv) > 1 or os.fork() == 0:
    while True: os.write(out, bytes(1 << 16))
"""
TRACE = """
import ctypes, os, time
parent = os.getpid()
read, write = os.pipe()
if os.fork() == 0:
    os.setsid()
    assert ctypes.CDLL(None).ptrace(0x4206, parent, 0, 0) == 0
    os.write(write, b"x")
    for number in (0, 1, 2): os.close(number)
    time.sleep(60)
os.read(read, 1)
os._exit(7)
"""
GIVE = f"""
import ctypes, os, signal, sys
for _number in range(int(sys.argv[1])):
    if ctypes.CDLL(None).syscall({220 if os.uname().machine == "aarch64" else 56}, 0x8000 | 17, 0, 0, 0, 0) == 0:
        for number in (0, 1, 2): os.close(number)
        while True: signal.pause()
print("given", flush=True)
while sys.argv[2:]: os.write(1, bytes(1 << 16)) if sys.argv[2] == "flood" else signal.pause()
"""


def took(began: float, limit: float = TIMEOUT) -> str:
    """Return the word for a wait."""
    return "refused" if time.monotonic() - began < limit + GRACE else "too slow"


def put(machine: Machine, *scripts: str) -> None:
    """Write scripts to files inside."""
    for number, script in enumerate(scripts):
        machine.output("sh", "-c", f"cat > /tmp/{number}", input=script)


def wait(process: subprocess.Popen[t.Any], limit: float = 0) -> str:
    """Wait for a process of the host; the word for that."""
    try:
        process.wait(limit + GRACE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(60)
        return "too slow"
    return "refused"


@contextlib.contextmanager
def slow_reader() -> t.Iterator[int]:
    """Somebody who reads, and never comes to an end of what is written for him without end."""
    program = "import os, time\nwhile os.read(0, 65536): time.sleep(0.003)"
    with subprocess.Popen(["/usr/bin/python3", "-c", program], stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        yield process.stdin.fileno()
        process.kill()


@pytest.mark.parametrize("mode", MODES)
def test_a_start_waits_for_no_file_that_root_inside_sends(make_machine: MakeMachine, tmp_path: Path, mode: str) -> None:
    words = {}
    for name, deed in STARTS.items() if mode == "auto" else [*STARTS.items()][-1:]:
        script = f"{LINGERING}\n{deed}\nwhile True: time.sleep({LONG})"
        init = {"argv": ["/usr/bin/python3", "-S", "-c", script], "ready": "notify", "stop_signal": "SIGKILL"}
        machine = make_hostile(make_machine, mode, NAME, tmp_path / "data", init=init)
        ready = "READY=1" in deed
        began = time.monotonic()
        with contextlib.nullcontext() if ready else pytest.raises(NotReady, match="and still runs"):
            machine.start(timeout=20 if ready else START_TIMEOUT)
        words[f"keep a start waiting by {name}"] = took(began, START_TIMEOUT)
        machine.stop(TIMEOUT)
    isolation_record.check(mode, "waiting start", "wait", words)


@pytest.mark.parametrize("mode", MODES)
def test_who_enters_waits_for_nothing_that_root_inside_holds(
    make_machine: MakeMachine, tmp_path: Path, mode: str
) -> None:
    words = {}
    machine = make_hostile(make_machine, mode, NAME, tmp_path / "data")
    machine.start()
    put(machine, STEAL, FLOOD, TRACE)
    script = str(machine.system / "enter-container")
    inside = ["--", "python3", "-S"]

    began = time.monotonic()
    with contextlib.suppress(LauncherError):
        questions.ask(machine.container, ["python3", "-S", "/tmp/0"], TIMEOUT)
    words["keep a question waiting by taking its answer away"] = took(began)

    with slow_reader() as reader:
        process = subprocess.Popen([script, *inside, "/tmp/1"], stdin=subprocess.DEVNULL, stdout=reader)
        words["keep an entry waiting by output without end"] = wait(process, TIMEOUT)
        words["keep an entry at a terminal waiting by output without end"] = at_terminal(
            [script, *inside, "/tmp/1"], reader
        )
    process = subprocess.Popen([script, *inside, "/tmp/2"], stdin=subprocess.DEVNULL)
    words["keep an entry waiting by tracing its command"] = wait(process, TIMEOUT)
    assert process.returncode == 7
    words["keep an entry at a terminal waiting by tracing its command"] = at_terminal([script, *inside, "/tmp/2"], 1)
    isolation_record.check(mode, "waiting entry", "wait", words)


def at_terminal(command: list[str], output: int) -> str:
    """Run a command at a terminal, of which somebody reads what it shows; the word for the wait."""
    relay = "import pty, sys; raise SystemExit(pty.spawn(sys.argv[1:]) >> 8)"
    words = ["/usr/bin/python3", "-c", relay, *command]
    return wait(subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=output), TIMEOUT)


def test_a_container_in_the_foreground_ends_with_its_init(make_machine: MakeMachine, tmp_path: Path) -> None:
    """Whoever else holds its output, as a sibling that got it through a shared directory may; and it heeds a signal."""
    (tmp_path / "flood").write_text(FLOOD)
    init = {"argv": ["/bin/sleep", "1000"], "ready": "exec", "stop_signal": "SIGKILL"}
    machine = make_machine(name=NAME, init=init)
    command = [str(machine.system / "run-container"), "--timeout=2"]
    words = {}
    for name, stalled in (("output without end", False), ("output that nobody reads", True)):
        with contextlib.ExitStack() as stack:
            if stalled:
                read, output = os.pipe()
                stack.callback(os.close, read)
                stack.callback(os.close, output)
            else:
                output = stack.enter_context(slow_reader())
            running = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.PIPE, text=True
            )
            assert running.stderr is not None
            assert any("enter-container" in line for line in running.stderr)
            pid = machine.container.status().pid
            flood = subprocess.Popen(["/usr/bin/python3", str(tmp_path / "flood"), f"/proc/{pid}/fd/1"])
            stack.callback(flood.wait)
            stack.callback(flood.kill)
            time.sleep(0.5)
            if stalled:
                os.kill(pid or 0, signal.SIGKILL)
                time.sleep(0.5)
                running.terminate()
            else:
                os.kill(pid or 0, signal.SIGKILL)
            words[f"keep a container in the foreground waiting by {name}"] = wait(running)
            running.stderr.close()
        machine.stop(TIMEOUT)
    isolation_record.check("auto", "waiting foreground", "wait", words)


@pytest.mark.parametrize("mode", MODES)
def test_a_stop_waits_for_no_process_of_the_hosts(make_machine: MakeMachine, tmp_path: Path, mode: str) -> None:
    """PID 1 ends only when the parents of all processes inside have let go of them."""
    words = {}
    machine = make_hostile(make_machine, mode, NAME, tmp_path / "data")
    script = str(machine.system / "enter-container")
    inside = ["--", "python3", "-S"]

    def stop(what: str) -> None:
        began = time.monotonic()
        machine.stop(TIMEOUT)
        words[f"keep a stop waiting by {what}"] = took(began)

    before = children()
    for count in (1, 300):
        machine.start()
        put(machine, GIVE)
        assert questions.capture(machine.container, ["python3", "-S", "/tmp/0", str(count)], 20) == "given\n"
        assert len(children()) == len(before) + 1 + count, "nothing was given"
        stop(f"{count} children given to who asked")
        deadline = time.monotonic() + 20  # on a busy machine the last of them end after PID 1 has
        while not set(children()) <= set(before):
            process.reap_left()
            assert time.monotonic() < deadline, children()

    machine.start()
    put(machine, GIVE, FLOOD)
    giving = subprocess.Popen(
        [script, *inside, "/tmp/0", "20", "stay"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    assert giving.stdout is not None
    assert giving.stdout.readline() == b"given\n"
    read, write = os.pipe()
    stalled = subprocess.Popen([script, *inside, "/tmp/1"], stdin=subprocess.DEVNULL, stdout=write)
    both_read, both_write = os.pipe()
    both = subprocess.Popen([script, *inside, "/tmp/0", "20", "flood"], stdin=subprocess.DEVNULL, stdout=both_write)
    os.close(write)
    os.close(both_write)
    time.sleep(1)
    pid = machine.container.status().pid
    stop("an entry that has given children, one whose output nobody reads, and one that does both")
    assert not os.path.exists(f"/proc/{pid}"), "PID 1 stays"
    assert wait(giving) == "refused"
    stalled.terminate()
    words["keep an entry from being ended when its command has ended"] = wait(stalled)
    both.terminate()
    assert wait(both) == "refused"
    os.close(read)
    os.close(both_read)
    giving.stdout.close()
    isolation_record.check(mode, "waiting stop", "wait", words)
