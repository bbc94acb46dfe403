# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a run of a move does first, and what it refuses before anything changes (V5)."""

from __future__ import annotations

import re
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.kinds import ContractError
from ansible_collections.unshare.container.plugins.module_utils.life.move_steps import (
    ADMIT,
    COPY,
    DEPLOY,
    Move,
    MovePlace,
)
from ansible_collections.unshare.container.plugins.module_utils.state import holds
from ansible_collections.unshare.container.plugins.module_utils.state.holds import Hold
from ansible_collections.unshare.container.plugins.module_utils.state.target import TargetError

GIGABYTE = 10**9


def place(name: str, **given: t.Any) -> MovePlace:
    """Return what a host has that has nothing of the container."""
    fields = {
        "place": name,
        "path": "/var/lib/unshare/containers/web",
        "container": False,
        "runs": False,
        "volumes": [],
        "filled": [],
        "snapshots": [],
        "layer": False,
        "holds_not": [],
        "hold": {},
        "size": 0,
        "free": 100 * GIGABYTE,
    }
    return MovePlace.read({**fields, **given})


def old(state: str = "", move: str = "abc", peer: str = "two", **given: t.Any) -> MovePlace:
    """Return what a host has that has the container."""
    usual = {"container": True, "volumes": ["data"], "filled": ["data"], "size": GIGABYTE}
    return place("first", **{**usual, **noted(state, peer, move), **given})


def new(state: str = "", move: str = "abc", peer: str = "one", **given: t.Any) -> MovePlace:
    return place("second", **{**noted(state, peer, move), **given})


def noted(state: str, peer: str, move: str) -> dict[str, t.Any]:
    return {"hold": Hold(state=state, peer=peer, move=move).write()} if state else {}


def step(there: MovePlace, here: MovePlace, keep: bool = False) -> str:
    return Move("web", "one", "two", keep).first_step(there, here)


def refusal(there: MovePlace, here: MovePlace) -> str:
    with pytest.raises(TargetError) as error:
        step(there, here)
    assert str(error.value).startswith("container 'web': ")
    return str(error.value)


GONE: dict[str, t.Any] = {"container": False, "volumes": [], "filled": []}
HAS: dict[str, t.Any] = {"container": True, "volumes": ["data"], "filled": ["data"]}


@pytest.mark.parametrize(
    ("there", "here", "first"),
    [
        (old(), new(), COPY),
        (old(container=False), new(), COPY),  # a play has removed it, and kept its volumes
        (old(volumes=[], filled=[], size=0), new(), COPY),  # it has no data
        (old(snapshots=["a"]), new(), COPY),  # which do not move
        (old(), new(volumes=["data"]), COPY),  # of which nothing is in the way
        (old(), new(holds.EXPECTED, "another"), COPY),  # a move that has gone back
        (
            old(),
            new(holds.ADMITTED, "another", **HAS),
            COPY,
        ),  # whose note somebody has removed; it was never started there
        (old(holds.RELEASED), new(), COPY),  # a move whose way back was interrupted on the old host
        (old(holds.RELEASED, peer="three"), new(), COPY),
        (old(holds.RELEASED), new(holds.WITHDRAWN), COPY),
        (old(holds.RELEASED), new(holds.EXPECTED, "another"), COPY),
        (old(holds.HELD), new(), COPY),
        (old(holds.HELD), new(holds.EXPECTED, volumes=["data"], filled=["data"]), COPY),
        (old(holds.HELD), new(holds.EXPECTED, "another"), COPY),
        (old(holds.GIVEN), new(holds.EXPECTED), ADMIT),
        (old(holds.GIVEN), new(holds.EXPECTED, "another"), ADMIT),
        (old(holds.GIVEN), new(holds.ADMITTED, **HAS), ADMIT),
        (old(holds.GIVEN), new(holds.WITHDRAWN, **HAS), COPY),  # the way back was interrupted
        (old(holds.GIVEN), new(holds.WITHDRAWN, "another"), ADMIT),
        (old(holds.HELD), new(holds.WITHDRAWN), COPY),
        (old(), new(holds.WITHDRAWN), COPY),
        (old(holds.GIVEN), new(**HAS), DEPLOY),
        (old(holds.GIVEN, **GONE), new(**HAS), DEPLOY),  # its removal was interrupted
        (old(**GONE), new(**HAS), DEPLOY),  # it has moved
    ],
)
def test_v5_a_run_goes_on_where_the_last_one_was_interrupted(there: MovePlace, here: MovePlace, first: str) -> None:
    assert step(there, here) == first


@pytest.mark.parametrize(
    ("there", "here", "said"),
    [
        (old(), place("first"), "one and two are the same host"),
        (old(**GONE), new(), "one has neither the container nor volumes of it: name the host that has it"),
        (old(**GONE), new(volumes=["data"]), "one has neither the container nor volumes of it"),
        (old(**GONE), new(holds.EXPECTED), "one has nothing of it any more, and two not all of its data"),
        (old(), new(**HAS), r"two has it already, and not from a move \(the container\): remove that"),
        (old(), new(volumes=["a", "b"], filled=["b"]), r"two has it already.*\(something in volume b\)"),
        (old(), new(snapshots=["a", "b"]), r"two has it already.*\(snapshot a, b\): remove that"),
        (old(holds.HELD), new(**HAS), "two has it already"),
        (old(holds.RELEASED), new(**HAS), "two has it already"),
        (old(), new(holds.RELEASED, peer="three", **HAS), "two has it already"),
        (old(holds.RELEASED, free=2 * GIGABYTE - 1), new(), "one has 1999 MB left .* needs about 2001 MB"),
        (old(holds.HELD, peer="three"), new(), "on one a move between that host and three is not finished"),
        (old(holds.GIVEN, peer="three"), new(), "on one a move between that host and three is not finished"),
        (old(holds.EXPECTED), new(), "on one a move between that host and two is not finished"),
        (old(holds.ADMITTED), new(), "on one a move between that host and two is not finished"),
        (old(), new(holds.EXPECTED, peer="three"), "on two a move between that host and three is not finished"),
        (old(), new(holds.GIVEN, **HAS), "on two a move between that host and one is not finished"),
        (old(), new(holds.HELD, **HAS), "on two a move between that host and one is not finished"),
        (
            old(holds.GIVEN),
            new(),
            "was given to two, which has nothing of it now.*remove /var/lib/unshare/containers/web/move.json on one",
        ),
        (
            old(holds_not=["1-web", "2-web"]),
            new(),
            "1-web, 2-web on one was written by a version .* deploy it there once",
        ),
        (old(layer=True), new(), "its root on one lasts in a layer.*move_keep=true"),
        (old(free=2 * GIGABYTE - 1), new(), "one has 1999 MB left .* needs about 2001 MB there: make room"),
        (old(), new(free=4 * GIGABYTE - 1), "two has 3999 MB left .* needs about 4001 MB there: make room"),
        (old(holds.HELD, free=GIGABYTE - 1), new(), "one has 999 MB left .* needs about 1001 MB"),
        (old(holds.HELD), new(free=2 * GIGABYTE - 1), "two has 1999 MB left .* needs about 2001 MB"),
    ],
)
def test_v5_what_cannot_be_moved_is_refused(there: MovePlace, here: MovePlace, said: str) -> None:
    assert re.search(said, refusal(there, here))


def test_v5_room_that_is_just_enough_is_enough() -> None:
    assert step(old(free=2 * GIGABYTE), new(free=4 * GIGABYTE)) == COPY
    assert step(old(holds.HELD, free=GIGABYTE), new(free=2 * GIGABYTE)) == COPY


def test_v5_what_the_old_host_keeps_may_have_a_layer() -> None:
    assert step(old(layer=True), new(), keep=True) == COPY


def test_v5_what_was_withdrawn_needs_room_as_what_is_held() -> None:
    assert "has 999 MB left" in refusal(old(holds.GIVEN, free=GIGABYTE - 1), new(holds.WITHDRAWN))


@pytest.mark.parametrize(
    "change",
    [{"size": -1}, {"free": True}, {"hold": None}, {"hold": []}, {"runs": 1}, {"volumes": "data"}, {"more": 1}],
)
def test_v5_what_one_host_says_of_itself_is_checked_on_the_other(change: dict[str, t.Any]) -> None:
    with pytest.raises(ContractError, match=next(iter(change))):
        place("first", **change)
