# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A zone's containers after many starts and stops, and after kills and losses that nothing announces (N8, N9).

The next run heals, and nothing is left. How often each is done, `lives` says.
"""

from __future__ import annotations

import contextlib
import random
import re
import typing as t
from pathlib import Path

import pytest

from . import network_hosts
from .kills import BOOT, KNOWN, LAUNCH, Killer
from .lives import Run, nothing_in_memory, reach, rounds, seeded
from .network_guests import Guest, heal, state_of, zone
from .network_hosts import OUTSIDE, OWN_RULES, World

pytestmark = [pytest.mark.root, pytest.mark.long, pytest.mark.timeout(1200)]

NAME = "test-network-kill"
DEEDS = (
    "nft flush ruleset; " + OWN_RULES,  # as a restart of the host's own packet filter does it
    "nft delete table inet unshare",
    "nft delete table bridge unshare",
    "ip link del {device}",
    "ip link del {host_name}",
    "ip addr flush dev {device}",
)


@pytest.fixture(scope="module")
def world() -> t.Iterator[World]:
    with network_hosts.world("rough") as made:
        made.host.output("nft", "-f", "-", input=OWN_RULES)
        yield made


@pytest.fixture
def guests(world: World) -> t.Iterator[list[Guest]]:
    """Yield two containers of a zone, of which the second runs; afterwards the host is byte for byte as before."""
    before, rules = settled(world), world.host.output("nft", "list", "ruleset")
    with contextlib.ExitStack() as stack:
        made = []
        for part, ports in (("one", [{"port": 8080, "target": 80}]), ("stays", [])):
            guest = Guest(NAME, world, part, zone("rough"), ports=ports)
            stack.callback(guest.destroy)
            made.append(guest)
        made[1].start()
        yield made
    assert settled(world) ^ before == set()
    assert world.host.output("nft", "list", "ruleset") == rules


def settled(world: World) -> set[str]:
    """Return what the host has, without the numbers of links: one that was made again has another."""
    return {re.sub(r"^\d+: |@if\d+|link-netnsid \d+|metric \d+", "", line) for line in state_of(world)}


def own_rules(world: World) -> str:
    return "".join(world.host.output("nft", "list", "table", *table) for table in (("inet", "own"), ("ip", "other")))


def names_of(guest: Guest) -> str:
    return Path(guest.container.run_directory, "network", "hosts").read_text()


def test_n9_many_starts_and_stops_leave_nothing(world: World, guests: list[Guest]) -> None:
    guest, stays = guests
    before, rules, names = settled(world), own_rules(world), names_of(stays)
    for number in range(rounds(15, 100)):
        guest.start(wait=bool(number % 2))
        assert f"{guest.name}.rough" in names_of(stays)
        assert guest.reaches(stays.addresses()[0])
        guest.stop(0.5)
        nothing_in_memory(guest.name)
        assert names_of(stays) == names
        assert settled(world) ^ before == set()
        assert own_rules(world) == rules


class NetworkKiller(Killer):
    """One that has somebody take away, too, what a zone has of its host."""

    def __init__(self, machine: Guest, stays: Guest, choices: random.Random) -> None:
        super().__init__(machine, choices)
        self.host = machine.world.host
        self.stays = stays

    def acts(self) -> list[t.Callable[[], None]]:
        return [*super().acts(), self.in_loss, self.in_loss, self.in_loss]

    def in_loss(self) -> None:
        """Take something away while a run is at work, or while nothing is."""
        state = self.choices.choice(["started", "restarted", "stopped"])
        run = Run(lambda: reach(self.machine.name, state, self.machine.system))
        self._moment(LAUNCH, BOOT)
        deed = self.choices.choice(DEEDS)
        self._count(f"{deed.partition(';')[0]}, {state}", run.process.wait(0) is False)
        noted = self.stays.noted()["interfaces"][0]
        command, _separator, text = deed.partition("; ")
        self.host.run(*command.format(**noted).split())  # what is not there now cannot be taken away
        if text:
            self.host.output("nft", "-f", "-", input=text)
        status, said = run.end()
        assert status == 0 or any(kind in said for kind in KNOWN), said


def test_n8_n9_after_kills_and_losses_at_any_moment_the_next_run_heals(world: World, guests: list[Guest]) -> None:
    guest, stays = guests
    before, rules, names = settled(world), own_rules(world), names_of(stays)
    choices = seeded()
    with world.host.entered():
        killer = NetworkKiller(guest, stays, choices)
        for number in range(rounds(15, 50)):
            killer.strike()
            print(number, killer.last)
            guest.deploy()
            for each in (guest, stays):
                reach(each.name, "started", each.system)
                heal(each)
            for one, other in ((guest, stays), (stays, guest)):
                assert f"{other.name}.rough" in names_of(one)
                assert all(one.reaches(address) for address in other.addresses())
                assert one.reaches(OUTSIDE)
            assert own_rules(world) == rules
            if choices.random() < 0.5:
                reach(guest.name, "stopped")
                nothing_in_memory(guest.name)
                assert names_of(stays) == names
                assert settled(world) ^ before == set()
        print(killer.done)
        reach(guest.name, "absent")
        assert settled(world) ^ before == set()
