# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A switch that is undone brings the volumes back as well, and one that is not leaves nothing behind (V4)."""

from __future__ import annotations

import functools
import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.life import health
from ansible_collections.unshare.container.plugins.module_utils.life.container import Container
from ansible_collections.unshare.container.plugins.module_utils.life.life_cycle import LifeCycle
from ansible_collections.unshare.container.plugins.module_utils.life.saved_state import SavedState
from ansible_collections.unshare.container.plugins.module_utils.life.unhealthy import UnhealthyError
from ansible_collections.unshare.container.plugins.module_utils.state import restoring, tree_copy
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout

from .conftest import heard, write_system
from .lives import Run, seeded
from .saving import TWO, ask, reach, snapshot_directory, volume

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

NAME = "test-roll-back-state"

HEALTH = {**health.DEFAULTS, "timeout": 20.0, "steady": 0.0}


def writing(text: str, well: bool = True) -> Path:
    """Write a system whose one service adds a line to a file of each volume, and is well or fails."""
    script = f"echo {text} | tee -a /srv/one/file >> /srv/two/file; exit {0 if well else 3}"
    service = {"Type": "oneshot", "RemainAfterExit": True, "Restart": "no"}
    unit = {"type": "unit", "value": {"name": "writer", "command": ["/bin/sh", "-c", script], "service": service}}
    return write_system({"host_name": NAME, "services": [unit]}, NAME, volumes=TWO)


def switch(container: Container, system: Path, **options: t.Any) -> LifeCycle:
    given = {"health": HEALTH, "roll_back": True, "roll_back_state": True, **options}
    return reach(container, system=system, **given)


def contents(container: Container) -> list[str]:
    return [(volume(container, name) / "file").read_text() for name in ("one", "two")]


def snapshots(container: Container) -> list[str]:
    path = snapshot_directory(container)
    return os.listdir(path) if path.exists() else []


def test_v4_a_switch_that_is_undone_brings_the_data_back(container: Container) -> None:
    switch(container, writing("a"))
    assert contents(container) == ["a\n"] * 2
    with pytest.raises(UnhealthyError, match="generation 1 runs again, with its volumes as they were") as caught:
        switch(container, writing("b", well=False))
    assert caught.value.rolled_back_to == 1
    assert contents(container) == ["a\na\n"] * 2, "what the failed one wrote is gone"
    assert snapshots(container) == []
    with pytest.raises(UnhealthyError, match="generation 1 runs again$"):
        switch(container, writing("c", well=False), roll_back_state=False)
    assert contents(container) == ["a\na\nc\na\n"] * 2
    assert heard(switch(container, writing("d")).warnings) == []
    assert contents(container) == ["a\na\nc\na\nd\n"] * 2
    assert snapshots(container) == []
    ask(container, snapshot="mine")
    with pytest.raises(UnhealthyError, match="with its volumes as they were"):
        switch(container, writing("e", well=False))
    assert contents(container) == ["a\na\nc\na\nd\nd\n"] * 2
    assert snapshots(container) == ["mine"], "the user's own stay"


def test_v4_without_room_for_the_data_the_former_system_goes_on(
    container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch(container, writing("a"))

    def refuse(*_arguments: t.Any) -> t.NoReturn:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tree_copy, "_copy_range", refuse)
    with pytest.raises(UnhealthyError, match="no space is left for the copy(?s:.*)generation 1 runs again$"):
        switch(container, writing("b"))
    assert contents(container) == ["a\na\n"] * 2
    assert snapshots(container) == []


def test_v4_a_run_after_one_that_was_killed_puts_back_what_it_saved_itself(container: Container) -> None:
    """A container that an interrupted run has left with its new system may have served for weeks."""
    switch(container, writing("a"))
    bad = writing("b", well=False)

    def killed() -> None:
        patched = pytest.MonkeyPatch()  # of this process, which is killed
        patched.setattr(SavedState, "put_back", lambda saved: os.kill(os.getpid(), 9))
        switch(container, bad)

    assert Run(killed).end()[0] == -9
    assert contents(container) == ["a\nb\n"] * 2
    (left,) = snapshots(container)
    asked: dict[str, t.Any] = {"roll_back": True, "roll_back_state": True, "health": HEALTH}
    cycle = LifeCycle(Layout(), NAME, container, timeout=60, system=bad, **asked)
    with pytest.raises(UnhealthyError, match="generation 1 runs again$"):
        cycle.reach("started")
    assert contents(container) == ["a\nb\na\n"] * 2
    assert [said for said in cycle.warnings if f"snapshot {left} has them as they were before" in said]
    assert snapshots(container) == [left]
    ask(container, "restored", snapshot=left, stop=True)
    assert contents(container) == ["a\na\n"] * 2
    switch(container, writing("c"))
    assert snapshots(container) == [], "a switch that is well ends what was interrupted before"


@pytest.mark.parametrize("moment", ["noted", "between"])
def test_v4_a_way_back_that_is_killed_is_finished_by_the_next_start(container: Container, moment: str) -> None:
    switch(container, writing("a"))

    def killed() -> None:
        finish = restoring.finish

        def end(name: str) -> None:
            if name == "two" or moment == "noted":
                os.kill(os.getpid(), 9)

        patched = pytest.MonkeyPatch()  # of this process, which is killed
        patched.setattr(restoring, "finish", lambda directory, path: finish(directory, path, end))
        switch(container, writing("b", well=False))

    assert Run(killed).end()[0] == -9
    assert contents(container) == (["a\n", "a\nb\n"] if moment == "between" else ["a\nb\n"] * 2)
    reach(container)
    assert container.status().state == "running"
    assert contents(container) == ["a\na\n"] * 2
    switch(container, writing("c"))
    assert contents(container) == ["a\na\nc\n"] * 2
    assert snapshots(container) == []


def test_v4_a_switch_that_is_killed_at_any_moment_loses_nothing(container: Container) -> None:
    """Every line that the former system has written is there, of both volumes or as the last of the new one."""
    switch(container, writing("a"))
    choices = seeded()
    for number in range(5):
        run = Run(functools.partial(switch, container, writing(f"b{number}", well=False)))
        run.process.wait(choices.uniform(0, 2.5))
        run.kill()
        run.end()
        switch(container, writing(f"c{number}"))
        one, two = contents(container)
        assert one == two
        kept = [line for line in one.split("\n") if line.startswith(("a", "c"))]
        assert list(dict.fromkeys(kept)) == ["a", *(f"c{n}" for n in range(number + 1))]
        assert snapshots(container) == []
        assert container.status().state == "running"
