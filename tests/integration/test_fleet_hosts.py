# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The hosts of the tests leave nothing for good: what a fleet has left that was killed, the next one removes."""

from __future__ import annotations

import itertools
import os
import typing as t
from pathlib import Path

import pytest

from . import fleet_hosts
from .conftest import Host
from .fleet_hosts import Fleet, FleetHost, hierarchy
from .lives import Run

pytestmark = [pytest.mark.root, pytest.mark.timeout(120)]

NUMBER = 199


def test_a_fleet_that_does_not_begin_leaves_no_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_host: FleetHost) -> t.NoReturn:
        raise RuntimeError("no namespaces")

    monkeypatch.setattr(FleetHost, "await_namespaces", fails)
    before = Host.descriptors()
    with pytest.raises(RuntimeError, match="no namespaces") as kept:
        Fleet(2).__enter__()
    assert Host.descriptors() == before, kept


def test_a_place_is_taken_over_from_a_fleet_that_was_killed_and_from_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    group = Path(hierarchy(), f"unshare-fleet-{NUMBER}")
    monkeypatch.setattr(fleet_hosts, "_octets", itertools.cycle([NUMBER]))
    read, write = os.pipe()

    def stay() -> None:
        with Fleet(1) as fleet:
            (fleet.hosts[0].cgroup / "unshare").mkdir()
            os.write(write, os.fsencode(fleet.directory))
            os.read(other_end, 1)

    other_end, other = os.pipe()
    run = Run(stay)
    try:
        directory = os.fsdecode(os.read(read, 4096))
        with pytest.raises(AssertionError, match="100 fleets are there already"):
            Fleet(1).__enter__()
        run.kill()
        run.end()
        assert (group / "1/unshare").is_dir()
        # The kernel takes a killed host's link away sooner or later: for the next fleet, one is always still there.
        fleet_hosts.remove_link(f"uf{NUMBER}x1")
        fleet_hosts.run("ip", "link", "add", f"uf{NUMBER}x1", "type", "bridge")
        with Fleet(1) as fleet:
            assert fleet.hosts[0].inside("true").returncode == 0
            assert not (group / "1/unshare").exists()
    finally:
        for descriptor in (read, write, other_end, other):
            os.close(descriptor)
    fleet_hosts.run("rm", "-rf", "--one-file-system", directory)
    assert not group.exists()
