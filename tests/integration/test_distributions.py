# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""One declaration on trees of several distributions, rolled out from one to another and back (T1, T4, T6).

The trees come from the distributions' mirrors, so this runs with `UNSHARE_FULL=1` alone.
"""

from __future__ import annotations

import json
import typing as t

import pytest

from . import machine_tree
from .fleet_hosts import Fleet, FleetHost
from .lives import FULL
from .playbooks import Run

pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not FULL, reason="it asks mirrors: UNSHARE_FULL=1"),
]

NAME = "test-distributions"
PACKAGES = ("dbus", "nginx-light", "postgresql", "redis-server", "systemd-sysv")
DISTRIBUTIONS = {
    "bookworm": {"nginx": "1.22.", "redis": "7.0.", "postgresql": "15."},
    "trixie": {"nginx": "1.26.", "redis": "8.0.", "postgresql": "17."},
}
"""The suites, and how the versions of their software begin."""

ANSWER = {"uri": "/", "body": ["return 204"]}
SERVICES = [
    {
        "type": "nginx",
        "value": {"servers": [{"listen": ["8080"], "locations": [{"uri": "/", "body": ["return 204"]}]}]},
    },
    {"type": "postgresql", "value": {"settings": {"shared_buffers": "16MB", "max_connections": 20}}},
    {"type": "redis", "value": {"max_memory": "16mb"}},
]
BROKEN = {"type": "unit", "value": {"name": "broken", "command": ["/usr/bin/sh", "-c", "exit 3"]}}
HEALTH = {"http": [{"port": 8080, "status": 204}], "tcp": [{"port": 5432}, {"port": 6379}], "timeout": 60}
ASKED = {
    "nginx": "nginx -v 2>&1 | cut -d/ -f2",
    "redis": "redis-cli info server | sed -n s/^redis_version://p",
    "postgresql": "su postgres -c 'psql -Atc \"show server_version\"'",
}


def play(fleet: Fleet, playbook: str, **variables: t.Any) -> Run:
    """Run a playbook on all hosts."""
    return fleet.playbook("-i", str(fleet.inventory(variables)), playbook, timeout=600)


def roll_out(fleet: Fleet, suite: str, root: t.Any, broken: bool = False) -> Run:
    """Roll the declaration out on the tree of a suite."""
    services = [*SERVICES, BROKEN] if broken else SERVICES
    container = {
        "operating_system": {"host_name": "services", "services": services},
        "store": {"tree": suite},
        "root": root,
        "health": HEALTH,
    }
    return play(fleet, "unshare.container.rollout", containers={NAME: container})


def versions(host: FleetHost) -> dict[str, str]:
    """Return the versions of what runs in the container of a host, as the programs themselves say."""
    enter = f"/var/lib/unshare/containers/{NAME}/current/enter-container"
    found = {}
    for name, script in ASKED.items():
        done = host.inside(enter, "--", "sh", "-c", script)
        found[name] = done.stdout.strip() or done.stderr
    return found


def runs(host: FleetHost, suite: str) -> bool:
    """Return whether all of a host's software is that of a suite."""
    found = versions(host)
    assert found.keys() == DISTRIBUTIONS[suite].keys()
    return all(found[name].startswith(begin) for name, begin in DISTRIBUTIONS[suite].items())


@pytest.fixture(scope="module")
def fleet() -> t.Iterator[Fleet]:
    """Give two hosts that have the trees."""
    trees = {suite: str(machine_tree.made(suite, PACKAGES).resolve()) for suite in DISTRIBUTIONS}
    with Fleet(2) as made:
        tasks = [
            {"name": f"Make {suite}", "unshare.container.tree": {"name": suite, "directory": path}}
            for suite, path in trees.items()
        ]
        playbook = made.directory / "trees.yml"
        playbook.write_text(json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
        done = play(made, str(playbook))
        assert done.code == 0, done.output
        yield made


@pytest.mark.parametrize("root", ["declared", "machine"])
def test_t1_t4_t5_software_follows_its_rollout(fleet: Fleet, root: str) -> None:
    """From one distribution to the other and back; what fails comes back to the software it had."""
    for suite in ("bookworm", "trixie"):
        done = roll_out(fleet, suite, root)
        assert done.code == 0, done.output
        assert [runs(host, suite) for host in fleet.hosts] == [True, True], [versions(host) for host in fleet.hosts]
    failed = roll_out(fleet, "bookworm", root, broken=True)
    assert failed.code != 0
    assert "rolled back" in failed.output
    assert [runs(host, "trixie") for host in fleet.hosts] == [True, True], [versions(host) for host in fleet.hosts]
    done = roll_out(fleet, "bookworm", root)
    assert done.code == 0, done.output
    assert [runs(host, "bookworm") for host in fleet.hosts] == [True, True], [versions(host) for host in fleet.hosts]
