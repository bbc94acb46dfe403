# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether the system-call filter of a system that is on the host keeps root inside from making subvolumes (V3)."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host import system_filter
from ansible_collections.unshare.container.plugins.module_utils.launcher import confine, quota_calls, seccomp
from ansible_collections.unshare.container.plugins.module_utils.launcher.contract import Security


@pytest.mark.parametrize("nesting", [True, False])
def test_v3_a_filter_of_today_does_and_one_of_a_former_version_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nesting: bool
) -> None:
    security = Security(nesting=nesting)
    program = system_filter.compiled(security)
    assert program is not None
    (tmp_path / confine.FILTER).write_bytes(program)
    assert system_filter.refuses_subvolumes(tmp_path)
    monkeypatch.setattr(seccomp.quota_calls, "BTRFS_REFUSED", quota_calls.BTRFS_REFUSED[1:])
    former = system_filter.compiled(security)
    monkeypatch.undo()
    assert former is not None
    (tmp_path / confine.FILTER).write_bytes(former)
    assert not system_filter.refuses_subvolumes(tmp_path)


@pytest.mark.parametrize("content", [None, b"", b"damaged", struct.pack("=HBBI", 6, 0, 0, seccomp.ALLOW)])
def test_v3_none_does_not(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / confine.FILTER).write_bytes(content)
    assert not system_filter.refuses_subvolumes(tmp_path)
