# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a container's processes give up: capabilities by their numbers, in every variant."""

from __future__ import annotations

import errno
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import confine, contract

# linux/capability.h
DROPPED = {16, 17, 25, *range(29, 41)}
SETFCAP = 31
LAST = 40
BOUNDING_DROP, NO_NEW_PRIVILEGES, AMBIENT, CLEAR_ALL = 24, 38, 47, 4  # linux/prctl.h

Calls = list[tuple[t.Any, ...]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Return the calls made of the kernel, which knows capabilities up to `LAST`."""
    made: Calls = []

    def prctl(option: int, second: int = 0, third: int = 0) -> int:
        if option == BOUNDING_DROP and second > LAST:
            raise OSError(errno.EINVAL, "no such capability")
        made.append((option, second))
        return 0

    monkeypatch.setattr(confine.linux, "prctl", prctl)
    monkeypatch.setattr(confine.linux, "capset", lambda *sets: made.append(("capset", *sets)))
    monkeypatch.setattr(confine.linux, "join_new_session_keyring", lambda: made.append(("keyring",)))
    return made


@pytest.mark.parametrize(
    ("security", "dropped", "last"),
    [
        ({}, DROPPED, ()),
        ({"nesting": True}, DROPPED - {SETFCAP}, ()),
        ({"no_new_privileges": True}, DROPPED, ((NO_NEW_PRIVILEGES, 1),)),
        ({"nesting": True, "no_new_privileges": True}, DROPPED - {SETFCAP}, ((NO_NEW_PRIVILEGES, 1),)),
    ],
)
def test_what_is_given_up(calls: Calls, security: dict[str, bool], dropped: set[int], last: tuple[t.Any, ...]) -> None:
    confine.give_up(contract.Security(**security))
    kept = sum(1 << number for number in range(64) if number not in dropped)
    bounding = [(BOUNDING_DROP, number) for number in sorted(dropped)]
    assert calls == [("keyring",), *bounding, (AMBIENT, CLEAR_ALL), ("capset", kept, kept, 0), *last]


def test_what_lies_outside_a_bound_is_given_up_as_well(calls: Calls) -> None:
    confine.give_up(contract.Security(), bound=1 << 5 | 1 << 16)
    assert ("capset", 1 << 5, 1 << 5, 0) in calls
    assert {call[1] for call in calls if call[0] == BOUNDING_DROP} == set(range(LAST + 1)) - {5}


def test_keyrings_that_are_refused_are_none(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise PermissionError(errno.EPERM, "keyctl()")

    monkeypatch.setattr(confine.linux, "join_new_session_keyring", refuse)
    confine.give_up(contract.Security())
    assert calls[-1][0] == "capset"
