# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What `security: {nesting: true}` is for: systemd-nspawn, and user namespaces with a /proc of their own, inside."""

from __future__ import annotations

import shutil
import typing as t

import pytest

if t.TYPE_CHECKING:
    from .conftest import Machine, MakeMachine

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(shutil.which("systemd-nspawn") is None, reason="needs systemd-nspawn"),
]

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
