# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What takes long: the power of a host is cut at random moments, and a host with many containers shuts down."""

from __future__ import annotations

import random
import threading
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.tests.hosts.conftest import HOST, BootMachine
from ansible_collections.unshare.container.tests.hosts.fleet import Fleet, daemon, declared, unit
from ansible_collections.unshare.container.tests.hosts.machine import Machine
from ansible_collections.unshare.container.tests.hosts.test_example import KILLED

pytestmark = [pytest.mark.root, pytest.mark.long, pytest.mark.on("debian12", "debian13")]

SEED = 20
CUTS = 20
SOONEST = 0.5
"""Seconds from the beginning of a play, before which it cannot have reached a host."""

MANY = 20
MOST_SECONDS = 15.0
"""By which a shutdown with so many containers may take longer than one with none, emulated or not."""

SLEEP = ("/usr/bin/sleep", "infinity")
STATES: dict[str, dict[str, t.Any]] = {
    "none": {},
    "former": {"web": declared("web", daemon("former", *SLEEP), enabled=True)},
    "latter": {"web": declared("web", daemon("latter", *SLEEP), enabled=True)},
}
"""What is declared for a host, by a name for it."""

WAYS = [("none", "former"), ("former", "latter"), ("latter", "none")]
"""A deployment, a switch, and a removal."""


def state(host: Machine) -> str:
    """Return which of the states a host is in, as far as its containers are asked."""
    if host.execute("test -e /var/lib/unshare/containers/web/current").returncode:
        return "none"
    host.wait_for_unit(unit("web"))
    listed = "systemctl list-units --plain --no-legend --state=active former.service latter.service"
    said = host.succeed(f"/run/unshare/web/system/enter-container --no-start {listed}").splitlines()
    (service,) = [line.split()[0] for line in said]
    return service.removesuffix(".service")


def cut_during_a_play(fleet: Fleet, host: Machine, after: float) -> None:
    """Cut the power so many seconds after a play has begun."""
    play = threading.Thread(target=fleet.try_to_play)
    play.start()
    play.join(after)
    host.cut_power()
    play.join()


@pytest.mark.shows("long")
def test_power_cuts_at_random_moments(host: Machine, tmp_path: Path) -> None:
    """Afterwards the former system runs or the new one, whole, or none; and the next run finishes what was begun."""
    fleet = Fleet(tmp_path, {HOST: host})
    moments = random.Random(SEED)
    seconds: dict[tuple[str, str], float] = {}
    for way in WAYS:
        fleet.containers = STATES[way[1]]
        began = time.monotonic()
        fleet.play()
        seconds[way] = time.monotonic() - began
    for number in range(CUTS):
        way = former, latter = WAYS[number % len(WAYS)]
        after = moments.uniform(SOONEST, seconds[way])
        fleet.containers = STATES[latter]
        said = f"cut {number}: from {former} to {latter}, after {after:.2f} of {seconds[way]:.2f} s"
        cut_during_a_play(fleet, host, after)
        host.start()
        host.wait_until_booted()
        assert state(host) in way, said
        fleet.play()
        assert state(host) == latter, said
        assert fleet.play()[HOST] == 0, said
    fleet.remove()


@pytest.mark.shows("shutdown")
def test_a_shutdown_with_many_containers(boot: BootMachine, tmp_path: Path) -> None:
    """It takes seconds more, stops all of them in order, and no unit is killed that would have stopped by itself."""
    host = boot(name="many", memory=2048)
    host.succeed("mkdir -p /var/log/journal && journalctl --flush")
    with_none = host.power_off()
    host.start()
    host.wait_until_booted()
    fleet = Fleet(tmp_path, {HOST: host})
    fleet.containers = {
        f"c{number}": declared(f"c{number}", daemon("sleeps", *SLEEP), enabled=number % 2 == 0)
        for number in range(MANY)
    }
    fleet.play(seconds=300)
    assert len(host.succeed("systemctl list-units --plain --no-legend 'unshare-container@*'").splitlines()) == MANY
    with_many = host.power_off()
    assert KILLED not in host.console
    assert with_many - with_none < MOST_SECONDS
    host.start()
    host.wait_until_booted(120)
    killed = "timed out. Killing|Killing process|left-over process"
    assert host.execute(f"journalctl --boot=-1 --output=cat _PID=1 --grep='{killed}'").stdout == ""
    active = host.succeed("systemctl list-units --plain --no-legend --state=active 'unshare-container@*'").splitlines()
    assert len(active) == MANY / 2
