# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading a tar archive that somebody hostile may have made, perhaps compressed, as entries of a tree.

It is read once, from its beginning to its end, through `Stream`, which bounds what Python's `tarfile` asks for: a
header can promise any length. The compression's own program unpacks beside, on another processor.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import subprocess
import tarfile
import tempfile
from functools import partial
from typing import IO, Any, Callable

from ..launcher import linux
from ..state.target import TargetError
from . import entries
from .entries import Refused, TreeEntry, path_in_tree, shown_name

HEADER_LIMIT = 1 << 20  # bytes that the headers of one member, with its long names, attributes and holes, can have
GLOBAL_LIMIT = 64  # headers that are for all members that follow
DIGITS_LIMIT = 256  # digits in a row; for more, some versions of tarfile take as long as their square
BLOCK = tarfile.BLOCKSIZE
PART = 1 << 18  # bytes that are read at a time
BEYOND = 1 << 30  # bytes that an archive may have beside the content of its files
PROGRAMS = (
    (b"\x1f\x8b", ["gzip", "-dc"], "gzip"),
    (b"\xfd7zXZ\x00", ["xz", "-dc", "--memlimit-decompress=1GiB"], "xz-utils"),
    (b"\x28\xb5\x2f\xfd", ["zstd", "-dcq"], "zstd"),
)
"""What a compressed file begins with, the program that unpacks it, and the Debian package of that."""

ATTRIBUTE = "SCHILY.xattr."
"""Prefix of the headers that have extended attributes, as GNU tar, libarchive and Go write them."""

many_digits = re.compile(rb"[0-9]{%d}" % (DIGITS_LIMIT + 1))


class Stream:
    """The bytes of an archive, forward only, as a file for `tarfile`.

    :param limit: how many bytes the archive may have, unpacked.
    :ivar ended: whether the last block that was read is the mark of an archive's end.
    :ivar digest: the SHA-256 of what was read, unpacked.
    """

    def __init__(self, source: IO[bytes], limit: int) -> None:
        self.source = source
        self.limit = limit
        self.ended = False
        self.digest = hashlib.sha256()
        self._position = 0
        self._behind = False
        self._last = b""
        self._left: int | None = HEADER_LIMIT

    def expect_headers(self) -> None:
        """Bound what is read from now on as the headers of one member, however many of them `tarfile` asks for."""
        self._left = HEADER_LIMIT

    def expect_content(self) -> None:
        """Let be read as much from now on as the content of a member has."""
        self._left = None

    def tell(self) -> int:
        return self._position - self._behind

    def seek(self, position: int, _whence: int = 0) -> int:
        """Skip to a position. The last byte that was read can be read again, and nothing before it."""
        self._behind = position == self._position - 1 and bool(self._last)
        if position < self._position and not self._behind:
            raise Refused("its headers lead backward: it is damaged")
        while self._position < position:
            part = self._read(min(PART, position - self._position))
            if not part:
                break  # which the next read tells
        return self.tell()

    def read(self, size: int = -1) -> bytes:
        """Return so many bytes, fewer at the end alone. Raise Refused when that is more than a header can have."""
        if self._left is not None:
            self._left -= size
        if not 0 <= size <= HEADER_LIMIT or (self._left or 0) < 0:
            raise Refused(f"the headers of one of its members are larger than {HEADER_LIMIT} bytes")
        parts: list[bytes] = []
        if self._behind and size:
            self._behind = False
            parts.append(self._last)
            size -= 1
        while size:
            part = self._read(size)
            if not part:
                break
            parts.append(part)
            size -= len(part)
        found = b"".join(parts)
        self.ended = len(found) == BLOCK and not found.strip(b"\0")
        if self._left is not None and many_digits.search(found):
            raise Refused(f"a header of it has more than {DIGITS_LIMIT} digits in a row")
        return found

    def drain(self) -> None:
        """Read to the end, so that whoever writes it can say whether it was whole."""
        while self._read(PART):
            pass

    def _read(self, size: int) -> bytes:
        part = self.source.read(size)
        if part:
            self._position += len(part)
            self.digest.update(part)
            self._last = part[-1:]
        if self._position > self.limit:
            raise Refused(f"it unpacks to more than {self.limit} bytes: set size_limit to more if it is meant to")
        return part


class Archive:
    """An open archive. As a context, it ends what unpacks it.

    :param file: the file, at its beginning.
    :param place: what it is called, for messages.
    :param limit: bytes that the tree made from it may have.
    :raises TargetError: it is of no kind that can be read here.
    """

    def __init__(self, file: IO[bytes], place: str, limit: int) -> None:
        self.place = place
        self._said: IO[bytes] | None = None
        self._program: subprocess.Popen[bytes] | None = None
        beginning = os.pread(file.fileno(), 16, 0)
        source: IO[bytes] = file
        for magic, command, package in PROGRAMS:
            if beginning.startswith(magic):
                source = self._unpacking(file, command, package)
        self.stream = Stream(source, limit + BEYOND)

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._program is not None:
            self._program.kill()
            self._program.wait()
            if self._program.stdout is not None:
                self._program.stdout.close()
        if self._said is not None:
            self._said.close()

    def _unpacking(self, file: IO[bytes], command: list[str], package: str) -> IO[bytes]:
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  it is closed with the archive
        file.seek(0)
        try:
            self._program = subprocess.Popen(
                command,
                stdin=file,
                stdout=subprocess.PIPE,
                stderr=self._said,
                preexec_fn=partial(linux.end_with, os.getpid()),
            )
        except FileNotFoundError:
            raise TargetError(f"{self.place}: needs the program {command[0]}: install the package {package}") from None
        if self._program.stdout is None:
            raise TargetError(f"{self.place}: the output of {command[0]} cannot be read")
        return self._program.stdout

    def each(self, act: Callable[[TreeEntry], None]) -> None:
        """Call `act` with the entry of each member, in order. It reads the content of each, if at all, then.

        :raises Refused: it is damaged, cut off, or no archive, or a member of it can be in no tree, or `act` refuses.
        """
        try:
            with self._opened() as tar:
                while True:
                    self.stream.expect_headers()
                    member = tar.next()
                    if member is None:
                        break
                    if len(tar.pax_headers) > GLOBAL_LIMIT:
                        raise Refused(f"it has more than {GLOBAL_LIMIT} headers for all members")
                    setattr(tar, "members", [])  # noqa: B010  which would keep all of them, and typeshed lacks
                    self.stream.expect_content()
                    act(entry_of(member, tar))
            if not self.stream.ended:
                raise Refused("it ends without the mark of an archive's end: it is cut off")
            self.stream.drain()
            self._check_program(ended=True)
        except (tarfile.TarError, ValueError, OverflowError, EOFError, RecursionError) as error:
            self._check_program(ended=True)
            raise Refused(f"{self.place}: is damaged, cut off, or no tar archive ({error})") from error
        except Refused as error:
            self._check_program(ended=False)
            raise Refused(f"{self.place}: {error}") from None

    def _opened(self) -> tarfile.TarFile:
        stream: Any = self.stream
        return tarfile.open(fileobj=stream, mode="r:", encoding="utf-8", errors="surrogateescape")

    def _check_program(self, ended: bool) -> None:
        """Raise Refused when what unpacks the archive has failed.

        :param ended: whether its end is waited for; else only a failure that has come already counts.
        """
        if self._program is None or self._said is None:
            return
        if ended:
            try:
                self.stream.drain()
            except Refused:
                return
            status: int | None = self._program.wait()
        else:
            status = self._program.poll()
        if status:
            self._said.seek(0)
            words = " ".join(self._said.read(1 << 12).decode("utf-8", "replace").split())
            raise Refused(f"{self.place}: cannot be unpacked, it is damaged or cut off ({words[:200]})")


def entry_of(member: tarfile.TarInfo, tar: tarfile.TarFile) -> TreeEntry:
    """Return the entry of a member. Raise Refused for what can be in no tree."""
    path = path_in_tree(member.name)
    kind, target = _kind(member), ""
    if kind == entries.SYMBOLIC_LINK:
        target = member.linkname
    elif kind == entries.HARD_LINK:
        target = path_in_tree(member.linkname, f", to which {shown_name(member.name)} is a hard link,")
    if member.size < 0 or not 0 <= member.uid < 1 << 32 or not 0 <= member.gid < 1 << 32:
        raise Refused(f"{shown_name(member.name)} has a size or an owner that no file can have")
    attributes = {
        name[len(ATTRIBUTE) :]: value.encode("utf-8", "surrogateescape")
        for name, value in member.pax_headers.items()
        if name.startswith(ATTRIBUTE)
    }
    content = tar.extractfile(member) if kind == entries.FILE and member.size else None
    return TreeEntry(
        path,
        kind,
        stat.S_IMODE(member.mode),
        member.uid,
        member.gid,
        member.mtime,
        member.size if kind == entries.FILE else 0,
        target,
        attributes,
        content.read if content is not None else None,
    )


def _kind(member: tarfile.TarInfo) -> str:
    if member.isdir():
        return entries.DIRECTORY
    if member.issym():
        return entries.SYMBOLIC_LINK
    if member.islnk():
        return entries.HARD_LINK
    if member.isfifo():
        return entries.FIFO
    if member.isdev():
        whiteout = member.ischr() and (member.devmajor, member.devminor) == (0, 0)
        return entries.WHITEOUT_DEVICE if whiteout else entries.DEVICE
    if member.isreg():
        return entries.FILE
    raise Refused(f"{shown_name(member.name)} is of the unknown type {member.type!r}")
