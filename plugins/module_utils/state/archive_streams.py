# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The bytes of an archive on their way: with their checksum, to the disk, and through a program that compresses."""

from __future__ import annotations

import contextlib
import hashlib
import os
import queue
import subprocess
import threading
from typing import IO, Iterator, Union

from ..launcher import linux
from ..launcher.process import KILL
from .tar_members import TAR_PART
from .target import TargetError

COMPRESSIONS = {
    "none": ((), (), b""),
    "gzip": (("gzip", "-3", "-n", "-c"), ("gzip", "-dc"), b"\x1f\x8b"),
    "zstd": (("zstd", "-T0", "-3", "-q", "-c"), ("zstd", "-dcq"), b"\x28\xb5\x2f\xfd"),
}
"""The programs that compress and unpack, and what a compressed file begins with."""

BEGUN_TOGETHER = 1 << 23  # bytes of which the writing to the disk is begun together

Part = Union[bytes, memoryview]


class Damaged(TargetError):
    """An archive that is damaged, cut off, or none of these."""


class Checksum:
    """The SHA-256 of what passes by, computed by a thread of its own, which has ended after the context.

    So a host with a free processor does the rest of the work meanwhile.
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._waiting: queue.Queue[Part | None] = queue.Queue()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Checksum:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        while True:
            part = self._waiting.get()
            if part is not None:
                self._digest.update(part)
            self._waiting.task_done()
            if part is None:
                return

    def update(self, part: Part) -> None:
        """Add bytes, which may not change before this was called once more."""
        self._waiting.join()
        self._waiting.put(part)

    def hexdigest(self) -> str:
        """Return the checksum of all that was added so far."""
        self._waiting.join()
        return self._digest.hexdigest()


class Rooms:
    """Two places in memory for parts: one is filled while the checksum of the other is computed.

    They are used again and again. To take other memory for each part would have the kernel clear all of that.
    """

    def __init__(self) -> None:
        self._rooms = [bytearray(TAR_PART) for _room in range(2)]

    def next(self) -> bytearray:
        """Return a place for `TAR_PART` bytes, in which are others."""
        self._rooms.reverse()
        return self._rooms[0]


class Sink:
    """Where an archive is written to.

    :param file: without a buffer.
    :param checksum: is given all that is written, after `flush`.
    """

    def __init__(self, file: IO[bytes], checksum: Checksum) -> None:
        self.file = file
        self.checksum = checksum
        self._rooms = Rooms()
        self._room = memoryview(self._rooms.next())
        self._size = 0  # bytes in it
        self._disk = Writeback(file.fileno())

    def put(self, *parts: bytes) -> None:
        """Write bytes. They are gathered until they are many."""
        for part in parts:
            end = self._size + len(part)
            if end > TAR_PART:
                self.flush()
                end = len(part)
                if end > TAR_PART:
                    self._write(memoryview(part))
                    continue
            self._room[self._size : end] = part
            self._size = end

    def put_from(self, descriptor: int, offset: int, size: int) -> int:
        """Write bytes of a file, up to so many. Return how many; at its end none."""
        self.flush()
        count = self._size = os.preadv(descriptor, [self._room[:size]], offset)
        self.flush()
        return count

    def flush(self) -> None:
        """Write what was gathered."""
        if self._size:
            self._write(self._room[: self._size])
            self._room = memoryview(self._rooms.next())
            self._size = 0

    def _write(self, part: memoryview) -> None:
        self.checksum.update(part)
        written = self.file.write(part)
        while written < len(part):
            written += self.file.write(part[written:])
        self._disk.wrote(written)


class Writeback:
    """Has a disk begin to write while there is more to come, so that it works at the same time as the processor.

    :param descriptor: of a file that is written from its beginning to its end; of a pipe nothing is done.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._place = self._begun = 0

    def wrote(self, size: int) -> None:
        """Take note that so many more bytes were written."""
        self._place += size
        if self._place - self._begun >= BEGUN_TOGETHER:
            # What is not on the disk yet cannot be dropped; to try is the one way in Python to have it written.
            with contextlib.suppress(OSError):
                os.posix_fadvise(self.descriptor, self._begun, self._place - self._begun, os.POSIX_FADV_DONTNEED)
            self._begun = self._place


def compression_of(file: IO[bytes]) -> str:
    """Return how a file is compressed, by its beginning."""
    beginning = os.pread(file.fileno(), 8, 0)
    return next((name for name, each in COMPRESSIONS.items() if each[2] and beginning.startswith(each[2])), "none")


@contextlib.contextmanager
def compressed(file: IO[bytes], compression: str) -> Iterator[IO[bytes]]:
    """Yield a file, what is written to which comes compressed to `file`.

    :raises TargetError: the program is missing, or has failed.
    """
    command = COMPRESSIONS[compression][0]
    if not command:
        yield file
        return
    program = _begun(command, subprocess.PIPE, file)
    pipe = program.stdin
    try:
        if pipe is None:
            raise TargetError("%s cannot be written to" % command[0])
        try:
            yield pipe
            pipe.close()
        except BrokenPipeError:
            pass  # it has failed, which its status says
        if program.wait():
            raise TargetError("%s has failed with status %d: is the disk full?" % (command[0], program.returncode))
    finally:
        _end(program, pipe)


@contextlib.contextmanager
def unpacked(file: IO[bytes]) -> Iterator[IO[bytes]]:
    """Yield the bytes of an archive, unpacked by the program that its beginning asks for.

    :raises TargetError: the program is missing.
    :raises Damaged: it says that the file is damaged.
    """
    command = COMPRESSIONS[compression_of(file)][1]
    if not command:
        yield file
        return
    program = _begun(command, file, subprocess.PIPE)
    pipe = program.stdout
    try:
        if pipe is None:
            raise TargetError("the output of %s cannot be read" % command[0])
        try:
            yield pipe
        except Damaged as error:
            if program.poll():
                raise Damaged("%s cannot unpack it (%s)" % (command[0], error)) from None
            raise
        if pipe.read(1) or program.wait():
            raise Damaged("%s cannot unpack it to its end" % command[0])
    finally:
        _end(program, pipe)


def _begun(command: tuple[str, ...], stdin: IO[bytes] | int, stdout: IO[bytes] | int) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            command,
            bufsize=0,
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: linux.prctl(linux.PR_SET_PDEATHSIG, KILL),
        )
    except FileNotFoundError:
        raise TargetError("needs the program %s, which this host has not: install it" % command[0]) from None


def _end(program: subprocess.Popen[bytes], pipe: IO[bytes] | None) -> None:
    program.kill()
    program.wait()
    if pipe is not None:
        with contextlib.suppress(OSError):
            pipe.close()
