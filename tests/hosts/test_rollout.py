# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A rollout over hosts of several distributions at once: in waves, refused by one, and through a reboot."""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.tests.hosts.conftest import BootMachine
from ansible_collections.unshare.container.tests.hosts.fleet import Fleet, daemon, declared, left, unit
from ansible_collections.unshare.container.tests.hosts.images import Images
from ansible_collections.unshare.container.tests.hosts.machine import Machine
from ansible_collections.unshare.container.tests.hosts.recipes import Recipe, chosen

pytestmark = [pytest.mark.root, pytest.mark.once]

REBOOTS = """
systemd-run --quiet --unit=moment --path-property=PathExists=/var/lib/unshare/containers/web/former \\
    systemctl --no-block reboot
"""
"""Has the host reboot as soon as a switch is on trial."""

SLEEP = ("/usr/bin/sleep", "infinity")


@pytest.fixture
def fleet(
    request: pytest.FixtureRequest,
    recipe: Recipe,
    shared: Machine,
    nothing_left: None,
    boot: BootMachine,
    images: Images,
    tmp_path: Path,
) -> Fleet:
    """Return a fleet with a machine of each host that is tested, which has the host's name."""
    recipes = chosen(request.config.getoption("--hosts"))
    machines = {each.name: shared if each == recipe else boot(image=images.of(each)) for each in recipes}
    return Fleet(tmp_path, machines)


def release(number: int, *command: str) -> dict[str, t.Any]:
    """Return the containers of a release."""
    return {"web": declared("web", daemon(f"release-{number}", *command), enabled=True)}


def released(machine: Machine) -> list[str]:
    """Return the release that runs on a host."""
    command = "/run/unshare/web/system/enter-container systemctl list-units --plain --no-legend 'release-*'"
    return [line.split()[0].removesuffix(".service") for line in machine.succeed(command).splitlines()]


@pytest.mark.shows("rollout")
def test_a_rollout_over_all_hosts(fleet: Fleet) -> None:
    """Each step is one rollout: a first one; one with a reboot in its middle; that one again; one that goes back."""
    machines = fleet.controller.machines
    able = [name for name, machine in machines.items() if machine.image.recipe.runs_containers]
    fleet.containers = release(1, *SLEEP)
    run = fleet.roll_out(rollout_waves=[1, "100%"], rollout_max_fail_percentage=50)
    for name, machine in machines.items():
        if name in able:
            assert re.search(rf"{name} \(wave \d\): switched; web generation 1 booted", run.output), run.output
            assert released(machine) == ["release-1"]
        else:
            assert re.search(rf"{name} \(wave \d\): not staged", run.output), run.output
            assert left(machine) == fleet.before[name]

    first = able[0]
    fleet.containers = release(2, *SLEEP)
    machines[first].succeed(REBOOTS)
    with machines[first].rebooting():
        run = fleet.roll_out(rollout_waves=[1, "100%"], target=":".join(able))
        assert run.code != 0
    machines[first].wait_for_unit(unit("web"))
    machines[first].wait_until_booted()
    assert released(machines[first]) in (["release-1"], ["release-2"])
    assert all(released(machines[name]) == ["release-1"] for name in able[1:]), run.output

    assert fleet.roll_out(rollout_waves=[1, "100%"], target=":".join(able)).succeeded()
    assert all(released(machines[name]) == ["release-2"] for name in able)

    fleet.containers = release(3, "/usr/bin/false")
    assert fleet.roll_out(rollout_waves=["100%"], target=":".join(able)).code != 0
    assert all(released(machines[name]) == ["release-2"] for name in able)
    fleet.remove()
