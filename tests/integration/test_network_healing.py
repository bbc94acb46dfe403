# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A container's network after somebody has taken a part of it away, and after launchers that were killed (N8, N9)."""

from __future__ import annotations

import contextlib
import os
import random
import re
import signal
import subprocess
import time
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.life.healing import Healing

from . import network_hosts
from .network_guests import Guest, state_of, zone
from .network_hosts import OUTSIDE, World

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

NAME = "test-network-healing"
KILLS = int(os.environ.get("NETWORK_KILLS", "8"))
"""How often a launcher is killed."""


@pytest.fixture(scope="module")
def world() -> t.Iterator[World]:
    with network_hosts.world("heal") as made:
        yield made


class Pair(t.NamedTuple):
    web: Guest
    client: Guest


@pytest.fixture(scope="module")
def pair(world: World) -> t.Iterator[Pair]:
    with contextlib.ExitStack() as stack:
        made = [Guest(NAME, world, part, zone("one")) for part in ("web", "client")]
        for guest in made:
            stack.callback(guest.destroy)
            guest.start()
        yield Pair(*made)


def heal(guest: Guest) -> tuple[list[str], list[str]]:
    """Do what a run does for a container that goes on running; what it lacked, and what was mended."""
    with guest.world.host.entered(), guest.container.lock(30):
        healing = Healing(guest.container)
        healing.look()
        lacked, mended = healing.stale, healing.heal(30)
        assert healing.warnings == []
        again = Healing(guest.container)
        again.look()
        assert again.stale == []
    return lacked, mended


LOSSES = {
    "nft flush ruleset": r"packet filter has lost the rules",
    "nft delete table bridge unshare": r"packet filter has lost the rules",
    "nft delete table inet unshare": r"packet filter has lost the rules",
    "ip link del {device}": r"eth0: the bridge \w+ was deleted",
    "ip link del {host_name}": r"eth0: its end on the host, \w+, was deleted",
    "ip link set {host_name} nomaster": r"eth0: is no port of the bridge",
    "ip link set {host_name} down": r"eth0: its end on the host, \w+, is down",
    "ip link set {device} down": r"eth0: the bridge \w+ is down",
    "ip addr flush dev {device}": r"eth0: the bridge \w+ has lost the address",
}


@pytest.mark.parametrize("deed", LOSSES)
def test_n8_n9_what_was_taken_away_comes_back_with_the_next_run(world: World, pair: Pair, deed: str) -> None:
    noted = pair.web.noted()["interfaces"][0]
    before = state_of(world)
    world.host.output(*deed.format(**noted).split())
    assert state_of(world) != before
    lacked, mended = heal(pair.web)
    assert len(lacked) == 1
    assert re.search(LOSSES[deed], lacked[0])
    assert mended
    heal(pair.client)  # the bridge had a port of each
    for address in pair.client.addresses():
        assert pair.web.reaches(address)
    assert pair.web.reaches(OUTSIDE)
    lacking = before - state_of(world)
    assert {line for line in lacking if line.startswith(("\t", "table"))} == set()


def test_n8_the_rules_come_back_by_a_command_too(world: World, pair: Pair) -> None:
    before = state_of(world)
    world.host.output("nft", "flush", "ruleset")
    world.host.output(str(pair.web.system / "run-container"), "--refresh")
    assert state_of(world) ^ before == set()


@pytest.mark.parametrize("deed", LOSSES)
def test_n8_n9_one_command_mends_all_that_run(world: World, pair: Pair, deed: str) -> None:
    before = state_of(world)
    world.host.output(*deed.format(**pair.web.noted()["interfaces"][0]).split())
    assert state_of(world) != before
    world.host.output(str(pair.client.system / "run-container"), "--refresh-all")
    for one, other in (pair, reversed(pair)):
        assert all(one.reaches(address) for address in other.addresses())
        assert one.reaches(OUTSIDE)
    lacking = before - state_of(world)
    assert {line for line in lacking if line.startswith(("\t", "table"))} == set()


def test_n9_a_bridge_that_comes_back_has_the_ports_of_all(world: World, pair: Pair) -> None:
    """One run for one container mends that; the others' runs mend theirs."""
    assert heal(pair.web) == ([], [])
    assert heal(pair.client) == ([], [])


def test_n9_a_killed_launcher_leaves_nothing_that_keeps_a_start_from_its_work(world: World) -> None:
    guest = Guest(NAME, world, "killed", zone("two"))
    before = state_of(world)
    command = world.host.command(str(guest.system / "run-container"), "--detach")
    try:
        began = time.monotonic()
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        lasts = time.monotonic() - began
        for _number in range(KILLS):
            guest.stop(5)
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as launcher:
                # Not a wait for anything: the moment is what is tried.
                with contextlib.suppress(subprocess.TimeoutExpired):
                    launcher.wait(random.uniform(0, lasts))
                launcher.send_signal(signal.SIGKILL)
            with contextlib.suppress(Exception):
                guest.start()
            assert guest.reaches(OUTSIDE)
            process = guest.container.process()
            assert process is not None
            os.kill(process.pid, signal.SIGKILL)
            process.close()
        guest.start()
        assert guest.reaches(OUTSIDE)
    finally:
        guest.destroy()
    assert state_of(world) ^ before == set()
