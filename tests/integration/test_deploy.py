# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The main job: the example's bare-metal server, deployed to this machine by the playbook."""

from __future__ import annotations

import copy
import socket
import typing as t
import urllib.request
from pathlib import Path

import pytest
import yaml
from ansible_collections.unshare.container.plugins.module_utils.life.container import Container
from ansible_collections.unshare.container.tests.integration.conftest import Machine
from ansible_collections.unshare.container.tests.integration.playbooks import REPOSITORY, playbook

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

NAME = "test-deploy"
INVENTORY = "examples/inventory"


@pytest.fixture(scope="module")
def declared() -> dict[str, t.Any]:
    """Return the example's declaration."""
    text = (REPOSITORY / INVENTORY / "host_vars/localhost/operating_system.yml").read_text()
    return t.cast("dict[str, t.Any]", yaml.safe_load(text)["operating_system"])


@pytest.fixture
def deployed(container: Container) -> dict[str, t.Any]:
    """Variables for a deployment under a name of its own, which is gone at the end."""
    assert container.name == NAME
    return {"system_container_name": NAME}


def deploy(variables: dict[str, t.Any], *arguments: str) -> t.Any:
    """Deploy the example."""
    return playbook("deploy-container.yml", INVENTORY, *arguments, variables=variables).succeeded()


def machine() -> Machine:
    """Return the deployed container."""
    return Machine(NAME, Path("/var/lib/unshare/containers", NAME, "current").resolve())


def edited(declared: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return the declaration with one service's description changed."""
    changed = copy.deepcopy(declared)
    service = next(s for s in changed["services"] if (s.get("value") or {}).get("name") == "hardened")
    service["value"]["description"] = "A daemon in another world"
    return changed


def says_what_is_dropped_and_why(output: str) -> None:
    for word in ("agetty", "console-font", "udev", "swap", "/dev/sdb1", "ntp", "smartd", "firmware"):
        assert any(line.lstrip(' "').startswith("dropped") and word in line for line in output.splitlines()), word


def is_what_was_declared_and_nothing_of_bare_metal(inside: Machine) -> None:
    assert inside.output("cat", "/proc/1/comm").strip() == "systemd"
    assert inside.run("systemctl", "is-system-running").stdout.strip() == "running", inside.logs()
    assert inside.container.failed_units() == []
    assert inside.output("hostname").strip() == "web.example.org"
    assert inside.output("date", "+%Z").strip() in ("CET", "CEST")
    assert inside.output("id", "alice").startswith("uid=1000(alice) gid=100(users)")
    assert "editors" in inside.output("id", "-Gn", "alice")
    assert inside.output("getent", "shadow", "alice").split(":")[1] in ("!", "*", "!*")
    assert "alice@example.org" in inside.output("cat", "/etc/ssh/authorized_keys.d/alice")
    get = "import urllib.request as u; print(u.urlopen('http://127.0.0.1:8080/').read().decode())"
    assert "Served from a system container" in inside.output("python3", "-c", get)
    assert inside.output("systemctl", "is-active", "hardened", "measure.timer").split() == ["active", "active"]
    units = inside.output("systemctl", "list-units", "--all", "--plain", "--no-legend", "--full")
    for gone in ("getty@", "udev", "swap ", ".swap", "NetworkManager", "timesync", "smartd", "fstrim", "console-setup"):
        assert gone not in units
    assert inside.output("cat", "/proc/swaps").count("\n") == Path("/proc/swaps").read_text().count("\n")
    assert "/srv/backup" not in inside.output("cat", "/proc/self/mountinfo")
    assert "/boot/efi" not in inside.output("cat", "/proc/self/mountinfo")
    status = inside.container.status()
    assert status.boot_seconds is not None


def test_deploys_once_then_changes_nothing_then_what_is_edited_and_is_destroyed(
    deployed: dict[str, t.Any], declared: dict[str, t.Any]
) -> None:
    planned = deploy(deployed, "--check", "--diff")
    assert planned.changed() == 2
    says_what_is_dropped_and_why(planned.output)
    assert not Path("/var/lib/unshare/containers", NAME).exists()
    said = deploy(deployed)
    assert said.changed() == 2
    first = machine().container.status()
    assert f"PID {first.pid}" in said.output
    assert "enter-container" in said.output
    is_what_was_declared_and_nothing_of_bare_metal(machine())
    assert deploy(deployed).changed() == 0
    assert deploy(deployed, "--check").changed() == 0

    variables = {**deployed, "operating_system": edited(declared)}
    shown = deploy(variables, "--check", "--diff")
    differences = [
        line for line in shown.output.splitlines() if line[:1] in "+-" and line[:4] not in ("+++ ", "--- ") and line[1:]
    ]
    assert "-Description=A daemon in a small world" in differences
    assert "+Description=A daemon in another world" in differences
    assert not [line for line in differences if "static-web-server" in line or "passwd" in line]
    assert machine().container.status().pid == first.pid

    assert deploy(variables).changed() == 2
    second = machine().container.status()
    assert second.pid != first.pid
    assert "another world" in machine().output("systemctl", "show", "--property=Description", "hardened")
    assert deploy(variables).changed() == 0
    assert machine().container.status().pid == second.pid

    assert playbook("destroy-container.yml", INVENTORY, variables=deployed).succeeded().changed() > 0
    assert not Path("/var/lib/unshare/containers", NAME).exists()


def test_web_site_answers_on_the_hosts_port_when_the_network_is_shared(
    deployed: dict[str, t.Any], declared: dict[str, t.Any]
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    changed = copy.deepcopy(declared)
    service = next(s for s in changed["services"] if s["type"] == "static-web-server")
    service["value"].update(port=port, address="127.0.0.1")
    deployed.update(operating_system=changed, system_container_network="host")
    deploy(deployed)
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
        assert b"Served from a system container" in answer.read()


def test_each_module_with_an_action_plugin_goes_on_by_itself(deployed: dict[str, t.Any], tmp_path: Path) -> None:
    system = {"host_name": NAME, "services": []}
    filters = "unshare.container.containerized_operating_system | unshare.container.system_files"
    modules: dict[str, dict[str, t.Any]] = {
        "containers": {"containers": {NAME: {"operating_system": system, "state": "stopped"}}},
        "container_script": {"name": NAME, "system": "{{ system | %s }}" % filters},
        "system_container": {"name": NAME, "state": "absent"},
    }
    tasks = [{f"unshare.container.{name}": options, "async": 60, "poll": 1} for name, options in modules.items()]
    variables = {"system": system, "ansible_async_dir": str(tmp_path)}
    play = {"hosts": "localhost", "gather_facts": False, "vars": variables, "tasks": tasks}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    run = playbook(str(tmp_path / "play.yml"), INVENTORY).succeeded()
    assert run.output.count("ASYNC OK") == len(modules), run.output
