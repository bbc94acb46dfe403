# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""When a container is started, stopped, switched; what is kept and what is removed."""

from __future__ import annotations

import json
import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.life.life_cycle import LifeCycle
from ansible_collections.unshare.container.plugins.module_utils.life.unhealthy import UnhealthyError
from ansible_collections.unshare.container.plugins.module_utils.state import generations
from ansible_collections.unshare.container.plugins.module_utils.state.systems import Systems
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout, TargetError

from ..target_helpers import FakeContainer, content


@pytest.fixture
def layout(tmp_path: Path, own_launcher: None) -> Layout:
    return Layout(tmp_path)


def write(layout: Layout, text: str = "") -> Path:
    return Systems(layout).write(content(motd=text), None)


def reach(layout: Layout, container: FakeContainer, state: str, system: Path | None = None, **options: t.Any) -> bool:
    cycle = LifeCycle(layout, "web", container, system=system, **options)
    expected, planned = cycle.would_change(state), cycle.plan(state)
    cycle.reach(state)
    assert cycle.changed == expected
    assert cycle.describe() == planned
    return cycle.changed


def test_starts_once_and_restarts_only_for_another_system(layout: Layout) -> None:
    container, one, two = FakeContainer(), write(layout, "1"), write(layout, "2")
    assert reach(layout, container, "started", one)
    assert not reach(layout, container, "started", one)
    assert not reach(layout, container, "started")
    assert container.calls.count("start") == 1
    assert reach(layout, container, "started", two)
    assert container.calls[-3:] == ["lock", "stop", "start"]
    assert layout.current_system("web") == two


def test_an_init_that_is_not_systemd_has_no_units(layout: Layout) -> None:
    """What has its default is left out of the file."""
    system = write(layout)
    specification = json.loads((system / "spec.json").read_text())
    del specification["init"]["systemd"]
    (system / "spec.json").write_text(json.dumps(specification))
    container = FakeContainer(failed=["bad.service"])
    assert reach(layout, container, "started", system)
    assert not reach(layout, container, "started", system)


def test_restarted_restarts_each_time(layout: Layout) -> None:
    container, one = FakeContainer(), write(layout)
    assert reach(layout, container, "restarted", one)
    assert reach(layout, container, "restarted", one)
    assert container.calls == ["lock", "start", "lock", "stop", "start"]


def test_stopped(layout: Layout) -> None:
    container, one = FakeContainer(), write(layout)
    assert reach(layout, container, "stopped", one)
    assert reach(layout, container, "started")
    assert reach(layout, container, "stopped")
    assert not reach(layout, container, "stopped")


def test_a_container_without_a_system_cannot_start(layout: Layout) -> None:
    (layout.container("web") / "generations").mkdir(parents=True)
    cycle = LifeCycle(layout, "web", FakeContainer())
    for act in (cycle.reach, cycle.plan, cycle.would_change):
        with pytest.raises(TargetError, match="has no system on this host"):
            act("started")


def test_absent_removes_the_systems_of_this_container_only(layout: Layout) -> None:
    container, one = FakeContainer(), write(layout)
    other = layout.systems / ("0" * 32 + "-other-web")
    other.mkdir()
    reach(layout, container, "started", one)
    container.remove = lambda: __import__("shutil").rmtree(layout.container("web"))  # type: ignore[method-assign]
    assert reach(layout, container, "absent")
    assert list(layout.systems.iterdir()) == [other]
    assert not reach(layout, container, "absent")


@pytest.mark.parametrize("name", ["nothing", "0" * 32 + "-web"])
def test_only_whole_systems_of_this_host_are_taken(layout: Layout, name: str) -> None:
    with pytest.raises(TargetError, match="is not a system on this host"):
        LifeCycle(layout, "web", FakeContainer(), system=layout.systems / name).reach("started")
    assert layout.current_system("web") is None


def test_a_system_of_another_container_is_refused(layout: Layout) -> None:
    one = write(layout)
    with pytest.raises(TargetError, match="of another container"):
        LifeCycle(layout, "eb", FakeContainer(), system=one).reach("started")


def test_keeps_five_generations_and_their_systems(layout: Layout) -> None:
    container = FakeContainer()
    written = []
    for number in range(8):
        written.append(write(layout, str(number)))
        reach(layout, container, "started", written[-1])
    assert generations.numbers(layout, "web") == [4, 5, 6, 7, 8]
    assert Systems(layout).of_container("web") == written[-5:]
    assert os.readlink(layout.current("web")) == "generations/8"
    assert os.readlink(layout.generations("web") / "8") == f"../../../systems/{written[-1].name}"


def test_never_prunes_what_runs_or_what_another_run_has_staged(layout: Layout) -> None:
    first = write(layout, "first")
    container = FakeContainer()
    reach(layout, container, "started", first)
    for number in range(6):
        generations.switch(layout, "web", write(layout, str(number)))
    staged = write(layout, "staged")
    unused = [Systems(layout).of_container("web")[1]]
    assert generations.prune(layout, "web", running=first) == unused
    assert first.is_dir()
    assert staged.is_dir()


def test_a_switch_that_was_cut_short_is_finished_without_a_second_generation(layout: Layout) -> None:
    one, two = write(layout, "1"), write(layout, "2")
    generations.switch(layout, "web", one)
    (layout.generations("web") / "2").symlink_to(f"../../../systems/{two.name}")
    (layout.generations("web") / generations.NEW_LINK).symlink_to("nowhere")
    generations.switch(layout, "web", two)
    assert generations.numbers(layout, "web") == [1, 2]
    assert layout.current_system("web") == two


def test_going_back_to_a_former_system_is_a_new_generation(layout: Layout) -> None:
    container, one, two = FakeContainer(), write(layout, "1"), write(layout, "2")
    for system in (one, two, one):
        assert reach(layout, container, "started", system)
    assert generations.numbers(layout, "web") == [1, 2, 3]


NOT_WELL = r"^container 'web' is not well: nginx\.service has failed.*\nThe log of nginx\.service:\nthe last line$"


def test_failed_units_are_an_error_with_the_log(layout: Layout) -> None:
    container, one = FakeContainer(failed=["nginx.service"]), write(layout)
    for changed in (True, False):  # it goes on running, and goes on being wrong
        with pytest.raises(UnhealthyError, match=NOT_WELL) as caught:
            LifeCycle(layout, "web", container, system=one).reach("started")
        assert caught.value.failed_units == ["nginx.service"]
        assert caught.value.changed == changed
        assert caught.value.facts["pid"] == 4711
    cycle = LifeCycle(layout, "web", container, allow_failed_units=True)
    cycle.reach("started")
    assert cycle.facts()["failed_units"] == ["nginx.service"]
    LifeCycle(layout, "web", container, wait=False).reach("started")


def test_not_becoming_ready_is_an_error_with_the_log(layout: Layout) -> None:
    container, one = FakeContainer(becomes_ready=False), write(layout)
    with pytest.raises(UnhealthyError, match="not ready") as caught:
        LifeCycle(layout, "web", container, system=one).reach("started")
    assert str(caught.value).endswith("\nThe end of its log:\nthe last line")
    container.waited = False
    with pytest.raises(UnhealthyError, match=r"not ready after 0\.1 s"):
        LifeCycle(layout, "web", container, timeout=0.1).reach("started")


def test_waits_for_a_container_that_was_started_without_waiting(layout: Layout) -> None:
    container, one = FakeContainer(), write(layout)
    reach(layout, container, "started", one, wait=False)
    assert not reach(layout, container, "started", one)
    assert container.status().ready


def test_rolled_back_goes_to_the_last_other_system_or_to_a_number(layout: Layout) -> None:
    container, systems = FakeContainer(), [write(layout, str(number)) for number in range(3)]
    for system in systems:
        reach(layout, container, "started", system)
    assert reach(layout, container, "rolled_back")
    assert layout.current_system("web") == systems[1]
    assert container.running == str(systems[1])
    assert reach(layout, container, "rolled_back", generation=1)
    assert not reach(layout, container, "rolled_back", generation=1)
    assert reach(layout, container, "started", systems[2])
    assert generations.numbers(layout, "web") == [1, 2, 3]


@pytest.mark.parametrize(("number", "words"), [(7, "no generation 7"), (None, "no generation before")])
def test_there_may_be_nothing_to_go_back_to(layout: Layout, number: int | None, words: str) -> None:
    container = FakeContainer()
    reach(layout, container, "started", write(layout))
    for act in ("plan", "reach"):
        with pytest.raises(TargetError, match=words):
            getattr(LifeCycle(layout, "web", container, generation=number), act)("rolled_back")


def test_a_number_of_generations_is_kept(layout: Layout) -> None:
    container = FakeContainer()
    written = [write(layout, str(number)) for number in range(4)]
    for system in written:
        reach(layout, container, "started", system, keep=2)
    assert generations.numbers(layout, "web") == [3, 4]
    assert Systems(layout).of_container("web") == written[2:]


HEALTH = {"timeout": 1.0, "steady": 0.0, "running": True, "units": [], "tcp": [], "http": [], "commands": []}


def ill_with(system: Path) -> t.Callable[[t.Any, t.Any], list[str]]:
    return lambda container, health: ["port 80 is silent"] if container.running == str(system) else []


def test_a_switch_that_is_not_well_is_undone(layout: Layout) -> None:
    container, one, two = FakeContainer(), write(layout, "1"), write(layout, "2")
    reach(layout, container, "started", one)
    options: dict[str, t.Any] = {"health": HEALTH, "roll_back": True, "await_health": ill_with(two)}
    with pytest.raises(UnhealthyError, match=r"port 80 is silent(?s:.*)generation 1 runs again") as caught:
        LifeCycle(layout, "web", container, system=two, **options).reach("started")
    assert caught.value.rolled_back_to == 1
    assert "\nThe end of its log:\nthe last line\n" in str(caught.value)
    assert (caught.value.changed, caught.value.facts["generation"]) == (True, 1)
    assert container.running == str(one)
    assert layout.current_system("web") == one
    assert generations.former_number(layout, "web") is None
    assert two.is_dir()


WAYS = ("settle", "stop", "start", "await_health", "judge", "log_tail", "status")
ERRORS = (
    OSError(5, "Input/output error", "/sys/x"),
    LauncherError("it does not answer"),
    TargetError("it stands in the way"),
    ValueError("nobody expected this"),
)


class Broken(FakeContainer):
    """One of which a question or an order fails while a system is the current one, whichever runs."""

    def __init__(self, layout: Layout, way: str, error: Exception) -> None:
        super().__init__()
        self.layout = layout
        self.way = way
        self.error = error
        self.system: Path | None = None
        self.raised = 0

    def __getattribute__(self, name: str) -> t.Any:
        found = super().__getattribute__(name)
        return self.failing(found) if name in WAYS and name == self.way else found

    def failing(self, function: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
        def call(*arguments: t.Any, **options: t.Any) -> t.Any:
            if self.system is not None and self.layout.current_system("web") == self.system:
                self.raised += 1
                raise self.error
            return function(*arguments, **options)

        return call


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("way", WAYS)
def test_every_way_out_of_a_switch_on_trial_goes_back(layout: Layout, way: str, error: Exception) -> None:
    one, two = write(layout, "1"), write(layout, "2")
    container = Broken(layout, way, error)
    reach(layout, container, "started", one)
    container.system = two
    asked: dict[str, t.Any] = {"settle": lambda _state: False, "await_health": lambda *_arguments: []}
    if way in asked:
        asked[way] = container.failing(asked[way])
    if way == "judge":
        del asked["await_health"]
    if way == "log_tail":
        asked["await_health"] = lambda *_arguments: ["it is ill"]
    health = dict(HEALTH, timeout=0.1)
    with pytest.raises(UnhealthyError) as caught:
        LifeCycle(layout, "web", container, system=two, health=health, roll_back=True, **asked).reach("started")
    assert container.raised
    assert caught.value.rolled_back_to == 1
    assert caught.value.changed
    said = str(caught.value)
    assert said.endswith("Rolled back: generation 1 runs again")
    first = said.partition("\n")[0]
    if way == "log_tail" and not isinstance(error, ValueError):  # which is not worth an error of its own
        assert first == "container 'web' is not well: it is ill"
    elif way == "judge" and isinstance(error, (OSError, LauncherError)):
        assert first == f"container 'web' is not well: {error}"
    else:
        assert first == ("container 'web': Input/output error: /sys/x" if isinstance(error, OSError) else str(error))
    assert container.running == str(one)
    assert layout.current_system("web") == one
    assert generations.former_number(layout, "web") is None


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_whatever_the_way_back_fails_of_is_said(layout: Layout, error: Exception) -> None:
    one, two = write(layout, "1"), write(layout, "2")
    container = Broken(layout, "start", error)
    reach(layout, container, "started", one)
    container.system = one
    options: dict[str, t.Any] = {"health": HEALTH, "roll_back": True, "await_health": ill_with(two)}
    with pytest.raises(
        UnhealthyError, match="port 80 is silent(?s:.*)Going back to generation 1 failed, too: "
    ) as caught:
        LifeCycle(layout, "web", container, system=two, **options).reach("started")
    assert caught.value.rolled_back_to is None
    assert generations.former_number(layout, "web") == 1


def test_without_a_former_generation_or_roll_back_it_stays(layout: Layout) -> None:
    container, one, two = FakeContainer(), write(layout, "1"), write(layout, "2")
    for system, roll_back in ((one, True), (two, False)):
        options: dict[str, t.Any] = {"health": HEALTH, "roll_back": roll_back, "await_health": ill_with(system)}
        with pytest.raises(UnhealthyError, match="is not well") as caught:
            LifeCycle(layout, "web", container, system=system, **options).reach("started")
        assert caught.value.rolled_back_to is None
        assert container.running == str(system)


def test_a_trial_that_was_cut_short_goes_on_with_the_same_way_back(layout: Layout) -> None:
    container, one, two = FakeContainer(), write(layout, "1"), write(layout, "2")
    reach(layout, container, "started", one)

    def killed(_container: t.Any, _health: t.Any) -> list[str]:
        raise KeyboardInterrupt

    options: dict[str, t.Any] = {"health": HEALTH, "roll_back": True}
    with pytest.raises(KeyboardInterrupt):
        LifeCycle(layout, "web", container, system=two, await_health=killed, **options).reach("started")
    assert generations.former_number(layout, "web") == 1
    with pytest.raises(UnhealthyError) as caught:
        LifeCycle(layout, "web", container, system=two, await_health=ill_with(two), **options).reach("started")
    assert caught.value.rolled_back_to == 1
    cycle = LifeCycle(layout, "web", container, system=two, await_health=lambda *_arguments: [], **options)
    cycle.reach("started")
    assert generations.former_number(layout, "web") is None
    # Well once, it is not doubted any more: what ails it later is no reason to go back.
    with pytest.raises(UnhealthyError) as caught:
        LifeCycle(layout, "web", container, system=two, await_health=ill_with(two), **options).reach("started")
    assert caught.value.rolled_back_to is None


def test_the_way_back_may_fail_too(layout: Layout) -> None:
    container, one, two = FakeContainer(), write(layout, "1"), write(layout, "2")
    reach(layout, container, "started", one)
    container.becomes_ready = False
    with pytest.raises(UnhealthyError, match="Going back to generation 1 failed, too") as caught:
        LifeCycle(layout, "web", container, system=two, roll_back=True).reach("started")
    assert caught.value.rolled_back_to is None
    assert generations.former_number(layout, "web") == 1


def test_what_ends_by_itself_meanwhile_is_started_again(layout: Layout) -> None:
    class Ending(FakeContainer):
        def await_ready(self, timeout: float) -> bool:
            self.running = None
            raise LauncherError("it has ended")

    container, one = Ending(), write(layout)
    container.running = str(one)
    generations.switch(layout, "web", one)
    cycle = LifeCycle(layout, "web", container)
    cycle.reach("started")
    assert container.calls == ["lock", "start"]
    assert cycle.changed


@pytest.mark.parametrize("state", ["stopped", "absent", "restarted"])
def test_a_stop_has_the_time_limit(layout: Layout, state: str) -> None:
    limits: list[float] = []

    class Timed(FakeContainer):
        def stop(self, timeout: float) -> bool:
            limits.append(timeout)
            return super().stop(timeout)

    container, one = Timed(), write(layout)
    reach(layout, container, "started", one)
    LifeCycle(layout, "web", container, timeout=7.0).reach(state)
    assert limits == [7.0]
