# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Generations: what the links say, where one can go back to, and what cannot be done."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.state import generations
from ansible_collections.unshare.container.plugins.module_utils.state.systems import Systems
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout, TargetError

from ..target_helpers import content


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path)


@pytest.fixture
def systems(layout: Layout) -> list[Path]:
    """Four systems, the first three of which were current one after the other."""
    found = [Systems(layout).write(content(motd=str(number)), None) for number in range(4)]
    for system in found[:3]:
        generations.switch(layout, "web", system)
    return found


def refusal(act: t.Callable[..., object], *arguments: t.Any) -> str:
    with pytest.raises(TargetError) as raised:
        act(*arguments)
    return str(raised.value)


def test_a_container_that_is_not_there(layout: Layout) -> None:
    assert generations.numbers(layout, "web") == []
    assert generations.current_number(layout, "web") is None
    assert generations.former_number(layout, "web") is None
    generations.begin_trial(layout, "web")  # from nothing there is no way back
    generations.end_trial(layout, "web")
    assert generations.prune(layout, "web", None) == []
    assert not layout.container("web").exists()


def test_what_the_links_say(layout: Layout, systems: list[Path]) -> None:
    assert generations.numbers(layout, "web") == [1, 2, 3]
    assert [generations.system_of(layout, "web", number) for number in (1, 2, 3)] == systems[:3]
    assert generations.current_number(layout, "web") == 3
    generations.point(layout, "web", 2)
    assert os.readlink(layout.current("web")) == "generations/2"
    assert layout.current_system("web") == systems[1]
    assert layout.generations("web").stat().st_mode & 0o777 == 0o700


def test_what_is_no_number_is_no_generation(layout: Layout, systems: list[Path]) -> None:
    (layout.generations("web") / "x").symlink_to("..")
    layout.current("web").unlink()
    layout.current("web").symlink_to("generations/x")
    assert generations.numbers(layout, "web") == [1, 2, 3]
    assert generations.current_number(layout, "web") is None


def test_generations_are_in_the_order_of_their_numbers(layout: Layout, systems: list[Path]) -> None:
    for number in range(7):
        generations.switch(layout, "web", systems[number % 2])
    assert generations.numbers(layout, "web") == list(range(1, 11))
    assert generations.current_number(layout, "web") == 10


def test_a_trial_keeps_its_first_way_back(layout: Layout, systems: list[Path]) -> None:
    generations.note_well(layout, "web")
    generations.begin_trial(layout, "web")
    assert generations.former_number(layout, "web") == 3
    generations.switch(layout, "web", systems[3])
    generations.begin_trial(layout, "web")
    assert generations.former_number(layout, "web") == 3
    generations.end_trial(layout, "web")
    assert not layout.former("web").is_symlink()


def test_where_one_can_go_back_to(layout: Layout, systems: list[Path]) -> None:
    assert generations.find(layout, "web") == 2
    assert generations.find(layout, "web", 3) == 3
    generations.switch(layout, "web", systems[1])
    assert generations.find(layout, "web") == 3
    generations.point(layout, "web", 2)
    assert generations.find(layout, "web") == 1
    (systems[0] / "spec.json").unlink()
    said = "container 'web' has no generation before the current one (2); kept are 2, 3, 4"
    assert refusal(generations.find, layout, "web") == said
    assert refusal(generations.find, layout, "web", 1) == (
        "container 'web' has no generation 1 to go back to; kept are 2, 3, 4"
    )
    layout.current("web").unlink()
    assert generations.find(layout, "web") == 4


def test_the_same_system_is_no_way_back(layout: Layout, systems: list[Path]) -> None:
    """The generation before may hold the system that runs, for a switch to and fro has made it."""
    generations.switch(layout, "web", systems[0])
    for number in (2, 3):
        (layout.generations("web") / str(number)).unlink()
    said = "container 'web' has no generation before the current one (4); kept are 1, 4"
    assert refusal(generations.find, layout, "web") == said


def test_there_may_be_none(layout: Layout) -> None:
    said = "container 'web' has no generation before the current one (None); none is kept"
    assert refusal(generations.find, layout, "web") == said


def test_only_a_containers_own_whole_systems_are_taken(layout: Layout, systems: list[Path]) -> None:
    one = systems[0]
    assert generations.check_system(layout, "web", one) == one
    (layout.root / "link").symlink_to(one.parent)
    assert generations.check_system(layout, "web", layout.root / "link" / one.name) == one
    assert refusal(generations.check_system, layout, "other", one) == (
        f"{one} is a system of another container than 'other'"
    )
    (one / "spec.json").unlink()
    for system in (one, layout.root / one.name, Path("/srv") / one.name):
        assert refusal(generations.check_system, layout, "web", system) == (
            f"{system} is not a system on this host; write it with unshare.container.container_script"
        )


@pytest.mark.parametrize(
    ("act", "arguments", "said"),
    [
        (generations.point, (1,), "cannot make generation 1 of 'web' current: No space left"),
        (generations.begin_trial, (), "cannot note the generation 3 of 'web': No space left"),
        (generations.end_trial, (), "cannot end the trial of 'web': No space left"),
    ],
)
def test_what_cannot_be_written_is_told(
    layout: Layout,
    systems: list[Path],
    monkeypatch: pytest.MonkeyPatch,
    act: t.Callable[..., None],
    arguments: tuple[t.Any, ...],
    said: str,
) -> None:
    generations.note_well(layout, "web")
    if act is generations.end_trial:
        generations.begin_trial(layout, "web")

    def full(_path: str) -> None:
        raise OSError(28, "No space left")

    monkeypatch.setattr(generations, "sync_directory", full)
    assert refusal(act, layout, "web", *arguments) == said


def test_a_switch_that_cannot_be_written_leaves_the_former_system(
    layout: Layout, systems: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: str) -> None:
        raise OSError(28, "No space left", path)

    monkeypatch.setattr(generations, "sync_directory", full)
    assert refusal(generations.switch, layout, "web", systems[3]) == (
        f"cannot make {systems[3]} current for 'web': No space left: {layout.generations('web')}; "
        "the former system is still current"
    )
    assert layout.current_system("web") == systems[2]


def test_what_is_in_use_is_kept_beyond_the_number(layout: Layout, systems: list[Path]) -> None:
    generations.switch(layout, "web", systems[3])
    generations.point(layout, "web", 1)
    generations.note_well(layout, "web")
    generations.begin_trial(layout, "web")
    generations.point(layout, "web", 3)
    assert generations.prune(layout, "web", None, keep=1) == [systems[1]]
    assert generations.numbers(layout, "web") == [1, 3, 4]
    generations.end_trial(layout, "web")
    generations.note_well(layout, "web")
    assert generations.prune(layout, "web", running=systems[0], keep=1) == []
    assert generations.numbers(layout, "web") == [3, 4]
    assert generations.prune(layout, "web", None, keep=1) == [systems[0]]
    assert Systems(layout).of_container("web") == systems[2:]


def test_a_generation_that_cannot_be_forgotten(layout: Layout, systems: list[Path]) -> None:
    link = layout.generations("web") / "1"
    link.unlink()
    link.mkdir()
    said = refusal(generations.prune, layout, "web", None, 1)
    assert said.startswith("cannot forget an old generation of 'web': ")
    assert said.endswith(f": {link}")
