# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The README's web server, deployed over SSH to a host that boots: changed, rebooted, rolled back, removed."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.unshare.container.tests import guides
from ansible_collections.unshare.container.tests.hosts.conftest import HOST
from ansible_collections.unshare.container.tests.hosts.controller import Controller
from ansible_collections.unshare.container.tests.hosts.machine import Machine

pytestmark = [
    pytest.mark.root,
    pytest.mark.fails_on("debian11", "Linux 5.10 has no mount_setattr(2), which a start needs (5.12)"),
]

PLAYBOOK = "web.yml"
ENTER = "/run/unshare/web/system/enter-container"
PAGE = "Hello from a container\n"
OURS = """
find /run/unshare /var/lib/unshare /etc/systemd/system /run/systemd/system /run/systemd/transient 2>/dev/null
cut --delimiter=' ' --fields=4,5 /proc/self/mountinfo
find /sys/fs/cgroup -type d -name '*unshare*'
find /sys/fs/cgroup -type d -path '*unshare/*'
grep --files-with-matches --text unshare /proc/[0-9]*/cmdline | grep --invert-match "/$$/\\|/self/\\|/${PPID:-0}/"
true
"""
"""A command that lists what of the collection can be on a host: files, units, mounts, control groups, processes."""


class Example:
    """The README's web server on a machine.

    Attributes:
        controller: where its playbook is run.
        host: the machine.
    """

    def __init__(self, controller: Controller, host: Machine) -> None:
        self.controller = controller
        self.host = host
        self.before = self.left()
        # No packages are fetched, for a machine reaches no network; its lists are as if they had just been fetched.
        host.succeed("touch /var/lib/apt/lists")
        for block in guides.blocks("README.md"):
            if block.section == "A web server" and block.file:
                controller.write(block.file, block.text)

    def play(self, **variables: t.Any) -> int:
        """Run the playbook; return how many tasks have changed something."""
        return self.controller.playbook(PLAYBOOK, **variables).counts(HOST)["changed"]

    def page(self) -> str:
        """Return what the web server answers to somebody on the host."""
        return self.host.succeed("curl --silent --show-error --fail http://127.0.0.1:8080/")

    def state(self) -> str:
        """Return what systemd inside says of the container."""
        return self.host.execute(f"{ENTER} systemctl is-system-running --wait").stdout.strip()

    def left(self) -> set[str]:
        """Return what of the collection is on the host."""
        return set(self.host.succeed(OURS).splitlines())


@pytest.fixture
def example(controller: Controller, host: Machine) -> t.Iterator[Example]:
    """Yield the example, and take it away after the test."""
    example = Example(controller, host)
    yield example
    controller.run_playbook(PLAYBOOK, system_container_state="absent")


def test_is_deployed_once_and_runs(example: Example) -> None:
    assert example.play() > 0
    assert example.state() == "running"
    assert example.page() == PAGE
    assert example.play() == 0
    assert example.page() == PAGE


def test_runs_again_after_a_reboot_if_it_is_enabled(example: Example) -> None:
    example.play(system_container_enabled=True)
    example.host.reboot()
    example.host.wait_for_unit("unshare-container@web.service")
    assert example.state() == "running"
    assert example.page() == PAGE
    assert example.play(system_container_enabled=True) == 0


def test_does_not_run_after_a_reboot_if_it_is_not_enabled(example: Example) -> None:
    example.play()
    example.host.reboot()
    example.host.wait_until_booted()
    example.host.fail("curl --silent http://127.0.0.1:8080/")
    assert example.play() > 0
    assert example.page() == PAGE


def test_goes_back_to_the_former_system(example: Example) -> None:
    declared = {
        "host_name": "web",
        "services": [{"type": "unit", "value": {"name": "other", "command": ["/usr/bin/sleep", "infinity"]}}],
    }
    example.play()
    former = example.host.succeed("readlink /run/unshare/web/system")
    assert example.play(system_container_operating_system=declared) > 0
    example.host.fail("curl --silent http://127.0.0.1:8080/")
    assert example.play(system_container_state="rolled_back") > 0
    assert example.host.succeed("readlink /run/unshare/web/system") == former
    assert example.state() == "running"
    assert example.page() == PAGE


@pytest.mark.parametrize("enabled", [False, True], ids=["not enabled", "enabled"])
def test_nothing_is_left_of_it_when_it_is_removed(example: Example, enabled: bool) -> None:
    example.play(system_container_enabled=enabled)
    assert example.left() != example.before
    assert example.play(system_container_state="absent") > 0
    assert example.left() == example.before
    assert example.play(system_container_state="absent") == 0
