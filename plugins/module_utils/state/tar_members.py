# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The members of a tar archive, as archives of volumes have them: what each is, and how it is written.

Each is a header of ustar, after one of pax (pax(1)) for what that has no room for: long names, large numbers, fractions
of seconds, extended attributes, and where a sparse file has its data (format 1.0 of GNU tar). So GNU tar and bsdtar
unpack such an archive. `tar_reading` reads them back.
"""

from __future__ import annotations

import functools
import os
import re
import zlib

TAR_BLOCK = 512
TAR_PART = 1 << 18  # bytes that are read or written at a time
TAR_END = bytes(2 * TAR_BLOCK)
PLAIN_ATTRIBUTE, ODD_ATTRIBUTE = b"SCHILY.xattr.", b"UNSHARE.xattr."  # the second with the name in hexadecimal digits
STAMP = b"comment"
"""The record of pax that has a file's stamp: whoever knows nothing of it passes a comment over in silence."""

PLAIN_ATTRIBUTE_NAME = re.compile(rb"[a-zA-Z0-9_.@:-]{1,255}")
MODE_BITS = 0o7777  # of what stat(2) calls so; the rest is the kind of file
NAME_ROOM = 100  # bytes of a path, or of a link's text, in a header of ustar
SUM_BEGIN, SUM_END = 148, 156  # where a header has its sum
SECONDS_ROOM, ID_ROOM, SIZE_ROOM = 8**11, 8**7, 8**11
HEADER_END = b"ustar\00000" + bytes(64) + b"0000000\0" * 2 + bytes(167)
_PADDING = bytes(TAR_BLOCK)
_BLANKS = 8 * 32  # what the place of the sum counts as, in the sum


class TarKind:
    """What a member is, as a header says it. `KEPT` is a file that an archive has of its base (`increments`)."""

    DIRECTORY, FILE, LINK, HARD_LINK, FIFO, WHITEOUT, KEPT = "5", "0", "2", "1", "6", "3", "U"


class Member:
    """One file, directory, link or the like.

    Attributes:
        path: in the archive, without a slash at its end.
        kind: one of `TarKind`. A device with the numbers 0 and 0 is a whiteout of overlayfs, which anybody can make.
        mtime: in nanoseconds since 1970.
        size: bytes of a file.
        target: the text of a link; of a hard link, the path of the file in the archive.
        attributes: the extended ones, by name.
        extents: where a sparse file has its data, (offset, length) each in order; None for a file that is not sparse.
        stamp: by what a file is known again on the host where it was read (`increments`); empty without one.
    """

    __slots__ = ("attributes", "extents", "gid", "kind", "mode", "mtime", "path", "size", "stamp", "target", "uid")

    def __init__(
        self,
        path: bytes,
        kind: str,
        mode: int = 0o755,
        uid: int = 0,
        gid: int = 0,
        mtime: int = 0,
        size: int = 0,
        target: bytes = b"",
        attributes: dict[bytes, bytes] | None = None,
        extents: list[tuple[int, int]] | None = None,
        stamp: bytes = b"",
    ) -> None:
        self.path = path
        self.kind = kind
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.mtime = mtime
        self.size = size
        self.target = target
        self.attributes = attributes or {}
        self.extents = extents
        self.stamp = stamp

    def head(self) -> bytes:
        """Return all of it that stands before the content of a file."""
        path, target = self.path, self.target
        stored = self.size if self.kind == TarKind.FILE else 0
        sparse = said = b""
        if self.extents is not None:
            sparse = _map_of(self.extents)
            said = _sparse_records(path, self.size)
            stored = len(sparse) + self.stored
        elif len(path) > NAME_ROOM or not path.isascii():
            said = _as_record(b"path", path)
        if target and (len(target) > NAME_ROOM or not target.isascii()):
            said += _as_record(b"linkpath", target)
        uid, gid, size = self.uid, self.gid, stored
        if uid >= ID_ROOM or gid >= ID_ROOM or size >= SIZE_ROOM:
            for key, value, room in ((b"uid", uid, ID_ROOM), (b"gid", gid, ID_ROOM), (b"size", size, SIZE_ROOM)):
                if value >= room:
                    said += _as_record(key, b"%d" % value)
            uid, gid, size = uid % ID_ROOM, gid % ID_ROOM, size if size < SIZE_ROOM else 0
        seconds, rest = divmod(self.mtime, 10**9)
        if 10**9 <= seconds < SECONDS_ROOM:
            if rest:
                said += b"30 mtime=%d.%09d\n" % (seconds, rest)
        elif rest or not 0 <= seconds < SECONDS_ROOM:
            said += _as_record(b"mtime", _decimal(self.mtime))
            seconds = seconds if 0 <= seconds < SECONDS_ROOM else 0
        if self.stamp:
            said += _as_record(STAMP, self.stamp)
        for name, content in self.attributes.items():
            plain = PLAIN_ATTRIBUTE_NAME.fullmatch(name)
            said += _as_record(PLAIN_ATTRIBUTE + name if plain else ODD_ATTRIBUTE + name.hex().encode(), content)
        begin = b"%b%b%011o\0%011o\0" % (
            path[:NAME_ROOM].ljust(NAME_ROOM, b"\0"),
            _mode_and_owner(self.mode, uid, gid),
            size,
            seconds,
        )
        header = _summed(begin, *_kind_and(self.kind, target[:NAME_ROOM])) + sparse
        return b"".join((_pax(len(said)), said, padding(len(said)), header)) if said else header

    @property
    def stored(self) -> int:
        """Return how many bytes of content stand in the archive, without what fills the last block."""
        if self.extents is not None:
            return sum(length for _offset, length in self.extents)
        return self.size if self.kind == TarKind.FILE else 0


def plain_head(path: bytes, status: os.stat_result, known: bytes) -> bytes:
    """Return what `Member.head` does, with few steps, of a file like most: without all that needs more room.

    :param known: its stamp.
    :return: nothing, of another file.
    """
    uid, gid = status.st_uid, status.st_gid
    seconds, rest = divmod(status.st_mtime_ns, 10**9)
    if not (rest and 10**9 <= seconds < SECONDS_ROOM and uid < ID_ROOM and gid < ID_ROOM):
        return b""
    if status.st_size >= SIZE_ROOM or len(path) > NAME_ROOM or not path.isascii():
        return b""
    said = b"30 mtime=%d.%09d\n" % (seconds, rest)
    if known:
        said += _as_record(STAMP, known)
    owner = _mode_and_owner(status.st_mode & MODE_BITS, uid, gid)
    begin = b"%b%b%011o\0%011o\0" % (path.ljust(NAME_ROOM, b"\0"), owner, status.st_size, seconds)
    sums = b"%06o\0 " % sum_of(begin, PLAIN_SUM)
    return b"".join((_pax(len(said)), said, padding(len(said)), begin, sums, PLAIN_END))


def padding(size: int) -> bytes:
    """Return what fills the last block of so many bytes."""
    return _PADDING[: -size % TAR_BLOCK]


def sum_of(part: bytes | memoryview, before: int = 0) -> int:
    """Return the sum of the bytes of a part of a header, as far as one of ours has it.

    That is half of what Adler-32 computes, modulo 65521; no header of ours comes near to that.
    """
    return ((zlib.adler32(part) & 0xFFFF) - 1 + before) % 65521


def header_sum(header: bytes) -> int:
    """Return the sum that a header has to say of itself: its bytes, with blanks in the place of the sum."""
    return sum_of(header[:SUM_BEGIN], sum_of(header[SUM_END:], _BLANKS))


def _summed(begin: bytes, end: bytes, sum_of_end: int) -> bytes:
    """Return a header, with its sum between what stands before that and behind it."""
    return b"%b%06o\0 %b" % (begin, sum_of(begin, sum_of_end), end)


@functools.lru_cache(maxsize=64)
def _mode_and_owner(mode: int, uid: int, gid: int) -> bytes:
    return b"%07o\0%07o\0%07o\0" % (mode, uid, gid)


@functools.lru_cache(maxsize=64)
def _kind_and(kind: str, target: bytes) -> tuple[bytes, int]:
    """Return what stands behind the sum in a header, and its sum, with that of the blanks."""
    end = kind.encode() + target.ljust(NAME_ROOM, b"\0") + HEADER_END
    return end, sum_of(end, _BLANKS)


PLAIN_END, PLAIN_SUM = _kind_and(TarKind.FILE, b"")
"""What stands behind the sum in the header of nearly all files."""


@functools.lru_cache(maxsize=1024)
def _pax(size: int) -> bytes:
    """Return the header of a text of pax of so many bytes."""
    begin = b"pax".ljust(NAME_ROOM, b"\0") + _mode_and_owner(0o600, 0, 0) + b"%011o\0%011o\0" % (size, 0)
    return _summed(begin, *_kind_and("x", b""))


def _map_of(extents: list[tuple[int, int]]) -> bytes:
    lines = [b"%d" % len(extents)]
    for offset, length in extents:
        lines += [b"%d" % offset, b"%d" % length]
    text = b"\n".join(lines) + b"\n"
    return text + padding(len(text))


def _sparse_records(path: bytes, size: int) -> bytes:
    records = {b"major": b"1", b"minor": b"0", b"name": path, b"realsize": b"%d" % size}
    return b"".join(_as_record(b"GNU.sparse." + key, value) for key, value in records.items())


def _as_record(key: bytes, value: bytes) -> bytes:
    return b"%b%b\n" % (_begin_of_record(key, len(value)), value)


@functools.lru_cache(maxsize=256)
def _begin_of_record(key: bytes, size: int) -> bytes:
    """Return what stands before a value of so many bytes: how long the record is, that number included, and the key."""
    rest = len(key) + size + 3
    length = rest + len(str(rest))
    if len(str(length)) != len(str(rest)):
        length += 1
    return b"%d %b=" % (length, key)


def _decimal(nanoseconds: int) -> bytes:
    sign, value = (b"-", -nanoseconds) if nanoseconds < 0 else (b"", nanoseconds)
    return b"%b%d.%09d" % (sign, value // 10**9, value % 10**9)
