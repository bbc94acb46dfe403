# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mount points that are made where somebody else may write, too."""

from __future__ import annotations

import os
import stat
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import mounts
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError


@pytest.mark.parametrize("directory", [True, False])
def test_what_was_made_is_not_followed_when_a_link_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, directory: bool
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "data").mkdir()
    mkdir, close = os.mkdir, os.close

    def exchange() -> None:
        place = tmp_path / "data/point"
        if place.exists() and not place.is_symlink():
            place.rmdir() if directory else place.unlink()
            place.symlink_to("/run")

    def make(*arguments: t.Any, **options: t.Any) -> None:
        mkdir(*arguments, **options)
        exchange()

    def close_and_exchange(descriptor: int) -> None:
        close(descriptor)
        exchange()

    monkeypatch.setattr(os, "mkdir", make)
    if not directory:
        monkeypatch.setattr(os, "close", close_and_exchange)
    root = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    target = mounts.Tree(root).target("/data/point", directory)
    monkeypatch.undo()
    assert stat.S_ISLNK(os.fstat(target).st_mode)
    os.close(target)
    os.close(root)


def test_a_link_in_its_place_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    root, mount = (os.open(tmp_path, os.O_PATH | os.O_DIRECTORY) for _number in range(2))
    tree = mounts.Tree(root)
    link = os.open("link", os.O_PATH | os.O_NOFOLLOW, dir_fd=root)
    monkeypatch.setattr(tree, "target", lambda _path, _directory: link)
    with pytest.raises(LauncherError, match="/data/point: has become a symbolic link"):
        tree.attach(mount, "/data/point")
    os.close(root)
