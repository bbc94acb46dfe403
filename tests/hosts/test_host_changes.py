# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What changes under running containers: their limits, and the software of their host, which is upgraded or removed."""

from __future__ import annotations

import shlex
import typing as t

import pytest
from ansible_collections.unshare.container.tests import followed
from ansible_collections.unshare.container.tests.hosts.conftest import HOST
from ansible_collections.unshare.container.tests.hosts.controller import Controller
from ansible_collections.unshare.container.tests.hosts.fleet import SITE, declared
from ansible_collections.unshare.container.tests.hosts.machine import Machine
from ansible_collections.unshare.container.tests.integration.playbooks import Run

pytestmark = [pytest.mark.root, pytest.mark.on("debian12", "debian13")]

PROFILE, DROP_IN = "apparmor.d/unshare-container", "systemd/system/unshare-container@.service.d/apparmor.conf"
REDIS = ("first", "second")
PING = 'exec 3<>/dev/tcp/127.0.0.1/6379; printf "PING\\r\\n" >&3; read -r answer <&3; echo "$answer"'
REPACK = """
set -eu
mkdir -p /root/debs
cd /
for package in redis-tools redis-server; do
    tree=$(mktemp -d)
    mkdir "$tree/DEBIAN"
    dpkg-query --show --showformat='Package: ${Package}
Version: ${Version}+more1
Architecture: ${Architecture}
Maintainer: ${Maintainer}
Description: ${binary:Summary}
' $package > "$tree/DEBIAN/control"
    for file in $(dpkg-query --listfiles $package | grep '^/usr/bin/.'); do
        cp --archive --parents ".$file" "$tree"
    done
    find "$tree/usr/bin" -type f -exec sh -c 'printf x >> "$1"' sh {} ';'
    dpkg-deb -Znone --build --root-owner-group "$tree" /root/debs/$package.deb >&2
    rm -r "$tree"
done
"""
"""Makes packages of a higher version, whose programs are others, of those that are installed."""

INSTALL = "dpkg --install /root/debs/redis-tools.deb /root/debs/redis-server.deb 2>&1"


class Fleet:
    """Containers on a machine, as an inventory declares them.

    Attributes:
        containers: the variable of the inventory.
        deployed: whether some may be on the machine.
    """

    def __init__(self, controller: Controller, host: Machine) -> None:
        self.controller = controller
        self.host = host
        self.containers: dict[str, t.Any] = {}
        self.deployed = False
        controller.write("site.yml", SITE)
        controller.write("inventory/hosts.yml", f"all: {{hosts: {{{HOST}: }}}}\n")

    def play(self, *arguments: str) -> Run:
        self.deployed = True
        run = self.controller.playbook("site.yml", *arguments, containers=self.containers)
        self.deployed = bool(self.containers)
        return run

    def changes(self, *arguments: str) -> int:
        return self.play(*arguments).counts(HOST)["changed"]

    def said(self) -> str:
        """Return what a play says, in one line: Ansible breaks its warnings into several."""
        return " ".join(self.play().output.split())

    def rollout(self, *arguments: str, **variables: t.Any) -> Run:
        return self.controller.run_playbook(
            "unshare.container.rollout", *arguments, target=HOST, containers=self.containers, **variables
        )

    def inside(self, name: str, *words: str) -> str:
        return f"/run/unshare/{name}/system/enter-container --no-start {shlex.join(words)}"

    def unit_property(self, name: str, key: str) -> str:
        unit = f"unshare-container@{name}.service"
        return self.host.succeed(f"systemctl show --property={key} --value {unit}").strip()

    def group(self, name: str, file: str) -> str:
        return self.host.succeed(f"cat /sys/fs/cgroup{self.unit_property(name, 'ControlGroup')}/{file}").strip()

    def main_pid(self, name: str, unit: str) -> str:
        return self.host.succeed(self.inside(name, "systemctl", "show", "--property=MainPID", "--value", unit)).strip()


@pytest.fixture
def fleet(controller: Controller, host: Machine) -> t.Iterator[Fleet]:
    """Yield containers that are removed after the test."""
    fleet = Fleet(controller, host)
    yield fleet
    if fleet.deployed:
        fleet.containers = {}
        fleet.play()


@pytest.mark.shows("limits")
def test_limits(fleet: Fleet) -> None:
    """R4, R7, R13: changed while it runs, and of what is in a tmpfs; nothing of it stays."""
    limited: dict[str, t.Any] = declared("limited")
    limited["limits"] = {"memory_max": "512M", "tasks_max": 1000}
    fleet.containers = {"limited": limited}
    assert fleet.changes() > 0
    pid = fleet.unit_property("limited", "MainPID")

    limited["limits"] = {"memory_max": "256M", "memory_high": "240M", "cpu_quota": "150%", "cpu_weight": 50}
    assert fleet.changes() > 0
    held = {
        file: fleet.group("limited", file)
        for file in ("memory.max", "memory.high", "cpu.max", "cpu.weight", "pids.max")
    }
    assert held == {
        "memory.max": str(256 << 20),
        "memory.high": str(240 << 20),
        "cpu.max": "150000 100000",
        "cpu.weight": "50",
        "pids.max": "16384",
    }
    assert fleet.unit_property("limited", "MemoryMax") == str(256 << 20)
    assert fleet.changes() == 0

    # It was started with more memory, so that its file systems have larger bounds.
    limited["state"] = "restarted"
    fleet.play()
    del limited["state"]
    first = fleet.unit_property("limited", "MainPID")
    assert first != pid
    for directory in ("/tmp", "/run", "/dev/shm"):
        said = fleet.host.fail(fleet.inside("limited", "dd", "if=/dev/zero", f"of={directory}/full", "bs=1M"))
        assert "No space left on device" in said
    for directory in ("/tmp", "/run", "/dev/shm"):
        fleet.host.succeed(fleet.inside("limited", "rm", f"{directory}/full"))
    assert fleet.unit_property("limited", "MainPID") == first

    limited["limits"] = {}
    assert fleet.changes() > 0
    assert [fleet.group("limited", file) for file in ("memory.max", "cpu.max")] == ["max", "max 100000"]
    assert fleet.unit_property("limited", "MainPID") == first

    fleet.containers = {}
    assert fleet.changes() > 0
    fleet.host.fail("ls /var/lib/unshare")


@pytest.mark.shows("upgrade")
def test_the_host_is_upgraded(fleet: Fleet) -> None:
    """P5: redis, while two containers use it; then it is taken away."""
    fleet.containers = {name: declared(name, {"type": "redis"}) for name in REDIS}
    fleet.play()
    before = [fleet.main_pid(name, "redis.service") for name in REDIS]
    pids = [fleet.unit_property(name, "MainPID") for name in REDIS]
    fleet.host.succeed(REPACK)
    fleet.host.succeed(INSTALL)
    try:
        said = fleet.said()
        assert said.count("outdated software") == 2
        assert "redis.service" in said
        said = fleet.rollout("--check", rollout_restart_outdated=True).output
        assert "first restarted redis.service" in said.replace("\n", " ")
        assert [fleet.main_pid(name, "redis.service") for name in REDIS] == before

        rolled = fleet.rollout(rollout_restart_outdated=True)
        assert rolled.code == 0, rolled.output
        assert "1 host: 1 restarted" in rolled.output
        after = [fleet.main_pid(name, "redis.service") for name in REDIS]
        assert not set(after).intersection(before)
        assert [fleet.unit_property(name, "MainPID") for name in REDIS] == pids
        assert "outdated software" not in fleet.said()

        fleet.host.succeed("dpkg --purge --force-depends redis-server redis-tools 2>&1")
        stopped = fleet.rollout(rollout_restart_outdated=True)
        assert stopped.code != 0
        assert "1 host: 1 not staged" in stopped.output
        assert "starts /usr/bin/redis-server, which is not there" in stopped.output
        for name in REDIS:
            assert fleet.host.succeed(fleet.inside(name, "bash", "-c", PING)).strip() == "+PONG"
        assert [fleet.main_pid(name, "redis.service") for name in REDIS] == after
    finally:
        fleet.host.succeed(INSTALL)


PROGRAM = "/usr/local/bin/unshare-test-profile"
OF_PATH = f"profile {PROGRAM} {PROGRAM} flags=(complain) {{ file, }}"
CONFINED = "cat /proc/1/attr/current; cat /proc/$(systemctl show --property=MainPID --value program)/attr/current"


@pytest.mark.shows("apparmor")
def test_profiles_of_the_hosts_paths(fleet: Fleet) -> None:
    """R10: one applies to a path inside, too, unless the containers have the profile of docs/security.md."""
    host = fleet.host
    service = {"type": "unit", "value": {"name": "program", "command": [PROGRAM, "infinity"]}}
    fleet.containers = {"profiled": declared("profiled", service)}
    with followed.Page("docs/security.md", __file__) as page:
        files = [page.take(f"/etc/{path}") for path in (PROFILE, DROP_IN)]
    host.succeed(f"cp /usr/bin/sleep {PROGRAM}")
    try:
        host.succeed(f"apparmor_parser --replace <<< {shlex.quote(OF_PATH)}")
        fleet.play()
        said = host.succeed(fleet.inside("profiled", "sh", "-c", CONFINED)).replace("\0", "").split("\n")
        assert said[:2] == ["unconfined", f"{PROGRAM} (complain)"]

        for step in files:
            path = shlex.quote(str(step.block.file))
            host.succeed(f"mkdir -p $(dirname {path}) && cat > {path} <<< {shlex.quote(step.text)}")
        host.succeed(f"apparmor_parser --replace /etc/{PROFILE} && systemctl daemon-reload")
        fleet.containers["profiled"]["state"] = "restarted"
        fleet.play()
        said = host.succeed(fleet.inside("profiled", "sh", "-c", CONFINED)).replace("\0", "").split("\n")
        assert said[:2] == ["unshare-container (enforce)"] * 2
        assert host.succeed(fleet.inside("profiled", "systemctl", "is-system-running", "--wait")).strip() == "running"
    finally:
        fleet.containers = {}
        fleet.play()
        host.succeed(f"rm -rf {PROGRAM} /etc/{PROFILE} $(dirname /etc/{DROP_IN}) && systemctl daemon-reload")
        host.execute(f"apparmor_parser --remove <<< {shlex.quote(OF_PATH)}")
