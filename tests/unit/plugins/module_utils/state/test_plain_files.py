# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files that are read with few steps have the members that all steps would give them; any other has none (V5)."""

from __future__ import annotations

import io
import os
import stat
import threading
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.state import helper, volume_archives
from ansible_collections.unshare.container.plugins.module_utils.state.archive_streams import Checksum, Sink
from ansible_collections.unshare.container.plugins.module_utils.state.increments import stamp
from ansible_collections.unshare.container.plugins.module_utils.state.plain_files import (
    ROOM_OF_ANSWER,
    SMALL,
    plain_members,
)
from ansible_collections.unshare.container.plugins.module_utils.state.tar_members import (
    ID_ROOM,
    NAME_ROOM,
    TAR_PART,
    Member,
    TarKind,
    padding,
)
from ansible_collections.unshare.container.plugins.module_utils.state.volume_archives import ArchiveManifest

ABOVE = b"data/"
TIME = 1_700_000_000_123_456_789  # nanoseconds
LONGEST = "l" * (NAME_ROOM - len(ABOVE))


def members(directory: Path, names: t.Sequence[str], stamped: bool = False) -> tuple[list[int], int, bytes]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return plain_members([descriptor], (ABOVE, [os.fsencode(name) for name in names], stamped))
    finally:
        os.close(descriptor)


def member(path: Path, stamped: bool) -> bytes:
    """Return what all steps make of a file."""
    status, content = path.stat(), path.read_bytes()
    told = stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns, status.st_size
    known = stamp(status) if stamped else b""
    head = Member(ABOVE + os.fsencode(path.name), TarKind.FILE, *told, stamp=known).head()
    return head + content + padding(len(content))


@pytest.mark.root
@pytest.mark.parametrize("stamped", [False, True])
def test_they_are_what_all_steps_make_of_them(tmp_path: Path, stamped: bool) -> None:
    for name, content, mode, owner in (
        ("empty", b"", 0o600, 0),
        ("one", b"x", 0o644, 1000),
        ("block", b"x" * 512, 0o4755, 0),
        ("small", os.urandom(SMALL), 0o7777, ID_ROOM - 1),
        ("not there", b"", 0o000, 0),
        (LONGEST, b"x", 0o400, 5),
        ("labelled", b"x", 0o640, 0),  # each file is, where SELinux is on
    ):
        path = tmp_path / name
        path.write_bytes(content)
        os.chown(path, owner, owner)
        path.chmod(mode)
        os.utime(path, ns=(TIME, TIME))
    os.setxattr(tmp_path / "labelled", "trusted.label", b"x")
    names = sorted(os.listdir(tmp_path))
    lengths, size, found = members(tmp_path, [*names, "removed"], stamped)
    expected = [member(tmp_path / name, stamped) for name in names]
    assert lengths == [*map(len, expected), 0]
    assert found == b"".join(expected)
    assert size == sum((tmp_path / name).stat().st_size for name in names)


@pytest.mark.root
def test_others_have_none(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("x")
    data = tmp_path / "data"
    data.mkdir()
    for name in ("large", "twin", "attribute", "even", "old", "far", LONGEST + "l", "\u00fc", "sparse"):
        (data / name).write_bytes(b"x" * (SMALL + 1 if name == "large" else 1))
        os.utime(data / name, ns=(TIME, TIME))
    os.link(data / "twin", tmp_path / "second")
    os.setxattr(data / "attribute", "user.x", b"")
    os.utime(data / "even", (1_700_000_000, 1_700_000_000))
    os.utime(data / "old", ns=(1, 1))
    os.chown(data / "far", ID_ROOM, 0)
    os.truncate(data / "sparse", 1 << 14)
    os.symlink(outside, data / "link")
    os.mkfifo(data / "fifo")
    (data / "directory").mkdir()
    names = os.listdir(data)
    assert members(data, names) == ([0] * len(names), 0, b"")


def test_there_are_as_many_as_an_answer_has_room_for(tmp_path: Path) -> None:
    names = [f"{number:04}" for number in range(ROOM_OF_ANSWER // SMALL + 4)]
    for name in names:
        (tmp_path / name).write_bytes(bytes([1]) * SMALL)
        os.utime(tmp_path / name, ns=(TIME, TIME))
    lengths, _size, found = members(tmp_path, names)
    assert ROOM_OF_ANSWER < len(found) < ROOM_OF_ANSWER + 2 * SMALL
    assert lengths[-1] == 0
    assert found == b"".join(member(tmp_path / name, False) for name in names[: lengths.index(0)])


class Full(io.RawIOBase):
    """A disk on which there is no room."""

    def fileno(self) -> int:
        return -1

    def write(self, _part: object) -> int:
        raise OSError("no room")


def test_what_cannot_be_written_is_said_at_once_where_no_thread_writes() -> None:
    with Checksum(False) as checksum, Sink(t.cast("t.Any", Full()), checksum, False) as sink:
        sink.put(b"x")
        with pytest.raises(OSError, match="no room"):
            sink.put(bytes(TAR_PART))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("processors", [1, 2, 3])
def test_threads_are_where_a_processor_is_free_and_the_archive_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compressed: bool, processors: int
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for number in range(40):
        (data / f"file{number}").write_bytes(bytes([number]) * 20_000)
    monkeypatch.setattr(helper.os, "sched_getaffinity", lambda _pid: set(range(processors)))
    threads: list[int] = []

    def opened(_name: str) -> int:
        threads.append(threading.active_count() - before)
        return os.open(data, os.O_RDONLY | os.O_DIRECTORY)

    def written(archive: str, busy: bool) -> bytes:
        with open(tmp_path / archive, "w+b", buffering=0) as file:
            manifest = ArchiveManifest(format=1, container="a", volumes=["data"], made=1)
            volume_archives.write(file, manifest, opened, compressed=busy)
            file.seek(0)
            return file.read()

    before = threading.active_count()
    archive = written("archive", compressed)
    assert threads == [2 if processors > 1 + compressed else 0]
    monkeypatch.undo()
    assert archive == written("again", False)
