# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What `security: {nesting: true}` is for: systemd-nspawn, single commands, and a /proc in a user namespace, inside."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import typing as t

import pytest

from .playbooks import REPOSITORY

if t.TYPE_CHECKING:
    from .conftest import Machine, MakeMachine

pytestmark = pytest.mark.root
needs_nspawn = pytest.mark.skipif(shutil.which("systemd-nspawn") is None, reason="needs systemd-nspawn")

BOOT_ID = "/proc/sys/kernel/random/boot_id"
NSPAWN = ["systemd-nspawn", "--register=no", "--directory=/root/tree"]
UNIT = ["systemd-run", "--quiet", "--wait", "--pipe", "--property=Delegate=yes", "--", *NSPAWN, "--keep-unit"]
# A tree of an operating system with the store's software, which says that it has booted and powers itself off.
TREE = r"""
mkdir -p /root/tree/usr /root/tree/etc/systemd/system /root/tree/root
cd /root/tree
mount --bind /usr usr
for name in bin sbin lib lib64; do test ! -e usr/$name || ln -s usr/$name $name; done
echo ID=test > etc/os-release
: > etc/machine-id  # or it is a first boot, and asks its console
printf '[Unit]\nRequires=basic.target\nAfter=basic.target\nWants=done.service\n' > etc/systemd/system/default.target
printf '%s\n' '[Unit]' 'After=basic.target' '[Service]' 'Type=oneshot' \
    "ExecStart=sh -c 'cat /proc/sys/kernel/random/boot_id > /root/booted'" 'ExecStart=systemctl --no-block poweroff' \
    > etc/systemd/system/done.service
"""


@pytest.fixture
def nesting(make_machine: MakeMachine) -> Machine:
    machine = make_machine({"services": [{"type": "dbus"}]}, security={"nesting": True})
    machine.start()
    machine.output("sh", "-ec", TREE)
    return machine


@needs_nspawn
@pytest.mark.parametrize("command", [NSPAWN, UNIT], ids=["scope", "unit"])
@pytest.mark.parametrize("users", [[], ["--private-users=identity"]], ids=["users", "private-users"])
def test_systemd_nspawn(nesting: Machine, command: list[str], users: list[str]) -> None:
    nested = [*command, *users, "--quiet"]
    said = nesting.output(*nested, "cat", "/proc/self/uid_map").split()
    assert said == ["0", "0" if users else str(nesting.container.status().uid_base), "65536"]
    nesting.output("timeout", "20", *nested, "--boot")
    inner = nesting.output("cat", "/root/tree/root/booted").strip()
    assert len(inner) == 36
    assert inner != nesting.output("cat", BOOT_ID).strip()


@needs_nspawn
def test_systemd_nspawn_in_a_unit_needs_no_dbus(make_machine: MakeMachine) -> None:
    command = [*NSPAWN, "--keep-unit", "--quiet", "sh", "-c", "cat /proc/self/uid_map > /root/said"]
    service = {"Type": "oneshot", "Delegate": True, "ExecStart": subprocess.list2cmdline(command)}
    unit = {"name": "inner", "sections": {"Service": service}, "wanted_by": []}
    machine = make_machine({"services": [{"type": "unit", "value": unit}]}, security={"nesting": True})
    machine.start()
    machine.output("sh", "-ec", TREE)
    machine.output("systemctl", "start", "inner.service")
    assert machine.output("cat", "/root/tree/root/said").split()[2] == "65536"


def evaluate(machine: Machine, *command: str) -> subprocess.CompletedProcess[str]:
    """Run `eval_container` inside, as a play does that has the container for a host."""
    arguments = {"argv": list(command)}
    return subprocess.run(
        [
            *(sys.executable, "-m", "ansible.cli.adhoc", machine.name, f"--inventory={machine.name},"),
            *("--connection=unshare.container.nsenter", "--module-name=unshare.container.eval_container"),
            *(f"--args={json.dumps(arguments)}", "--extra-vars=ansible_python_interpreter=/usr/bin/python3"),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=REPOSITORY,
        env={**os.environ, "ANSIBLE_COLLECTIONS_PATH": str(REPOSITORY / ".collections"), "LC_ALL": "C.UTF-8"},
    )


def test_a_single_command(make_machine: MakeMachine) -> None:
    machine = make_machine(security={"nesting": True})
    machine.start()
    done = evaluate(machine, "/bin/cat", "/proc/self/uid_map")
    assert done.returncode == 0, done.stdout + done.stderr
    inside, outside, count = json.loads(done.stdout.partition("=>")[2])["stdout"].split()
    assert (inside, count) == ("0", "1")
    assert 60578 <= int(outside) <= 61183


def test_a_single_command_without_nesting(make_machine: MakeMachine) -> None:
    machine = make_machine()
    machine.start()
    done = evaluate(machine, "/bin/true")
    assert done.returncode != 0
    assert "this host is itself a container, without 'nesting'" in done.stdout


def test_a_proc_of_its_own_in_a_user_namespace(nesting: Machine) -> None:
    command = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount", "--mount-proc"]
    assert nesting.output(*command, "sh", "-c", "id -u; ls -d /proc/[0-9]*").splitlines()[:2] == ["0", "/proc/1"]


def test_without_nesting_nothing_of_it_is_there(make_machine: MakeMachine) -> None:
    machine = make_machine()
    machine.start()
    assert machine.run("test", "-e", "/run/host/proc").returncode == 1
    options = machine.output("findmnt", "--noheadings", "--output=VFS-OPTIONS", "/run").strip().split(",")
    assert {"nosuid", "nodev"} <= set(options)
    command = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount", "--mount-proc", "true"]
    assert machine.run(*command).returncode != 0
