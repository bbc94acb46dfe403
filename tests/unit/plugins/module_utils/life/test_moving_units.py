# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What requires a container that moves stops with it, and runs again with it, whenever a run is killed (V5)."""

from __future__ import annotations

import functools
import itertools
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.launcher.paths import HOLD_FILE
from ansible_collections.unshare.container.plugins.module_utils.state import holds
from ansible_collections.unshare.container.plugins.module_utils.state.target import TargetError

from .moving_hosts import NAMES, FakeStarter, Hosts, two_hosts

SHOP, TILL = "unshare-container@shop.service", "till \\x2d.service"
UNITS = [SHOP, TILL]
COMMAND = rf"systemctl start {SHOP} 'till \x2d.service'"
RUNS = ("release", "back", "forward", "forward, and back")
"""What may come after a run that was killed."""


class Killed(BaseException):
    """Ends a run wherever it is; nothing of it handles that."""


class Killer:
    """Kills a run before one of its deeds, or after it. Whatever a run leaves behind on a host is of these."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = -1
        for owner, name in (
            (holds, "write"),
            (holds, "lift"),
            (FakeStarter, "start"),
            (FakeStarter, "start_unit"),
            (FakeStarter, "stop"),
        ):
            monkeypatch.setattr(owner, name, self.deed(getattr(owner, name)))

    def deed(self, act: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
        def killed(*arguments: t.Any, **options: t.Any) -> t.Any:
            self.moment()
            done = act(*arguments, **options)
            self.moment()
            return done

        return killed

    def moment(self) -> None:
        self.left -= 1
        if self.left == -1:
            raise Killed

    def kills(self, moment: int, run: t.Callable[[], object]) -> bool:
        """Kill a run at a moment. Return whether it had so many."""
        self.left = moment
        try:
            run()
        except Killed:
            return True
        finally:
            self.left = -1
        return False


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hosts:
    made = two_hosts(tmp_path, monkeypatch)
    made.one.requiring = [*UNITS]
    return made


@pytest.fixture
def killer(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> Killer:
    return Killer(monkeypatch)


def noted(hosts: Hosts) -> holds.Hold:
    found = holds.read(hosts.one.directory)
    assert found is not None
    return found


def runs_again(hosts: Hosts) -> None:
    """Fail unless all runs on the old host that ran there, and nothing of the move is noted."""
    assert hosts.one.container.running is not None
    assert hosts.two.container.running is None
    assert sorted(hosts.one.requiring) == sorted(UNITS)
    assert not holds.is_noted(hosts.one.directory)


def test_v5_what_requires_it_stops_with_it_and_runs_again_with_it(hosts: Hosts) -> None:
    """Also when runs of the move are killed in between: nothing of it is only in memory."""
    hosts.do(hosts.forward(), 1)
    assert hosts.one.requiring == []
    hosts.do(hosts.forward(), 3)
    hosts.do(hosts.back())
    runs_again(hosts)


@pytest.mark.parametrize("after", RUNS)
def test_v5_a_release_that_is_killed_at_any_moment_is_mended_by_the_next_run(
    hosts: Hosts, killer: Killer, after: str
) -> None:
    """The module is killed on the way back of a move that the new host has withdrawn."""
    for moment in itertools.count():
        hosts.do(hosts.forward(), 4)
        back = hosts.back()
        hosts.do(itertools.islice(back, 1))
        was_killed = killer.kills(moment, functools.partial(hosts.do, back))
        if not was_killed:
            break
        hosts.check()
        if after == "release":
            assert hosts.one.moving().release(hosts.name, False)[1]
        elif after == "back":
            hosts.do(hosts.back())
        elif after == "forward":
            hosts.do(hosts.forward())
            hosts.has_moved()
            return_home(hosts)
        else:
            hosts.do(hosts.forward(), 3)
            assert hosts.one.requiring == []
            hosts.do(hosts.back())
        runs_again(hosts)
    assert moment == 2 * len(("released", "start", *UNITS, "lift")), "before and after each deed"
    runs_again(hosts)


def return_home(hosts: Hosts) -> None:
    """Have the container on the old host again, as a deployment makes it, after it has moved."""
    hosts.two.remove()
    hosts.one.deploy()
    for unit in UNITS:
        hosts.one.requiring.append(unit)


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
def test_v5_a_move_that_is_killed_at_any_moment_before_it_is_given_goes_back_to_all_that_ran(
    hosts: Hosts, killer: Killer, steps: int
) -> None:
    for moment in itertools.count():
        was_killed = killer.kills(moment, lambda: hosts.do(hosts.forward(), 3))
        hosts.do(hosts.forward(), steps)
        hosts.do(hosts.back())
        runs_again(hosts)
        if not was_killed:
            break
    assert moment == 2 * len(("held", "stop", "expected"))


def test_v5_what_has_begun_to_run_again_when_it_is_held_again_is_not_forgotten(hosts: Hosts, killer: Killer) -> None:
    """The release was killed when one of two ran, and a third has been started since."""
    hosts.do(hosts.forward(), 2)
    until_one_runs = 2 * len(("released", "start", SHOP))
    assert killer.kills(until_one_runs, lambda: hosts.one.moving().release(None, False))
    assert (noted(hosts).state, hosts.one.requiring) == (holds.RELEASED, [SHOP])
    hosts.one.requiring.append("third.service")
    changed, found = hosts.one.moving().hold("again", None, False)
    assert (changed, found.state, found.move, found.ran) == (True, holds.HELD, "again", True)
    assert found.stopped_with == [*UNITS, "third.service"]
    hosts.one.moving().release(None, False)
    assert hosts.one.requiring == found.stopped_with


def test_v5_what_was_started_between_the_note_and_the_stop_is_noted_by_the_next_run(
    hosts: Hosts, killer: Killer
) -> None:
    assert killer.kills(2, lambda: hosts.one.moving().hold("killed", None, False))
    assert hosts.one.container.running is not None
    hosts.one.requiring.append("third.service")
    assert hosts.one.moving().hold("again", None, True)[0], "it is to be stopped yet"
    _changed, found = hosts.one.moving().hold("again", None, False)
    assert found.stopped_with == [*UNITS, "third.service"]


def test_v5_what_was_released_is_started_by_anybody_and_what_stopped_with_it_still_by_the_next_run(
    hosts: Hosts, killer: Killer
) -> None:
    hosts.do(hosts.forward(), 3)
    assert killer.kills(2, lambda: hosts.one.moving().release(None, False))
    assert (noted(hosts).state, hosts.one.container.running) == (holds.RELEASED, None)
    assert hosts.one.moving().release(None, True) == (True, True)
    assert noted(hosts).state == holds.RELEASED
    hosts.one.deploy()
    assert noted(hosts).stopped_with == UNITS, "the start does not take that away"
    assert hosts.one.moving().release(None, False) == (True, True)
    runs_again(hosts)
    assert hosts.one.moving().release(None, False) == (False, True)


def test_v5_what_was_released_may_move_to_any_host_and_from_any(
    hosts: Hosts, killer: Killer, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts.do(hosts.forward(), 2)
    assert killer.kills(2, lambda: hosts.one.moving().release(None, False))
    monkeypatch.setitem(NAMES, "one", "three")
    one = hosts.one.moving()
    with pytest.raises(TargetError, match="this host has it already, and not from a move"):
        one.expect("x", False)
    changed, found = one.hold("x", None, True)
    assert (changed, found.peer, found.ran, found.stopped_with) == (True, "three", True, UNITS)
    assert noted(hosts).state == holds.RELEASED
    assert one.release(None, False) == (True, True)
    runs_again(hosts)
    holds.write(hosts.two.directory, found.replacing(state=holds.RELEASED))
    hosts.two.moving().expect("y", False)


def test_v5_a_unit_that_does_not_start_again_is_a_warning_with_the_command_and_the_others_start(hosts: Hosts) -> None:
    hosts.do(hosts.forward(), 3)
    hosts.one.broken = [TILL]
    one = hosts.one.moving()
    assert one.release(None, False) == (True, True)
    assert hosts.one.requiring == [SHOP]
    first, said = one.warnings
    assert first == "a warning"
    assert said.splitlines() == [
        f"container 'web': runs again, but {TILL}, which requires it and stopped with it, does not: it fails",
        r"Mend that, and start it: systemctl start 'till \x2d.service'",
    ]
    assert not holds.is_noted(hosts.one.directory)


@pytest.mark.parametrize("units", [UNITS, []])
def test_v5_a_container_that_does_not_start_again_is_an_error_that_names_what_stopped_with_it(
    hosts: Hosts, units: list[str]
) -> None:
    hosts.one.requiring = [*units]
    hosts.do(hosts.forward(), 4)
    hosts.do(itertools.islice(hosts.back(), 1))
    hosts.one.broken = ["web"]
    for _time in range(2):
        with pytest.raises(TargetError) as error:
            hosts.one.moving().release(hosts.name, False)
        said = "it has failed\nContainer 'web' does not run again. Mend that, and run this again, or start it"
        assert str(error.value) == said + (f". Then start what stopped with it: {COMMAND}" if units else "")
        assert isinstance(error.value.__cause__, LauncherError)
        assert (noted(hosts).state, noted(hosts).stopped_with) == (holds.RELEASED, units)
    hosts.check()
    hosts.one.broken = []
    assert hosts.one.moving().release(None, False) == (True, True)
    assert hosts.one.requiring == units
    assert not holds.is_noted(hosts.one.directory)


def test_v5_what_stopped_with_one_that_has_no_system_any_more_is_named(hosts: Hosts) -> None:
    """A play has removed it meanwhile, and kept its volumes."""
    hosts.do(hosts.forward(), 3)
    hosts.one.layout.current("web").unlink()
    one = hosts.one.moving()
    assert one.release(None, False) == (True, True)
    (said,) = one.warnings
    assert said.startswith("container 'web': nothing holds it any more, but it has no system here: deploy it. Then ")
    assert said.endswith(f"start what stopped with it: {COMMAND}")
    assert not holds.is_noted(hosts.one.directory)


@pytest.mark.parametrize("state", [holds.HELD, holds.GIVEN])
def test_v5_whoever_is_told_to_remove_a_note_is_told_what_stopped_with_it(hosts: Hosts, state: str) -> None:
    hosts.do(hosts.forward(), 4 if state == holds.GIVEN else 3)
    said = holds.refusal(hosts.one.directory)
    assert said is not None
    assert said.endswith(f"{Path(hosts.one.directory, HOLD_FILE)}. Then start what stopped with it: {COMMAND}")
    if state == holds.GIVEN:
        hosts.two.remove()
        with pytest.raises(TargetError, match="which has nothing of it now") as error:
            hosts.do(hosts.forward())
        assert str(error.value).endswith(f". Then start what stopped with it: {COMMAND}")


def test_v5_another_run_that_holds_it_meanwhile_keeps_its_note(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts.do(hosts.forward(), 3)
    start = FakeStarter.start_unit

    def meanwhile(starter: FakeStarter, unit: str, timeout: float) -> None:
        start(starter, unit, timeout)
        if unit == SHOP and TILL not in hosts.one.broken:
            hosts.one.moving().hold("another", None, False)
            monkeypatch.setattr(hosts.one, "broken", [TILL])

    monkeypatch.setattr(FakeStarter, "start_unit", meanwhile)
    hosts.one.moving().release(None, False)
    assert (noted(hosts).state, noted(hosts).move, noted(hosts).stopped_with) == (holds.HELD, "another", UNITS)
