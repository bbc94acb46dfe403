# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""An archive comes to its path whole or not at all, whatever lies beside it, and whoever else writes there (V5)."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.state import archive_files
from ansible_collections.unshare.container.plugins.module_utils.state.archive_files import (
    UNFINISHED,
    new_file,
    parent_of,
)
from ansible_collections.unshare.container.plugins.module_utils.state.target import TargetError


@pytest.fixture(params=["without a name", "with a name"], autouse=True)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have new files as a file system makes them that has O_TMPFILE, and as NFS does, which has not."""
    opened = os.open

    def without(path: str, flags: int, *arguments: t.Any, **options: t.Any) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(95, "Operation not supported")
        return opened(path, flags, *arguments, **options)

    if request.param == "with a name":
        monkeypatch.setattr(archive_files.os, "open", without)


def test_two_that_write_one_path_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "shop.tar"
    with new_file(str(path)) as first:
        first.write(b"first")
        with new_file(str(path)) as second:
            second.write(b"second")
        assert path.read_bytes() == b"second"
        first.write(b", whole")
    assert path.read_bytes() == b"first, whole"
    assert os.listdir(tmp_path) == ["shop.tar"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_others_keep_beside_it_stays(tmp_path: Path) -> None:
    kept = {"shop.tar.new", ".unshare-archive-.new", UNFINISHED % "mine"}
    for name in kept:
        (tmp_path / name).write_text("precious")
    with new_file(str(tmp_path / "shop.tar")) as file:
        file.write(b"x")
    assert {*os.listdir(tmp_path)} == {"shop.tar", *kept}


def test_what_a_killed_run_left_goes_with_the_next(tmp_path: Path) -> None:
    (tmp_path / (UNFINISHED % ("0" * 32))).write_text("half")
    with new_file(str(tmp_path / "shop.tar")) as file:
        file.write(b"x")
    assert os.listdir(tmp_path) == ["shop.tar"]


def test_nothing_is_left_of_one_that_fails(tmp_path: Path) -> None:
    path = tmp_path / "shop.tar"
    path.write_text("former")

    def half() -> None:
        with new_file(str(path)) as file:
            file.write(b"half")
            raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        half()
    assert os.listdir(tmp_path) == ["shop.tar"]
    assert path.read_text() == "former"


@pytest.mark.parametrize("path", ["shop.tar", "/", "/srv/", "/srv/../shop.tar", "/srv/..", "/../shop.tar"])
def test_a_path_is_absolute_and_leads_where_it_says(path: str) -> None:
    with pytest.raises(TargetError, match=r"no absolute path of a file, without `\.\.`"):
        parent_of(path)
    assert parent_of("/srv/..shop./x.tar") == "/srv/..shop."
