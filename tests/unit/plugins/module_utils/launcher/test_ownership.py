# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory of the host is given to the account that asks for just it, empty and root's; nothing else is changed."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import ownership
from ansible_collections.unshare.container.plugins.module_utils.launcher.contract import Directory
from ansible_collections.unshare.container.plugins.plugin_utils import checks
from ansible_collections.unshare.container.plugins.plugin_utils.etc_files import root_directories

pytestmark = pytest.mark.root


def taken(directory: Path, **entry: t.Any) -> str | None:
    """Offer a directory of the host, and return why it is refused."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return ownership.take(Directory(**{"path": "/x", **entry}), os.fstat(descriptor), descriptor)
    finally:
        os.close(descriptor)


def found(path: Path) -> tuple[str, int, int]:
    status = path.stat()
    return f"{status.st_mode & 0o7777:04o}", status.st_uid, status.st_gid


def made(path: Path, mode: int, ids: tuple[int, int] = (0, 0), name: str = "") -> Path:
    path.mkdir()
    if name:
        (path / name).mkdir()
    path.chmod(mode)
    os.chown(path, *ids)
    return path


@pytest.mark.parametrize("entry", root_directories(), ids=lambda entry: str(entry["path"]))
@pytest.mark.parametrize("mode", [0o700, 0o750, 0o1770])
def test_what_every_system_has_stays_as_the_host_has_it(tmp_path: Path, entry: t.Any, mode: int) -> None:
    path = made(tmp_path / "x", mode)
    assert taken(path, **entry) is None
    assert found(path) == (f"{mode:04o}", 0, 0)


def test_every_directory_of_a_fresh_root_is_among_them() -> None:
    paths = {entry["path"] for entry in root_directories()}
    assert {*checks.ROOT_DIRECTORIES, *checks.STICKY_DIRECTORIES} <= paths


@pytest.mark.parametrize(
    ("before", "declared", "after"),
    [
        (0o700, "0750", "0750"),
        (0o755, "0700", "0700"),
        (0o700, "0755", "0750"),
        (0o700, "1777", "1770"),
        (0o751, "0777", "0771"),
        (0o777, "0755", "0755"),
        (0o755, "2775", "2775"),
    ],
)
def test_an_account_gets_what_it_asks_for_and_others_nothing_new(
    tmp_path: Path, before: int, declared: str, after: str
) -> None:
    path = made(tmp_path / "x", before, name="lost+found")
    assert taken(path, uid=902, gid=902, mode=declared) is None
    assert found(path) == (after, 902, 902)


def test_a_group_alone_may_ask(tmp_path: Path) -> None:
    path = made(tmp_path / "x", 0o755)
    assert taken(path, gid=4, mode="2770") is None
    assert found(path) == ("2770", 0, 4)


@pytest.mark.parametrize(
    ("ids", "name", "entry", "refused"),
    [
        pytest.param((0, 0), "file", {"uid": 902, "gid": 902}, True, id="not_empty"),
        pytest.param((107, 107), "", {"uid": 902, "gid": 902}, True, id="of_another"),
        pytest.param((902, 5), "file", {"uid": 902, "gid": 902, "mode": "0777"}, False, id="its_own"),
        pytest.param((33, 33), "", {"mode": "0755"}, False, id="asked_for_root"),
        pytest.param((0, 0), "", {"mode": "0777", "data": True}, False, id="data_of_roots"),
    ],
)
def test_all_else_is_left_alone(tmp_path: Path, ids: tuple[int, int], name: str, entry: t.Any, refused: bool) -> None:
    path = made(tmp_path / "x", 0o710, ids, name)
    assert bool(taken(path, **entry)) == refused
    assert found(path) == ("0710", *ids)
