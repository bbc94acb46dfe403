# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What errors advise, "stage the system again", helps: a deployment mends what was damaged, and says so."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.life.container import Container
from ansible_collections.unshare.container.tests.integration.conftest import Machine
from ansible_collections.unshare.container.tests.integration.playbooks import Run, playbook

pytestmark = [pytest.mark.root, pytest.mark.long, pytest.mark.timeout(600)]

NAME = "test-damaged"
INVENTORY = "examples/inventory"
DECLARED = {"host_name": NAME, "services": []}
ALL = """
- hosts: all
  gather_facts: false
  roles:
    - role: unshare.container.containers
"""


class Deployment:
    """A container that is brought into a state by a playbook.

    Attributes:
        by_role: whether by the role of one container, which runs `container_script`, or by that of all of a host's.
    """

    def __init__(self, by_role: bool, directory: Path) -> None:
        self.by_role = by_role
        self.playbook = directory / "containers.yml"
        self.playbook.write_text(ALL)

    def run(self, state: str = "started", *arguments: str) -> Run:
        variables: dict[str, t.Any]
        if self.by_role:
            name = "deploy-container.yml"
            variables = {"system_container_name": NAME, "operating_system": DECLARED, "system_container_state": state}
        else:
            name = str(self.playbook)
            variables = {"containers": {NAME: {"operating_system": DECLARED, "state": state}}}
        return playbook(name, INVENTORY, *arguments, variables=variables).succeeded()


@pytest.fixture(params=[True, False], ids=["role", "containers"])
def deployment(request: pytest.FixtureRequest, container: Container, tmp_path: Path) -> Deployment:
    """Return a way to deploy the container of this file, which is gone at the end."""
    assert container.name == NAME
    return Deployment(request.param, tmp_path)


def machine() -> Machine:
    return Machine(NAME, Path("/var/lib/unshare/containers", NAME, "current").resolve())


def test_a_damaged_system_is_mended_before_its_start_and_while_it_runs(deployment: Deployment) -> None:
    """A damaged specification keeps a container from its start; one that runs is not harmed by the mending."""
    deployment.run("stopped")
    stopped = machine()
    specification = stopped.system / "spec.json"
    whole = specification.read_text()
    os.truncate(specification, len(whole) // 2)
    with pytest.raises(LauncherError, match="stage the system again"):
        stopped.start()

    planned = deployment.run("started", "--check")
    assert planned.changed() > 0
    assert "would be written anew" in planned.output
    assert specification.read_text() != whole
    mended = deployment.run()
    assert mended.changed() == planned.changed()
    assert "was written anew: spec.json has" in " ".join(mended.output.split())
    assert specification.read_text() == whole
    running = machine()
    assert running.system == stopped.system
    assert running.output("cat", "/proc/sys/kernel/hostname").strip() == NAME

    before = running.container.status()
    assert before.state == "running"
    (running.system / "library/inside/enter.py").unlink()
    (running.system / "seccomp.bpf").unlink(missing_ok=True)
    assert deployment.run().changed() > 0
    after = running.container.status()
    assert (after.state, after.pid, after.system) == ("running", before.pid, before.system)
    assert running.output("cat", "/proc/1/comm").strip() == "systemd"
    for arguments in ((), ("--check",)):
        again = deployment.run("started", *arguments)
        assert again.changed() == 0
        assert "written anew" not in again.output
