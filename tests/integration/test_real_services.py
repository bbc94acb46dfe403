# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The second example: services whose programs come from packages of this machine, deployed and used.

The host has a network of its own here, and another machine beside it that uses the published ports.
"""

from __future__ import annotations

import subprocess
import time
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.unshare.container.tests.integration import network_hosts
from ansible_collections.unshare.container.tests.integration.conftest import Machine
from ansible_collections.unshare.container.tests.integration.playbooks import REPOSITORY, playbook

pytestmark = pytest.mark.root

NAME = "test-services"
INVENTORY = "examples/services"
STATE = ("postgresql", "redis", "sshd")


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a new ssh key pair's private half."""
    path = tmp_path_factory.mktemp("ssh") / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True, timeout=30)
    return path


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory, key: Path) -> dict[str, t.Any]:
    """Return the example's variables, with a key of ours and state below a directory of the test's."""
    state = tmp_path_factory.mktemp("state")
    for name in STATE:
        (state / name).mkdir()
    text = (REPOSITORY / INVENTORY / "host_vars/localhost/operating_system.yml").read_text()
    declared = yaml.safe_load(text)["operating_system"]
    openssh = next(service for service in declared["services"] if service["type"] == "openssh")
    openssh["value"]["authorized_keys"]["alice"] = [Path(f"{key}.pub").read_text().strip()]
    return {
        "system_container_name": NAME,
        "system_container_install_packages": False,
        "system_container_timeout": 90,
        "operating_system": declared,
        "system_container_mappings": [
            {"source": str(state / name), "target": target, "writable": True, "required": True}
            for name, target in zip(STATE, ("/var/lib/postgresql", "/var/lib/redis", "/var/lib/sshd"), strict=True)
        ],
    }


@pytest.fixture(scope="module")
def world() -> t.Iterator[network_hosts.World]:
    """Yield a host of its own network, which this process is on, and a machine beside it."""
    with network_hosts.world("services") as found, found.host.entered():
        yield found


@pytest.fixture(scope="module")
def services(variables: dict[str, t.Any], world: network_hosts.World) -> t.Iterator[Machine]:
    """Yield the example, deployed; its packages are on the test machine already."""
    try:
        playbook("deploy-container.yml", INVENTORY, variables=variables).succeeded()
        yield Machine(NAME, Path("/var/lib/unshare/containers", NAME, "current").resolve())
    finally:
        playbook("destroy-container.yml", INVENTORY, variables=variables).succeeded()


def test_nothing_failed(services: Machine) -> None:
    assert services.run("systemctl", "is-system-running").stdout.strip() == "running", services.logs()
    assert services.container.failed_units() == []


@pytest.mark.usefixtures("services")
def test_sshd_accepts_the_declared_key_and_no_other(world: network_hosts.World, key: Path, tmp_path: Path) -> None:
    login = (
        *("ssh", "-p", "2222", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"),
        *("-o", "UserKnownHostsFile=/dev/null", "-o", "IdentitiesOnly=yes", "-F", "/dev/null"),
    )
    there = (f"alice@{network_hosts.HOST}", "id", "-un")
    accepted = world.machine.run(*login, "-i", str(key), *there)
    assert accepted.stdout.strip() == "alice", accepted.stderr
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)], check=True, timeout=30)
    refused = world.machine.run(*login, "-i", str(other), *there)
    assert refused.returncode == 255
    assert "Permission denied" in refused.stderr


@pytest.mark.usefixtures("services")
@pytest.mark.parametrize("address", [network_hosts.HOST, f"[{network_hosts.HOST6}]"])
def test_nginx_answers(world: network_hosts.World, address: str) -> None:
    assert world.machine.output("curl", "--silent", f"http://{address}:8080/").strip() == "nginx answers"


def test_postgresql_answers(services: Machine) -> None:
    assert services.output("psql", "-Atc", "select 6 * 7", user="postgres").strip() == "42"


def test_redis_answers(services: Machine) -> None:
    assert services.output("redis-cli", "ping").strip() == "PONG"


@pytest.mark.long
def test_cron_runs_the_declared_job(services: Machine) -> None:
    # The job runs at the next full minute: wait for its file to appear, as inotify tells.
    wait = (
        "import ctypes, os, select, sys\n"
        "libc = ctypes.CDLL(None)\n"
        "watch = libc.inotify_init()\n"
        "libc.inotify_add_watch(watch, b'/tmp', 0x100 | 0x80)\n"
        "while not os.path.exists('/tmp/load'):\n"
        "    if not select.select([watch], [], [], 90)[0]: sys.exit('no file')\n"
        "    os.read(watch, 4096)\n"
        "print(os.stat('/tmp/load').st_uid)\n"
    )
    assert services.output("python3", "-c", wait, timeout=100).strip() == "1000"
    # cron by itself would end the command at its `%`.
    assert services.output("sh", "-c", "until grep . /tmp/load; do :; done", timeout=10).strip().isdigit()


def test_state_outlives_the_container(services: Machine) -> None:
    services.output(
        "psql", "-c", "create table if not exists kept (n int); insert into kept values (7)", user="postgres"
    )
    host_keys = services.output("sh", "-c", "cat /var/lib/sshd/*.pub")
    before = time.monotonic()
    services.stop()
    assert time.monotonic() - before < 30
    services.start(timeout=90.0)
    assert services.output("psql", "-Atc", "select n from kept limit 1", user="postgres").strip() == "7"
    assert services.output("sh", "-c", "cat /var/lib/sshd/*.pub") == host_keys
