# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Three containers on two hosts behind real sshds: deployed by the role, found by the inventory plugin, worked in."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from .connection_hosts import PASSWORD, SshHost, ansible

pytestmark = pytest.mark.root

DEPLOY = """
- hosts: all
  gather_facts: false
  become: true
  tasks:
    - ansible.builtin.include_role:
        name: unshare.container.system_container
      vars:
        system_container_operating_system: {host_name: "{{ item }}"}
        system_container_state: "{{ wanted }}"
      loop: "{{ containers }}"
"""

WORK = """
- hosts: system_containers_running
  gather_facts: false
  tasks:
    - ansible.builtin.copy:
        dest: /etc/systemd/system/greeting.service
        content: |
          [Service]
          Type=oneshot
          RemainAfterExit=yes
          ExecStart=/bin/sh -c 'echo {{ inventory_hostname }} from $(hostname) >/run/greeting'
        mode: "0644"
    - ansible.builtin.systemd_service:
        name: greeting.service
        state: started
        daemon_reload: true
    - ansible.builtin.slurp:
        src: /run/greeting
      register: greeting
      failed_when: greeting.content | b64decode | trim != inventory_hostname ~ ' from ' ~ unshare_name
- hosts: web@*
  gather_facts: false
  tasks:
    - ansible.builtin.command: systemctl is-active greeting.service
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[Path]:
    """Yield a directory with an inventory of two hosts with containers; one is reached as a user with sudo."""
    directory = tmp_path_factory.mktemp("fleet")
    hosts = [SshHost("test-one", separate=True), SshHost("test-two", separate=True)]
    inventory = {
        "all": {
            "hosts": {
                "one": hosts[0].variables(
                    "careful", ansible_become=True, ansible_become_password=PASSWORD, containers=["web", "db"]
                ),
                "two": hosts[1].variables(containers=["web"]),
            }
        }
    }
    (directory / "hosts.yml").write_text(json.dumps(inventory))
    (directory / "deploy.yml").write_text(DEPLOY)
    (directory / "work.yml").write_text(WORK)
    try:
        deploy(directory, "started")
        yield directory
        deploy(directory, "absent")
        assert [path for host in hosts for path in (host.directory / "run").iterdir()] == []
    finally:
        for host in hosts:
            host.close()


def deploy(directory: Path, state: str) -> None:
    """Run the role on both hosts."""
    words = ["-i", directory / "hosts.yml", "-e", f"wanted={state}", directory / "deploy.yml"]
    result = ansible("ansible-playbook", *words, directory=directory)
    assert result.returncode == 0, result.stdout + result.stderr


def source(directory: Path, name: str = "containers.unshare.yml", **options: t.Any) -> Path:
    """Write an inventory source for the plugin, and return its path."""
    path = directory / name
    content = {"plugin": "unshare.container.system_containers", "inventory": ["hosts.yml"], **options}
    path.write_text(json.dumps(content))
    return path


def listing(path: Path, directory: Path | None = None, **environment: str) -> dict[str, t.Any]:
    """Return what `ansible-inventory` makes of a source."""
    result = ansible("ansible-inventory", "-i", path, "--list", directory=directory or path.parent, **environment)
    assert result.returncode == 0, result.stderr
    assert "Failed to parse" not in result.stderr, result.stderr
    return json.loads(result.stdout, object_hook=lambda each: each.get("__ansible_unsafe", each))


def test_three_containers_on_two_hosts_are_found_and_worked_in(place: Path) -> None:
    path = source(place)
    found = listing(path)
    assert set(found["_meta"]["hostvars"]) == {"web@one", "db@one", "web@two"}
    assert set(found["system_containers_running"]["hosts"]) == {"web@one", "db@one", "web@two"}
    assert set(found["system_containers_on_one"]["hosts"]) == {"web@one", "db@one"}
    assert set(found["system_containers_named_web"]["hosts"]) == {"web@one", "web@two"}
    variables = found["_meta"]["hostvars"]["web@one"]
    assert variables["ansible_unshare_host_become_password"] == PASSWORD
    assert "ansible_become_password" not in variables
    assert variables["unshare_errors"] == []
    assert (variables["unshare_ready"], variables["unshare_failed_units"], variables["unshare_errors"]) == (
        True,
        [],
        [],
    )

    result = ansible("ansible-playbook", "-i", path, place / "work.yml", directory=place)
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("failed=0") == 3


def test_names_groups_and_variables_can_be_made(place: Path) -> None:
    path = source(
        place,
        name_format="{host}.{name}",
        group_prefix="boxes",
        pattern="one",
        strict=True,
        compose={"where": "unshare_host ~ '/' ~ unshare_name"},
        groups={"databases": "unshare_name == 'db'"},
        keyed_groups=[{"key": "unshare_state", "prefix": "is"}],
    )
    found = listing(path)
    assert {name: each["where"] for name, each in found["_meta"]["hostvars"].items()} == {
        "one.web": "one/web",
        "one.db": "one/db",
    }
    assert found["databases"]["hosts"] == ["one.db"]
    assert set(found["is_running"]["hosts"]) == set(found["boxes"]["hosts"]) == {"one.web", "one.db"}


def test_a_host_that_cannot_be_asked_is_said_and_hides_no_other(place: Path) -> None:
    inventory = json.loads((place / "hosts.yml").read_text())
    inventory["all"]["hosts"]["gone"] = {"ansible_host": "127.0.0.1", "ansible_port": 1}
    (place / "more.yml").write_text(json.dumps(inventory))
    path = source(place, inventory=["more.yml"])
    result = ansible("ansible-inventory", "-i", path, "--list", directory=place)
    assert "host gone is left out" in result.stderr
    assert "web@two" in result.stdout
    path = source(place, inventory=["more.yml"], require_hosts=True)
    result = ansible("ansible-inventory", "-i", path, "--list", directory=place)
    assert "host gone: its containers could not be listed" in result.stderr
    assert "web@two" not in result.stdout


def test_a_directory_that_holds_the_source_itself_is_no_endless_question(place: Path) -> None:
    (place / "both").mkdir()
    (place / "both" / "hosts.yml").write_text((place / "hosts.yml").read_text())
    path = source(place / "both", inventory=["."])
    assert {"web@one", "web@two"} < set(listing(path, place)["_meta"]["hostvars"])


def test_the_answer_is_cached_when_asked(place: Path) -> None:
    cache: dict[str, t.Any] = {
        "cache": True,
        "cache_plugin": "ansible.builtin.jsonfile",
        "cache_connection": str(place / "cache"),
    }
    path = source(place, **cache)
    first = listing(path)
    secrets = [file.read_text() for file in (place / "cache").iterdir()]
    assert secrets
    assert all(PASSWORD not in secret for secret in secrets)
    # With no way to the hosts any more, the same answer: nobody was asked.
    again = listing(path, PATH="/nowhere")
    assert again == first
    flushed = ansible("ansible-inventory", "-i", path, "--list", "--flush-cache", directory=place, PATH="/nowhere")
    assert "web@two" not in flushed.stdout
