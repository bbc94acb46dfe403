# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A move of a container between two hosts, cut short after each of its steps, and run again (V5)."""

from __future__ import annotations

import contextlib
import itertools
import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import Held, LauncherError
from ansible_collections.unshare.container.plugins.module_utils.launcher.names import system_name
from ansible_collections.unshare.container.plugins.module_utils.launcher.paths import HOLD_FILE
from ansible_collections.unshare.container.plugins.module_utils.life import moving
from ansible_collections.unshare.container.plugins.module_utils.life.move_steps import COPY, DEPLOY
from ansible_collections.unshare.container.plugins.module_utils.state import holds
from ansible_collections.unshare.container.plugins.module_utils.state.target import TargetError

from .moving_hosts import NAMES, Hosts, two_hosts


@pytest.fixture
def hosts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hosts:
    return two_hosts(tmp_path, monkeypatch)


STEPS = 7


def test_v5_a_move_from_its_beginning_to_its_end(hosts: Hosts) -> None:
    assert hosts.do(hosts.forward()) == STEPS
    hosts.has_moved()
    assert hosts.do(hosts.forward()) == 2, "run again, it deploys and removes what is not there"
    assert hosts.step == DEPLOY
    hosts.has_moved()


@pytest.mark.parametrize("second", range(STEPS + 1))
@pytest.mark.parametrize("first", range(STEPS + 1))
def test_v5_a_move_that_was_cut_short_twice_is_finished_by_the_next_run(hosts: Hosts, first: int, second: int) -> None:
    hosts.do(hosts.forward(), first)
    hosts.do(hosts.forward(), second)
    hosts.do(hosts.forward())
    hosts.has_moved()
    assert (hosts.one.started, hosts.two.started) == (1, 1)


@pytest.mark.parametrize("back", range(4))
@pytest.mark.parametrize("first", range(STEPS + 1))
def test_v5_a_move_that_goes_back_can_be_cut_short_on_the_way(hosts: Hosts, first: int, back: int) -> None:
    hosts.do(hosts.forward(), first)
    hosts.do(hosts.back(), back)
    if back == 3 and hosts.two.started == 0:
        assert hosts.one.container.running is not None
        assert not os.path.lexists(hosts.two.directory)
    if hosts.two.started:
        assert hosts.one.started == 1, "what was started on the new host is never taken back"
    hosts.do(hosts.forward())
    hosts.has_moved()


@pytest.mark.parametrize("first", range(STEPS + 1))
def test_v5_no_play_and_no_boot_starts_it_on_both_hosts(hosts: Hosts, first: int) -> None:
    hosts.do(hosts.forward(), first)
    for host in (hosts.one, hosts.two):
        if host.layout.generations("web").is_dir() or host is hosts.two:
            with contextlib.suppress(Held):
                if host is hosts.one or holds.is_noted(host.directory):
                    host.deploy()
    hosts.check()
    hosts.do(hosts.forward())
    hosts.has_moved()


def test_v5_late_steps_of_a_run_that_was_killed_are_refused(hosts: Hosts) -> None:
    hosts.do(hosts.forward(), 4)
    late = hosts.name
    hosts.do(hosts.back())
    hosts.do(hosts.forward(), 3)
    assert hosts.name != late
    hosts.do(hosts.back())
    for step in (
        lambda: hosts.one.moving().give(late, False),
        lambda: hosts.two.moving().admit(late, [], False),
    ):
        with pytest.raises(TargetError, match=rf"no move of this name \({late}\) is noted here, but nothing"):
            step()
    hosts.one.moving().hold("other", None, False)
    with pytest.raises(TargetError, match=r"but that of two, held \(other\): another run"):
        hosts.one.moving().give(late, False)
    with pytest.raises(TargetError, match="nothing"):
        hosts.two.moving().admit("other", [], False)


def test_v5_a_late_step_that_takes_the_room_of_another_move_costs_no_more_than_a_way_back(hosts: Hosts) -> None:
    hosts.do(hosts.forward(), 4)
    hosts.two.moving().expect("late", False)
    with pytest.raises(TargetError, match=r"but that of one, expected \(late\)"):
        hosts.do(hosts.forward())
    hosts.do(hosts.back(), 1)
    hosts.do(hosts.forward())  # what a run that was cut short has withdrawn is copied anew by the next
    hosts.has_moved()


@pytest.mark.parametrize("first", [4, 5])
@pytest.mark.parametrize("back", [1, 2])
def test_v5_nothing_that_comes_late_counts_once_the_new_host_has_withdrawn(hosts: Hosts, first: int, back: int) -> None:
    """A step of a run that was killed is still on its way, with the name of the move that goes back."""
    hosts.do(hosts.forward(), first)
    late = hosts.name
    hosts.do(hosts.back(), back)
    two = hosts.two.moving()
    for step in (lambda: two.admit(late, [], False), lambda: two.expect(late, False)):
        with pytest.raises(TargetError, match=rf"but that of one, withdrawn \({late}\)"):
            step()
        hosts.check()
    with pytest.raises(Held, match="was to move here from one, which has it as before"):
        hosts.two.deploy()
    found = holds.read(hosts.two.directory)
    assert found is not None
    assert (found.state, found.move) == (holds.WITHDRAWN, late)
    assert two.withdraw(late, False) == (False, True, late)
    assert hosts.do(hosts.forward()) == STEPS, "it is copied anew"
    hosts.has_moved()


def test_v5_what_the_new_host_has_not_withdrawn_is_not_held_again(hosts: Hosts) -> None:
    hosts.do(hosts.forward(), 4)
    for withdrawn in (None, "another"):
        with pytest.raises(TargetError, match="but that of two, given"):
            hosts.one.moving().hold("x", withdrawn, False)


def test_v5_what_can_be_started_all_the_same_is_not_held(hosts: Hosts) -> None:
    """The run-container of any system of it that is kept starts it, that of a former generation as well."""
    former = hosts.one.system.with_name(system_name("1" * 32, "web"))
    former.mkdir()
    hosts.one.system.with_name(system_name("2" * 32, "webster")).mkdir()
    assert hosts.one.moving().look().holds_not == [former.name]
    for check in (True, False):
        with pytest.raises(
            TargetError, match=rf"container 'web': {former.name} on this host was .*keep_generations: 1, before"
        ):
            hosts.one.moving().hold("x", None, check)
    assert not holds.is_noted(hosts.one.directory)
    assert hosts.one.container.running is not None
    former.rmdir()
    hosts.do(hosts.forward())
    hosts.has_moved()


def test_v5_the_import_of_a_run_that_was_killed_is_none_of_the_next(hosts: Hosts) -> None:
    hosts.do(hosts.forward(), 2)
    late = hosts.name
    hosts.do(hosts.forward(), 2)
    assert hosts.name != late
    with pytest.raises(Held, match=rf"no import of a move of this name \({late}\)"):
        holds.refuse_import("web", hosts.two.directory, late)
    hosts.do(hosts.forward())
    hosts.has_moved()


def test_v5_a_run_has_another_name_than_the_one_that_it_goes_on_from(hosts: Hosts) -> None:
    hosts.do(hosts.forward(), 1)
    late = hosts.name
    _changed, found = hosts.one.moving().hold("of the next run", None, False)
    assert found.ran, "it is to run again when that goes back"
    hosts.name = found.move
    assert hosts.name != late
    hosts.two.moving().expect(hosts.name, False)
    hosts.copy()
    hosts.two.moving().expect(late, False)  # comes late, and takes away what has come
    hosts.one.moving().give(hosts.name, False)
    with pytest.raises(TargetError, match=r"no move of this name .* but that of one, expected"):
        hosts.two.moving().admit(hosts.name, ["data"], False)


@pytest.mark.parametrize("done", [3, 4, 5])
def test_v5_a_second_run_that_expects_the_data_once_more_costs_none(hosts: Hosts, done: int) -> None:
    """Two runs of one move, in two terminals: the second has the same name for it, and makes room for what has come."""
    first = hosts.forward()
    hosts.do(itertools.islice(first, done))
    hosts.two.moving().expect(hosts.name, False)
    with pytest.raises((TargetError, Held), match="another run of its move has removed|not all of its data have come"):
        hosts.do(first)
    assert hosts.two.started == 0
    assert hosts.one.data.is_dir()
    hosts.do(hosts.back())
    assert hosts.one.container.running is not None
    hosts.do(hosts.forward())
    hosts.has_moved()


def test_v5_what_did_not_run_is_not_started_on_the_way_back(hosts: Hosts) -> None:
    hosts.one.container.running = None
    hosts.do(hosts.forward(), 3)
    hosts.do(hosts.back())
    assert hosts.one.container.running is None
    assert holds.refusal(hosts.one.directory) is None
    assert hosts.do(hosts.forward()) == STEPS


def test_v5_only_the_new_host_s_word_on_this_move_takes_back_what_was_given(hosts: Hosts) -> None:
    hosts.do(hosts.forward(), 4)
    one = hosts.one.moving()
    assert one.release(None, False) == (False, False)
    assert one.release("another", False) == (False, False)
    assert one.release(hosts.name, True) == (True, True)
    assert holds.is_noted(hosts.one.directory)
    assert one.release(hosts.name, False) == (True, True)
    assert one.warnings == ["a warning"]
    assert one.release(None, False) == (False, True)


def test_v5_another_move_is_left_alone(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    hosts.do(hosts.forward(), 3)
    monkeypatch.setitem(NAMES, "one", "three")
    monkeypatch.setitem(NAMES, "two", "three")
    one, two = hosts.one.moving(), hosts.two.moving()
    assert one.release(hosts.name, False) == (False, False)
    assert two.withdraw(None, False) == (False, False, None)
    for act in (lambda: one.hold("x", None, False), lambda: two.expect("x", False)):
        with pytest.raises(TargetError, match="is noted here, but that of"):
            act()


def test_v5_check_mode_changes_nothing(hosts: Hosts) -> None:
    assert hosts.one.moving().hold("x", None, True)[0]
    assert not holds.is_noted(hosts.one.directory)
    assert hosts.one.container.running is not None
    hosts.do(hosts.forward(), 1)
    assert hosts.one.moving().hold("x", None, True)[0] is False
    assert hosts.two.moving().expect(hosts.name, True)
    assert not os.path.lexists(hosts.two.directory)
    hosts.do(hosts.forward(), 3)
    before = holds.read(hosts.one.directory)
    assert hosts.one.moving().give(hosts.name, True)
    assert hosts.two.moving().admit(hosts.name, ["data"], True)
    assert hosts.two.moving().withdraw("other", True) == (True, True, "other")
    after = holds.read(hosts.one.directory)
    assert before is not None
    assert after is not None
    assert (after.state, before.state) == (holds.HELD, holds.HELD)


def test_v5_a_host_that_has_the_container_does_not_expect_it(hosts: Hosts) -> None:
    with pytest.raises(TargetError, match="this host has it already, and not from a move"):
        hosts.one.moving().expect("x", False)
    hosts.one.remove()
    hosts.one.data.mkdir(parents=True)
    hosts.one.moving().expect("x", False)
    with pytest.raises(TargetError, match="has no container of this name"):
        hosts.two.moving().hold("x", None, False)


def test_v5_nothing_is_given_that_runs(hosts: Hosts) -> None:
    hosts.do(hosts.forward(), 3)
    hosts.one.container.running = "by hand, with a launcher that reads no notes"
    with pytest.raises(TargetError, match="runs, and is to be stopped for its move"):
        hosts.one.moving().give(hosts.name, False)
    hosts.do(hosts.forward(), 1)
    assert hosts.one.container.running is None


def test_v5_a_note_that_cannot_be_read_is_named_and_ends_every_step(hosts: Hosts) -> None:
    note = Path(hosts.one.directory, HOLD_FILE)
    note.write_text("{")
    one = hosts.one.moving()
    acts: tuple[t.Callable[[], object], ...] = (
        one.look,
        lambda: one.hold("x", None, False),
        lambda: one.release(None, False),
        lambda: one.withdraw(None, True),
    )
    for act in acts:
        with pytest.raises(TargetError, match=f"container 'web': {note} says that it moves .* it is damaged"):
            act()
    assert note.read_text() == "{"
    assert hosts.one.container.running is not None


def test_v5_what_a_host_has_is_looked_at_and_counted_once(hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = hosts.two.moving().look()
    assert (nothing.container, nothing.runs, nothing.volumes, nothing.size, nothing.hold) == (False, False, [], 0, {})
    empty = hosts.one.moving().look().size
    file = hosts.one.data / "large"
    file.write_bytes(b"x" * 1_000_000)
    os.link(file, hosts.one.data / "again")
    os.symlink("/", hosts.one.data / "link")
    with (hosts.one.data / "hole").open("wb") as hole:
        hole.truncate(1 << 40)
    (hosts.one.data / "deep").mkdir()
    (hosts.one.data / "deep" / "file").write_text("x")
    found = hosts.one.moving().look()
    assert (found.container, found.runs, found.volumes, found.filled) == (True, True, ["data"], ["data"])
    assert 1_000_000 < found.size - empty < 1_100_000
    assert found.free > 0
    assert (found.snapshots, nothing.snapshots) == ([], [])
    Path(hosts.two.directory, "snapshots", "before-17").mkdir(parents=True)
    assert hosts.two.moving().look().snapshots == ["before-17"]
    assert found.place != nothing.place
    assert found.holds_not == []
    (hosts.one.system / moving.HOLDS_MODULE).unlink()
    assert hosts.one.moving().look().holds_not == [hosts.one.system.name]

    def moved(*_arguments: object) -> None:
        raise LauncherError("it is being moved")

    monkeypatch.setattr(moving.trees, "walk", moved)
    assert hosts.one.moving().look().size == 0


def test_v6_snapshots_that_the_new_host_has_kept_are_not_removed_by_a_way_back(hosts: Hosts) -> None:
    """They are of a container of this name that was removed there, and whose volumes were removed by hand."""
    snapshot = Path(hosts.two.directory, "snapshots", "kept")
    snapshot.mkdir(parents=True)
    with pytest.raises(TargetError, match="two has it already"):
        hosts.do(hosts.forward())
    hosts.step = COPY
    with pytest.raises(TargetError, match="this host has it already, and not from a move"):
        hosts.two.moving().expect("x", False)
    hosts.do(hosts.back())
    assert snapshot.is_dir()
    assert hosts.one.container.running is not None
