# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A container moves to another host with its data (V5)."""

from __future__ import annotations

import typing as t

import pytest

from .fleet_hosts import Fleet
from .moves import Mover

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def mover() -> t.Iterator[Mover]:
    """Yield two hosts, of which the first has the container."""
    with Fleet(2) as fleet:
        made = Mover(fleet)
        made.deploy(0)
        yield made


def test_v5_a_container_moves_and_back(mover: Mover) -> None:
    mover.await_write()
    mover.move(0, 1).succeeded()
    mover.is_at(1)
    again = mover.move(0, 1).succeeded()
    assert [again.changed(host.name) for host in mover.fleet.hosts] == [0, 0]
    mover.move(1, 0).succeeded()
    mover.is_at(0)
