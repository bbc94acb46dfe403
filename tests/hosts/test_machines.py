# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The machines themselves: what other tests take for granted of them."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.unshare.container.tests.hosts import machine as machines
from ansible_collections.unshare.container.tests.hosts.acceleration import Accelerator
from ansible_collections.unshare.container.tests.hosts.conftest import BootMachine
from ansible_collections.unshare.container.tests.hosts.machine import CommandFailed, Machine, MachineError
from ansible_collections.unshare.container.tests.hosts.making import GATEWAY, Image
from ansible_collections.unshare.container.tests.hosts.recipes import Recipe

pytestmark = pytest.mark.root


def test_is_what_its_recipe_says(host: Machine, recipe: Recipe) -> None:
    assert host.succeed("uname --kernel-release").startswith(f"{recipe.linux}.")
    assert host.succeed("systemctl --version").split()[1] == recipe.systemd
    assert host.succeed("/usr/bin/python3 --version").startswith(f"Python {recipe.python}.")
    assert host.succeed("cat /proc/1/comm").strip() == "systemd"
    assert host.succeed("stat --file-system --format=%T /sys/fs/cgroup").strip() == "cgroup2fs"
    assert host.succeed("cat /sys/module/apparmor/parameters/enabled").strip() == "Y"
    for service in recipe.services:
        assert host.execute(f"systemctl is-active {service}").stdout.strip() == "inactive"


@pytest.mark.once
def test_reaches_nobody(host: Machine) -> None:
    """Not even a program of this machine, which it would otherwise see behind QEMU's address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        host.succeed(f"! timeout 5 bash -c 'exec 3<>/dev/tcp/{GATEWAY}/{port}'")
    host.succeed("! timeout 5 bash -c 'exec 3<>/dev/tcp/192.0.2.1/80'")


@pytest.mark.once
def test_commands(host: Machine) -> None:
    assert host.succeed("echo 'two  words' \"$HOME\"; echo aside >&2") == "two  words /root\n"
    assert host.fail("echo out; echo aside >&2; exit 3") == "out\naside\n"
    with pytest.raises(CommandFailed, match=r"(?s)failed with 4: exit 4.*console of .*sshd listens"):
        host.succeed("exit 4")
    with pytest.raises(CommandFailed, match="succeeded: true"):
        host.fail("true")
    with pytest.raises(CommandFailed, match="did not end"):
        host.fail("sleep infinity", seconds=0.3)


@pytest.mark.once
def test_waits_for_units(host: Machine) -> None:
    """One that is active, one that becomes so later, one that fails later, one that there is not."""
    host.wait_for_unit("ssh")
    service = "systemd-run --quiet --no-block --unit={} --property=Type={} bash -c '{}'"
    host.succeed(service.format("late", "notify", "read -t 3 <> <(:); systemd-notify --ready; sleep infinity"))
    host.wait_for_unit("late.service")
    host.succeed("systemctl is-active --quiet late && systemctl stop late")
    host.succeed(service.format("broken", "oneshot", "read -t 3 <> <(:); exit 7"))
    with pytest.raises(CommandFailed, match="7/NOTRUNNING|status=7"):
        host.wait_for_unit("broken")
    host.succeed("systemctl reset-failed broken")
    with pytest.raises(CommandFailed, match="failed with 124"):
        host.wait_for_unit("no-such", seconds=0.5)


@pytest.mark.once
def test_reboots_and_loses_power_with_its_disk(host: Machine) -> None:
    """What was flushed is there after each; what is in memory is not."""
    host.succeed("echo kept >/root/kept && sync && touch /run/lost")
    former = host.boot_id()
    host.reboot()
    assert host.succeed("cat /root/kept; ls /run/lost || true") == "kept\n"
    rebooted = host.boot_id()
    assert rebooted != former
    host.cut_power()
    assert not host.is_on
    with pytest.raises(MachineError, match="is not on"):
        host.succeed("true")
    host.start()
    assert host.succeed("cat /root/kept; ls /run/lost || true") == "kept\n"
    assert host.boot_id() not in (former, rebooted)
    host.power_off()
    assert not host.is_on
    assert "Power down" in host.console
    host.start()
    host.wait_until_booted()
    assert host.succeed("cat /root/kept") == "kept\n"
    assert host.console.count("Linux version") == 4


def memory(machine: Machine) -> int:
    """Return the memory that a machine has, in KiB."""
    return int(machine.succeed("grep --only-matching --max-count=1 '[0-9]*' /proc/meminfo").split()[0])


@pytest.mark.once
def test_has_a_disk_and_a_port_of_its_own(host: Machine, boot: BootMachine, image: Image) -> None:
    untouched = image.disk.stat().st_mtime_ns
    host.succeed("echo mine >/root/mine && sync")
    with_less = boot(name="another", memory=512)
    assert with_less.succeed("ls /root/mine || nproc") == f"{with_less.accelerator.processors}\n"
    assert 0 < memory(with_less) < 512 << 10 < memory(host)
    assert with_less.succeed("cat /etc/machine-id") != host.succeed("cat /etc/machine-id")
    assert with_less.ansible_variables()["ansible_port"] != host.ansible_variables()["ansible_port"]
    with_less.close()
    with pytest.raises(AssertionError, match="has been taken away"):
        with_less.start()
    assert image.disk.stat().st_mtime_ns == untouched


@pytest.mark.once
def test_says_what_the_console_said_when_it_does_not_boot(
    image: Image, accelerator: Accelerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machines, "KERNEL_SECONDS", 0.1)
    with Machine(image, accelerator) as machine:
        with pytest.raises(MachineError, match=r"(?s)boot: waited in vain for the machine's line.*console of"):
            machine.start(seconds=0.5)
        assert machine.is_on
        assert "The kernel stands still: the machine is reset." in machine.console
        with pytest.raises(MachineError, match="reboot: QEMU has stopped the machine before"), machine.rebooting():
            machine._running().command("stop", machine.deadline(1))
    assert not machine.is_on


BOOTS = """
import contextlib
import sys
from pathlib import Path
from ansible_collections.unshare.container.tests.hosts import acceleration, machine, making, recipes
image = making.Image(recipes.RECIPES[sys.argv[1]], Path(sys.argv[2]))
one = machine.Machine(image, getattr(acceleration, sys.argv[3]))
with contextlib.suppress(machine.MachineError):
    one.start(seconds=0.2)
print(one._qemu._process.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.once
def test_nothing_is_left_when_the_tests_are_killed(recipe: Recipe, image: Image, accelerator: Accelerator) -> None:
    def files() -> set[Path]:
        return {path for directory in (image.directory.parent, image.directory) for path in directory.iterdir()}

    before = files()
    name = "KVM" if accelerator.name == "kvm" else "EMULATION"
    command = [sys.executable, "-c", BOOTS, recipe.name, str(image.directory), name]
    tests = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert tests.stdout is not None
    qemu = os.pidfd_open(int(tests.stdout.readline()))
    tests.kill()
    tests.communicate()
    assert select.select([qemu], [], [], 10)[0], "QEMU still runs"
    os.close(qemu)
    assert files() == before
