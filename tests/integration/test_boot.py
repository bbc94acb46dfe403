# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A declared system, booted: PID 1, files, mounts and readiness as the rules say."""

from __future__ import annotations

import errno
import os
import subprocess
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import mounts

if t.TYPE_CHECKING:
    from pathlib import Path

    from .conftest import MakeMachine

pytestmark = pytest.mark.root


def test_systemd_is_pid_1_and_all_is_well(make_machine: MakeMachine) -> None:
    machine = make_machine({"timezone": "Europe/Paris"})
    status = machine.start()
    assert status.state == "running"
    assert machine.output("cat", "/proc/1/comm").strip() == "systemd"
    state = machine.run("systemctl", "is-system-running").stdout.strip()
    assert state == "running", machine.logs()
    assert machine.container.failed_units() == []
    assert machine.output("hostname").strip() == machine.name
    assert "Europe/Paris" in machine.output("readlink", "/etc/localtime")


def test_what_systemd_makes_at_run_time_is_there_after_a_reload(make_machine: MakeMachine) -> None:
    """A unit, and what is set for another one: systemd forgets each when it does not look where it has written them."""
    machine = make_machine()
    machine.start()
    machine.output("systemd-run", "--unit=made", "--timer-property=AccuracySec=1s", "--on-active=1h", "/usr/bin/true")
    machine.output("systemctl", "set-property", "--runtime", "systemd-journald.service", "TasksMax=123")
    machine.output("systemctl", "daemon-reload")
    show = ("systemctl", "show", "--value", "--property")
    for unit in ("made.timer", "made.service"):
        assert machine.output(*show, "LoadState", unit).strip() == "loaded"
        assert machine.output(*show, "FragmentPath", unit).strip() == f"/run/systemd/transient/{unit}"
    assert machine.output(*show, "TasksMax", "systemd-journald.service").strip() == "123"
    machine.output("systemctl", "stop", "made.timer")
    assert machine.run(*show, "LoadState", "made.timer").stdout.strip() == "not-found"


def test_s6_root_is_a_writable_tmpfs_that_ends_with_the_container(make_machine: MakeMachine) -> None:
    machine = make_machine()
    machine.start()
    assert machine.output("stat", "-c", "%a %u %g", "/").strip() == "755 0 0"
    assert machine.output("stat", "-f", "-c", "%T", "/").strip() == "tmpfs"
    machine.output("touch", "/etc/made-inside")
    machine.stop()
    machine.start()
    assert machine.run("test", "-e", "/etc/made-inside").returncode == 1


def test_store_is_read_only_and_looks_owned_by_root(make_machine: MakeMachine) -> None:
    machine = make_machine()
    machine.start()
    assert machine.output("stat", "-c", "%U:%G", "/usr/bin/env").strip() == "root:root"
    refused = machine.shell("touch /usr/made-inside")
    assert refused.returncode != 0
    assert "Read-only file system" in refused.stderr


def test_s4_s5_namespaces_and_ids(make_machine: MakeMachine) -> None:
    machine = make_machine()
    status = machine.start()
    for namespace in ("cgroup", "mnt", "pid", "ipc", "uts", "user", "net"):
        assert os.readlink(f"/proc/{status.pid}/ns/{namespace}") != os.readlink(f"/proc/self/ns/{namespace}")
    assert machine.output("cat", "/proc/self/uid_map").split() == ["0", str(status.uid_base), "65536"]
    assert status.uid_base is not None
    assert os.stat(f"/proc/{status.pid}").st_uid == status.uid_base


def test_s4_network_namespace_is_the_hosts_when_shared(make_machine: MakeMachine) -> None:
    machine = make_machine(shared_network=True)
    status = machine.start()
    assert os.readlink(f"/proc/{status.pid}/ns/net") == os.readlink("/proc/self/ns/net")
    assert machine.run("systemctl", "is-system-running").stdout.strip() == "running", machine.logs()


def test_s7_devices(make_machine: MakeMachine) -> None:
    machine = make_machine()
    machine.start()
    present = set(machine.output("ls", "/dev").split())
    hosts = {name for name in ("null", "zero", "full", "random", "urandom", "tty") if os.path.exists(f"/dev/{name}")}
    links = {"ptmx", "fd", "stdin", "stdout", "stderr", "pts", "shm", "mqueue"}
    assert hosts | links <= present
    assert not {"console", "fuse"} & present
    assert not {name for name in present if name.startswith(("sd", "vd", "nvme", "loop", "tty"))} - {"tty"}


def test_s12_loopback_is_up_and_localhost_resolves(make_machine: MakeMachine) -> None:
    machine = make_machine()
    machine.start()
    flags = int(machine.output("cat", "/sys/class/net/lo/flags"), 16)
    assert flags & 1  # IFF_UP
    resolve = "import socket; print(socket.gethostbyname('localhost'))"
    assert machine.output("python3", "-c", resolve).strip() == "127.0.0.1"
    assert machine.output("ls", "/sys/class/net").split() == ["lo"]


def test_s13_mounts_are_locked(make_machine: MakeMachine) -> None:
    machine = make_machine()
    machine.start()
    script = (
        "import ctypes, os\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "libc.umount2(b'/usr', 2); print(ctypes.get_errno())\n"
        "ctypes.set_errno(0)\n"
        "libc.mount(None, b'/usr', None, 32 | 4096, None); print(ctypes.get_errno())\n"
    )
    assert machine.output("python3", "-c", script).split() == ["22", "1"]  # EINVAL, EPERM


def test_s13_systemd_stops_no_mount_that_is_locked(make_machine: MakeMachine, tmp_path: Path) -> None:
    """It would try in vain, with a process for each; a mount that somebody has made inside is its to unmount."""
    mapping = {"source": str(tmp_path), "target": "/srv/the-data"}
    machine = make_machine(mappings=[mapping])
    machine.start()
    machine.output("mkdir", "/mnt/own")
    machine.output("mount", "-t", "tmpfs", "own", "/mnt/own")
    # The answer to the second question comes when systemd knows of the mount.
    ask = "until systemctl is-active -q mnt-own.mount; do :; done; systemctl show -p Id -p Conflicts '*.mount'"
    units = [
        dict(line.split("=", 1) for line in unit.split("\n"))
        for unit in machine.shell(ask).stdout.strip().split("\n\n")
    ]
    conflicts = {unit["Id"]: unit["Conflicts"] for unit in units}
    assert {"tmp.mount", "usr.mount", "srv-the\\x2ddata.mount"} < set(conflicts)
    assert [name for name, of_unit in conflicts.items() if "umount.target" in of_unit] == ["mnt-own.mount"]


def test_a_restart_keeps_ids_and_machine_id(make_machine: MakeMachine) -> None:
    machine = make_machine()
    first = machine.start()
    machine_id = machine.output("cat", "/etc/machine-id")
    machine.stop()
    second = machine.start()
    assert (first.uid_base, machine_id) == (second.uid_base, machine.output("cat", "/etc/machine-id"))


def test_a_persistent_log_is_kept_on_the_host_and_goes_with_the_container(make_machine: MakeMachine) -> None:
    machine = make_machine(log="persistent")
    machine.start()
    machine.output("logger", "-t", "test", "said inside")
    machine.output("journalctl", "--sync")
    machine.stop()
    kept = f"/var/lib/unshare/containers/{machine.name}/journal"
    read = subprocess.run(
        ["journalctl", "-D", kept, "-t", "test", "-o", "cat"], capture_output=True, text=True, timeout=30
    )
    assert "said inside" in read.stdout, read.stderr
    machine.destroy()
    assert not os.path.exists(kept)


def test_proc_is_mounted_where_the_kernel_takes_no_namespace_by_name(
    make_machine: MakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before Linux 6.17."""
    filesystem = mounts.filesystem

    def without_pidns(
        kind: str, options: list[tuple[str, str | None]], attributes: int = 0, nodes: bool = False
    ) -> int:
        if any(name == "pidns" for name, _value in options):
            raise OSError(errno.EINVAL, "Invalid argument", "fsconfig(pidns)")
        return filesystem(kind, options, attributes, nodes)

    monkeypatch.setattr(mounts, "filesystem", without_pidns)
    machine = make_machine()
    machine.start()
    assert machine.output("cat", "/proc/1/comm").strip() == "systemd"
    assert machine.output("sh", "-c", "ls /proc/keys && cat /proc/keys") == "/proc/keys\n"
