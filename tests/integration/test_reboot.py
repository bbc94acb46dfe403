# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A container that reboots itself on a host without systemd: it comes back with the next who enters, and only then.

Each start has a boot id of its own. `ansible.builtin.reboot` needs both.
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import subprocess
import time
import typing as t
from pathlib import Path

import pytest

from .conftest import DEFAULT_NAME, INTERPRETER, Machine
from .playbooks import Run, playbook
from .test_run_container import Foreground

if t.TYPE_CHECKING:
    from .conftest import MakeMachine

pytestmark = pytest.mark.root

BOOT_ID = "/proc/sys/kernel/random/boot_id"
SERVICE = {"name": "steady", "command": ["/usr/bin/sleep", "infinity"]}
DECLARED = {"services": [{"type": "unit", "value": SERVICE}]}
LOGIN = [{"type": "login"}]
"""Without it systemd's `shutdown` does nothing but `now`; ansible.builtin.reboot asks it for 0 minutes."""


INVENTORY: dict[str, t.Any] = {
    "all": {
        "hosts": {
            "localhost": {"ansible_connection": "local"},
            DEFAULT_NAME: {"ansible_connection": "unshare.container.nsenter"},
        }
    }
}


def deploying(name: str, state: str = "started") -> list[dict[str, t.Any]]:
    """Return a play that brings the container into a state by the role."""
    role = {
        "role": "unshare.container.system_container",
        "vars": {
            "system_container_name": name,
            "system_container_operating_system": {"host_name": name, "services": DECLARED["services"] + LOGIN},
            "system_container_state": state,
        },
    }
    return [{"hosts": "localhost", "gather_facts": False, "roles": [role]}]


def rebooting(name: str, **options: t.Any) -> list[dict[str, t.Any]]:
    """Plays that reboot the container as any host, look at what came back, and do something in it."""
    read = {"ansible.builtin.command": f"cat {BOOT_ID}", "changed_when": False}
    came_back = [
        "rebooting is changed",
        "rebooting.rebooted",
        "before.stdout != after.stdout",
        "after.stdout | length == 36",
    ]
    tasks = [
        {**read, "register": "before"},
        {"ansible.builtin.reboot": {"reboot_timeout": 60, **options}, "register": "rebooting"},
        {**read, "register": "after"},
        {"ansible.builtin.assert": {"that": came_back}},
    ]
    active = {"ansible.builtin.command": "systemctl is-active steady", "changed_when": False}
    return [
        {"hosts": name, "gather_facts": False, "tasks": tasks},
        {"hosts": name, "gather_facts": True, "tasks": [active]},
    ]


def go_down(machine: Machine, *command: str) -> int:
    """Run a command inside that ends the container, and wait for that; the PID that it had."""
    pid = machine.container.status().pid
    assert pid is not None
    pidfd = os.pidfd_open(pid)
    try:
        machine.run(*command)
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        assert poll.poll(30_000), machine.logs()
    finally:
        os.close(pidfd)
    assert machine.container.status().state == "stopped"
    return pid


def boot_id(machine: Machine) -> str:
    return machine.output("cat", BOOT_ID).strip()


@pytest.mark.parametrize("nesting", [False, True])
def test_each_start_has_a_boot_id_of_its_own(make_machine: MakeMachine, nesting: bool) -> None:
    machine = make_machine(DECLARED, security={"nesting": nesting})
    seen = {Path(BOOT_ID).read_text().strip()}
    for _number in range(2):
        machine.start()
        first = boot_id(machine)
        assert first not in seen
        seen.add(first)
        assert machine.output("cat", BOOT_ID).strip() == first
        short = first.replace("-", "")
        assert machine.output("systemd-id128", "boot-id").strip() == short
        assert short in machine.output("journalctl", "--list-boots", "--no-pager")
        newest = json.loads(machine.output("journalctl", "--no-pager", "--output=json", "--lines=1"))
        assert newest["_BOOT_ID"] == short
        assert "Startup finished" in machine.output("systemd-analyze", "time")
        assert machine.shell(f"echo x > {BOOT_ID}").returncode != 0
        assert machine.shell(f"umount {BOOT_ID}").returncode != 0
        assert machine.shell(f"mount -o remount,bind,rw {BOOT_ID}").returncode != 0
        assert boot_id(machine) == first
        machine.stop()


REBOOTS = (["reboot"], ["systemctl", "reboot"], ["shutdown", "-r", "now"], ["systemctl", "start", "reboot.target"])


@pytest.mark.parametrize("command", REBOOTS, ids=" ".join)
def test_a_reboot_from_inside(make_machine: MakeMachine, command: list[str]) -> None:
    machine = make_machine(DECLARED)
    machine.start()
    former = boot_id(machine)
    pid = go_down(machine, *command)
    assert boot_id(machine) != former
    status = machine.container.status()
    assert status.state == "running"
    assert status.pid != pid
    assert status.ready
    assert machine.output("systemctl", "is-active", "steady").strip() == "active"
    assert machine.output("systemctl", "is-system-running").strip() == "running"
    go_down(machine, *command)  # and again: a mark is one start's
    assert machine.output("systemctl", "is-active", "steady").strip() == "active"


def stays_down(machine: Machine) -> None:
    done = machine.run("true")
    assert done.returncode == 125
    assert done.stderr.strip() == f"enter-container: container {machine.name}: does not run; start it first"
    again = subprocess.run([str(machine.system / "run-container"), "--again"], timeout=60, check=False)
    assert again.returncode == 0
    assert machine.container.status().state == "stopped"


@pytest.mark.parametrize(
    "command",
    [["poweroff"], ["systemctl", "halt"], ["shutdown", "now"], ["sh", "-c", "kill -s RTMIN+4 1"]],
    ids=" ".join,
)
def test_a_power_off_from_inside_is_one(make_machine: MakeMachine, command: list[str]) -> None:
    machine = make_machine(DECLARED)
    machine.start()
    go_down(machine, *command)
    stays_down(machine)


def test_a_crash_is_no_reboot_and_a_stop_undoes_one(make_machine: MakeMachine) -> None:
    machine = make_machine(DECLARED)
    pid = machine.start().pid
    assert pid is not None
    pidfd = os.pidfd_open(pid)
    os.kill(pid, 9)
    select.select([pidfd], [], [])
    os.close(pidfd)
    stays_down(machine)
    machine.start()
    go_down(machine, "reboot")
    machine.stop()
    stays_down(machine)


def test_many_who_enter_at_once_start_it_once(make_machine: MakeMachine) -> None:
    machine = make_machine(DECLARED)
    machine.start()
    go_down(machine, "reboot")
    command = [str(machine.system / "enter-container"), "--", "cat", BOOT_ID]
    entering = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(6)]
    said = [process.communicate(timeout=60) for process in entering]
    assert {output.strip() for output, _errors in said} == {boot_id(machine)}, said


def test_who_enters_waits_for_who_is_starting_it(make_machine: MakeMachine) -> None:
    machine = make_machine(DECLARED)
    machine.start()
    go_down(machine, "reboot")
    with machine.container.lock(30):
        machine.container.clear()  # as far as a start gets before there is a record again
        command = [str(machine.system / "enter-container"), "--", "cat", BOOT_ID]
        entering = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        waits = re.compile(rf"-> FLOCK .* {entering.pid} ")
        while not waits.search(Path("/proc/locks").read_text()):
            assert entering.poll() is None, entering.communicate()
        machine.container.start(str(machine.system), timeout=60)
    output, errors = entering.communicate(timeout=60)
    assert output.strip() == boot_id(machine), errors


@pytest.mark.long
def test_ansible_reboots_it(tmp_path: Path, host_unchanged: None) -> None:
    name = DEFAULT_NAME
    (tmp_path / "inventory.yml").write_text(json.dumps(INVENTORY))
    plays = [*deploying(name), *rebooting(name), *rebooting(name, reboot_command="systemctl reboot")]
    (tmp_path / "play.yml").write_text(json.dumps(plays))
    variables = {"ansible_python_interpreter": INTERPRETER}
    try:
        play, inventory = str(tmp_path / "play.yml"), str(tmp_path / "inventory.yml")
        run = playbook(play, inventory, variables=variables).succeeded()
        assert run.changed(name) == 2, run.output
        # One that has rebooted itself meanwhile is started again by the role, and that is a change.
        machine = Machine(name, Path("/var/lib/unshare/containers", name, "current").resolve())
        go_down(machine, "reboot")
        (tmp_path / "play.yml").write_text(json.dumps(deploying(name)))
        assert playbook(play, inventory, variables=variables).succeeded().changed() == 1
        assert playbook(play, inventory, variables=variables).succeeded().changed() == 0
    finally:
        (tmp_path / "play.yml").write_text(json.dumps(deploying(name, "absent")))
        playbook(play, inventory, variables=variables).succeeded()


def test_check_mode_starts_nothing(make_machine: MakeMachine, tmp_path: Path) -> None:
    """Whether it is that of the run or of one task, which has its own connection or that of the task before."""
    machine = make_machine(DECLARED)
    machine.start()
    go_down(machine, "reboot")
    (tmp_path / "inventory.yml").write_text(json.dumps(INVENTORY))
    play, inventory = str(tmp_path / "play.yml"), str(tmp_path / "inventory.yml")
    variables = {"ansible_python_interpreter": INTERPRETER}

    def run(*arguments: str, **options: t.Any) -> Run:
        tasks = [{"ansible.builtin.command": "true", **options}]
        (tmp_path / "play.yml").write_text(json.dumps([{"hosts": machine.name, "gather_facts": False, "tasks": tasks}]))
        return playbook(play, inventory, *arguments, variables=variables)

    for arguments, options in ((["--check"], {}), ([], {"check_mode": True}), (["--check"], {"loop": [1, 2]})):
        done = run(*arguments, **options)
        assert done.code == 4, done.output  # unreachable
        assert "has rebooted itself; the next 'enter-container' without --no-start starts it" in done.output
        assert machine.container.status().state == "stopped"
    command = [str(machine.system / "enter-container"), "--no-start", "--", "true"]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert refused.returncode == 125
    assert "without --no-start" in refused.stderr
    assert machine.container.status().state == "stopped"
    run("--check", check_mode=False).succeeded()
    assert machine.container.status().state == "running"
    run("--check").succeeded()


def test_further_shares_are_not_forgotten_in_silence(make_machine: MakeMachine, tmp_path: Path) -> None:
    machine = make_machine(DECLARED)
    command = [str(machine.system / "run-container"), "--detach", f"--share={tmp_path}=/data"]
    subprocess.run(command, capture_output=True, timeout=60, check=True)
    go_down(machine, "reboot")
    done = machine.run("true")
    assert done.returncode == 125
    assert "started with --share or --expose" in done.stderr
    assert machine.container.status().state == "stopped"


def test_what_runs_in_the_foreground_is_left_to_that(make_machine: MakeMachine) -> None:
    machine = make_machine(DECLARED)
    running = Foreground(machine)
    running.read_until("enter-container")
    with machine.container.lock(30):
        assert machine.container.await_ready(30)
    former = boot_id(machine)
    running.process.send_signal(signal.SIGSTOP)
    go_down(machine, "reboot")
    stays_down(machine)
    running.process.send_signal(signal.SIGCONT)
    running.read_until("enter-container")
    assert boot_id(machine) != former
    running.process.terminate()
    assert running.end() == 0


def test_one_in_the_foreground_that_reboots_at_once_does_not_keep_the_host_busy(make_machine: MakeMachine) -> None:
    reboot = "import ctypes; ctypes.CDLL(None).reboot(0x01234567)"
    init = {"argv": ["/usr/bin/python3", "-c", reboot], "ready": "exec", "stop_signal": "SIGKILL"}
    machine = make_machine(init=init)
    running = Foreground(machine)
    for number in (2, 4):
        running.read_until(f"starts again in {number} s")
    assert sum("is running as PID" in line for line in running.said) == 4
    began = time.monotonic()
    running.process.terminate()
    assert running.end() == 0
    assert time.monotonic() - began < 3
    assert sum("is running as PID" in line for line in running.said) == 4
    assert machine.container.status().state == "stopped"
