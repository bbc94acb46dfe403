# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The README's web server, deployed over SSH to a host that boots: changed, rolled back, removed."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.unshare.container.tests import guides
from ansible_collections.unshare.container.tests.hosts.conftest import HOST
from ansible_collections.unshare.container.tests.hosts.controller import PATIENT, Controller
from ansible_collections.unshare.container.tests.hosts.machine import Machine
from ansible_collections.unshare.container.tests.integration.playbooks import Run

pytestmark = pytest.mark.root

PLAYBOOK = "web.yml"
ENTER = "/run/unshare/web/system/enter-container"
PAGE = "Hello from a container\n"
OURS = """
find /run/unshare -mindepth 1
find /var/lib/unshare
find /etc/systemd/system /run/systemd/system /run/systemd/transient -mindepth 1
awk '$5 !~ "^/run/credentials/" || /unshare/ { print $4, $5 }' /proc/self/mountinfo
find /sys/fs/cgroup -type d -path '*unshare*'
for process in /proc/[0-9]*; do
    tr '\\0' ' ' <$process/cmdline | grep -E 'unshare/|-container '
done
true
"""
"""A command that lists what of the collection can be on a host: files, units, mounts, control groups, processes.

Systemd mounts credentials for other units, such as a getty, when those start.
"""

OTHER = {
    "host_name": "web",
    "services": [{"type": "unit", "value": {"name": "other", "command": ["/usr/bin/sleep", "infinity"]}}],
}
"""A declaration without a web server."""

KILLED = "systemd-shutdown[1]: Waiting for process:"
"""What the console says on the way down when a process did not end in time, and is killed."""


class Example:
    """The README's web server on a machine.

    Attributes:
        controller: where its playbook is run.
        host: the machine.
        before: what of the collection was on the host before.
    """

    def __init__(self, controller: Controller, host: Machine) -> None:
        self.controller = controller
        self.host = host
        # A machine reaches no archive, and has no lists of packages. The packages are there.
        for block in guides.blocks("README.md"):
            if block.section == "A web server" and block.file:
                controller.write(block.file, block.text)
        self.before = self.left()

    def run(self, **variables: t.Any) -> Run:
        """Run the playbook."""
        patient = {f"system_container_{option}": value for option, value in PATIENT.items()}
        return self.controller.playbook(PLAYBOOK, **patient, **variables)

    def play(self, **variables: t.Any) -> int:
        """Run the playbook; return how many tasks have changed something."""
        return self.run(**variables).counts(HOST)["changed"]

    def remove(self) -> None:
        """Have the container removed, and see that nothing of the collection stays."""
        assert self.left() != self.before
        assert self.play(system_container_state="absent") > 0
        assert not self.left() ^ self.before

    def serves(self) -> None:
        """See that all is well inside, and that the web server answers."""
        assert self.host.execute(f"{ENTER} systemctl is-system-running --wait").stdout.strip() == "running"
        assert self.host.succeed("curl --silent --show-error --fail http://127.0.0.1/") == PAGE

    def serves_nothing(self) -> None:
        """See that there is no web server."""
        assert "onnect to 127.0.0.1" in self.host.fail("curl --silent --show-error http://127.0.0.1/")

    def left(self) -> set[str]:
        """Return what of the collection is on the host."""
        return set(self.host.succeed(OURS).splitlines())

    def remove_page(self) -> None:
        """Remove the page. It is the user's: nothing of the collection takes it away."""
        self.host.succeed("rm --recursive --force /srv/www")


@pytest.fixture
def example(controller: Controller, host: Machine) -> t.Iterator[Example]:
    """Yield the example, and take it away after the test."""
    example = Example(controller, host)
    yield example
    if not host.is_on:
        host.start()
    if example.left() != example.before:
        example.play(system_container_state="absent")
    example.remove_page()


@pytest.mark.on("debian12", "debian13")
@pytest.mark.shows("deployed")
def test_is_deployed_changed_and_removed(example: Example) -> None:
    assert example.play() > 0
    former = example.host.succeed("readlink /run/unshare/web/system")
    example.serves()
    assert example.play() == 0
    assert example.play(system_container_operating_system=OTHER) > 0
    example.serves_nothing()
    assert example.play(system_container_state="rolled_back") > 0
    assert example.host.succeed("readlink /run/unshare/web/system") == former
    example.serves()
    example.remove()
    assert example.play(system_container_state="absent") == 0


@pytest.mark.on("debian11")
def test_is_refused_by_a_kernel_that_is_too_old(example: Example) -> None:
    said = example.controller.run_playbook(PLAYBOOK)
    assert said.counts(HOST)["failed"] == 1
    assert "nothing was changed. the kernel is 5.10." in said.output
    assert "Linux 5.12 or newer is needed" in said.output
    assert example.left() == example.before
