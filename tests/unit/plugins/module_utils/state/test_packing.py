# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading a volume that root inside has filled with what makes readers wait, fail, or take room."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.state.archive_streams import Checksum, Sink
from ansible_collections.unshare.container.plugins.module_utils.state.packing import Packer
from ansible_collections.unshare.container.plugins.module_utils.state.tar_members import TAR_END
from ansible_collections.unshare.container.plugins.module_utils.state.target import TargetError

DEEP = 3000


@pytest.fixture
def data(tmp_path: Path) -> t.Iterator[Path]:
    path = tmp_path / "data"
    path.mkdir()
    yield path
    subprocess.run(["rm", "--recursive", path], check=True)  # pytest does not remove what is so deep


def packed(data: Path, path: Path) -> list[str]:
    """Write the archive of a directory. Return the paths in it, with what hard links are of."""
    directory = os.open(data, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with path.open("wb", buffering=0) as file, Checksum() as checksum:
            sink = Sink(file, checksum)
            Packer(sink).pack(directory, b"data")
            sink.put(TAR_END)
            sink.flush()
    finally:
        os.close(directory)
    return subprocess.run(["tar", "-tf", path], capture_output=True, text=True, check=True).stdout.splitlines()


def test_v5_a_lease_does_not_keep_the_host_waiting(data: Path, tmp_path: Path) -> None:
    """Whoever has one stands still, and gives it up only after lease-break-time, of which there can be any number."""
    (data / "leased").write_text("x")
    former = signal.signal(signal.SIGIO, signal.SIG_IGN)  # what tells whoever has a lease that it is to be given up
    descriptor = os.open(data / "leased", os.O_RDWR)
    before = os.listdir("/proc/self/fd")
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        with pytest.raises(TargetError, match="data/leased': somebody inside has a lease on it.*stop: true"):
            packed(data, tmp_path / "archive")
        assert os.listdir("/proc/self/fd") == before
    finally:
        os.close(descriptor)
        signal.signal(signal.SIGIO, former)


def test_v5_a_file_has_its_names_however_deep_they_lie(data: Path, tmp_path: Path) -> None:
    """Each of them some thousand directories below the volume, so that no step may be taken in another."""
    home = os.open(".", os.O_RDONLY)
    os.chdir(data)
    try:
        for _ in range(DEEP):
            os.mkdir("d")
            os.chdir("d")
        Path("file").write_text("deep")
        os.link("file", "../twin")
        os.link("file", "name")
    finally:
        os.fchdir(home)
        os.close(home)
    deep = "data" + "/d" * DEEP
    found = packed(data, tmp_path / "archive")
    assert found[-4:] == [deep[:-1] + "twin", deep, deep + "/file", deep + "/name"]


def test_v5_the_order_is_that_of_the_names(data: Path, tmp_path: Path) -> None:
    """A directory has first what is none, and then its directories, each by the bytes of its name."""
    for name in ("b", "a", "\U00010000", "\uffff", "d"):
        (data / name).mkdir()
        (data / name / "file").write_text("x")
    for name in ("c", "z", "e"):
        (data / name).write_text("x")
    inner = [f"data/{name}{rest}" for name in ("a", "b", "d", "\uffff", "\U00010000") for rest in ("", "/file")]
    found = [
        name.encode().decode("unicode_escape").encode("latin-1").decode() for name in packed(data, tmp_path / "archive")
    ]
    assert found == ["data", "data/c", "data/e", "data/z", *inner]


def test_v5_reading_leaves_the_time_of_access(data: Path, tmp_path: Path) -> None:
    (data / "file").write_text("x")
    os.utime(data / "file", ns=(1, 2))
    packed(data, tmp_path / "archive")
    assert (data / "file").stat().st_atime_ns == 1
