# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The bytes of an archive on their way: with their checksum, to the disk, and through a program that compresses."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import queue
import subprocess
import threading
from typing import IO, Callable, Iterator, TypeVar, Union

from .tar_members import TAR_PART
from .target import TargetError

COMPRESSIONS = {
    "none": ((), (), b""),
    "gzip": (("gzip", "-3", "-n", "-c"), ("gzip", "-dc"), b"\x1f\x8b"),
    "zstd": (("zstd", "-T0", "-3", "-q", "-c"), ("zstd", "-dcq"), b"\x28\xb5\x2f\xfd"),
}
"""The programs that compress and unpack, and what a compressed file begins with."""

BEGUN_TOGETHER = 1 << 23  # bytes of which the writing to the disk is begun together

PIPE_ROOM = 1 << 20  # bytes on their way to a program; an unprivileged process may ask for no more

PARTS_WAITING = 2  # of `TAR_PART` bytes, for a worker that is busy with another

SET_PIPE_SIZE = 1031  # of fcntl(2), F_SETPIPE_SZ, which Python has a name for since 3.10

Part = Union[bytes, memoryview]
W = TypeVar("W", bound="Worker")


class Damaged(TargetError):
    """An archive that is damaged, cut off, or none of these."""


class Worker:
    """Does the same with each part that it is given, in order. The context ends that.

    :param work: what is done with a part.
    :param aside: whether that is done in a thread of its own, so that a host with a free processor does the rest of the
        work meanwhile. On another one, a thread has only to be waited for.
    """

    def __init__(self, work: Callable[[Part], object], aside: bool) -> None:
        self._work = work
        self._aside = aside
        self._waiting: queue.Queue[Part | None] = queue.Queue(PARTS_WAITING)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._error: Exception | None = None

    def __enter__(self: W) -> W:
        if self._aside:
            self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._aside:
            self._waiting.put(None)
            self._thread.join()

    def _run(self) -> None:
        while True:
            part = self._waiting.get()
            if part is not None and self._error is None:
                self._do(part)
            self._waiting.task_done()
            if part is None:
                return

    def _do(self, part: Part) -> None:
        try:
            self._work(part)
        except Exception as error:  # it is raised where parts come from
            self._error = error

    def has_failed_with(self, error: Exception) -> bool:
        """Return whether an exception is that of the work, and none of who gives parts."""
        return error is self._error

    def update(self, part: Part) -> None:
        """Give a part, which aside may not change before this was called `PARTS_WAITING` + 1 times more.

        :raises Exception: the work with it, or with a former one, has failed.
        """
        if not self._aside:
            self._do(part)
            if self._error is not None:
                raise self._error
            return
        if self._error is not None:
            raise self._error
        self._waiting.put(part)

    def wait(self) -> None:
        """Wait until all is done. Raise the exception with which the work has failed."""
        self._waiting.join()
        if self._error is not None:
            raise self._error


class Checksum(Worker):
    """The SHA-256 of what passes by.

    :param aside: whether a thread of its own computes it.
    """

    def __init__(self, aside: bool = True) -> None:
        self._digest = hashlib.sha256()
        super().__init__(self._digest.update, aside)

    def hexdigest(self) -> str:
        """Return the checksum of all that was added so far."""
        self.wait()
        return self._digest.hexdigest()


class Rooms:
    """Places in memory for parts: one is filled while workers have the others.

    They are used again and again. To take other memory for each part would have the kernel clear all of that.

    :param aside: whether workers have parts while others are filled.
    """

    def __init__(self, aside: bool = True) -> None:
        self._rooms = [bytearray(TAR_PART) for _room in range(PARTS_WAITING + 2 if aside else 1)]

    def next(self) -> bytearray:
        """Return a place for `TAR_PART` bytes, in which are others."""
        self._rooms.append(self._rooms.pop(0))
        return self._rooms[0]


class Sink(Worker):
    """Where an archive is written to.

    :param file: without a buffer.
    :param checksum: is given all that is written.
    :param aside: whether a thread of its own writes.
    """

    def __init__(self, file: IO[bytes], checksum: Checksum, aside: bool = True) -> None:
        super().__init__(self._write, aside)
        self.file = file
        self.checksum = checksum
        self._rooms = Rooms(aside)
        self._room = memoryview(self._rooms.next())
        self._size = 0  # bytes in it
        self._disk = Writeback(file.fileno())

    def put(self, *parts: Part) -> None:
        """Write bytes. They are gathered until they are many."""
        for part in parts:
            end = self._size + len(part)
            if end > TAR_PART:
                self._pass_on()
                end = len(part)
                if end > TAR_PART:
                    self._give(part)
                    continue
            self._room[self._size : end] = part
            self._size = end

    def put_from(self, descriptor: int, offset: int, size: int) -> int:
        """Write bytes of a file, up to so many. Return how many; at its end none."""
        self._pass_on()
        count = self._size = os.preadv(descriptor, [self._room[:size]], offset)
        self._pass_on()
        return count

    def flush(self) -> None:
        """Have all be written that was put."""
        self._pass_on()
        self.wait()

    def _pass_on(self) -> None:
        if self._size:
            self._give(self._room[: self._size])
            self._room = memoryview(self._rooms.next())
            self._size = 0

    def _give(self, part: Part) -> None:
        self.checksum.update(part)
        self.update(part)

    def _write(self, part: Part) -> None:
        _write_all(self.file, part)
        self._disk.wrote(len(part))


def _write_all(file: IO[bytes], part: Part) -> None:
    written = file.write(part)
    while written < len(part):
        written += file.write(part[written:])


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

    :raises TargetError: the program is missing.
    :raises OSError: it has failed, as it does where the file cannot be written.
    """
    command = COMPRESSIONS[compression][0]
    if not command:
        yield file
        return
    program = _begun(command, stdin=subprocess.PIPE, stdout=file, stderr=subprocess.PIPE)
    pipe, said = program.stdin, program.stderr
    try:
        if pipe is None or said is None:
            raise TargetError("%s cannot be written to" % command[0])
        _widen(pipe)
        try:
            yield pipe
            pipe.close()
        except BrokenPipeError:
            pass  # it has ended, and says why
        reason = said.read().decode(errors="replace").strip()
        if program.wait():
            raise OSError("%s has failed with status %d: %s" % (command[0], program.returncode, reason[-500:]))
    finally:
        _end(program, pipe, said)


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
    program = _begun(command, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    pipe = program.stdout
    try:
        if pipe is None:
            raise TargetError("the output of %s cannot be read" % command[0])
        _widen(pipe)
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


def _begun(
    command: tuple[str, ...], stdin: IO[bytes] | int, stdout: IO[bytes] | int, stderr: int
) -> subprocess.Popen[bytes]:
    """Begin a program. When this process is killed, the program comes to the end of its input, or of its reader."""
    try:
        return subprocess.Popen(command, bufsize=0, stdin=stdin, stdout=stdout, stderr=stderr)
    except FileNotFoundError:
        raise TargetError("needs the program %s, which this host has not: install it" % command[0]) from None


def _widen(pipe: IO[bytes]) -> None:
    """Have a pipe take much at once, so that both of its ends have less often to wait for each other."""
    with contextlib.suppress(OSError):
        fcntl.fcntl(pipe.fileno(), SET_PIPE_SIZE, PIPE_ROOM)


def _end(program: subprocess.Popen[bytes], *pipes: IO[bytes] | None) -> None:
    program.kill()
    program.wait()
    for pipe in pipes:
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
