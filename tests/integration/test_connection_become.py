# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Become with a password inside a container, on every way to it, with each ansible-core that is supported."""

from __future__ import annotations

import itertools
import json
import sys
import time
import typing as t
from pathlib import Path

import pytest

from .conftest import Host, Machine, write_system
from .connection_hosts import HASH, PASSWORD, PLUGIN, SshHost, ansible

pytestmark = [pytest.mark.root, pytest.mark.long]

NAME = "test-become"
SUITE = Path(__file__).with_name("become_suite.yml")
CORES = {
    "2.18": Path(__file__).parents[2] / ".cache/ansible-2.18/bin",  # made by the Makefile
    "the newest": Path(sys.executable).parent,
}
LATE = "sh -c 'exec cat >/dev/null' late"
"""A become program that says nothing until its input ends."""

Variables = dict[str, t.Any]


@pytest.fixture(scope="module")
def machine() -> t.Iterator[Machine]:
    """Yield a container with a user who may become root with a password, and one who may without."""
    declared = {
        "host_name": NAME,
        "users": [
            {"name": "root", "password": HASH},
            {"name": "alice", "uid": 1000, "password": HASH},
            {"name": "free", "uid": 1001},
        ],
        "sudoers": "Defaults lecture=always\nroot ALL=(ALL) ALL\nalice ALL=(ALL) ALL\nfree ALL=(ALL) NOPASSWD: ALL\n",
    }
    made = Machine(NAME, write_system(declared, NAME))
    made.start()
    yield made
    made.destroy()


@pytest.fixture(scope="module")
def host(machine: Machine) -> t.Iterator[SshHost]:
    """Yield a host that shows this machine's containers."""
    made = SshHost("test-ssh-become")
    yield made
    made.close()


def passwords(way: str, pipelining: bool, method: str) -> t.Iterator[tuple[str, Variables]]:
    """Yield each case of a password inside, and what should come of it."""
    right = {"ansible_become_password": PASSWORD}
    yield "right", right
    yield "wrong", {"ansible_become_password": "wrong", "expected": f"Incorrect {method} password"}
    if pipelining:
        yield "missing", {"expected": f"Missing {method} password"}
        silent = {"ansible_become_exe": LATE, "ansible_ssh_timeout": 3, "expected": "waiting for privilege escalation"}
        yield "late", {**right, **silent}
        yield "stopped", {**right, "ansible_unshare_container": "test-absent", "expected": "not run", "lost": True}
    if method == "sudo":
        yield "not asked for", {**right, "ansible_unshare_user": "free"}
        yield "needless", {"ansible_unshare_user": "free"}
        yield "absent user", {**right, "ansible_become_user": "nobody-here", "expected": ""}


def inventory(host: SshHost) -> dict[str, Variables]:
    """Return a host for each case, by its name."""
    ways: dict[str, Variables] = {"local": {}, "ssh": host.variables("deployer")}
    hosts: dict[str, Variables] = {}
    for way, pipelining, method in itertools.product(ways, (True, False), ("sudo", "su")):
        for name, variables in passwords(way, pipelining, method):
            hosts[f"{way}, {method}, {'' if pipelining else 'no '}pipelining, {name}"] = {
                **ways[way],
                "ansible_pipelining": pipelining,
                "ansible_become_method": method,
                **variables,
            }
    careful = host.variables("careful")
    with_password = {**careful, "ansible_unshare_host_become_password": PASSWORD}
    inner = {"ansible_become_password": PASSWORD}
    hosts["host without its password"] = {**careful, **inner, "expected": "a password is required", "lost": True}
    hosts["host with a password"] = {**with_password, "ansible_unshare_user": "free"}
    hosts["host with a password, none inside"] = {**with_password, "expected": ""}
    hosts["two passwords"] = {**with_password, **inner, "expected": "host_become_password cannot be used with a become"}
    hosts["no host"] = {**careful, **inner, "ansible_port": 1, "expected": "Connection refused", "lost": True}
    common = {
        "ansible_connection": PLUGIN,
        "ansible_unshare_container": NAME,
        "ansible_unshare_user": "alice",
        "ansible_python_interpreter": "/usr/bin/python3",
        "expected": None,
        "lost": False,
    }
    return {name: {**common, **variables} for name, variables in hosts.items()}


@pytest.mark.parametrize("core", CORES)
def test_become(core: str, machine: Machine, host: SshHost, tmp_path: Path) -> None:
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": inventory(host)}}))
    result = ansible(CORES[core] / "ansible-playbook", "-i", tmp_path / "hosts.json", SUITE, directory=tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr
    deadline = time.monotonic() + 10
    while Host.launcher_processes(NAME):
        assert time.monotonic() < deadline, "a command outlives its task"
