# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What root without CAP_SYS_RESOURCE cannot raise is said."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import attributes, linux
from ansible_collections.unshare.container.plugins.module_utils.launcher.attributes import INFINITY, Attributes

LACKING = {
    "cases_B14_nothing": ({}, None),
    "cases_B14_open_files": ({7: (1024, 4096)}, "NOFILE (hard) is 4096, not 524288;"),
    "cases_B14_locked_memory": ({8: (65536, 65536)}, "MEMLOCK is 65536, not 8388608, MEMLOCK (hard) is 65536"),
    "cases_B14_soft_alone": ({1: (5, INFINITY)}, None),
    "cases_B14_size_of_files": ({1: (5, 6)}, "FSIZE is 6, not infinity, FSIZE (hard) is 6, not infinity;"),
    "cases_B14_more_than_usual": ({7: (INFINITY, INFINITY)}, None),
}


@pytest.mark.parametrize("may", [True, False])
@pytest.mark.parametrize("case", LACKING)
def test_what_a_process_lacks_is_given_or_said(monkeypatch: pytest.MonkeyPatch, case: str, may: bool) -> None:
    """Without the right to raise a hard limit, each is set as near to the usual one as its hard limit allows."""
    lowered, expected = LACKING[case]
    usual = Attributes.standard()
    has = {**usual.limits, **lowered}
    scheduled: list[int] = []

    def set_limit(pid: int, number: int, soft: int, hard: int) -> None:
        assert pid == 4711
        assert soft <= hard
        if not may and hard > has[number][1]:
            raise PermissionError
        has[number] = (soft, hard)

    def get_limit(pid: int, number: int) -> tuple[int, int]:
        assert pid == 4711
        return has[number]

    monkeypatch.setattr(linux, "set_limit", set_limit)
    monkeypatch.setattr(linux, "get_limit", get_limit)
    monkeypatch.setattr(usual, "_schedule", scheduled.append)
    said = usual.impose(4711)
    lacks = {number for number, limit in lowered.items() if limit[1] < usual.limits[number][1]} if not may else set()
    for number, (soft, hard) in usual.limits.items():
        ceiling = lowered[number][1] if number in lacks else hard
        assert has[number] == (min(soft, ceiling), min(hard, ceiling))
    assert scheduled == [4711]
    if expected is None or may:
        assert said is None
    else:
        assert said is not None
        assert expected in said
        assert "CAP_SYS_RESOURCE" in said


def test_limits_that_cannot_be_set_at_all_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """What protects the host, such as SELinux, may refuse it."""
    usual = Attributes.standard()

    def refuse(*_arguments: int) -> t.NoReturn:
        raise PermissionError

    monkeypatch.setattr(linux, "set_limit", refuse)
    monkeypatch.setattr(linux, "get_limit", refuse)
    monkeypatch.setattr(attributes, "_limits_of", lambda _pid: {**usual.limits, 4: (0, 0), 8: (INFINITY, INFINITY)})
    monkeypatch.setattr(usual, "_schedule", lambda _pid: None)
    said = usual.impose(4711)
    assert said is not None
    assert said.startswith("resource limits: CORE (hard) is 0, not infinity; ")
