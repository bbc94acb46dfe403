# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Trees that somebody hostile has made are removed whole, whatever is in them, and nothing else is."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tracemalloc
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils import launcher
from ansible_collections.unshare.container.plugins.module_utils.launcher import trees
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.launcher.paths import remove_tree

REMOVE = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from launcher.paths import remove_tree
resource.setrlimit(resource.RLIMIT_NOFILE, (10, 10))
sys.setrecursionlimit(50)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
remove_tree(sys.argv[2])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
LONG = b"\xff\n " * 60
"""A name that is no text, so long that a few dozen of it make a path that no call takes."""

MANY = 100_000


def make_deep(top: Path, depth: int) -> None:
    """Make directories in each other, with a file beside each."""
    top.mkdir()
    here = os.open(top, os.O_RDONLY)
    for _level in range(depth):
        os.mkdir(LONG, dir_fd=here)
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        inner = os.open(LONG, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)


@pytest.mark.parametrize("depth", [3_000, 20_000])
def test_any_depth_takes_few_descriptors_no_stack_and_little_memory(tmp_path: Path, depth: int) -> None:
    make_deep(tmp_path / "top", depth)
    command = [sys.executable, "-IS", "-c", REMOVE, str(Path(launcher.__file__).parents[1]), str(tmp_path / "top")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert os.listdir(tmp_path) == []
    assert int(done.stdout) < 16 << 10, "more than 16 MiB"


def test_whatever_is_in_it(tmp_path: Path) -> None:
    top, other = tmp_path / "top", tmp_path / "other"
    (top / "closed").mkdir(parents=True)
    other.mkdir()
    (other / "data").write_text("data")
    for name in (b"\xff", b"a\nb", b"-rf", b"*", b"x" * 255):
        (top / os.fsdecode(name)).write_text("")
        os.mkdir(os.path.join(os.fsencode(top / "closed"), name))
    (top / "link").symlink_to(other)
    (top / "nowhere").symlink_to("/nowhere")
    (top / "itself").symlink_to("itself")
    os.link(other / "data", top / "data")
    os.mkfifo(top / "fifo")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(top / "socket"))
    if os.geteuid() == 0:
        os.mknod(top / "device", 0o600 | 0o20000, os.makedev(1, 3))
        (top / "closed").chmod(0)
    remove_tree(str(top))
    assert os.listdir(tmp_path) == ["other"]
    assert (other / "data").read_text() == "data"


def test_many_in_one_directory(tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    here = os.open(top, os.O_RDONLY)
    for number in range(MANY):
        if number % 10:
            os.mknod(str(number), dir_fd=here)
        else:
            os.mkdir(str(number), dir_fd=here)
    os.close(here)
    remove_tree(str(top))
    assert os.listdir(tmp_path) == []


def tracked_remove(top: Path) -> int:
    """Remove a tree; return how many bytes of memory that took at a time."""
    tracemalloc.start()
    try:
        remove_tree(str(top))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("kind", ["files", "directories", "both"])
def test_the_names_in_one_directory_take_little_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Root inside names what it leaves in a kept journal, and how much that is."""
    monkeypatch.setattr(trees, "PORTION", 100)
    top = tmp_path / "top"
    top.mkdir()
    here = os.open(top, os.O_RDONLY)
    for number in range(2_000):
        name = f"{number:0250d}"
        if kind == "directories" or (kind == "both" and number % 2):
            os.mkdir(name, dir_fd=here)
        else:
            os.mknod(name, dir_fd=here)
    os.close(here)
    assert tracked_remove(top) < 200 << 10
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 6, 7])
def test_portions_of_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(trees, "PORTION", 3)
    for number in range(count):
        for inner in range(count):
            (tmp_path / f"top/{number}/{inner}/x").mkdir(parents=True)
        (tmp_path / f"top/{number}/file").touch()
    (tmp_path / "top").mkdir(exist_ok=True)
    remove_tree(str(tmp_path / "top"))
    assert os.listdir(tmp_path) == []


def test_what_is_listed_and_never_there_is_not_looked_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trees, "PORTION", 2)
    monkeypatch.setattr(trees, "_remove_files", lambda _descriptor: ["gone", "gone as well"])
    (tmp_path / "top").mkdir()
    remove_tree(str(tmp_path / "top"))
    assert os.listdir(tmp_path) == []


def test_a_link_or_nothing(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    remove_tree(str(tmp_path / "link"))
    remove_tree(str(tmp_path / "nothing"))
    remove_tree(str(tmp_path / "nowhere/nothing"))
    assert os.listdir(tmp_path) == ["data"]


Meanwhile = t.Callable[[Path], object]


@pytest.fixture
def once_in(monkeypatch: pytest.MonkeyPatch) -> t.Callable[[Path, Meanwhile], None]:
    """Return a function that lets something happen, once, when a directory in the given one was just listed."""

    def set_up(parent: Path, act: Meanwhile) -> None:
        list_and_empty, acts = trees._remove_files, [act]

        def emptied(descriptor: int) -> list[str]:
            found = list_and_empty(descriptor)
            path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
            if path.parent == parent and acts:
                acts.pop()(path)
            return found

        monkeypatch.setattr(trees, "_remove_files", emptied)

    return set_up


@pytest.fixture
def outside(tmp_path: Path) -> t.Iterator[Path]:
    """Yield a directory beside the tree, with the same names; it is as before after the test."""
    for name in ("a", "b", "inner"):
        (tmp_path / "outside" / name).mkdir(parents=True)
        (tmp_path / "outside" / name / "data").write_text("data")
    yield tmp_path / "outside"
    remove_tree(str(tmp_path / "top"))
    assert os.listdir(tmp_path) == ["outside"]
    assert all((tmp_path / "outside" / name / "data").read_text() == "data" for name in ("a", "b", "inner"))


def test_a_directory_moved_away_meanwhile_leads_nowhere_else(
    tmp_path: Path, outside: Path, once_in: t.Callable[[Path, Meanwhile], None]
) -> None:
    inner = tmp_path / "top/inner"
    for name in ("a", "b"):
        (inner / name).mkdir(parents=True)
    once_in(inner, lambda path: path.rename(outside / "moved"))
    with pytest.raises(LauncherError, match="was moved to another directory meanwhile; try again"):
        remove_tree(str(tmp_path / "top"))


def test_a_link_put_in_the_place_of_a_directory_meanwhile_is_not_followed(
    tmp_path: Path, outside: Path, once_in: t.Callable[[Path, Meanwhile], None]
) -> None:
    top = tmp_path / "top"
    (top / "inner").mkdir(parents=True)

    def swap(_path: Path) -> None:
        (top / "inner").rmdir()
        (top / "inner").symlink_to(outside)

    once_in(tmp_path, swap)
    with pytest.raises(NotADirectoryError):
        remove_tree(str(top))
