# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How large a container's tmpfs are."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import limits
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.launcher.file_systems import split_options
from ansible_collections.unshare.container.plugins.module_utils.launcher.memory import Memory, bytes_of, with_defaults

MEBIBYTE = 1 << 20
LIMIT = 128 * MEBIBYTE


@pytest.mark.parametrize(
    ("size", "stated"),
    [
        ("0", 0),
        ("4096", 4096),
        ("64k", 1 << 16),
        ("65536K", 64 << 20),
        ("1g", 1 << 30),
        ("2T", 2 << 40),
        ("1p", 1 << 50),
    ],
)
def test_sizes(size: str, stated: int) -> None:
    assert bytes_of(size) == stated


@pytest.mark.parametrize("size", ["", "g", "1x", "-1", "1.5g", "10 m", "1kk"])
def test_what_is_no_size(size: str) -> None:
    with pytest.raises(LauncherError, match="is no size"):
        bytes_of(size)


@pytest.mark.parametrize(
    ("point", "options", "found", "warned"),
    [
        pytest.param("/", [("size", "10%")], str(LIMIT // 10), False, id="cases_B12"),
        pytest.param("/run", [("size", "20%")], str(LIMIT // 5), False, id="cases_B12_run"),
        pytest.param("/var", [], str(LIMIT // 2), False, id="cases_B12_kernels_default"),
        pytest.param("/var", [("size", "1%")], str(4 * MEBIBYTE), False, id="smallest"),
        pytest.param("/dev/shm", [("size", "65536k")], str(64 * MEBIBYTE), False, id="shared_memory"),
        pytest.param("/dev/shm", [("size", "100m")], "100m", False, id="declared"),
        pytest.param("/dev/shm", [("size", "1g")], "1g", True, id="cases_B11_above_the_limit"),
        pytest.param("/tmp", [("size", "0")], "0", True, id="without_bound"),
        pytest.param("/tmp", [("nr_blocks", "10")], None, False, id="blocks"),
    ],
)
def test_sizes_follow_the_limit(
    point: str, options: list[tuple[str, str | None]], found: str | None, warned: bool
) -> None:
    memory = Memory(LIMIT)
    assert dict(memory.options(point, options)).get("size") == found
    assert [point in text for text in memory.warnings] == [True] * warned
    assert Memory(None).options(point, options) == options


def test_shared_memory_is_half_of_a_small_limit() -> None:
    assert Memory(32 * MEBIBYTE).options("/dev/shm", [("size", "65536k")]) == [("size", str(16 * MEBIBYTE))]


def test_a_limit_above_the_hosts_memory_is_none() -> None:
    memory = Memory(1 << 62)
    assert memory.limit is not None
    assert memory.limit < 1 << 62


@pytest.mark.parametrize(
    ("declared", "limit"),
    [({}, None), ({"tasks_max": 64}, None), ({"memory_max": 5}, 5), ({"memory_high": 3, "memory_max": 5}, 3)],
)
def test_the_limit_of_memory(declared: dict[str, t.Any], limit: int | None) -> None:
    assert limits.memory(declared) == limit


def test_what_is_stated_is_no_default() -> None:
    defaults = {"mode": "0755", "size": "10%"}
    assert with_defaults([("mode", "0700")], defaults) == [("mode", "0700"), ("size", "10%")]
    assert with_defaults([("nr_blocks", "1")], defaults) == [("nr_blocks", "1"), ("mode", "0755")]


@pytest.mark.parametrize(
    ("kind", "flags", "options", "found", "left"),
    [
        ("tmpfs", [], "defaults,size=1m,noatime", ["no-atime"], "size=1m"),
        ("tmpfs", [], "nofail,_netdev,x-systemd.a=b,comment=c,X-mount.d,auto", [], ""),
        ("tmpfs", ["no-suid"], "suid,mode=755", [], "mode=755"),
        ("tmpfs", ["read-only"], "", ["read-only"], ""),
        ("tmpfs", [], "ro", ["read-only"], ""),
        ("tmpfs", ["no-atime"], "strictatime", ["strict-atime"], ""),
        ("ext4", [], "ro,errors=remount-ro", ["read-only"], "ro,errors=remount-ro"),
        ("ext4", [], "ro,rw,nosuid,nodev,noexec", ["no-suid", "no-dev", "no-exec"], ""),
    ],
)
def test_options_of_mount(kind: str, flags: list[str], options: str, found: list[str], left: str) -> None:
    assert split_options(kind, flags, options) == (found, left)
