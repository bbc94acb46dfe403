# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Memory does not grow with the number of files: of an archive that is written or read, with a base, and of a copy."""

from __future__ import annotations

import gc
import os
import tracemalloc
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.state import (
    archive_streams,
    snapshots,
    tar_reading,
    volume_archives,
)
from ansible_collections.unshare.container.plugins.module_utils.state.archive_streams import Checksum
from ansible_collections.unshare.container.plugins.module_utils.state.file_writing import write_small
from ansible_collections.unshare.container.plugins.module_utils.state.helper import Helper
from ansible_collections.unshare.container.plugins.module_utils.state.increments import Moment
from ansible_collections.unshare.container.plugins.module_utils.state.unpacking import Unpacker
from ansible_collections.unshare.container.plugins.module_utils.state.volume_archives import (
    ArchiveManifest,
    BaseArchive,
    VolumesArchive,
)

FEW, MANY, LARGE = 200, 3000, 4
PART = 1 << 14
IN_A_DIRECTORY = 25
LONG = "x" * 200
MOST = 200 << 10
"""Bytes that thousands of files more may take. Their paths alone would take more than a megabyte."""


def fill(directory: Path, count: int) -> None:
    """Write some large files, for which all room is used that there is, and so many small ones."""
    (directory / "data").mkdir(parents=True)
    for number in range(LARGE):
        (directory / f"data/large{number}").write_bytes(bytes(4 * PART))
    for number in range(count):
        if number % IN_A_DIRECTORY == 0:
            inner = directory / f"data/{LONG}{number:06}"
            inner.mkdir()
        (inner / f"{LONG}{number:06}").write_bytes(b"content")


def peak(work: t.Callable[[], object]) -> int:
    """Return how many bytes of Python's memory some work takes at most, beyond what it takes once and keeps.

    What the kernel counts for a process says less: a library's pages that were not in use before are counted as well.
    """
    work()
    gc.collect()
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def export(directory: Path, path: Path, base: Path | None = None) -> None:
    boot, time, uptime = Moment.now()
    manifest = ArchiveManifest(format=1, container="c", volumes=["data"], boot=boot, time=time, uptime=uptime)

    def open_volume(name: str) -> int:
        return os.open(directory / name, os.O_RDONLY)

    with path.open("wb", buffering=0) as file:
        if base is None:
            volume_archives.write(file, manifest, open_volume)
            return
        with base.open("rb", buffering=0) as earlier:
            volume_archives.write(file, manifest, open_volume, BaseArchive(earlier).files())


def unpack(path: Path, target: Path, base: Path | None = None) -> None:
    target.mkdir()
    of_base = None if base is None else str(base)
    with (
        path.open("rb", buffering=0) as file,
        Helper(write_small) as helper,
        Checksum() as checksum,
        Unpacker(str(target), helper, of_base) as unpacker,
    ):
        VolumesArchive(file, checksum).read(unpacker.write)


def copy(directory: Path, target: Path) -> None:
    target.mkdir()
    snapshots.copy(directory, "data", target)


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return directories with few files and with many, an archive of each, and one that adds to it."""
    made = []
    for count in (FEW, MANY):
        at = tmp_path_factory.mktemp("tree")
        fill(at, count)
        export(at, at / "base")
        export(at, at / "rest", at / "base")
        made.append(at)
    return made


def export_with_base(at: Path, out: Path) -> None:
    export(at, out, at / "base")


def unpack_with_base(at: Path, out: Path) -> None:
    base = out.with_name(out.name + "-base")
    unpack(at / "base", base)
    unpack(at / "rest", out, base)


@pytest.mark.parametrize(
    "work",
    [export, export_with_base, lambda at, out: unpack(at / "base", out), unpack_with_base, copy],
    ids=["export", "export with base", "import", "import with base", "copy"],
)
def test_memory_does_not_grow_with_the_number_of_files(
    trees: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, work: t.Callable[[Path, Path], None]
) -> None:
    for module in (archive_streams, tar_reading):
        monkeypatch.setattr(module, "TAR_PART", PART)
    found = []
    for at in trees:
        names = (tmp_path / f"{at.name}-{number}" for number in range(2))
        found.append(peak(lambda at=at, names=names: work(at, next(names))))  # type: ignore[misc]
    assert found[1] - found[0] < MOST, found
