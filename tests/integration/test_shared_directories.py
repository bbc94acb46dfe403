# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests remove only what they have made."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import linux, mount_calls
from ansible_collections.unshare.container.plugins.module_utils.state.locks import Lock
from ansible_collections.unshare.container.tests.integration import shared_directories

from .conftest import held_directory, write_system
from .lives import Run, reach

NAME = "test-shared-directories"


def relative_to_a_descriptor(path: Path) -> None:
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.rmdir(path.name, dir_fd=descriptor)
    finally:
        os.close(descriptor)


def below_the_working_directory(path: Path) -> None:
    with contextlib.chdir(path.parent):
        os.rmdir(path.name)


def as_a_parent(path: Path) -> None:
    (path / "own").mkdir()
    os.removedirs(path / "own")


def whatever_goes_wrong(path: Path) -> None:
    with contextlib.suppress(Exception):
        shutil.rmtree(path, ignore_errors=True)


WAYS: list[t.Callable[[Path], None]] = [
    Path.rmdir,
    os.rmdir,
    shutil.rmtree,
    relative_to_a_descriptor,
    below_the_working_directory,
    as_a_parent,
    whatever_goes_wrong,
]


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty directory that counts as one that others use."""
    path = tmp_path / "shared"
    path.mkdir()
    monkeypatch.setattr(shared_directories, "SHARED", shared_directories.SHARED | {str(path)})
    return path


@pytest.mark.parametrize("remove", WAYS)
def test_a_shared_directory_stays(shared: Path, remove: t.Callable[[Path], None]) -> None:
    with pytest.raises(shared_directories.SharedDirectory, match=str(shared)):
        remove(shared)
    assert shared.is_dir()


@pytest.mark.parametrize("remove", WAYS)
def test_a_directory_of_a_tests_own_goes(shared: Path, remove: t.Callable[[Path], None]) -> None:
    own = shared / "own/directory"
    own.mkdir(parents=True)
    (shared / "other").mkdir()
    try:
        remove(own)
    except shared_directories.SharedDirectory:
        assert remove is as_a_parent
    assert not own.exists()


def test_what_the_collection_removes_is_for_it_to_say(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "ansible_collections.unshare.container.plugins.module_utils.state.locks.RUN_DIRECTORY", str(shared)
    )
    with Lock("test-one", str(shared / "test-one"), 1, lambda: None):
        assert shared.is_dir()
    assert not shared.exists()


def test_a_directory_that_is_held_is_not_removed_as_an_empty_one(tmp_path: Path) -> None:
    place = tmp_path / "place"
    with held_directory(place, Path.mkdir), pytest.raises(OSError, match="not empty"):
        place.rmdir()
    assert list(place.iterdir()) == []


@pytest.mark.root
@pytest.mark.usefixtures("host_unchanged")
@pytest.mark.parametrize("place", ["/run/unshare", "/var/lib/unshare"])
def test_what_is_mounted_at_a_place_of_all_containers_stays_after_the_last_of_this_machine(place: str) -> None:
    mounted, go = os.pipe(), os.pipe()

    def elsewhere() -> str:
        os.close(go[1])
        linux.unshare(linux.CLONE_NEWNS)
        mount_calls.make_private("/")
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place], check=True)
        os.write(mounted[1], b"1")
        os.read(go[0], 1)
        lines = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
        return " ".join(words[2] for words in lines if words[1] == place)

    run = Run(elsewhere)
    os.close(mounted[1])
    os.close(go[0])
    try:
        if os.read(mounted[0], 1):
            reach(NAME, "started", write_system({"host_name": NAME}, NAME))
            reach(NAME, "absent")
    finally:
        os.close(go[1])
        os.close(mounted[0])
        end = run.end()
    assert end == (0, "tmpfs")
