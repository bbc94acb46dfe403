# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Containers of an inventory on machines, as a test declares, deploys and looks at them."""

from __future__ import annotations

import typing as t
from pathlib import Path

from ansible_collections.unshare.container.tests.hosts.controller import PATIENT, PLAY_SECONDS, Controller
from ansible_collections.unshare.container.tests.hosts.machine import Machine
from ansible_collections.unshare.container.tests.hosts.test_example import OURS
from ansible_collections.unshare.container.tests.integration.playbooks import Run

SITE = """
- hosts: all
  gather_facts: false
  roles:
    - role: unshare.container.containers
      vars: {containers_purge: true}
"""


def declared(host_name: str, *services: dict[str, t.Any], **options: t.Any) -> dict[str, t.Any]:
    """Return an entry of the variable `containers`, with the time that a container takes on an emulated processor."""
    return {"operating_system": {"host_name": host_name, "services": list(services)}, **PATIENT, **options}


def daemon(name: str, *command: str, **value: t.Any) -> dict[str, t.Any]:
    """Return a service that runs a command."""
    return {"type": "unit", "value": {"name": name, "command": list(command), **value}}


def unit(name: str) -> str:
    """Return the unit of a container."""
    return f"unshare-container@{name}.service"


class Fleet:
    """Hosts, and what they are to run.

    Attributes:
        controller: where playbooks are run.
        containers: the variable of the inventory.
        before: what of the collection each host had before.
    """

    def __init__(self, directory: Path, machines: t.Mapping[str, Machine]) -> None:
        self.controller = Controller(directory, machines)
        self.controller.write("site.yml", SITE)
        self.controller.write("inventory/hosts.yml", hosts(machines))
        self.containers: dict[str, t.Any] = {}
        self.before = {name: left(machine) for name, machine in machines.items()}

    def play(self, seconds: float = PLAY_SECONDS) -> dict[str, int]:
        """Bring the hosts to what is declared; return how many tasks have changed something, for each host."""
        run = self.controller.playbook("site.yml", seconds=seconds, containers=self.containers)
        return {name: run.counts(name)["changed"] for name in self.controller.machines}

    def try_to_play(self) -> Run:
        """Do the same where it may fail."""
        return self.controller.run_playbook("site.yml", containers=self.containers)

    def roll_out(self, **variables: t.Any) -> Run:
        """Run the collection's playbook that does it in waves."""
        return self.controller.run_playbook(
            "unshare.container.rollout", containers=self.containers, containers_purge=True, **variables
        )

    def remove(self) -> None:
        """Have all of it removed, and see that nothing stays."""
        for machine in self.controller.machines.values():
            if not machine.is_on:
                machine.start()
        self.containers = {}
        self.play()
        others = {name: left(machine) ^ self.before[name] for name, machine in self.controller.machines.items()}
        assert not any(others.values()), others


def hosts(names: t.Iterable[str]) -> str:
    """Return an inventory of hosts."""
    return "all:\n  hosts:\n" + "".join(f"    {name}:\n" for name in names)


def left(machine: Machine) -> set[str]:
    """Return what of the collection is on a host."""
    return set(machine.succeed(OURS).splitlines())
