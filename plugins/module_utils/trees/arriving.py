# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A file that comes to this host in pieces, and may be interrupted: what of it is there stays for the next run.

It lies where trees are kept, in a directory that is named by the file's checksum, and is held by whoever adds to it.
What has arrived whole is held to the checksum before anything of it is read. `state/trees` removes what nobody goes on
with.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from pathlib import Path
from typing import IO, Callable, Iterator

from ..launcher.paths import remove_tree
from ..state.target import TargetError, exclusive
from ..state.tree_records import Piece
from ..state.trees import RECEIVED
from . import fetching
from .fetching import Interrupted, held_to

FILE = "file"
SHOWN_DIGITS = 32


class Arrival:
    """A file on its way to this host.

    :param directory: that in which trees are kept.
    :param checksum: of the whole file, ALGORITHM:DIGITS.
    :param timeout: seconds to wait for another run that adds to it.
    """

    def __init__(self, directory: Path, checksum: str, timeout: float) -> None:
        self.checksum = checksum
        self.timeout = timeout
        self.directory = directory / (RECEIVED + checksum.partition(":")[2][:SHOWN_DIGITS])

    def length(self) -> int:
        """Return how many of its bytes are there."""
        try:
            return (self.directory / FILE).stat().st_size
        except FileNotFoundError:
            return 0

    @contextlib.contextmanager
    def held(self) -> Iterator[IO[bytes]]:
        """Hold the file, and yield it, open for reading and writing. It is made when it is not there.

        :raises TargetError: another run has it for longer.
        """
        with exclusive(self.directory, self.timeout):
            descriptor = os.open(self.directory / FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with open(descriptor, "rb+", buffering=0) as file:
                yield file

    def take(self, piece: Piece) -> bool:
        """Add a piece, unless it belongs elsewhere, for another run has been here. Return whether it was whole.

        :raises TargetError: the piece is not there.
        :raises OSError: it cannot be written; what was there before is still there.
        """
        with self.held() as file:
            there = file.seek(0, os.SEEK_END)
            if piece.offset != there:
                if not there:
                    self.remove()  # it was made just now, for another run has removed it: it has the tree
                return True
            is_whole = False
            try:
                is_whole = _copied(piece, file)
            finally:
                if not is_whole:
                    file.truncate(piece.offset)
            return is_whole

    @contextlib.contextmanager
    def whole(self, what: str, complete: Callable[[IO[bytes]], None] | None = None) -> Iterator[IO[bytes]]:
        """Hold the file, yield it once it has its checksum, and remove it, whatever becomes of what is made from it.

        :param what: what it is called in messages.
        :param complete: brings what it lacks. It is kept when that is interrupted.
        :raises TargetError: it is another one, or cannot be completed.
        """
        is_kept = False
        with self.held() as file:
            try:
                if complete is not None:
                    complete(file)
                with open(os.dup(file.fileno()), "rb") as whole:
                    held_to(whole, self.checksum, what)
                    yield whole
            except Interrupted:
                is_kept = True
                raise
            finally:
                if not is_kept:
                    self.remove()

    def remove(self) -> None:
        """Remove what is there of it. Raise OSError, LauncherError."""
        remove_tree(str(self.directory))


def _copied(piece: Piece, file: IO[bytes]) -> bool:
    """Add the bytes of a piece to a file. Return whether they are those that were sent."""
    try:
        descriptor = os.open(piece.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise TargetError(f"a piece that was sent to {piece.path} cannot be read: {error.strerror}") from None
    digest, left = hashlib.sha256(), piece.size
    with open(descriptor, "rb", buffering=0) as source:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return False
        while left:
            part = source.read(min(left, fetching.PART))
            if not part:
                return False
            digest.update(part)
            left -= len(part)
            while part:
                part = part[file.write(part) :]
        return digest.hexdigest() == piece.digest and not source.read(1)
