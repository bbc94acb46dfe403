# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What root without CAP_SYS_RESOURCE cannot raise is said."""

from __future__ import annotations

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import attributes, linux
from ansible_collections.unshare.container.plugins.module_utils.launcher.attributes import INFINITY, Attributes

LACKING = {
    "cases_B14_nothing": ({}, None),
    "cases_B14_open_files": ({7: (1024, 4096)}, "NOFILE (hard) is 4096, not 524288;"),
    "cases_B14_locked_memory": ({8: (65536, 65536)}, "MEMLOCK is 65536, not 8388608, MEMLOCK (hard) is 65536"),
    "cases_B14_size_of_files": ({1: (5, INFINITY)}, "FSIZE is 5, not infinity;"),
    "cases_B14_more_than_usual": ({7: (INFINITY, INFINITY)}, None),
}


@pytest.mark.parametrize("may", [True, False])
@pytest.mark.parametrize("case", LACKING)
def test_what_a_process_lacks_is_given_or_said(monkeypatch: pytest.MonkeyPatch, case: str, may: bool) -> None:
    lowered, expected = LACKING[case]
    usual = Attributes.standard()
    given: dict[int, tuple[int, int]] = {}
    scheduled: list[int] = []

    def set_limit(pid: int, number: int, soft: int, hard: int) -> None:
        assert pid == 4711
        given[number] = (soft, hard)
        if not may:
            raise PermissionError

    monkeypatch.setattr(attributes, "_limits_of", lambda _pid: {**usual.limits, **lowered})
    monkeypatch.setattr(linux, "set_limit", set_limit)
    monkeypatch.setattr(usual, "_schedule", scheduled.append)
    said = usual.complete(4711)
    assert given == ({number: usual.limits[number] for number in lowered} if expected else {})
    assert scheduled == [4711]
    if expected is None or may:
        assert said is None
    else:
        assert said is not None
        assert expected in said
        assert "CAP_SYS_RESOURCE" in said
