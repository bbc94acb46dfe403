# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a hostile first process can do to the launcher that waits for it, and what a start says that it gives up."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import pty
import select
import subprocess
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError, NotReady

from . import isolation_record
from .conftest import Host
from .isolation import Planted, absent, make_hostile, probe

if t.TYPE_CHECKING:
    from .conftest import Machine, MakeMachine

pytestmark = pytest.mark.root

NAME = "test-isolation-start"
FLOOD = """
import array, os, socket, sys, time
held = [os.open("/usr", os.O_RDONLY) for _number in range(250)]
descriptors = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", held))]
host = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
host.connect(os.environ["NOTIFY_SOCKET"])
for _message in range(200):
    host.sendmsg([b"READY=0\\n" + b"x" * 60000], descriptors)
    os.write(1, b"said by the init\\n" * 100)
if sys.argv[1] == "ready":
    host.sendmsg([b"STATUS=up\\nREADY=1"], descriptors)
    host.setblocking(False)
while True:
    try:
        host.sendmsg([b"STOPPING=1\\nREADY=0"], descriptors)
    except OSError:
        time.sleep(0.001)  # nobody listens any more
"""


def flooding(make_machine: MakeMachine, what: str) -> Machine:
    argv = ["/usr/bin/python3", "-c", FLOOD, what]
    return make_machine(name=NAME, init={"argv": argv, "ready": "notify", "stop_signal": "SIGKILL"})


def test_a_flood_of_messages_and_descriptors_is_dropped(make_machine: MakeMachine) -> None:
    """Nothing that the container sends to the host's socket is ever held (SCM_RIGHTS), and it is ready all the same."""
    before = Host.descriptors()
    machine = flooding(make_machine, "ready")
    status = machine.start(timeout=30)
    assert status.ready
    after = {target for target in Host.descriptors().values() if target.startswith("/")}
    assert after <= set(before.values())


def test_a_flood_does_not_outlast_the_time_limit(make_machine: MakeMachine) -> None:
    machine = flooding(make_machine, "never")
    began = time.monotonic()
    with pytest.raises(NotReady, match="was not ready within 2 s") as caught:
        machine.start(timeout=2)
    assert time.monotonic() - began < 5
    assert len(str(caught.value)) < 20000, "what the init said is cut"


@pytest.fixture
def key() -> t.Iterator[bytes]:
    """Yield a key in the session keyring of this process."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    add, control = {"x86_64": (248, 250)}.get(os.uname().machine, (217, 219))
    name = b"unshare-test"
    serial = libc.syscall(add, b"user", name, b"secret", ctypes.c_size_t(6), ctypes.c_int(-3))
    if serial < 0:
        pytest.skip("this kernel has no keyrings, or they are refused: " + os.strerror(ctypes.get_errno()))
    assert libc.syscall(control, 10, ctypes.c_int(-3), b"user", name, 0) == serial
    yield name
    libc.syscall(control, 9, ctypes.c_int(serial), ctypes.c_int(-3))


def test_without_the_filter_it_is_said_and_the_rest_holds(make_machine: MakeMachine, key: bytes) -> None:
    """A host without libseccomp. The session keyring is a new one: the caller's key is not found in it."""
    machine = make_machine(name=NAME, filtered=False)
    assert [line.partition(":")[0] for line in machine.start().warnings] == ["system-call filter"]
    assert "Seccomp:\t0\n" in machine.output("cat", "/proc/1/status")
    search = (
        "import ctypes, os; libc = ctypes.CDLL(None, use_errno=True)\n"
        "number = {'x86_64': 250}.get(os.uname().machine, 219)\n"
        f"print(libc.syscall(number, 10, ctypes.c_int(-3), b'user', {key!r}, 0), ctypes.get_errno())\n"
    )
    assert machine.output("python3", "-c", search).split() == ["-1", "126"]  # ENOKEY
    found = machine.run("systemd-run", "--pipe", "--wait", "python3", "-c", search)
    assert "126" in found.stdout or "bus" in found.stderr
    mask = int(dict(_lines(machine.output("cat", "/proc/self/status")))["CapBnd"], 16)
    assert mask >> 31 & 1 == 0


@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        lambda path: os.truncate(path, 0),
        lambda path: os.truncate(path, path.stat().st_size // 2),
        lambda path: path.write_bytes(path.read_bytes()[:-8] * 2),
        lambda path: (path.unlink(), path.mkdir()),
    ],
    ids=["gone", "empty", "cut", "another", "a directory"],
)
def test_a_system_with_a_filter_has_it_or_is_an_error(
    make_machine: MakeMachine, damage: t.Callable[[Path], object]
) -> None:
    """Neither is it started without, nor does anybody enter it without, be it written by a former version."""
    machine = make_machine(name=NAME, init={"argv": ["/usr/bin/sleep", "1000"]})
    path = machine.system / "seccomp.bpf"
    if not path.exists():
        pytest.skip("this host has no libseccomp")
    whole = path.read_bytes()
    damage(path)
    with pytest.raises(LauncherError, match=r"/seccomp\.bpf: .*; stage the system again$"):
        machine.start()
    assert machine.container.status().state == "stopped"

    if path.is_dir():
        path.rmdir()
    path.write_bytes(whole)
    assert machine.start().warnings == []
    assert "\nSeccomp:\t2\n" in machine.output("cat", "/proc/self/status")
    damage(path)
    refused = machine.run("true")
    assert refused.returncode == 125
    assert f"{path}: " in refused.stderr
    assert "stage the system again" in refused.stderr

    specification = machine.system / "spec.json"
    former = {key: value for key, value in json.loads(specification.read_text()).items() if key != "filter_digest"}
    specification.write_text(json.dumps(former))
    if not path.exists():
        refused = machine.run("true")
        assert refused.returncode == 125
        assert "cannot enter: its PID 1 has a system-call filter" in refused.stderr
    assert machine.stop(0.5)  # a program that heeds no signal


def _lines(text: str) -> t.Iterator[list[str]]:
    return (line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def test_identity_is_warned_of_and_masked(make_machine: MakeMachine) -> None:
    machine = make_machine(name=NAME, private_users="identity")
    warnings = machine.start().warnings
    assert len(warnings) == 1
    assert "root inside is root of this host" in warnings[0]
    assert machine.output("cat", "/proc/timer_list") == ""
    assert "ro" in machine.output("findmnt", "-n", "-o", "OPTIONS", "/proc/sys").split(",")


def test_identity_with_nesting_is_refused(make_machine: MakeMachine) -> None:
    machine = make_machine(name=NAME, private_users="identity", security={"nesting": True})
    with pytest.raises(LauncherError, match="private_users: identity"):
        machine.start()
    assert machine.container.status().state == "stopped"


def test_the_console_is_a_pty_of_the_containers(make_machine: MakeMachine) -> None:
    """Root inside may write to it, and not push input into it; the terminal of who called is another."""
    machine = make_machine(name=NAME)
    master, slave = pty.openpty()
    try:
        mode = os.fstat(slave).st_mode, os.fstat(slave).st_uid
        script = [str(machine.system / "run-container")]
        with subprocess.Popen(script, stdin=slave, stdout=slave, stderr=slave, start_new_session=True) as process:
            _read_until(master, b"enter-container")
            assert machine.output("stat", "-c", "%U %t", "/dev/console").split() == ["root", "88"]
            push = "import fcntl; fcntl.ioctl(open('/dev/console'), 0x5412, b'x')"
            assert "Operation not permitted" in machine.run("python3", "-c", push).stderr
            machine.output("sh", "-c", "chmod 666 /dev/console && echo said inside > /dev/console")
            _read_until(master, b"said inside")
            assert (os.fstat(slave).st_mode, os.fstat(slave).st_uid) == mode
            machine.stop()
            assert process.wait(60) is not None
    finally:
        os.close(master)
        os.close(slave)


def _read_until(descriptor: int, words: bytes) -> None:
    said = b""
    while words not in said:
        assert select.select([descriptor], [], [], 20)[0], said
        said += os.read(descriptor, 4096)


@pytest.fixture
def nesting(make_machine: MakeMachine, tmp_path: Path) -> tuple[Machine, Machine]:
    """Return a container that runs another, with the collection's own script; both are up."""
    inner = make_machine(name=NAME + "-inner")
    data = tmp_path / "data"
    data.mkdir()
    mappings = [
        {"source": str(inner.system), "target": str(inner.system)},
        {"source": str(data), "target": "/data", "writable": True},
    ]
    outer = make_machine(name=NAME + "-outer", mappings=mappings, security={"nesting": True})
    outer.start()
    outer.output(str(inner.system / "run-container"), "--detach")
    return outer, inner


def test_nesting_runs_a_container_in_a_container(nesting: tuple[Machine, Machine], tmp_path: Path) -> None:
    outer, inner = nesting
    enter = [str(inner.system / "enter-container"), "--"]
    assert outer.output(*enter, "systemctl", "is-system-running").strip() == "running"
    assert outer.output(*enter, "hostname").strip() == inner.name
    assert outer.output(*enter, "cat", "/proc/self/uid_map").split() == ["0", "0", "65536"]
    assert outer.output(*enter, "stat", "-c", "%U", "/usr/bin/env").strip() == "root"
    assert outer.run(*enter, "touch", "/usr/made-inside").returncode != 0
    with contextlib.ExitStack() as stack:
        words = {**Planted(tmp_path, stack).words, "pid": os.getpid(), "writable": "/tmp"}
        found = probe(outer, words, enter)
    isolation_record.check("nested", "live", found["rows"], found["attempts"], absent(found))


def test_what_nesting_keeps(make_machine: MakeMachine, tmp_path: Path) -> None:
    """Set-user-ID files are kept from the host by something else than the filter, and its kernel's settings, too."""
    machine = make_hostile(make_machine, "nesting", NAME + "-outer", tmp_path / "data")
    machine.start()
    with contextlib.ExitStack() as stack:
        made = probe(machine, {**Planted(tmp_path, stack).words, "pid": os.getpid()})["attempts"]
    assert made["set-user-ID by xattr"] == "ENOTSUP", "a file capability would count on the host"
    assert made["map uid 0 into a nested user namespace"] == "ok"
    assert made["write /proc/sys/kernel/core_pattern"] == "EACCES"
