# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kernel takes every flag of a file system record, of a bind mount and of a new one, and does as it says."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import contract, mounts

pytestmark = pytest.mark.root

RELATIVE = 0x1000  # ST_RELATIME, which the module os does not have
SHOWN = {
    "read-only": os.ST_RDONLY,
    "no-suid": os.ST_NOSUID,
    "no-dev": os.ST_NODEV,
    "no-exec": os.ST_NOEXEC,
    "no-atime": os.ST_NOATIME,
    "no-diratime": os.ST_NODIRATIME,
    "strict-atime": 0,
}
TIMES = ("no-atime", "strict-atime")
SETS = [
    *((flag,) for flag in SHOWN),
    *(pair for pair in itertools.combinations(SHOWN, 2) if pair != TIMES),
    tuple(flag for flag in SHOWN if flag != "strict-atime"),
]


def flags_of(mount: int) -> int:
    try:
        return os.fstatvfs(mount).f_flag & (RELATIVE | sum(SHOWN.values()))
    finally:
        os.close(mount)


def test_there_is_no_other_flag_of_a_mount() -> None:
    assert set(mounts.ATTRIBUTES) == set(SHOWN) == set(contract.FLAGS) - {"bind-mount", "lazy-time"}


@pytest.mark.parametrize("flags", SETS, ids="+".join)
@pytest.mark.parametrize("kind", ["bind", "new"])
def test_every_flag_has_its_effect(tmp_path: Path, kind: str, flags: tuple[str, ...]) -> None:
    attributes = mounts.attributes(list(flags))
    if kind == "bind":
        source = os.open(tmp_path, os.O_PATH)
        plain = flags_of(mounts.bind(source, 0, None))
        found = flags_of(mounts.bind(source, attributes, None))
        os.close(source)
    else:
        plain = flags_of(mounts.filesystem("tmpfs", []))
        found = flags_of(mounts.filesystem("tmpfs", [], attributes))
    if set(flags) & set(TIMES):
        plain &= ~(RELATIVE | os.ST_NOATIME)
    assert found == plain | sum(SHOWN[flag] for flag in flags)
