# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A file is replaced whole: with the mode that was asked for, and with nothing left beside it."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.paths import (
    AT_ONCE,
    NEW,
    read_text,
    write_atomically,
)


@pytest.fixture
def narrow_umask() -> t.Iterator[None]:
    former = os.umask(0o077)
    yield
    os.umask(former)


def contents(directory: Path) -> dict[str, str]:
    return {path.name: path.read_text("utf-8") for path in directory.iterdir()}


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_the_mode_is_the_one_asked_for(tmp_path: Path, narrow_umask: None, mode: int) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o666)
    write_atomically(str(path), "grüße\n", mode)
    assert path.stat().st_mode & 0o7777 == mode
    assert contents(tmp_path) == {"file": "grüße\n"}


def test_what_a_killed_writer_has_left_is_written_anew(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("somebody's")
    (tmp_path / ("file" + NEW)).symlink_to(other)
    write_atomically(str(tmp_path / "file"), "new")
    assert contents(tmp_path) == {"file": "new", "other": "somebody's"}


def test_it_is_written_aside_where_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    rename = os.rename

    def seen_to_rename(old: str, new: str) -> None:
        seen.append(old)
        rename(old, new)

    monkeypatch.setattr(os, "rename", seen_to_rename)
    (tmp_path / "names").mkdir()
    write_atomically(str(tmp_path / "names/1"), "text", aside=str(tmp_path / ".17"))
    assert seen == [str(tmp_path / ".17")]
    assert contents(tmp_path / "names") == {"1": "text"}


def test_a_file_that_cannot_be_put_into_place_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file/full").mkdir(parents=True)
    with pytest.raises(OSError, match="file"):
        write_atomically(str(tmp_path / "file"), "text")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("size", [0, 1, AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, 3 * AT_ONCE])
@pytest.mark.parametrize("limit", [1, AT_ONCE, AT_ONCE + 1, 2 * AT_ONCE, 1 << 20])
def test_a_text_is_read_to_its_limit(tmp_path: Path, size: int, limit: int) -> None:
    path = tmp_path / "file"
    path.write_text("".join(chr(97 + number % 26) for number in range(size)))
    assert read_text(str(path), limit) == path.read_text()[:limit]


def test_what_the_kernel_lists_is_read_beyond_its_first_page() -> None:
    """One read(2) of it gives a page at most."""
    symbols = Path("/proc/kallsyms").read_text()
    assert len(symbols) > 1 << 20
    for limit in (5000, 1 << 17, 1 << 20):
        assert read_text("/proc/kallsyms", limit) == symbols[:limit]
