# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A container moves to another host with its data (V5)."""

from __future__ import annotations

import re
import typing as t

import pytest

from .fleet_hosts import Fleet
from .moves import Mover

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]


LARGE = 8 << 20


@pytest.fixture(scope="module")
def mover() -> t.Iterator[Mover]:
    """Yield two hosts with a disk, which notes what changes (`state/increments`); the first has the container."""
    with Fleet(2, on_disk=True) as fleet:
        made = Mover(fleet)
        made.deploy(0)
        yield made


def test_v5_a_container_moves_and_back(mover: Mover) -> None:
    mover.write(0, "large", LARGE)
    mover.await_write()
    mover.move(0, 1).succeeded()
    mover.is_at(1)
    again = mover.move(0, 1).succeeded()
    assert [again.changed(host.name) for host in mover.fleet.hosts] == [0, 0]
    back = mover.move(1, 0, "-v").succeeded()
    mover.is_at(0)
    archives = re.findall(r'"path": "[^"]*/(first|rest)\.tar".*?"size": (\d+)', back.output)
    assert [name for name, _size in archives] == ["first", "rest", "rest"], "two exports, and the import of both"
    first, rest = (int(size) for _name, size in archives[:2])
    assert rest < LARGE < first, "what has not changed is copied while it runs, and not again when it has stopped"
