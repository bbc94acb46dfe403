# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is read of mountinfo, and which mounts a path leads through."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import mount_table

LINE = (
    r"36 35 98:0 /mnt\0401\134 /a\011b\012c\043d\134e rw,noatime master:1 propagate_from:2 - ext3 /dev/r\040t rw,x=\043"
)


def test_a_line_is_taken_apart() -> None:
    (mount,) = mount_table.parse(LINE.encode() + b"\n")
    assert vars(mount) == {
        "number": 36,
        "parent": 35,
        "device": "98:0",
        "part": "/mnt 1\\",
        "point": "/a\tb\nc#d\\e",
        "options": ["rw", "noatime"],
        "shared": False,
        "kind": "ext3",
        "source": "/dev/r t",
        "settings": "rw,x=#",
    }


def test_a_backslash_is_taken_apart_last() -> None:
    assert mount_table.unescape(r"a\134040b") == r"a\040b"


@pytest.mark.parametrize(
    ("text", "points"),
    [
        (b"", []),
        (b"1 0 0:1 / / rw - tmpfs\n", ["/"]),
        (b"1 0 0:1 / /a rw - tmpfs none\n\nnonsense\nx y 0:1 / /b rw - a b c\n2 0 0:1 / /c rw - a b c\n", ["/a", "/c"]),
        ("1 0 0:1 / /a\u2028b\x0c\x85 rw - a b c\n".encode(), ["/a\u2028b\x0c\x85"]),
        (b"1 0 0:1 / /\xff rw - a b c", ["/\udcff"]),
    ],
)
def test_lines_that_cannot_be_read_are_left_out(text: bytes, points: list[str]) -> None:
    assert [mount.point for mount in mount_table.parse(text)] == points


def test_a_part_of_a_table_ends_with_a_whole_line(tmp_path: Path) -> None:
    lines = [b"%d 0 0:1 / /%d rw - a b c\n" % (number, number) for number in range(1, 10)]
    table = tmp_path / "table"
    table.write_bytes(b"".join(lines))
    whole = len(b"".join(lines))
    assert len(mount_table.read(str(table))) == 9
    for size, count, is_all in ((whole, 9, True), (whole - 1, 8, False), (len(lines[0]) + 3, 1, False), (3, 0, False)):
        mounts, all_of_them = mount_table.read_some(str(table), size)
        assert (len(mounts), all_of_them) == (count, is_all)


@pytest.mark.parametrize(
    ("kind", "points"),
    [
        ("autofs", ["/a", "/d"]),
        ("tmpfs", ["/b"]),
        ("auto", []),
        ("shared:1", []),
        ("none", []),
        ("ext4", ["/c - autofs "]),
    ],
)
def test_one_kind_of_mount_is_found(monkeypatch: pytest.MonkeyPatch, kind: str, points: list[str]) -> None:
    lines = [
        b"1 0 0:1 / /a rw - autofs systemd-1 rw",
        b"2 0 0:1 / /b rw shared:1 - tmpfs none rw",
        rb"3 0 0:1 /autofs /c\040-\040autofs\040 rw - ext4 autofs rw,autofs",
        b"4 0 0:1 / /d rw shared:1 master:2 - autofs none rw",
    ]
    monkeypatch.setattr(mount_table, "_read", lambda path, _limit: b"\n".join(lines) if "self" in path else b"")
    assert [mount.point for mount in mount_table.read_kind(kind)] == points


def test_a_table_is_read_page_by_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mount_table, "READ_SIZE", 7)
    table = tmp_path / "table"
    table.write_bytes(b"1 0 0:1 / /a rw - a b c\n" * 3)
    assert len(mount_table.read(str(table))) == 3


@pytest.mark.parametrize(
    ("path", "numbers"),
    [
        ("/", [1]),
        ("/x", [1]),
        ("/a", [1, 2]),
        ("/a/y", [1, 2]),
        ("/ab", [1]),
        ("/a/b", [1, 2, 4]),  # 3 lies below 4, which is mounted upon it
        ("/a/b/c/d", [1, 2, 4, 5]),
        ("/hidden/x", [1, 7]),  # 6 was mounted there before 7 hid it
        ("/loop", [1, 8]),
    ],
)
def test_the_way_of_a_path(path: str, numbers: list[int]) -> None:
    table = """1 0 0:1 / / rw - a b c
2 1 0:2 / /a rw - a b c
3 2 0:3 / /a/b rw - a b c
4 3 0:4 / /a/b rw - a b c
5 4 0:5 / /a/b/c rw - a b c
6 1 0:6 / /hidden/x rw - a b c
7 1 0:7 / /hidden rw - a b c
8 1 0:8 / /loop rw - a b c
"""
    assert [mount.number for mount in mount_table.way(mount_table.parse(table.encode()), path)] == numbers


def test_the_first_mount_may_be_its_own_parent_or_have_one_that_is_not_seen() -> None:
    for parent in (1, 77):
        table = f"1 {parent} 0:1 / / rw - a b c\n2 1 0:2 / /a rw - a b c\n"
        assert [mount.number for mount in mount_table.way(mount_table.parse(table.encode()), "/a/b")] == [1, 2]
    assert mount_table.way([], "/a") == []
