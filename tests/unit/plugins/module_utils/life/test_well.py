# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which generations were well, and what is gone back to; what is going down while it is looked at."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.life.life_cycle import LifeCycle
from ansible_collections.unshare.container.plugins.module_utils.life.unhealthy import UnhealthyError
from ansible_collections.unshare.container.plugins.module_utils.state import generations

from ..target_helpers import FakeContainer
from .test_life_cycle import layout, reach, write

if t.TYPE_CHECKING:
    from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout

__all__ = ["layout"]


def test_cases_u3_a_switch_goes_back_to_the_last_generation_that_was_well(layout: Layout) -> None:
    container, systems = FakeContainer(), [write(layout, str(number)) for number in range(5)]

    def switch(number: int, well: bool, **options: t.Any) -> None:
        cycle = LifeCycle(layout, "web", container, system=systems[number], **options)
        cycle.await_health = lambda *_arguments: [] if well else ["it is ill"]
        cycle.reach("started")

    with pytest.raises(UnhealthyError, match="is not well: it is ill") as caught:
        switch(0, False, roll_back=True)
    assert "Not rolled back" not in str(caught.value), "there is none before the first"
    with pytest.raises(UnhealthyError, match="\nNot rolled back: no generation before 2 has ever been well$") as caught:
        switch(1, False, roll_back=True)
    assert caught.value.rolled_back_to is None
    assert container.running == str(systems[1])
    switch(2, True, roll_back=True)
    with pytest.raises(UnhealthyError):
        switch(3, False)
    with pytest.raises(UnhealthyError, match="Rolled back: generation 3 runs again$") as caught:
        switch(4, False, roll_back=True)
    assert caught.value.rolled_back_to == 3
    assert container.running == str(systems[2])


def test_a_generation_that_nobody_looked_at_has_not_been_well(layout: Layout) -> None:
    container, one, two = FakeContainer(), write(layout, "1"), write(layout, "2")
    reach(layout, container, "started", one, wait=False)
    assert not generations.was_well(layout, "web", 1)
    assert generations.last_well(layout, "web") is None
    reach(layout, container, "started", one)
    assert generations.last_well(layout, "web") == 1
    reach(layout, container, "started", two, wait=False)
    assert generations.last_well(layout, "web") == 1


def test_the_last_generation_that_was_well_is_kept_and_gone_back_to_by_hand(layout: Layout) -> None:
    container, systems = FakeContainer(), [write(layout, str(number)) for number in range(8)]
    reach(layout, container, "started", systems[0])
    for system in systems[1:]:
        reach(layout, container, "started", system, wait=False, keep=2)
    assert generations.numbers(layout, "web") == [1, 7, 8]
    assert generations.find(layout, "web") == 1
    reach(layout, container, "started", systems[7])
    reach(layout, container, "started", write(layout, "9"), keep=2)
    assert generations.numbers(layout, "web") == [8, 9]
    assert sorted(path.name for path in layout.generations("web").iterdir()) == ["8", "8.well", "9", "9.well"]


@pytest.mark.parametrize("wait", [True, False])
def test_cases_b17b_what_is_going_down_is_stopped_and_started_again(layout: Layout, wait: bool) -> None:
    class Down(FakeContainer):
        def start(self, system: str, wait: bool, timeout: float) -> t.Any:
            self.state = "running"
            return super().start(system, wait, timeout)

    container, one = Down(), write(layout)
    reach(layout, container, "started", one)
    container.state = "stopping"
    cycle = LifeCycle(layout, "web", container, wait=wait)
    cycle.reach("started")
    assert container.calls[-2:] == ["stop", "start"]
    assert cycle.changed


def test_cases_u14_an_init_that_is_not_systemd_is_asked_nothing(layout: Layout) -> None:
    container, one = FakeContainer(failed=["a.service"]), write(layout)
    specification = json.loads((one / "spec.json").read_text())
    del specification["init"]["systemd"]  # which is left out where it is false
    (one / "spec.json").write_text(json.dumps(specification))
    cycle = LifeCycle(layout, "web", container, system=one)
    cycle.reach("started")
    assert (cycle.changed, cycle.failed_units) == (True, None)
