# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Paths below a root whose links nobody vouches for: both ways to resolve them, and what they must never reach."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import lookup
from hypothesis import given, settings
from hypothesis import strategies as st

Resolve = t.Callable[[int, str], str]
PARTS = ("a", "b", "link", "up", "root", "file", "..", ".", "missing")


def by_kernel(root: int, path: str) -> str:
    descriptor = lookup.open_below(root, path)
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def by_steps(root: int, path: str) -> str:
    descriptor = lookup.open_found(root, path, os.O_PATH)
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


@pytest.fixture(scope="module")
def top(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tree of directories, files and links of every kind."""
    path = tmp_path_factory.mktemp("tree")
    (path / "a/b/a").mkdir(parents=True)
    (path / "file").write_text("root\n")
    (path / "a/file").write_text("a\n")
    (path / "link").symlink_to("a/b")
    (path / "a/link").symlink_to("/a/b")
    (path / "a/up").symlink_to("../..")
    (path / "up").symlink_to("../../../../etc")
    (path / "a/root").symlink_to("/")
    (path / "root").symlink_to("/a/./up//")
    (path / "a/b/link").symlink_to("link")
    return path


@pytest.fixture
def root(top: Path) -> t.Iterator[int]:
    descriptor = lookup.open_root(str(top))
    yield descriptor
    os.close(descriptor)


@given(parts=st.lists(st.sampled_from(PARTS), max_size=7), absolute=st.booleans())
@settings(max_examples=400)
def test_both_ways_lead_to_the_same_place(top: Path, parts: list[str], absolute: bool) -> None:
    path = ("/" if absolute else "") + "/".join(parts)
    root = lookup.open_root(str(top))
    try:
        found: list[str | int | None] = []
        for resolve in (by_kernel, by_steps):
            try:
                found.append(resolve(root, path))
            except OSError as error:
                found.append(error.errno)
        assert found[0] == found[1]
        if isinstance(found[0], str):
            assert found[0] == str(top) or found[0].startswith(f"{top}/")
    finally:
        os.close(root)


@pytest.mark.parametrize("resolve", [by_kernel, by_steps])
@pytest.mark.parametrize(
    "target",
    [
        "/proc/self/fd/{}",
        "/proc/self/root",
        "/proc/self/cwd",
        "/proc/self/exe",
        "/proc/thread-self/root",
        "/proc/1/root",
    ],
)
def test_no_magic_link_leads_out(tmp_path: Path, resolve: Resolve, target: str) -> None:
    """With a real procfs in the tree, the host's own, in which the links of this very process are."""
    (tmp_path / "outside").mkdir()
    secret = os.open(tmp_path / "outside", os.O_PATH | os.O_DIRECTORY)
    root = lookup.open_root("/")
    (tmp_path / "link").symlink_to(target.format(secret))
    try:
        with contextlib.suppress(OSError):
            place = resolve(root, f"{tmp_path}/link/etc/shadow")
            # What a magic link is called is a path like any other: only of this root, never of another.
            assert place == "/etc/shadow"
            assert resolve is by_steps
    finally:
        os.close(root)
        os.close(secret)


def test_a_directory_is_made_with_its_parents(root: int, top: Path) -> None:
    os.close(lookup.make_directory_below(root, "/a/link/new/er", 0o755))
    assert (top / "a/b/new/er").is_dir()
    os.close(lookup.make_directory_below(root, "/a/link/new/er", 0o755))


@pytest.mark.parametrize(("path", "error"), [("/file/x", NotADirectoryError), ("/file", NotADirectoryError)])
def test_a_directory_is_not_made_in_place_of_a_file(root: int, path: str, error: type[OSError]) -> None:
    with pytest.raises(error):
        lookup.make_directory_below(root, path, 0o755)


def test_a_directory_is_not_made_where_a_link_leads_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("elsewhere")
    root = lookup.open_root(str(tmp_path))
    with pytest.raises(NotADirectoryError):
        lookup.make_directory_below(root, "/link", 0o755)
    os.close(root)
    assert os.listdir(tmp_path) == ["link"]


def test_descriptors_are_given_back(root: int) -> None:
    before = os.listdir("/proc/self/fd")
    for path in ("/a/link/a", "/up", "/a/b/link", "/missing/x", "/file/x", "/..", "/a/up/a/root/file"):
        with contextlib.suppress(OSError):
            directory, _name = lookup.find(root, path)
            os.close(directory)
    assert os.listdir("/proc/self/fd") == before


def test_a_directory_is_not_made_where_a_link_leads_into_another_file_system(tmp_path: Path) -> None:
    """As from a writable mapping, where anybody who shares it can leave a link, into the root or another mapping."""
    places = [place for place in ("/dev/shm", "/run", "/var/tmp") if os.access(place, os.W_OK)]
    taken = {tmp_path.stat().st_dev, os.stat("/").st_dev}
    others = [place for place in places if os.stat(place).st_dev not in taken]
    if not others:
        pytest.skip("no second file system can be written to here")
    root = lookup.open_root("/")
    shared = Path(tempfile.mkdtemp(dir=others[0]))
    try:
        (tmp_path / "victim").mkdir(mode=0o700)
        (shared / "own").mkdir()
        (shared / "out").symlink_to(tmp_path)
        (shared / "in").symlink_to("own")
        (tmp_path / "there").symlink_to(shared)
        for path in (f"{shared}/out/victim", f"{shared}/out/new"):
            with pytest.raises(OSError, match="leads out of the mapping"):
                lookup.make_directory_below(root, path, 0o755)
        allowed = [f"{shared}/in/new"]
        if tmp_path.stat().st_dev == os.stat("/").st_dev:  # only there is a link the launcher's own
            allowed.append(f"{tmp_path}/there/new")
        for path in allowed:
            os.close(lookup.make_directory_below(root, path, 0o755))
        assert sorted(os.listdir(tmp_path)) == ["there", "victim"]
    finally:
        shutil.rmtree(shared)
        os.close(root)
