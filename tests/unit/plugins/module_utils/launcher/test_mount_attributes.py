# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The kernel takes every flag of a file system record, of a bind mount and of a new one, and does as it says.

A device node is one in no mount, unless that is made for devices.
"""

from __future__ import annotations

import itertools
import os
import typing as t
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


def file_system(kind: str) -> t.Callable[..., int]:
    return lambda **options: mounts.filesystem(kind, [], **options)


def bind_of(path: str, recursive: bool) -> t.Callable[..., int]:
    def make(**options: t.Any) -> int:
        source = os.open(path, os.O_PATH)
        try:
            return mounts.bind(source, options.pop("mount_attributes", 0), None, recursive=recursive, **options)
        finally:
            os.close(source)

    return make


MADE = {
    **{kind: file_system(kind) for kind in ("tmpfs", "ramfs", "mqueue", "cgroup2", "proc")},
    "bounded tmpfs": lambda **options: mounts.tmpfs("0755", "4k", "2", **options),
    "bind of /dev": bind_of("/dev", False),
    "bind of /dev and what is below": bind_of("/dev", True),
    "bind of a device": bind_of("/dev/null", False),
}


@pytest.mark.parametrize("what", MADE)
def test_a_node_is_no_device_unless_the_mount_is_for_devices(what: str) -> None:
    for attributes in (0, mounts.attributes(["no-suid", "read-only"])):
        assert flags_of(MADE[what](mount_attributes=attributes)) & os.ST_NODEV
        assert not flags_of(MADE[what](mount_attributes=attributes, nodes=True)) & os.ST_NODEV
    assert flags_of(MADE[what](mount_attributes=mounts.attributes(["no-dev"]), nodes=True)) & os.ST_NODEV


def test_a_devpts_is_always_for_devices() -> None:
    """All of its nodes are the kernel's, and a declared one says nothing of that."""
    assert not flags_of(mounts.filesystem("devpts", [])) & os.ST_NODEV
