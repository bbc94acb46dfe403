# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ptys are bounded; when root inside has taken all, every container can still be entered at a terminal."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.inside import questions, terminal
from ansible_collections.unshare.container.plugins.module_utils.launcher import linux
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.launcher.kernel import PTYS
from ansible_collections.unshare.container.plugins.module_utils.life import commands

from .conftest import Host
from .eval_commands import Evaluator
from .test_shell import Terminal

if t.TYPE_CHECKING:
    from .conftest import Machine, MakeMachine

pytestmark = pytest.mark.root

# Takes ptys until there are none, and says how many it has.
TAKE = """
import os, resource, sys
limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
held, error = [], 0
while not error:
    try:
        held.append(os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY))
    except OSError as failure:
        error = failure.errno
print(len(held), error, flush=True)
sys.stdin.read()
"""
MOUNT = "mkdir /tmp/pts; mount -t devpts -o newinstance,ptmxmode=666 devpts /tmp/pts"
ENOSPC = 28


@contextlib.contextmanager
def taken(machine: Machine, multiplexer: str) -> t.Iterator[int]:
    """Root inside holds all ptys that it can get from a multiplexer; how many."""
    command = [str(machine.system / "enter-container"), "--", "python3", "-c", TAKE, multiplexer]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            count, error = map(int, process.stdout.readline().split())
            assert error == ENOSPC
            yield count
        finally:
            process.communicate(timeout=60)


def enter(machine: Machine, said: str = "") -> None:
    """Enter at a terminal, as a person does."""
    shell = Terminal(str(machine.system / "enter-container"))
    if said:
        shell.wait_for(said)
    shell.wait_for(r"[#$] ")
    assert shell.answer("stat -c %u/%t /dev/fd/0 -L") == "0/88"
    assert shell.answer("stty size") == "33 101"
    shell.type("exit 7\r")
    assert shell.end() == 7


def test_a_container_has_a_bound(make_machine: MakeMachine) -> None:
    machine = make_machine(name="test-ptys")
    machine.start()
    with taken(machine, "/dev/ptmx") as count:
        assert count == PTYS
        enter(machine, "warning: the container has no pty left")
    enter(machine)


def test_a_pty_of_the_hosts_is_the_users(make_machine: MakeMachine) -> None:
    """Who may then open it by its other names (/dev/fd/0), as one of the container's."""
    machine = make_machine({"users": [{"name": "alice", "uid": 1000}]}, name="test-ptys")
    machine.start()
    words = [str(machine.system / "enter-container"), "--user=alice", "--", "sh", "-c"]
    words.append("stat -c '<%u>' -L /dev/fd/0; echo opened > /dev/fd/1")

    def look(said: str) -> None:
        shell = Terminal(*words)
        shell.wait_for(said)
        assert shell.wait_for(r"<(\d+)>").group(1) == "1000"
        shell.wait_for("opened")
        assert shell.end() == 0

    with taken(machine, "/dev/ptmx"):
        look("warning: the container has no pty left")
    look("")


class Failing:
    """A call that fails from so many times on: who enters tries once more in another place."""

    def __init__(self, call: t.Callable[..., t.Any], times: int) -> None:
        self.call = call
        self.left = times

    def __call__(self, *arguments: t.Any, **options: t.Any) -> t.Any:
        self.left -= 1
        if self.left <= 0:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return self.call(*arguments, **options)


@pytest.mark.parametrize("terminal_there", [True, False])
@pytest.mark.parametrize(
    ("module", "name", "times"),
    [(os, "fchown", 1), (os, "pipe", 1), (os, "pipe", 2), (os, "pipe", 3), (linux, "clone3", 1)],
)
def test_an_entry_that_fails_leaves_nothing(
    make_machine: MakeMachine,
    monkeypatch: pytest.MonkeyPatch,
    terminal_there: bool,
    module: t.Any,
    name: str,
    times: int,
) -> None:
    machine = make_machine(name="test-ptys")
    machine.start()
    before = Host.descriptors()
    with monkeypatch.context() as patch:
        patch.setattr(os, "isatty", lambda _descriptor: terminal_there)
        patch.setattr(module, name, Failing(getattr(module, name), times))
        with pytest.raises((LauncherError, OSError)):
            commands.enter(machine.container, ["true"], "root")
    machine.container.cgroup.close()
    assert Host.descriptors().keys() == before.keys()


def test_a_pty_is_closed_on_execution(make_machine: MakeMachine) -> None:
    machine = make_machine(name="test-ptys")
    machine.start()
    root = os.open(f"/proc/{machine.container.status().pid}/root", os.O_PATH | os.O_DIRECTORY)
    *ends, _warning = terminal.open_for(root, machine.name, 0)
    os.close(root)
    try:
        assert [os.get_inheritable(end) for end in ends] == [False, False]
    finally:
        for end in ends:
            os.close(end)


@pytest.mark.parametrize(("declared", "bound"), [("", PTYS), (",max=9", 9), (f",max={PTYS + 1}", PTYS)])
def test_a_bound_that_is_declared_can_only_be_lower(make_machine: MakeMachine, declared: str, bound: int) -> None:
    device = {"device": "none", "mount_point": "/srv/pts", "type": "devpts", "needed_for_boot": True}
    device["options"] = "ptmxmode=0666" + declared
    machine = make_machine(name="test-ptys", extra_file_systems=[device])
    machine.start()
    with taken(machine, "/srv/pts/ptmx") as count:
        assert count == bound


def test_a_command_has_a_bound() -> None:
    evaluator = Evaluator(0)
    try:
        outcome = evaluator("/usr/bin/python3", "-c", TAKE, "/dev/pts/ptmx", stdin="")
    finally:
        evaluator.close()
    assert outcome.output.split() == [str(PTYS).encode(), str(ENOSPC).encode()], outcome.error


def reserve() -> int:
    """Ptys that are the host's alone: those of a devpts mounted in the first mount namespace of the machine."""
    return int(Path("/proc/sys/kernel/pty/reserve").read_text())


def test_all_ptys_taken(make_machine: MakeMachine) -> None:
    one, other = make_machine(name="test-ptys"), make_machine(name="test-ptys-other")
    one.start()
    other.start()
    one.output("sh", "-c", MOUNT)
    with taken(one, "/tmp/pts/ptmx") as count:
        most = int(Path("/proc/sys/kernel/pty/max").read_text())
        assert most - reserve() - 100 < count <= most - reserve()
        try:
            ends = os.openpty()
        except OSError:
            pytest.skip("this machine's own ptys are not those that the kernel reserves; it is a container itself")
        for end in ends:
            os.close(end)
        for machine in (one, other):
            enter(machine, "warning: the container has no pty left")
    enter(other)


def test_no_pty_at_all_is_an_error_that_says_so(make_machine: MakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> t.Any:
        raise OSError(ENOSPC, os.strerror(ENOSPC))

    machine = make_machine(name="test-ptys")
    machine.start()
    monkeypatch.setattr(terminal, "open_on_host", none)
    process = machine.container.process()
    assert process is not None
    root = os.open(f"/proc/{process.pid}/root", os.O_PATH | os.O_DIRECTORY)
    process.close()
    try:
        with (
            taken(machine, "/dev/ptmx"),
            pytest.raises(LauncherError, match=r"test-ptys: no pty is left.*kernel\.pty\.max"),
        ):
            terminal.open_for(root, machine.name, 0)
    finally:
        os.close(root)


COVERED = {
    "an empty directory": "mount -t tmpfs none /dev/pts",
    "a fifo": "mount -t tmpfs none /dev/pts; mkfifo /dev/pts/ptmx",
    "a link": "mount -t tmpfs none /dev/pts; ln -s /dev/ptmx /dev/pts/ptmx",
    "a null device": "touch /tmp/null; mount --bind /dev/null /tmp/null; mount --rbind /tmp /dev/pts; "
    "touch /dev/pts/ptmx; mount --bind /dev/null /dev/pts/ptmx",
    "a file in place of /dev/null": "touch /tmp/file; mount --bind /tmp/file /dev/null",
    "a directory over /dev": "mount -t tmpfs none /dev",
}


def test_what_covers_the_containers_ptys_keeps_nobody_out(make_machine: MakeMachine) -> None:
    """Nor from asking: a question needs nothing that it would find inside, but its program."""
    for what, how in COVERED.items():
        machine = make_machine(name="test-ptys")
        machine.start()
        machine.output("sh", "-c", how)
        shell = Terminal(
            str(machine.system / "enter-container"), "--", "stat", "--format=<%u/%t>", "-L", "/proc/self/fd/0"
        )
        if what != "a file in place of /dev/null":
            shell.wait_for("warning: /dev/pts.* of the container .*one of the host's")
        shell.wait_for("<0/88>")
        assert shell.end() == 0
        assert machine.container.judge().units == [], what
        assert questions.log_tail(machine.container), what
        machine.stop()
