# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives of trees on the controller: what is known of one before any host has it.

A run computes the checksum of an archive once, for all of its hosts. Beside an archive that `tree_archive` has written
lies a description, `FILE.json`, with that checksum and the content of its tree.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import stat
import typing as t
from pathlib import Path

from ..module_utils.launcher.kinds import ContractError
from ..module_utils.launcher.paths import write_atomically
from ..module_utils.state.tree_records import TreeArchive, parsed, plain_words
from .errors import DeclarationError

DESCRIPTION = ".json"
"""What is added to an archive's name for that of its description."""

WAY = "write the archive again with unshare.container.tree_archive, or remove that file"
PART = 1 << 20
LARGEST_DESCRIPTION = 1 << 24


class LocalArchive:
    """An archive of the controller's, open for as long as the context lasts.

    :param path: its path.
    :param directory: the run's own directory on the controller.
    :param place: where the user named it.
    :raises DeclarationError: it cannot be read, or is another one than its description says.
    :ivar archive: what is known of it.
    """

    def __init__(self, path: str, directory: str, place: str) -> None:
        self.path, self.place = path, place
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise DeclarationError(place, f"{path} cannot be read: {error.strerror}") from None
        self.file = open(descriptor, "rb")  # noqa: SIM115  which __exit__ closes
        try:
            self._status = os.fstat(descriptor)
            if not stat.S_ISREG(self._status.st_mode):
                raise DeclarationError(place, f"{path} is no file")
            described = self._described()
            self.archive = self._summed(Path(directory))
            if described is not None:
                self._refuse_other(described)
                self.archive = described
        except BaseException:
            self.file.close()
            raise

    def __enter__(self) -> LocalArchive:
        return self

    def __exit__(self, *_error: object) -> None:
        self.file.close()

    def cut(self, offset: int, size: int, path: str) -> tuple[int, str]:
        """Copy a piece of it to a file. Return its size, and its SHA-256.

        :raises DeclarationError: it has been written to.
        :raises OSError: it cannot be copied.
        """
        digest, left = hashlib.sha256(), min(size, self.archive.size - offset)
        self.file.seek(offset)
        with open(path, "wb") as piece:
            os.fchmod(piece.fileno(), 0o600)
            while left:
                part = self.file.read(min(left, PART))
                if not part:
                    break
                digest.update(part)
                left -= len(part)
                piece.write(part)
            size = piece.tell()
        if left or _identity(os.fstat(self.file.fileno())) != _identity(self._status):
            raise DeclarationError(self.place, f"{self.path} was written to while it was sent: run again")
        return size, digest.hexdigest()

    def _described(self) -> TreeArchive | None:
        """Return what its description says, or None where there is none."""
        description = self.path + DESCRIPTION
        try:
            with open(description, encoding="utf-8") as file:
                text = file.read(LARGEST_DESCRIPTION)
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise DeclarationError(self.place, f"{description} cannot be read: {error}") from None
        try:
            return TreeArchive.read(parsed(text))
        except ContractError as error:
            said = f"{description} describes no archive ({plain_words(str(error))}): {WAY}"
            raise DeclarationError(self.place, said) from None

    def _refuse_other(self, described: TreeArchive) -> None:
        """Refuse a description of another file: a host that has the content of that one would be sent nothing."""
        known, said = self.archive, ""
        if described.size != known.size:
            said = f"describes a file of {described.size} bytes, and {self.path} has {known.size}"
        elif described.checksum != known.checksum:
            said = f"describes another file, and {self.path} has the checksum {known.checksum}"
        if said:
            raise DeclarationError(self.place, f"{self.path}{DESCRIPTION} {said}: {WAY}")

    def _summed(self, directory: Path) -> TreeArchive:
        """Return what can be known of it without a description. The first task of a run that asks computes it."""
        kept = directory / "unshare-archives"
        kept.mkdir(mode=0o700, parents=True, exist_ok=True)
        note = kept / hashlib.sha256(json.dumps([self.path, *_identity(self._status)]).encode()).hexdigest()
        with open(f"{note}.lock", "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not note.exists():
                write_atomically(str(note), checksum_of(self.file))
            return TreeArchive(checksum=note.read_text("ascii"), size=self._status.st_size)


def checksum_of(file: t.IO[bytes]) -> str:
    """Return the checksum of an open file."""
    digest = hashlib.sha256()
    file.seek(0)
    while part := file.read(PART):
        digest.update(part)
    return f"sha256:{digest.hexdigest()}"


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
