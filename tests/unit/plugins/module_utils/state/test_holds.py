# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The note of a container that moves between two hosts: whoever reads it starts it, or does not (V5)."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import Held
from ansible_collections.unshare.container.plugins.module_utils.launcher.kinds import ContractError
from ansible_collections.unshare.container.plugins.module_utils.launcher.paths import HOLD_FILE
from ansible_collections.unshare.container.plugins.module_utils.state import holds, volumes
from ansible_collections.unshare.container.plugins.module_utils.state.holds import Hold

ALL = [holds.HELD, holds.GIVEN, holds.RELEASED, holds.EXPECTED, holds.ADMITTED, holds.WITHDRAWN]


@pytest.fixture
def directory(tmp_path: Path) -> str:
    """Return the directory of a container that this host has not yet."""
    return str(tmp_path / "containers" / "web")


def note(directory: str, state: str, ran: bool = True) -> Path:
    holds.write(directory, Hold(state=state, peer="two", move="abc", ran=ran))
    return Path(directory, HOLD_FILE)


@pytest.mark.parametrize("state", ALL)
def test_v5_what_was_noted_is_read(directory: str, state: str) -> None:
    assert holds.read(directory) is None
    assert not holds.is_noted(directory)
    path = note(directory, state)
    assert holds.is_noted(directory)
    found = holds.read(directory)
    assert found is not None
    assert (found.state, found.peer, found.move, found.ran) == (state, "two", "abc", True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    holds.lift(directory)
    holds.lift(directory)
    assert not holds.is_noted(directory)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (holds.HELD, ["moves to two, and does not start here", "move_container again", "remove {path}"]),
        (holds.GIVEN, ["was moved to two, and may have run there", "remove it there, and then {path}"]),
        (holds.EXPECTED, ["moves here from two", "not all of its data have come", "remove_volumes: true"]),
        (holds.WITHDRAWN, ["was to move here from two", "has it as before", "remove_volumes: true"]),
    ],
)
def test_v5_nobody_starts_what_is_held_and_everybody_is_told_the_way_out(
    directory: str, state: str, words: list[str]
) -> None:
    path = note(directory, state)
    with pytest.raises(Held) as error:
        holds.let_start("web", directory, None)
    with pytest.raises(Held) as again:
        holds.refuse("web", directory)
    assert str(error.value) == str(again.value)
    assert str(error.value).startswith("container web: it ")
    for each in words:
        assert each.format(path=path) in str(error.value)
    assert path.exists()


def test_v5_the_first_start_of_what_is_admitted_takes_the_note_away_before_a_program_runs(directory: str) -> None:
    path = note(directory, holds.ADMITTED)
    done: list[bool] = []
    begin = holds.let_start("web", directory, lambda: done.append(path.exists()))
    assert path.exists(), "a start that fails before that was none"
    begin()
    assert done == [False]
    assert holds.refusal(directory) is None


def test_v5_a_start_of_what_was_released_leaves_the_note_to_whoever_starts_the_rest(directory: str) -> None:
    path = note(directory, holds.RELEASED)
    done: list[bool] = []
    holds.let_start("web", directory, lambda: done.append(path.exists()))()
    assert done == [True]
    assert path.exists()


def test_v5_all_that_is_noted_is_told_with_what_is_to_be_done(directory: str) -> None:
    assert holds.told(directory) is None
    for state in (holds.HELD, holds.GIVEN, holds.EXPECTED, holds.WITHDRAWN):
        note(directory, state)
        assert holds.told(directory) == holds.refusal(directory)
    path = note(directory, holds.RELEASED)
    assert holds.refusal(directory) is None
    assert holds.told(directory) == (
        "it has gone back from its move to two, and may not run again yet. Run the playbook move_container again, "
        f"which finishes that; or start it, and remove {path}"
    )
    note(directory, holds.ADMITTED)
    assert holds.refusal(directory) is None
    assert holds.told(directory) == "it moves here, and is about to be started; declare it for this host"
    path.write_text("{")
    assert "it is damaged" in (holds.told(directory) or "")


def test_v5_what_stopped_with_it_is_named_where_a_note_may_be_removed_by_hand(directory: str) -> None:
    units = ["a@b.service", "a\\x2d.service"]
    holds.write(directory, Hold(state=holds.HELD, peer="two", move="abc", ran=True, stopped_with=units))
    assert (holds.refusal(directory) or "").endswith(
        f"remove {directory}/{HOLD_FILE}. Then start what stopped with it: systemctl start a@b.service 'a\\x2d.service'"
    )


def test_v5_what_is_not_held_starts(directory: str) -> None:
    Path(directory).mkdir(parents=True)
    holds.refuse("web", directory)
    holds.let_start("web", directory, None)()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "damaged"),
        ("{", "damaged"),
        ("[]", "damaged"),
        ("{}", "another version"),
        (json.dumps({"format": 2, "state": holds.HELD, "peer": "two", "move": "a"}), "another version"),
        (json.dumps({"format": 1, "state": "other", "peer": "two", "move": "a"}), "state: is neither"),
        (json.dumps({"format": 1, "state": holds.ADMITTED, "peer": "two"}), "move: is missing"),
        (
            json.dumps({"format": 1, "state": holds.ADMITTED, "peer": "two", "move": "a", "ran": 1}),
            "ran: is not of type",
        ),
    ],
)
def test_v5_a_note_that_cannot_be_read_holds_as_well(directory: str, text: str, reason: str) -> None:
    path = Path(directory, HOLD_FILE)
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(ContractError, match=reason):
        holds.read(directory)
    with pytest.raises(Held, match=f"{path} says that it moves .* cannot be read: .*{reason}.*; if not, remove that"):
        holds.refuse("web", directory)


@pytest.mark.parametrize("state", ALL)
def test_v5_only_the_import_of_the_move_that_is_expected_replaces_volumes(directory: str, state: str) -> None:
    """One of a run that was killed comes late, when another run has made room for its own."""
    holds.refuse_import("web", directory, None)
    with pytest.raises(Held, match=r"container web: no import of a move of this name \(abc\) .* noted is nothing"):
        holds.refuse_import("web", directory, "abc")
    note(directory, state)
    with pytest.raises(Held, match=rf"\(late\) is expected here, but noted is {state} \(abc\): .* playbook move_cont"):
        holds.refuse_import("web", directory, "late")
    if state == holds.EXPECTED:
        holds.refuse_import("web", directory, "abc")
    else:
        with pytest.raises(Held, match=f"noted is {state}"):
            holds.refuse_import("web", directory, "abc")
    if state in holds.FREE:
        holds.refuse_import("web", directory, None)  # it may be started, and so may be given other data
    else:
        with pytest.raises(Held, match="container web: it .*mov"):
            holds.refuse_import("web", directory, None)


@pytest.mark.parametrize("move", [None, "abc"])
def test_v5_where_a_note_cannot_be_read_nothing_is_imported(directory: str, move: str | None) -> None:
    path = Path(directory, HOLD_FILE)
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with pytest.raises(Held, match=f"{path} says that it moves .* cannot be read"):
        holds.refuse_import("web", directory, move)


def test_v5_v6_the_note_goes_last_of_all_and_stays_with_volumes_that_are_kept(directory: str) -> None:
    path = note(directory, holds.GIVEN)
    (Path(directory) / "volumes" / "data").mkdir(parents=True)
    assert "are kept" in volumes.part_with("web", directory, asked=False)[0]
    assert path.exists()
    assert volumes.part_with("web", directory, asked=True) == []
    assert not Path(directory).exists()
    note(directory, holds.GIVEN)
    assert volumes.part_with("web", directory, asked=False) == [], "there is nothing more to hold"
    assert not Path(directory).exists()
