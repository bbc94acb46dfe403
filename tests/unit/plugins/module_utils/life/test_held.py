# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A container that moves between two hosts is started by no module, and by no unit again and again (V5)."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import RUNS_ELSEWHERE, Held
from ansible_collections.unshare.container.plugins.module_utils.launcher.paths import remove_entries
from ansible_collections.unshare.container.plugins.module_utils.life import container as container_module
from ansible_collections.unshare.container.plugins.module_utils.life import examination, service
from ansible_collections.unshare.container.plugins.module_utils.life.container import ON_DISK, Container
from ansible_collections.unshare.container.plugins.module_utils.life.host_containers import HostContainers
from ansible_collections.unshare.container.plugins.module_utils.life.life_cycle import LifeCycle
from ansible_collections.unshare.container.plugins.module_utils.life.one_container import OneContainer
from ansible_collections.unshare.container.plugins.module_utils.state import generations, holds
from ansible_collections.unshare.container.plugins.module_utils.state.systems import Systems
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout
from ansible_collections.unshare.container.plugins.modules.containers import options_of

from ..target_helpers import FakeContainer, content

HELD = holds.Hold(state=holds.HELD, peer="two", move="abc")


class RemovedContainer(FakeContainer):
    """One that is removed from the disk."""

    def __init__(self, directory: str) -> None:
        super().__init__()
        self.directory = directory

    def remove(self) -> None:
        remove_entries(self.directory, ON_DISK)


class HeldContainer:
    """A container that has a system, does not run, and is held."""

    def __init__(self, root: Path) -> None:
        self.layout = Layout(root)
        self.directory = str(self.layout.container("web"))
        self.container = RemovedContainer(self.directory)
        self.container.run_directory = str(root / "run")  # type: ignore[attr-defined]
        self.system = Systems(self.layout).write(content(motd="1"), None)
        generations.switch(self.layout, "web", self.system)
        self.other = Systems(self.layout).write(content(motd="2"), None)
        holds.write(self.directory, HELD)

    def one(self, state: str = "started", system: Path | None = None, **given: t.Any) -> OneContainer:
        options = options_of({"state": state, "health": {"timeout": 0.3, "steady": 0}, **given}, "web")
        return OneContainer(self.layout, self.container, system, options, False)

    @property
    def current(self) -> str:
        found = self.layout.current_system("web")
        return found.name if found is not None else ""


@pytest.fixture
def held(tmp_path: Path, own_launcher: None, monkeypatch: pytest.MonkeyPatch) -> HeldContainer:
    monkeypatch.setattr(examination, "examine", lambda *arguments: examination.Examined([], []))
    return HeldContainer(tmp_path)


@pytest.mark.parametrize("state", ["started", "restarted"])
def test_v5_a_module_starts_nothing_that_is_held_and_changes_nothing(held: HeldContainer, state: str) -> None:
    with pytest.raises(Held, match=r"container web: it moves to two.*remove .*/move\.json"):
        held.one(state, held.other).bring(False, False)
    assert (held.container.calls, held.current) == (["lock"], held.system.name)


def test_v5_it_is_refused_before_another_container_ends(held: HeldContainer) -> None:
    with pytest.raises(Held, match="moves to two"):
        held.one().foresee(False)


def test_v5_in_check_mode_a_hold_is_a_warning_for_a_task_may_be_about_to_finish_the_move(held: HeldContainer) -> None:
    one = held.one()
    assert one.bring(True, False)["changed"]
    (said,) = one.warnings
    assert said.startswith("container web: it moves to two")
    one.foresee(True)
    assert one.warnings == [said]


@pytest.mark.parametrize("state", ["stopped", "absent"])
def test_v5_what_is_not_started_is_not_refused(held: HeldContainer, state: str) -> None:
    one = held.one(state)
    one.bring(True, False)
    held.one(state).bring(False, False)
    assert not [said for said in one.warnings if "moves to" in said]


@pytest.mark.parametrize(
    "state", [holds.HELD, holds.GIVEN, holds.RELEASED, holds.EXPECTED, holds.ADMITTED, holds.WITHDRAWN]
)
@pytest.mark.parametrize("check", [True, False])
def test_v5_nothing_that_moves_is_purged(held: HeldContainer, state: str, check: bool) -> None:
    """It is declared for the other host. Without its system it could not go back, nor without its note be held."""
    holds.write(held.directory, HELD.replacing(state=state))
    host = HostContainers(held.layout.root, {}, {}, {}, lambda name: held.container, check)
    assert host.unnamed() == ["web"]
    assert host.bring(False, options_of({"state": "absent"}, "purge")) == []
    (said,) = host.warnings
    assert said.startswith("container 'web': is not declared, and is not removed all the same: it ")
    assert "two" in said or state == holds.ADMITTED
    assert holds.is_noted(held.directory)
    assert held.current == held.system.name
    holds.lift(held.directory)
    (result,) = host.bring(False, options_of({"state": "absent"}, "purge"))
    assert result["changed"]
    assert (held.current == "") is not check


def test_v5_v6_what_is_removed_with_its_volumes_is_held_no_more(held: HeldContainer) -> None:
    cycle = LifeCycle(held.layout, "web", held.container, remove_volumes=True)
    cycle.reach("absent")
    assert not holds.is_noted(held.directory)
    holds.write(held.directory, HELD)
    assert cycle.would_change("absent"), "a removal that was cut short before the note went"
    assert not LifeCycle(held.layout, "web", held.container).would_change("absent")
    cycle.reach("absent")
    assert not Path(held.directory).exists()


def test_v5_the_launcher_starts_nothing_that_is_held(held: HeldContainer, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[str] = []
    monkeypatch.setattr(container_module, "read_spec", lambda system: begun.append(system))
    container = Container("web")
    container.directory = held.directory
    container.run_directory = str(held.layout.root / "run")
    with pytest.raises(Held, match="moves to two"):
        container.start(str(held.system))
    assert begun == []


def test_v5_no_further_try_of_a_unit_can_start_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Refusing(FakeContainer):
        def start(self, *_arguments: t.Any, **_options: t.Any) -> t.Any:
            raise Held("container web: it moves")

    assert service._start(Refusing(), "/system", 1.0, lambda status: None, [], "") == RUNS_ELSEWHERE  # type: ignore[arg-type]
