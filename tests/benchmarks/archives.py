# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Measure archives and snapshots of volumes beside GNU tar; `make benchmark-archives` calls it.

What is compared does the same to the same files of the same file system, and ends when all of it is on the disk. It is
measured in turns, and the ratio is the median of those of the turns.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shlex
import statistics
import subprocess
import sys
import time
import traceback
import typing as t
from pathlib import Path

from ansible_collections.unshare.container.plugins.module_utils.launcher.paths import remove_tree
from ansible_collections.unshare.container.plugins.module_utils.launcher.volumes import volume_directory
from ansible_collections.unshare.container.plugins.module_utils.life.archiving_volumes import Archiving
from ansible_collections.unshare.container.plugins.module_utils.life.container import Container
from ansible_collections.unshare.container.plugins.module_utils.life.snapshot_request import SnapshotRequest
from ansible_collections.unshare.container.plugins.module_utils.life.snapshotting import Snapshotting
from ansible_collections.unshare.container.plugins.module_utils.life.starting import LauncherStarter
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout
from ansible_collections.unshare.container.tests.benchmarks import sessions

SOURCE, OTHER, SNAPSHOT = "bench-archives", "bench-archives-other", "first"
OURS, TAR, CHECKED = "module", "tar", "tar, sha256sum"
KEPT = ["--acls", "--xattrs", "--xattrs-include=*", "--numeric-owner", "--sparse"]
"""What tar is to keep: all that an archive of volumes does."""

COMPRESSED_BY = {"none": "", "gzip": "gzip -3 -n", "zstd": "zstd -T0 -3 -q"}
"""The programs that tar is given, which are those that the module uses."""

LEAST = 0.9
"""Of a peer's throughput, what ours is to reach: of tar, and of tar with a checksum, which an archive of ours has."""

DIRECTORY_OF_FILES = 100
MEBIBYTE = 1 << 20
IMAGE_SIZE = 16 << 30  # of a file with holes


class Archives(sessions.Session):
    """A container's volume, exported, imported and copied."""

    BENCHMARKS = ("many", "large", "compressed")
    PROGRAMS = ("tar", "gzip", "zstd")

    def __init__(self, directory: Path, arguments: argparse.Namespace, undo: contextlib.ExitStack) -> None:
        super().__init__(directory, arguments, undo)
        self.containers = Path(volume_directory(SOURCE, "data")).parents[2]
        self.data = self.containers / SOURCE / "volumes/data"
        self.work = directory / "work"
        self.work.mkdir(mode=0o700)
        if arguments.on:
            self._mount(arguments.on)
        undo.callback(self._forget)
        self._forget()

    def _mount(self, kind: str) -> None:
        """Mount a new file system where archives and containers lie; nobody else sees it."""
        device = "none"
        if kind != "tmpfs":
            image = self.directory / "image"
            with image.open("wb") as file:
                file.truncate(IMAGE_SIZE)
            _shell(f"mkfs.{kind} -q {image}")
            device = str(image)
        _shell(f"mount -t {kind} {device} {self.work} && chmod 0700 {self.work}")
        self.undo.callback(lambda: _shell(f"umount --recursive {self.work}"))
        self.containers.mkdir(parents=True, exist_ok=True)
        (self.work / "containers").mkdir()
        _shell(f"mount --bind {self.work / 'containers'} {self.containers}")
        self.undo.callback(lambda: _shell(f"umount {self.containers}"))

    def many(self) -> None:
        """Save and restore many small files."""
        self._fill(_many_files, self.arguments.files)
        self._compare("many", "none")

    def large(self) -> None:
        """Save and restore a few large files."""
        self._fill(_large_files, self.arguments.mebibytes)
        self._compare("large", "none")

    def compressed(self) -> None:
        """Save and restore both kinds, compressed by the same programs."""
        self._fill(_many_files, self.arguments.files // 4)
        _large_files(self.data / "large", self.arguments.mebibytes // 8)
        for compression in ("gzip", "zstd"):
            self._compare(f"compressed {compression}", compression)

    def _forget(self) -> None:
        for name in (SOURCE, OTHER):
            if (self.containers / name).exists():
                remove_tree(str(self.containers / name))

    def _fill(self, fill: t.Callable[[Path, int], None], amount: int) -> None:
        self._forget()
        self.data.mkdir(parents=True, mode=0o700)
        fill(self.data, amount)

    def _compare(self, benchmark: str, compression: str) -> None:
        """Measure an export, an import, and a snapshot, which is not compressed, in turns with tar."""
        work = self.work
        ours, theirs = work / "ours", work / "theirs"
        program = COMPRESSED_BY[compression]
        by = f"--use-compress-program={shlex.quote(program)} " if program else ""
        kept, out = shlex.join(KEPT), work / "out"
        create = f"tar --create {by}{kept} --directory={self.data} --file={theirs} ."
        extract = f"tar --extract {by}{kept} --same-permissions --directory={out} --file={theirs}"
        sums = work / "sums"
        made = f"{create} && sync {theirs}"
        checked = f"{create} && sha256sum {theirs} > {sums} && sync {theirs} {sums}"
        ways: dict[str, dict[str, tuple[t.Callable[[], object], t.Callable[[], object]]]] = {
            "export": {
                OURS: (lambda: _export(ours, compression), ours.unlink),
                TAR: (lambda: _shell(made), theirs.unlink),
                CHECKED: (lambda: _shell(checked), theirs.unlink),
            },
            "import": {
                OURS: (lambda: _import(ours), lambda: remove_tree(str(self.containers / OTHER))),
                TAR: (
                    lambda: _shell(f"mkdir {out} && {extract} && sync --file-system {out}"),
                    lambda: remove_tree(str(out)),
                ),
                CHECKED: (
                    lambda: _shell(
                        f"sha256sum --check --status {sums} && mkdir {out} && {extract} && sync --file-system {out}"
                    ),
                    lambda: remove_tree(str(out)),
                ),
            },
            "snapshot": {
                OURS: (_snapshot, lambda: remove_tree(str(self.containers / SOURCE / "snapshots"))),
                TAR: (
                    lambda: _shell(
                        f"mkdir {out} && tar --create {kept} --directory={self.data} --file=- . | tar --extract {kept} "
                        f"--same-permissions --directory={out} --file=- && sync --file-system {out}"
                    ),
                    lambda: remove_tree(str(out)),
                ),
            },
        }
        for verb in self.arguments.verbs:
            if verb == "import":
                _in_child(lambda: _export(ours, compression))
                _shell(checked)
            if verb != "snapshot" or compression == "none":
                self._in_turns(f"{benchmark} {verb}", ways[verb])
        for path in (ours, theirs, sums):
            path.unlink(missing_ok=True)

    def _in_turns(self, benchmark: str, ways: dict[str, tuple[t.Callable[[], object], t.Callable[[], object]]]) -> None:
        """Measure each way once a round, in an order that changes, and take away what it has made."""
        ratios: dict[str, list[float]] = {name: [] for name in ways if name != OURS}
        for number in range(self.arguments.rounds + 1):
            taken = {}
            for name in random.sample([*ways], len(ways)):
                run, clear = ways[name]
                os.sync()
                taken[name] = _in_child(run)
                clear()
            if number:  # the first warms up
                for name, (seconds, processor) in taken.items():
                    self.results.add(benchmark, name, seconds * 1000)
                    self.results.add(f"{benchmark} CPU", name, processor * 1000)
                for name, some in ratios.items():
                    some.append(taken[name][0] / taken[OURS][0])
        for name, some in ratios.items():
            ratio = statistics.median(some)
            self.judge(f"{benchmark}: at least {LEAST} of the throughput of {name}: {ratio:.2f}", ratio >= LEAST)


def _in_child(run: t.Callable[[], object]) -> tuple[float, float]:
    """Run a function in a process of its own. Return the seconds that it took, and those of processors."""
    began = time.perf_counter()
    pid = os.fork()
    if not pid:
        status = 1
        try:
            run()
            status = 0
        except BaseException:  # it may end in no other way than this
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    _pid, status, usage = os.wait4(pid, 0)
    seconds = time.perf_counter() - began
    if status:
        raise RuntimeError("what was to be measured has failed")
    return seconds, usage.ru_utime + usage.ru_stime


def _export(path: Path, compression: str) -> None:
    Archiving(Layout(), SOURCE, str(path), False, 60).export(compression, False)


def _import(path: Path) -> None:
    Archiving(Layout(), OTHER, str(path), False, 60).restore(SOURCE, False, False)


def _snapshot() -> None:
    container = Container(SOURCE)
    request = SnapshotRequest(SNAPSHOT)
    Snapshotting(Layout(), container, LauncherStarter(container), request).reach("present")


def _shell(script: str) -> None:
    subprocess.run(["sh", "-euc", script], check=True, stdout=subprocess.DEVNULL)


def _many_files(directory: Path, count: int) -> None:
    """Write files of up to some kilobytes, as programs and mail have them."""
    choices = random.Random(1)
    content = choices.randbytes(1 << 14)
    for number in range(count):
        if number % DIRECTORY_OF_FILES == 0:
            inner = directory / f"directory{number // DIRECTORY_OF_FILES}"
            inner.mkdir()
        size = min(len(content), int(choices.expovariate(1 / 2500)))
        (inner / f"file-{number}").write_bytes(content[:size])


def _large_files(directory: Path, mebibytes: int) -> None:
    """Write some files that together have so many mebibytes, which do compress, but not to nothing."""
    directory.mkdir(exist_ok=True)
    part = b"".join(random.Random(2).randbytes(512) + bytes(512) for _ in range(MEBIBYTE >> 10))
    for number in range(4):
        with (directory / f"large-{number}").open("wb") as file:
            for index in range(mebibytes // 4):
                file.write(b"%16d" % index + part[16:])


def main() -> int:
    """Measure what the command line names."""
    parser = sessions.parser_of(Archives, __doc__, rounds=7)
    parser.add_argument("--files", type=int, default=20000, help="small files (%(default)s)")
    parser.add_argument("--mebibytes", type=int, default=1024, help="of the large files (%(default)s)")
    parser.add_argument("--verbs", nargs="+", default=["export", "import", "snapshot"], help="what is done (all)")
    parser.add_argument("--on", help="a type of file system: a new one (default: that of /var/lib/unshare)")
    return sessions.run(Archives, parser)


if __name__ == "__main__":
    sys.exit(main())
