# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A container's life: stops that are ignored, PIDs that lie, reboots, removal that spares what is not ours."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host.systemd_units import Systemd
from ansible_collections.unshare.container.plugins.module_utils.launcher import linux
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.launcher.process import Process, boot_id, start_time
from ansible_collections.unshare.container.plugins.module_utils.life.starting import UnitStarter
from ansible_collections.unshare.container.plugins.module_utils.state.target import TargetError

from .conftest import heard
from .lives import Run, host_unchanged, nothing_in_memory, reach

if t.TYPE_CHECKING:
    from .conftest import Machine, MakeMachine

PREFIX = "test-life"
pytestmark = pytest.mark.root
__all__ = ["host_unchanged"]

STUBBORN = {
    "argv": ["/bin/sh", "-c", "trap '' TERM; while :; do sleep 1; done"],
    "ready": "exec",
    "stop_signal": "SIGTERM",
}


@pytest.fixture
def machine(make_machine: MakeMachine) -> Machine:
    return make_machine(name=PREFIX)


def state_file(machine: Machine) -> Path:
    return Path("/run/unshare", machine.name, "state.json")


def test_a_stop_that_the_init_ignores_ends_in_a_kill_in_time(make_machine: MakeMachine) -> None:
    machine = make_machine(name=PREFIX, init=STUBBORN)
    machine.start()
    began = time.monotonic()
    assert machine.stop(0.5)
    assert 0.5 <= time.monotonic() - began < 3
    nothing_in_memory(machine.name)


def test_a_container_that_root_inside_has_frozen_is_stopped(machine: Machine) -> None:
    machine.start()
    machine.output("sh", "-c", "echo 1 > /sys/fs/cgroup/init.scope/cgroup.freeze")
    began = time.monotonic()
    assert machine.stop(0.5)
    assert time.monotonic() - began < 3
    nothing_in_memory(machine.name)


def test_a_restart_in_one_process_leaves_no_zombie(machine: Machine) -> None:
    for _round in range(2):
        status = machine.start()
        machine.stop()
        assert not os.path.exists(f"/proc/{status.pid}")
    status = machine.start()
    os.kill(status.pid or 0, signal.SIGKILL)
    machine.stop()


def test_what_is_noted_is_the_host_roots_alone(machine: Machine) -> None:
    machine.start()
    for path in (state_file(machine).parent, state_file(machine)):
        status = path.stat()
        assert (status.st_uid, status.st_mode & 0o022) == (0, 0)
    assert machine.run("ls", "/run/unshare").returncode != 0


class ServiceManager(Systemd):
    """In place of systemd: its one unit is a system's script, which it runs in a process of its own."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(Path("/"))
        self.machine = machine

    def start(self, unit: str, timeout: float) -> None:
        script = [str(self.machine.system / "run-container"), "--detach"]
        done = subprocess.run(script, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=60, check=False)
        assert done.returncode == 0, done.stderr


def test_what_a_start_goes_without_is_known_to_who_had_it_started(make_machine: MakeMachine) -> None:
    gone = {"source": "/nonexistent-of-the-host", "target": "/gone"}
    machine = make_machine(name=PREFIX, mappings=[gone], private_users="identity", init=STUBBORN)
    warnings = UnitStarter(machine.container, ServiceManager(machine)).start(machine.system, True, 30)
    said = "\n".join(warnings)
    assert "root inside is root of this host" in said
    assert "/gone is left out" in said
    machine.stop(0.1)
    assert machine.start().warnings == heard(warnings)


def test_what_runs_is_entered_and_asked_though_it_could_not_be_declared_any_more(make_machine: MakeMachine) -> None:
    """A former version may have started it, by the rules of its time."""
    machine = make_machine(name=PREFIX, init=STUBBORN)
    machine.start()
    specification = machine.system / "spec.json"
    written = json.loads(specification.read_text())
    written["file_systems"].append({"device": "none", "mount_point": "/proc", "type": "tmpfs", "options": ""})
    specification.write_text(json.dumps(written))
    assert machine.output("echo", "entered") == "entered\n"
    assert machine.logs() == ""
    assert machine.stop(0.1)
    with pytest.raises(LauncherError, match=r"spec\.json: .*file_systems"):
        machine.start()


@pytest.mark.parametrize("lie", ["start time", "boot", "no number", "no JSON"])
def test_a_pid_in_a_file_is_not_believed(machine: Machine, lie: str) -> None:
    """The file names a living process that is not the container's: it is not signalled, and a start goes on."""
    bystander = subprocess.Popen(["/bin/sleep", "1000"])
    try:
        machine.start()
        machine.stop()
        note: dict[str, t.Any] = {
            "pid": bystander.pid,
            "start_time": start_time(bystander.pid),
            "boot_id": boot_id(),
            "system": str(machine.system),
            "stop_signal": "SIGTERM",
        }
        if lie == "start time":
            note["start_time"] += 1
        elif lie == "boot":
            note["boot_id"] = "00000000-0000-0000-0000-000000000000"
        elif lie == "no number":
            note["pid"] = -bystander.pid
        state_file(machine).parent.mkdir(parents=True)
        state_file(machine).write_text('{"pid": 1,' if lie == "no JSON" else json.dumps(note))
        assert machine.container.status().state == "stopped"
        assert not machine.stop(0.1)
        assert machine.start().state == "running"
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_container_whose_note_is_lost_is_replaced(machine: Machine) -> None:
    first = int(Run(lambda: machine.start().pid).result())
    process = Process(first, linux.pidfd_open(first))
    state_file(machine).unlink()
    second = machine.start()
    assert process.wait(0)
    process.close()
    assert second.pid != first


@pytest.mark.parametrize("command", ["reboot", "poweroff"])
def test_reboot_and_poweroff_from_inside_end_a_container_nobody_watches(machine: Machine, command: str) -> None:
    status = machine.start()
    assert status.pid is not None
    process = Process(status.pid, linux.pidfd_open(status.pid))
    machine.run("systemctl", command)
    assert process.wait(20)
    process.close()
    assert machine.container.status().state == "stopped"
    assert machine.start().pid != status.pid


class Watched:
    """`run-container` in the foreground."""

    def __init__(self, machine: Machine, *arguments: str) -> None:
        command = [str(machine.system / "run-container"), *arguments]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True)

    def pid_inside(self) -> int:
        """Return the PID that the process reports next."""
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if "running as PID" in line:
                return int(line.rsplit(None, 1)[1])
        raise AssertionError("it ended")

    def end(self) -> int:
        self.process.communicate(timeout=60)
        return self.process.returncode


def test_reboot_from_inside_runs_a_watched_container_again_and_poweroff_ends_it(machine: Machine) -> None:
    watched = Watched(machine)
    first = watched.pid_inside()
    machine.run("systemctl", "is-system-running", "--wait")
    machine.run("systemctl", "reboot")
    second = watched.pid_inside()
    assert second != first
    machine.run("systemctl", "is-system-running", "--wait")
    machine.run("systemctl", "poweroff")
    assert watched.end() == 0
    nothing_in_memory(machine.name)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_at_any_moment_of_a_watched_start_undoes_it(machine: Machine, number: signal.Signals) -> None:
    for hundredths in (2, 5, 8, 12):
        watched = Watched(machine)
        with pytest.raises(subprocess.TimeoutExpired):
            watched.process.wait(hundredths / 100)
        watched.process.send_signal(number)
        assert watched.end() in (0, 1, 128 + number, -number)  # 1: while Python itself begins
        nothing_in_memory(machine.name)


def test_a_pid_file_that_cannot_be_written_undoes_the_start(machine: Machine) -> None:
    for arguments in ([], ["--detach"]):
        watched = Watched(machine, "--pid-file=/proc/no/such", *arguments)
        assert watched.end() == 125
        nothing_in_memory(machine.name)


def test_a_start_that_fails_undoes_itself(make_machine: MakeMachine) -> None:
    missing = {"source": "/no/such/place", "target": "/data", "required": True}
    machine = make_machine(name=PREFIX, mappings=[missing])
    for _round in range(2):
        with pytest.raises(LauncherError, match="/no/such/place: the source of the mapping to /data does not exist"):
            machine.start()
        nothing_in_memory(machine.name)


def test_an_init_that_ends_at_once_leaves_nothing(make_machine: MakeMachine) -> None:
    init = {"argv": ["/bin/sh", "-c", "echo no reason >&2; exit 3"], "ready": "notify", "stop_signal": "SIGTERM"}
    machine = make_machine(name=PREFIX, init=init)
    with pytest.raises(LauncherError, match=r"ended before it was ready(?s:.*)no reason"):
        machine.start()
    nothing_in_memory(machine.name)


def test_two_runs_wait_for_each_other_and_no_longer_than_asked(machine: Machine) -> None:
    let_go, hold = os.pipe()

    def holder() -> None:
        os.close(hold)
        with machine.container.lock(1):
            os.read(let_go, 1)

    holding = Run(holder)
    while not Path("/run/unshare", machine.name).exists():
        assert not holding.process.wait(0.01)
    other = Run(lambda: reach(machine.name, "started", machine.system, timeout=0.3))
    status, said = other.end()
    assert (status, f"another process (PID {holding.process.pid}) has held it for 0.3 s" in said) == (1, True), said

    def wait() -> bool:
        os.close(hold)
        return reach(machine.name, "started", machine.system).changed

    waiting = Run(wait)
    assert not waiting.process.wait(0.2)
    os.close(hold)
    os.close(let_go)
    assert waiting.result() == "True"
    holding.result()


def test_absent_spares_data_of_mappings_wherever_it_lies(make_machine: MakeMachine) -> None:
    data = Path("/var/lib/unshare/containers", PREFIX, "data")
    disk = Path("/var/lib/unshare/containers", PREFIX, "disk")
    for directory in (data, disk):
        directory.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", disk], check=True)
    try:
        mappings = [{"source": str(path), "target": f"/{path.name}"} for path in (data, disk)]
        machine = make_machine(name=PREFIX, mappings=mappings)
        reach(PREFIX, "started", machine.system)
        for path in (data, disk):
            (path / "file").write_text("kept\n")
            assert machine.output("cat", f"/{path.name}/file") == "kept\n"
        assert reach(PREFIX, "absent").changed
        assert [(path / "file").read_text() for path in (data, disk)] == ["kept\n", "kept\n"]
        assert sorted(entry.name for entry in data.parent.iterdir()) == ["data", "disk"]
        again = reach(PREFIX, "absent")
        assert not again.changed
        assert again.describe()["state"] == "absent"
    finally:
        subprocess.run(["umount", disk], check=True)
        subprocess.run(["rm", "-r", data.parent], check=True)


def test_absent_does_not_reach_into_what_is_mounted_in_a_containers_own_directories(make_machine: MakeMachine) -> None:
    machine = make_machine(name=PREFIX, log="persistent")
    reach(PREFIX, "started", machine.system)
    reach(PREFIX, "stopped")
    journal = Path("/var/lib/unshare/containers", PREFIX, "journal")
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", journal], check=True)
    try:
        (journal / "file").write_text("kept")
        with pytest.raises((LauncherError, TargetError), match="something is mounted there; unmount it"):
            reach(PREFIX, "absent")
        assert (journal / "file").read_text() == "kept"
    finally:
        subprocess.run(["umount", journal], check=True)
    assert reach(PREFIX, "absent").changed
    assert not journal.parent.exists()


def test_what_a_killed_write_left_aside_goes(machine: Machine) -> None:
    reach(PREFIX, "started", machine.system)
    directory, runtime = Path("/var/lib/unshare/containers", PREFIX), Path("/run/unshare", PREFIX)
    reach(PREFIX, "stopped")
    (directory / "config.json.new").write_text("{")
    runtime.mkdir(parents=True)
    (runtime / "state.json.new").write_text("{")
    reach(PREFIX, "started")
    assert not (directory / "config.json.new").exists()
    assert not (runtime / "state.json.new").exists()
    (directory / "config.json.new").write_text("{")
    reach(PREFIX, "absent")
    assert not directory.exists()
