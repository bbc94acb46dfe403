# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Archives and copies are the same, whether another process helps with them or not (V4, V5)."""

from __future__ import annotations

import os
import random
import stat
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.state import (
    file_writing,
    helper,
    snapshots,
    tree_copy,
    volume_archives,
)
from ansible_collections.unshare.container.plugins.module_utils.state.archive_streams import Checksum
from ansible_collections.unshare.container.plugins.module_utils.state.file_writing import write_small
from ansible_collections.unshare.container.plugins.module_utils.state.helper import Helper
from ansible_collections.unshare.container.plugins.module_utils.state.tar_members import Member, TarKind
from ansible_collections.unshare.container.plugins.module_utils.state.target import TargetError
from ansible_collections.unshare.container.plugins.module_utils.state.unpacking import Unpacker
from ansible_collections.unshare.container.plugins.module_utils.state.volume_archives import (
    ArchiveManifest,
    VolumesArchive,
)
from ansible_collections.unshare.container.tests.trees_alike import described

ALONE, HELPED = {0}, {0, 1}
FILES = 400
ODD = (b"new\nline", b"\xff\xfe", b"x" * 255)

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners and devices are root's to give")
Processors = t.Callable[[set[int]], None]


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[t.Any]:
    """Return what the helper has answered so far."""
    found: list[t.Any] = []
    real = helper._get

    def get(*arguments: t.Any) -> t.Any:
        found.append(real(*arguments))
        return found[-1]

    monkeypatch.setattr(helper, "_get", get)
    return found


@pytest.fixture
def processors(monkeypatch: pytest.MonkeyPatch) -> Processors:
    """Return a function that says which processors there are."""
    return lambda numbers: monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: numbers)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with a volume `data`, in which files of every kind stand between usual ones."""
    top = tmp_path_factory.mktemp("tree")
    choices = random.Random(3)
    for name in ("data", "data/a", "data/a/b", "data/c"):
        (top / name).mkdir()
        for number in range(FILES if name != "data/a/b" else 3):
            _make(top / name, number, choices)
        os.utime(top / name, ns=(3, choices.randrange(10**18, 2 * 10**18)))
    for kind in ("link", "fifo", "whiteout"):
        for name, count in ((f"data/{kind}s", 100), (f"data/files and {kind}s", 40)):
            (top / name).mkdir()
            for number in range(count):
                _make_other(top / name / f"z{number}", kind)
        for number in range(40):
            (top / f"data/files and {kind}s/a{number}").write_text("content")
    os.chmod(top / "data/c", 0o2751)
    os.link(top / "data/a/plain-0", top / "data/c/of-elsewhere")
    return top


def _make(directory: Path, number: int, choices: random.Random) -> None:
    path = directory / f"plain-{number}"
    path.write_bytes(choices.randbytes(choices.choice([0, 1, 511, 512, 513, 5000])))
    kind = number % 12 if number > 3 else 0
    if kind == 1:
        path.write_bytes(bytes(100_000))
    elif kind == 2:
        os.truncate(path, 1 << 30)
    elif kind == 3:
        os.setxattr(path, "user.word", b"value")
    elif kind == 4:
        os.link(path, directory / f"again-{number}")
    elif kind == 5:
        path.unlink()
        path.symlink_to("elsewhere")
    elif kind == 6:
        path.unlink()
        os.mkfifo(path)
    elif kind == 7:
        path = path.rename(os.fsdecode(os.fsencode(directory / f"{number}") + ODD[number // 12 % 3][: 255 - 4]))
    elif kind == 8:
        os.chown(path, 1234, 0x12345678)
        os.chmod(path, 0o6755)
    if not path.is_symlink():
        os.utime(path, ns=(5, choices.choice([7, 10**18 + 9, 2 * 10**18, 10**19])))


def _make_other(path: Path, kind: str) -> None:
    if kind == "link":
        path.symlink_to("elsewhere")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        os.mknod(path, stat.S_IFCHR | 0o600, 0)


def export(tree: Path, path: Path) -> bytes:
    manifest = ArchiveManifest(format=1, container="c", volumes=["data"], boot="boot", time=1, uptime=1)
    with path.open("wb", buffering=0) as file:
        volume_archives.write(file, manifest, lambda name: os.open(tree / name, os.O_RDONLY))
    return path.read_bytes()


def unpack(path: Path, target: Path) -> Path:
    target.mkdir()
    with path.open("rb", buffering=0) as file, Helper(write_small) as helping, Checksum() as checksum:
        archive = VolumesArchive(file, checksum)
        with Unpacker(str(target), helping) as unpacker:
            archive.read(unpacker.write)
    return target / "data"


def test_v5_an_export_is_the_same(tree: Path, tmp_path: Path, processors: Processors, answers: list[t.Any]) -> None:
    processors(ALONE)
    alone = export(tree, tmp_path / "alone")
    assert not answers
    processors(HELPED)
    assert export(tree, tmp_path / "helped") == alone
    assert sum(length > 0 for lengths, _size, _members in answers for length in lengths) > FILES / 10


def test_v5_an_import_is_the_same(tree: Path, tmp_path: Path, processors: Processors, answers: list[t.Any]) -> None:
    processors(ALONE)
    export(tree, tmp_path / "archive")
    for numbers in (ALONE, HELPED):
        processors(numbers)
        assert described(unpack(tmp_path / "archive", tmp_path / f"on-{len(numbers)}")) == described(tree / "data")
        assert bool(sum(answers)) == (numbers == HELPED)


def test_v4_a_copy_is_the_same(tree: Path, tmp_path: Path, processors: Processors, answers: list[t.Any]) -> None:
    counts = []
    for numbers in (ALONE, HELPED):
        processors(numbers)
        target = tmp_path / f"on-{len(numbers)}"
        target.mkdir()
        done = snapshots.copy(tree, "data", target)
        counts.append((done.size, done.files, done.sockets, done.devices))
        assert described(target / "data") == described(tree / "data")
        assert os.listdir(target) == ["data"]
    assert counts[0] == counts[1]
    assert sum(blocks != tree_copy.NOT_COPIED for answer in answers for blocks in answer) > FILES / 4


def test_v5_in_a_directory_whose_group_files_take_over(tree: Path, tmp_path: Path, processors: Processors) -> None:
    processors(HELPED)
    export(tree, tmp_path / "archive")
    os.chown(tmp_path, 0, 77)
    os.chmod(tmp_path, 0o2700)
    assert described(unpack(tmp_path / "archive", tmp_path / "out")) == described(tree / "data")


def test_v5_who_goes_back_to_a_directory_finds_it_finished(
    tmp_path: Path, processors: Processors, answers: list[t.Any]
) -> None:
    """Its group goes over to new files then, which have their own all the same."""
    processors(HELPED)
    with Helper(write_small) as helping, Unpacker(str(tmp_path), helping) as unpacker:
        unpacker.write(Member(b"data", TarKind.DIRECTORY), ())
        for number in range(12):
            if not number % 2:
                inner = b"data/%d" % number
                unpacker.write(Member(inner, TarKind.DIRECTORY, 0o2755, 0, 77), ())
                unpacker.write(Member(inner + b"/further", TarKind.DIRECTORY), ())
            for name in range(140):
                path = inner + b"/%d-%d" % (number, name)
                unpacker.write(Member(path, TarKind.FILE, 0o644, size=1), (memoryview(b"x"),))
            unpacker.write(Member(b"data/between-%d" % number, TarKind.DIRECTORY), ())
    files = [path for path in (tmp_path / "data").rglob("*-*") if path.is_file()]
    assert len(files) == 12 * 140
    assert {path.stat().st_gid for path in files} == {0}
    assert sum(answers)


def small(name: bytes) -> Member:
    return Member(b"data/" + name, TarKind.FILE, 0o644, size=1)


@pytest.mark.parametrize("numbers", [ALONE, HELPED], ids=["alone", "helped"])
@pytest.mark.parametrize("place", [0, 40, 64, 100, 199])
@pytest.mark.parametrize("kind", [TarKind.FILE, TarKind.LINK, TarKind.DIRECTORY, TarKind.FIFO, TarKind.HARD_LINK])
def test_v5_what_is_in_it_twice_is_refused(
    tmp_path: Path, processors: Processors, numbers: set[int], place: int, kind: str
) -> None:
    processors(numbers)
    twice = small(b"%d" % place)
    twice.kind = kind
    if kind != TarKind.FILE:
        twice.size = 0
        twice.target = b"data/1" if kind == TarKind.HARD_LINK else b"target"

    def work() -> None:
        with Helper(write_small) as helping, Unpacker(str(tmp_path), helping) as unpacker:
            unpacker.write(Member(b"data", TarKind.DIRECTORY), ())
            for number in range(200):
                unpacker.write(small(b"%d" % number), (memoryview(b"x"),))
            unpacker.write(twice, (memoryview(b"x"),) if kind == TarKind.FILE else ())

    with pytest.raises(TargetError, match=f"data/{place}' is in it twice"):
        work()


@pytest.mark.parametrize("numbers", [ALONE, HELPED], ids=["alone", "helped"])
@pytest.mark.parametrize("work", ["import", "copy"])
def test_v6_without_room_the_error_says_so(
    tree: Path, tmp_path: Path, processors: Processors, numbers: set[int], work: str
) -> None:
    processors(numbers)
    export(tree, tmp_path / "archive")
    full = tmp_path / "full"
    full.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nr_inodes=700", "none", full], check=True)
    works = {
        "import": lambda: unpack(tmp_path / "archive", full / "out"),
        "copy": lambda: snapshots.copy(tree, "data", full),
    }
    try:
        with pytest.raises(OSError, match="No space left"):
            works[work]()
    finally:
        subprocess.run(["umount", full], check=True)


def test_v6_without_room_little_is_written_twice(
    tmp_path: Path, processors: Processors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile the container stands still, and its host has no room."""
    processors(HELPED)
    (tmp_path / "from/data").mkdir(parents=True)
    for number in range(200):
        (tmp_path / f"from/data/{number}").write_bytes(bytes(300_000))
    (tmp_path / "full").mkdir()
    with (tmp_path / "begun").open("wb", buffering=0) as begun:
        real = tree_copy._copy_range

        def copy_range(*arguments: int) -> None:
            begun.write(b"x")
            real(*arguments)

        monkeypatch.setattr(tree_copy, "_copy_range", copy_range)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", tmp_path / "full"], check=True)
        try:
            with pytest.raises(OSError, match="No space left"):
                snapshots.copy(tmp_path / "from", "data", tmp_path / "full")
        finally:
            subprocess.run(["umount", tmp_path / "full"], check=True)
    assert (tmp_path / "begun").stat().st_size < 7 + 2 * helper.PARTS


def test_what_cannot_be_written_for_a_moment_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The helper leaves nothing of it in the way."""
    (tmp_path / "full").touch()
    real, here = os.utime, os.getpid()

    def utime(file: t.Any, *arguments: t.Any, **named: t.Any) -> None:
        if os.getpid() != here and stat.S_ISREG(os.stat(file).st_mode):
            raise OSError(5, "for a moment")
        real(file, *arguments, **named)

    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: HELPED)
    monkeypatch.setattr(file_writing.os, "utime", utime)
    (tmp_path / "from/data").mkdir(parents=True)
    for number in range(200):
        (tmp_path / f"from/data/{number}").write_text("x")
    (tmp_path / "to").mkdir()
    snapshots.copy(tmp_path / "from", "data", tmp_path / "to")
    assert described(tmp_path / "to/data") == described(tmp_path / "from/data")


def test_v4_a_helper_that_is_killed_is_an_error(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, real = os.getpid(), os.fchmod

    def fchmod(file: int, mode: int) -> None:
        if os.getpid() != here:
            os.kill(os.getpid(), 9)
        real(file, mode)

    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: HELPED)
    monkeypatch.setattr(os, "fchmod", fchmod)
    with pytest.raises(LauncherError, match="has ended before"):
        snapshots.copy(tree, "data", tmp_path)
