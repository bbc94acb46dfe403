# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""T2: an archive that somebody hostile has made is refused, by the file and the reason. Nothing is written outside."""

from __future__ import annotations

import gzip
import os
import tarfile
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.state.target import TargetError
from ansible_collections.unshare.container.plugins.module_utils.trees import archives

from .small_trees import LIMIT, archive, directory, left, making, member

OUTSIDE = "{outside}"
"""Stands for a directory beside the tree, which has the file `secret`."""

LINK, HARD = {"type": tarfile.SYMTYPE}, {"type": tarfile.LNKTYPE}
BASE = (directory("usr"), directory("etc"))

HOSTILE: dict[str, tuple[list[t.Any], str]] = {
    "an absolute name": ([member("/etc/passwd", b"x")], "'/etc/passwd' is an absolute name"),
    "a name upward": ([member("usr/../../escaped", b"x")], "'usr/../../escaped' leads upward"),
    "a name upward at once": ([member("../escaped", b"x")], "'../escaped' leads upward"),
    "a file below a link": (
        [member("etc/link", linkname=OUTSIDE, **LINK), member("etc/link/escaped", b"x")],
        "'etc/link/escaped' lies below 'etc/link', which is a link",
    ),
    "a file below a link upward": (
        [member("etc/link", linkname="../../../../..", **LINK), member("etc/link/tmp/escaped", b"x")],
        "'etc/link/tmp/escaped' lies below 'etc/link', which is a link",
    ),
    "a directory below a link": (
        [member("etc/link", linkname=OUTSIDE, **LINK), directory("etc/link/escaped/deep")],
        "'etc/link/escaped/deep' lies below 'etc/link', which is a link",
    ),
    "a link below a link": (
        [member("etc/link", linkname=OUTSIDE, **LINK), member("etc/link/escaped", linkname="x", **LINK)],
        "lies below 'etc/link', which is a link",
    ),
    "a link in place of a directory": (
        [directory("etc/d"), member("etc/d", linkname=OUTSIDE, **LINK), member("etc/d/escaped", b"x")],
        "lies below 'etc/d', which is a link",
    ),
    "a file below a file": ([member("etc/f", b"x"), member("etc/f/g", b"x")], "below 'etc/f', which is no directory"),
    "a hard link out": (
        [member("etc/stolen", linkname=OUTSIDE + "/secret", **HARD)],
        "to which 'etc/stolen' is a hard link, is an absolute name",
    ),
    "a hard link upward": (
        [member("etc/stolen", linkname="../../secret", **HARD)],
        "to which 'etc/stolen' is a hard link, leads upward",
    ),
    "a hard link through a link": (
        [member("etc/link", linkname=OUTSIDE, **LINK), member("etc/stolen", linkname="etc/link/secret", **HARD)],
        "'etc/stolen' is a hard link to 'etc/link/secret'",
    ),
    "a hard link to nothing": (
        [member("etc/stolen", linkname="etc/nothing", **HARD)],
        "'etc/stolen' is a hard link to 'etc/nothing', of which the tree has nothing",
    ),
    "a hard link to itself": ([member("etc/f", linkname="etc/f", **HARD)], "'etc/f' is a hard link to itself"),
    "a hard link to a directory": ([member("etc/f", linkname="usr", **HARD)], "which is no file"),
    "a device": (
        [member("etc/disk", type=tarfile.BLKTYPE, devmajor=8, devminor=0)],
        "'etc/disk' is a device, and outside of /dev none can be in a tree",
    ),
    "a whiteout of overlayfs": (
        [member("etc/passwd", type=tarfile.CHRTYPE, devmajor=0, devminor=0)],
        "'etc/passwd' is a whiteout of overlayfs",
    ),
    "a whiteout of a layer": ([member("etc/.wh.passwd")], "'etc/.wh.passwd' is a whiteout, as a layer of an image"),
    "usr as a link": ([member("usr", linkname=OUTSIDE, **LINK)], "/usr of it is a link or a file"),
    "etc as a link": ([member("etc", linkname=OUTSIDE, **LINK)], "/etc of it is a link or a file"),
    "dev as a link": ([member("dev", linkname=OUTSIDE, **LINK)], "/dev of it is a link or a file"),
    "the root as a link": ([member("./", linkname=OUTSIDE, **LINK)], "the tree's root is a link"),
    "a link to nowhere": ([member("etc/link", linkname="", **LINK)], "'etc/link' is a link to '', which is no path"),
    "an unknown type": ([member("etc/odd", type=b"Z")], "'etc/odd' is of the unknown type b'Z'"),
    "a long name": ([member("etc/" + "n" * 300, b"x")], "is longer than a path can be"),
    "a vast depth": ([member("a/" * 2000 + "f", b"x")], "lies in more than 200 directories"),
    "a control character": ([member("/etc/\x1b[2J", b"x")], r"'/etc/\\x1b[2J' is an absolute name"),
    "an owner that nobody is": ([member("etc/f", pax_headers={"uid": str(1 << 40)})], "an owner that no file can have"),
    "a negative size": ([member("etc/f", pax_headers={"size": "-1024"})], "damaged|no file can have|backward"),
    "a vast header": ([member("etc/f", pax_headers={"comment": "x" * (2 << 20)})], "headers of one of its members"),
}


def contents(path: Path) -> dict[str, t.Any]:
    """Return what is in a directory, for a comparison."""
    return {str(each.relative_to(path)): each.lstat().st_mode for each in path.rglob("*")}


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    path = tmp_path / "outside"
    path.mkdir()
    (path / "secret").write_text("secret")
    return path


@pytest.mark.parametrize("what", HOSTILE)
def test_t2_a_hostile_archive_is_refused_and_nothing_is_left(tmp_path: Path, outside: Path, what: str) -> None:
    members, said = HOSTILE[what]
    for info, _content in members:
        info.linkname = info.linkname.replace(OUTSIDE, str(outside))
    names = {info.name.strip("./") for info, _content in members}
    path = archive(tmp_path / "a.tar", *[each for each in BASE if each[0].name not in names], *members)
    before = contents(outside)
    beside = sorted(os.listdir(tmp_path))
    with pytest.raises(TargetError, match=said.replace("[", r"\[")) as error:
        making(tmp_path / "root", "archive", {"path": str(path)}).reach("present")
    assert "nothing was changed" in str(error.value)
    assert "\x1b" not in str(error.value)
    assert contents(outside) == before
    assert sorted(set(os.listdir(tmp_path)) - {"root"}) == beside
    assert left(tmp_path / "root") == []


def test_t2_a_bomb_is_refused_by_the_limit(tmp_path: Path) -> None:
    """Of content that its headers announce, of more than they announce, and of headers alone."""
    announced = archive(tmp_path / "announced", *BASE, member("usr/bomb", bytes(LIMIT + 1)), mode="w:gz")
    vast = tmp_path / "vast"
    with gzip.open(vast, "wb", 1) as stream:
        for _part in range(40):
            stream.write(bytes(1 << 20))
    many = archive(tmp_path / "many", *BASE, *[member(f"usr/{number}") for number in range(2000)])
    for path in (announced, vast):
        with pytest.raises(TargetError, match=r"larger than \d+ bytes|it has no /usr"):
            making(tmp_path / "root", "archive", {"path": str(path)}).reach("present")
        assert left(tmp_path / "root") == []
    made = making(tmp_path / "root", "archive", {"path": str(many)}, limit=10).reach("present")
    assert made["files"] == 2003
    assert not made["size"]


def test_t2_the_stream_bounds_what_it_unpacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "BEYOND", 1 << 16)
    path = archive(tmp_path / "a", *BASE, *[member(f"usr/{number}") for number in range(500)], mode="w:gz")
    with pytest.raises(TargetError, match="it unpacks to more than"):
        making(tmp_path / "root", "archive", {"path": str(path)}, limit=10).reach("present")
    assert left(tmp_path / "root") == []


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.97])
def test_t2_an_archive_that_is_cut_off_is_refused_wherever(tmp_path: Path, mode: str, part: float) -> None:
    whole = archive(tmp_path / "whole", *BASE, member("usr/f", os.urandom(40_000)), mode=mode).read_bytes()
    end = len(whole.rstrip(b"\0")) if mode == "w" else len(whole)
    (tmp_path / "cut").write_bytes(whole[: int(end * part)])
    with pytest.raises(TargetError, match="cut off|damaged"):
        making(tmp_path / "root", "archive", {"path": str(tmp_path / "cut")}).reach("present")
    assert left(tmp_path / "root") == []


def test_t2_an_archive_without_its_end_mark_is_refused(tmp_path: Path) -> None:
    whole = archive(tmp_path / "whole", *BASE, member("usr/f", b"x" * 512)).read_bytes()
    (tmp_path / "cut").write_bytes(whole[: 512 * 4])
    with pytest.raises(TargetError, match="ends without the mark of an archive's end: it is cut off"):
        making(tmp_path / "root", "archive", {"path": str(tmp_path / "cut")}).reach("present")


def test_t2_devices_of_dev_are_left_out_and_so_is_what_overlayfs_notes(tmp_path: Path) -> None:
    headers = {"SCHILY.xattr.user.overlay.redirect": "/etc", "SCHILY.xattr.trusted.overlay.opaque": "y"}
    path = archive(
        tmp_path / "a",
        *BASE,
        directory("dev"),
        member("dev/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
        directory("usr/d", pax_headers=headers),
    )
    made = making(tmp_path / "root", "archive", {"path": str(path)}).reach("present")
    assert os.listdir(Path(made["root"]) / "dev") == []
    assert os.listxattr(Path(made["root"]) / "usr/d") == []
