# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which directories let others than root through; what lies behind them is in the integration tests."""

from __future__ import annotations

import os
import struct
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import reachable

USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 1, 2, 4, 8, 0x10, 0x20
NOBODY = 0xFFFFFFFF

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "directory"
    path.mkdir(mode=0o700)
    return path


@pytest.mark.parametrize(
    ("mode", "uid", "gid", "through"),
    [
        (0o700, 0, 0, False),
        (0o700, 0, 1000, False),
        (0o766, 0, 1000, False),  # to list is not to pass
        (0o750, 0, 0, False),
        (0o750, 0, 1000, True),
        (0o701, 0, 0, True),
        (0o700, 1000, 0, True),
        (0o000, 1000, 0, True),  # its owner can change that
    ],
)
def test_owner_group_and_others(directory: Path, mode: int, uid: int, gid: int, through: bool) -> None:
    os.chown(directory, uid, gid)
    directory.chmod(mode)
    assert reachable.lets_users_in(str(directory)) is through


def entries(**more: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    """An ACL of a directory of mode 0770 or less: its entries by name, in the order of the kernel."""
    given: dict[str, tuple[int, int, int]] = {
        "owner": (USER_OBJ, 7, NOBODY),
        "user": (USER, 0, 1000),
        "owning": (GROUP_OBJ, 0, NOBODY),
        "group": (GROUP, 0, 1000),
        "mask": (MASK, 7, NOBODY),
        "other": (OTHER, 0, NOBODY),
        **more,
    }
    return list(given.values())


@pytest.mark.parametrize(
    ("more", "through"),
    [
        ({}, False),
        ({"user": (USER, 1, 1000)}, True),
        ({"user": (USER, 6, 1000)}, False),
        ({"user": (USER, 1, 0)}, False),
        ({"user": (USER, 1, 1000), "mask": (MASK, 6, NOBODY)}, False),
        ({"group": (GROUP, 5, 1000)}, True),
        ({"group": (GROUP, 5, 0)}, False),
        ({"owning": (GROUP_OBJ, 5, NOBODY)}, True),
        ({"other": (OTHER, 1, NOBODY)}, True),
    ],
)
def test_access_control_lists(directory: Path, more: dict[str, t.Any], through: bool) -> None:
    os.chown(directory, 0, 1000)
    value = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries(**more))
    try:
        os.setxattr(directory, reachable.ACL, value)
    except OSError as error:
        pytest.skip(f"no ACL here: {error}")
    assert reachable.lets_users_in(str(directory)) is through
