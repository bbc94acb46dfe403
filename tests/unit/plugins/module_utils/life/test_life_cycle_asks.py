# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is asked of a container on the way to a state, with which bounds, and what is said of it: to the letter."""

from __future__ import annotations

import contextlib
import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.inside.units import Judgement
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError, NotReady
from ansible_collections.unshare.container.plugins.module_utils.life import life_cycle
from ansible_collections.unshare.container.plugins.module_utils.life.life_cycle import LifeCycle
from ansible_collections.unshare.container.plugins.module_utils.life.unhealthy import UnhealthyError
from ansible_collections.unshare.container.plugins.module_utils.state import generations
from ansible_collections.unshare.container.plugins.module_utils.state.systems import Systems
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout, TargetError

from ..target_helpers import FakeContainer, content


class Asked(FakeContainer):
    """One that remembers every question with its bounds, and whose units have logs of their own."""

    def __init__(self, failed: t.Sequence[str] = (), **logs: str) -> None:
        super().__init__(failed)
        self.logs = logs
        self.asked: list[tuple[t.Any, ...]] = []

    def log_tail(self, lines: int, unit: str | None = None) -> str:
        self.asked.append(("log", lines, unit))
        return self.logs.get((unit or "all").partition(".")[0], "")


class Orders:
    """What starts and stops a container, each order with its bounds."""

    def __init__(self, container: FakeContainer, *warnings: str) -> None:
        self.container = container
        self.warnings = list(warnings)
        self.orders: list[tuple[t.Any, ...]] = []

    @contextlib.contextmanager
    def lock(self, timeout: float) -> t.Iterator[None]:
        self.orders.append(("lock", timeout))
        yield
        self.orders.append(("unlock",))

    def start(self, system: Path, wait: bool, timeout: float) -> list[str]:
        self.orders.append(("start", system, wait, timeout))
        self.container.start(str(system), wait, timeout)
        return self.warnings

    def stop(self, timeout: float) -> bool:
        self.orders.append(("stop", timeout))
        return self.container.stop(timeout)

    def await_ready(self, timeout: float) -> bool:
        self.orders.append(("await", timeout))
        return self.container.await_ready(timeout)

    def remove(self, timeout: float) -> None:
        self.orders.append(("remove", timeout))


@pytest.fixture
def layout(tmp_path: Path, own_launcher: None) -> Layout:
    return Layout(tmp_path)


def write(layout: Layout, text: str = "") -> Path:
    return Systems(layout).write(content(motd=text), None)


def cycle_of(layout: Layout, container: FakeContainer, system: Path | None = None, **options: t.Any) -> LifeCycle:
    return LifeCycle(layout, "web", container, system=system, **options)


def test_orders_and_their_bounds(layout: Layout) -> None:
    container, one, two = FakeContainer(), write(layout, "1"), write(layout, "2")
    orders = Orders(container, "first", "second")
    settled: list[str] = []

    def settle(state: str) -> bool:
        settled.append(state)
        return False

    def reach(state: str, system: Path | None = None, **options: t.Any) -> LifeCycle:
        orders.orders.clear()
        cycle = cycle_of(layout, container, system, starter=orders, timeout=7.0, settle=settle, **options)
        cycle.reach(state)
        return cycle

    started = reach("started", one, wait=False)
    assert started.warnings == ["first", "second"]
    assert orders.orders == [("lock", 7.0), ("start", one, False, 7.0), ("unlock",)]
    assert reach("started").warnings == []
    assert orders.orders == [("lock", 7.0), ("await", 7.0), ("unlock",)]
    reach("started", two)
    assert orders.orders == [("lock", 7.0), ("stop", 7.0), ("start", two, True, 7.0), ("unlock",)]
    reach("stopped")
    assert orders.orders == [("lock", 7.0), ("stop", 7.0), ("unlock",)]
    reach("absent")
    assert orders.orders == [("lock", 7.0), ("stop", 7.0), ("remove", 7.0), ("unlock",)]
    assert settled == ["started", "started", "started", "stopped"]
    assert Systems(layout).of_container("web") == []


@pytest.mark.parametrize("state", ["started", "stopped", "restarted", "rolled_back", "absent"])
def test_what_is_not_there_is_not_even_locked(layout: Layout, state: str) -> None:
    container = FakeContainer()
    with contextlib.nullcontext() if state == "absent" else pytest.raises(TargetError, match="no container of this"):
        cycle_of(layout, container).reach(state)
    assert container.calls == []
    assert not layout.container("web").exists()


def test_a_stop_goes_without_questions(layout: Layout) -> None:
    """A container that is to stop may answer none."""
    container, one = FakeContainer(failed=["web.service"]), write(layout)
    cycle_of(layout, container, one, wait=False).reach("started")
    cycle_of(layout, container, one, health={}, await_health=lambda *_all: ["ill"]).reach("stopped")
    assert container.calls[-1] == "stop"


@pytest.mark.parametrize("settles", [True, False])
@pytest.mark.parametrize("state", ["started", "stopped"])
def test_what_is_kept_beside_the_systems_counts(layout: Layout, state: str, settles: bool) -> None:
    container, one = FakeContainer(), write(layout)
    cycle_of(layout, container, one).reach(state)
    cycle = cycle_of(layout, container, one, settle=lambda _state: settles)
    cycle.reach(state)
    assert cycle.changed is settles


def test_what_is_said_of_a_container_that_runs(layout: Layout) -> None:
    container, one = FakeContainer(), write(layout)
    cycle = cycle_of(layout, container, one)
    assert cycle.describe() == {"state": "absent", "current": None, "running": None}
    assert cycle.facts() == {}
    assert not cycle.exists()
    cycle.reach("started")
    assert cycle.exists()
    assert cycle.describe() == {"state": "running", "current": one.name, "running": one.name}
    known = {
        "pid": 4711,
        "uid_base": 524288,
        "uid_count": 65536,
        "boot_seconds": 0.1,
        "ready": True,
        "generation": 1,
        "shell": f"{layout.current('web')}/enter-container",
    }
    assert cycle.facts() == {**known, "failed_units": []}
    assert cycle_of(layout, container).facts() == known  # nobody has asked
    cycle.reach("stopped")
    assert cycle.describe() == {"state": "stopped", "current": one.name, "running": None}
    assert cycle.facts() == {}


@pytest.mark.parametrize(
    ("state", "there", "named", "planned"),
    [
        ("absent", True, True, ("absent", None, None)),
        ("stopped", False, False, ("absent", None, None)),
        ("stopped", False, True, ("stopped", "new", None)),
        ("stopped", True, False, ("stopped", "old", None)),
        ("stopped", True, True, ("stopped", "new", None)),
        ("started", False, True, ("running", "new", "new")),
        ("started", True, False, ("running", "old", "old")),
        ("restarted", True, True, ("running", "new", "new")),
    ],
)
def test_plans(layout: Layout, state: str, there: bool, named: bool, planned: tuple[str | None, ...]) -> None:
    container, old, new = FakeContainer(), write(layout, "1"), write(layout, "2")
    names = {"old": old.name, "new": new.name}
    if there:
        cycle_of(layout, container, old).reach("started")
    cycle = cycle_of(layout, container, new if named else None)
    found = cycle.plan(state)
    assert found == dict(zip(("state", "current", "running"), [names.get(x or "", x) for x in planned], strict=True))
    assert cycle.describe()["state"] == ("running" if there else "absent")  # nothing was done


@pytest.mark.parametrize(
    ("state", "runs", "starts"),
    [
        *((state, runs, None) for state in ("stopped", "absent") for runs in (None, "old", "new")),
        *((state, runs, "new") for state in ("started", "rolled_back") for runs in (None, "old")),
        ("started", "new", None),
        ("rolled_back", "new", None),
        *(("restarted", runs, "new") for runs in (None, "old", "new")),
    ],
)
def test_which_system_a_state_starts(layout: Layout, state: str, runs: str | None, starts: str | None) -> None:
    """By name, or the current one; nothing is started for a state in which nothing runs, nor what runs already."""
    container, systems = FakeContainer(), {"old": write(layout, "1"), "new": write(layout, "2")}
    cycle = cycle_of(layout, container)
    assert cycle.to_start(state, None) is None  # there is none
    generations.switch(layout, "web", systems["new"])
    container.running = str(systems[runs]) if runs else None
    wanted = systems[starts] if starts else None
    assert cycle.to_start(state, None) == cycle.to_start(state, systems["new"]) == wanted


def test_what_there_is_to_remove(layout: Layout) -> None:
    container = FakeContainer()
    cycle = cycle_of(layout, container)
    assert not cycle.would_change("absent")
    container.running = "/elsewhere"
    assert cycle.would_change("absent")
    container.running = None
    one = write(layout)
    assert cycle.would_change("absent")
    assert not cycle.exists()
    Systems(layout).remove([one])
    layout.container("web").mkdir(parents=True)
    assert not cycle.would_change("absent")
    (layout.container("web") / "journal").mkdir()
    assert cycle.would_change("absent")


HEALTH: dict[str, t.Any] = {"timeout": 2.0, "steady": 3.0, "running": True, "units": ["x"], "tcp": [], "http": []}


@pytest.mark.parametrize(
    ("options", "systemd", "changes", "asked"),
    [
        ({}, True, True, {}),
        ({}, True, False, {"steady": 0.0}),
        ({}, False, True, {"running": False}),
        ({"allow_failed_units": True}, True, True, {"running": False}),
        ({"health": {**HEALTH, "running": False}}, True, True, {}),
    ],
)
def test_what_health_is_asked_for(
    layout: Layout, options: dict[str, t.Any], systemd: bool, changes: bool, asked: dict[str, t.Any]
) -> None:
    container, one = FakeContainer(), write(layout)
    specification = json.loads((one / "spec.json").read_text())
    specification["init"]["systemd"] = systemd
    (one / "spec.json").write_text(json.dumps(specification))
    if not changes:
        cycle_of(layout, container, one).reach("started")
    found: list[t.Any] = []

    def await_health(*given: t.Any) -> list[str]:
        found.append(given)
        return []

    cycle_of(layout, container, one, **{"health": HEALTH, "await_health": await_health, **options}).reach("started")
    assert found == [(container, {**HEALTH, **asked})]


def test_a_switch_on_trial_is_looked_at_without_being_asked(layout: Layout) -> None:
    assert cycle_of(layout, FakeContainer(), roll_back=True).health == life_cycle.DEFAULTS
    assert cycle_of(layout, FakeContainer(), roll_back=True, health=HEALTH).health == HEALTH
    assert cycle_of(layout, FakeContainer()).health == life_cycle.DEFAULTS


def failure(cycle: LifeCycle, state: str = "started") -> UnhealthyError:
    with pytest.raises(UnhealthyError) as raised:
        cycle.reach(state)
    return raised.value


def test_complaints_are_told_with_the_log(layout: Layout) -> None:
    container, one = Asked(all="x" * 100000 + "\nlast"), write(layout)
    cycle = cycle_of(layout, container, one, health=HEALTH, await_health=lambda *_all: ["this", "that"])
    error = failure(cycle)
    log = "x" * (16 * 1024 - 5) + "\nlast"
    assert str(error) == f"container 'web' is not well: this; that\nThe end of its log:\n{log}"
    assert (error.failed_units, error.changed, error.rolled_back_to) == ([], True, None)
    assert error.facts["pid"] == 4711
    assert container.asked == [("log", 12, None)]


def test_failed_units_are_told_with_their_logs(layout: Layout) -> None:
    """Of the first three: more would hide what is wrong."""
    container = Asked(["a.service", "b.service", "c.service", "d.service"], a="of a", c="of c", d="of d", all="of all")
    cycle = cycle_of(layout, container, write(layout))
    error = failure(cycle)
    said = "; ".join(f"{name}.service has failed (exit-code)" for name in "abcd")
    logs = "The log of a.service:\nof a\nThe log of c.service:\nof c"
    assert str(error) == f"container 'web' is not well: {said}\n{logs}"
    assert error.failed_units == ["a.service", "b.service", "c.service", "d.service"]
    assert container.asked == [("log", 12, f"{name}.service") for name in "abc"]


@pytest.mark.parametrize(("roll_back", "well"), [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize("error", [NotReady("it has ended", ended=True), LauncherError("it has no room")])
def test_what_never_ran_has_no_failed_units(layout: Layout, error: Exception, roll_back: bool, well: bool) -> None:
    """A result has a list of them, whatever failed, also where the way back fails or there is none."""

    class Broken(FakeContainer):
        def start(self, *_arguments: t.Any, **_options: t.Any) -> t.Any:
            raise error

    for number in range(2):
        generations.switch(layout, "web", write(layout, str(number)))
        if well:
            generations.note_well(layout, "web")
    cycle = cycle_of(layout, Broken(), write(layout, "new"), roll_back=roll_back)
    with pytest.raises((LauncherError, TargetError), match=str(error)) as raised:
        cycle.reach("started")
    if roll_back or isinstance(error, NotReady):
        assert isinstance(raised.value, UnhealthyError)
        assert raised.value.failed_units == []


def test_without_a_log_none_is_told(layout: Layout) -> None:
    assert str(failure(cycle_of(layout, Asked(["a.service"]), write(layout)))) == (
        "container 'web' is not well: a.service has failed (exit-code)"
    )


def test_units_that_nobody_may_wait_for_are_not_asked_for(layout: Layout) -> None:
    container, one = FakeContainer(failed=["a.service"]), write(layout)
    cycle = cycle_of(layout, container, one, wait=False)
    cycle.reach("started")
    assert cycle.failed_units is None


@pytest.mark.parametrize("text", [None, "{", "[]", '{"init": 1}', '{"init": {}}'])
def test_a_system_that_cannot_be_read(layout: Layout, text: str | None) -> None:
    container, one = FakeContainer(), write(layout)
    cycle_of(layout, container, one).reach("started")
    (one / "spec.json").unlink()
    if text is not None:
        (one / "spec.json").write_text(text)
    with pytest.raises(LauncherError, match=rf"^{one}(/spec.json)?: .+; stage the system again"):
        cycle_of(layout, container).reach("started")


def test_not_ready_in_time(layout: Layout) -> None:
    container, one = FakeContainer(), write(layout)
    cycle_of(layout, container, one, wait=False).reach("started")
    container.becomes_ready = False
    container.waited = False
    error = failure(cycle_of(layout, container, timeout=2.5))
    assert str(error).startswith("container 'web' runs but is not ready after 2.5 s\nThe end of its log:\n")
    assert not error.changed


def test_no_system(layout: Layout) -> None:
    (layout.container("web") / "generations").mkdir(parents=True)
    with pytest.raises(TargetError) as raised:
        cycle_of(layout, FakeContainer()).reach("restarted")
    assert str(raised.value) == (
        "container 'web' has no system on this host; write one with unshare.container.container_script, and name it in "
        "'system'"
    )


@pytest.mark.parametrize("changes", [True, False])
def test_what_fails_twice_is_an_error(layout: Layout, changes: bool) -> None:
    """Only what was found running, and of which nothing was changed, has ended by itself."""

    class Ending(FakeContainer):
        ends = 0

        def judge(self, timeout: float = 10.0) -> Judgement:
            self.ends += 1
            self.running = None
            raise LauncherError("it has ended")

    container, one, two = Ending(), write(layout, "1"), write(layout, "2")
    container.running = str(one)
    generations.switch(layout, "web", one)
    with pytest.raises(UnhealthyError, match="^container 'web' is not well: it has ended$"):
        cycle_of(layout, container, two if changes else one).reach("started")
    assert container.ends == (1 if changes else 2)


def test_what_runs_on_is_not_started_again(layout: Layout) -> None:
    class Mute(FakeContainer):
        def judge(self, timeout: float = 10.0) -> Judgement:
            raise LauncherError("it does not answer")

    container, one = Mute(), write(layout)
    container.running = str(one)
    generations.switch(layout, "web", one)
    with pytest.raises(UnhealthyError, match="^container 'web' is not well: it does not answer"):
        cycle_of(layout, container).reach("started")
    assert container.calls == ["lock"]


def test_generations_are_kept_as_asked(layout: Layout) -> None:
    container = FakeContainer()
    for number in range(4):
        cycle_of(layout, container, write(layout, str(number)), keep=3).reach("started")
    assert generations.numbers(layout, "web") == [2, 3, 4]
    cycle_of(layout, container, keep=1).reach("stopped")
    assert generations.numbers(layout, "web") == [4]
