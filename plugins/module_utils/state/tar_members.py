# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The members of a tar archive, as archives of volumes have them: written, and read from somebody hostile.

Each is a header of ustar, after one of pax (pax(1)) for what that has no room for: long names, large numbers, fractions
of seconds, extended attributes, and where a sparse file has its data (format 1.0 of GNU tar). So GNU tar and bsdtar
unpack such an archive. Read is only what is written here: all else is damage, or somebody else's archive.
"""

from __future__ import annotations

import re
from typing import IO, Callable, Iterator

from .target import TargetError

TAR_BLOCK = 512
TAR_PART = 1 << 20  # bytes that are read or written at a time
PAX_LIMIT = 1 << 24  # bytes of a header of pax: attributes of files can have 64 KiB each
EXTENTS_LIMIT = 1 << 20
TAR_END = bytes(2 * TAR_BLOCK)
PLAIN_ATTRIBUTE, ODD_ATTRIBUTE = b"SCHILY.xattr.", b"UNSHARE.xattr."  # the second with the name in hexadecimal digits
_PADDING = bytes(TAR_BLOCK)
_record = re.compile(rb"([1-9][0-9]{0,8}) ([^=\n]{1,600})=", re.DOTALL)
_plain_attribute = re.compile(rb"[a-zA-Z0-9_.@:-]{1,255}")
_number = re.compile(rb"[0-9]{1,20}")
_time = re.compile(rb"(-?)([0-9]{1,20})(?:\.([0-9]{9}))?")


class TarKind:
    """What a member is, as a header says it."""

    DIRECTORY, FILE, LINK, HARD_LINK, FIFO, WHITEOUT = "5", "0", "2", "1", "6", "3"
    ALL = "502163"


class Damaged(TargetError):
    """An archive that is damaged, cut off, or none of these."""


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
    """

    __slots__ = ("attributes", "extents", "gid", "kind", "mode", "mtime", "path", "size", "target", "uid")

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

    def head(self) -> bytes:
        """Return all of it that stands before the content of a file."""
        stored = self.size if self.kind == TarKind.FILE else 0
        sparse = b""
        records: dict[bytes, bytes] = {}
        if self.extents is not None:
            lines = [b"%d" % len(self.extents)]
            for offset, length in self.extents:
                lines += [b"%d" % offset, b"%d" % length]
            sparse = b"\n".join(lines) + b"\n"
            sparse += _PADDING[: -len(sparse) % TAR_BLOCK]
            stored = len(sparse) + sum(length for _offset, length in self.extents)
            records = {
                b"GNU.sparse.major": b"1",
                b"GNU.sparse.minor": b"0",
                b"GNU.sparse.name": self.path,
                b"GNU.sparse.realsize": b"%d" % self.size,
            }
        elif len(self.path) > 100 or not self.path.isascii():
            records[b"path"] = self.path
        if len(self.target) > 100 or not self.target.isascii():
            records[b"linkpath"] = self.target
        for key, value, limit in ((b"uid", self.uid, 8**7), (b"gid", self.gid, 8**7), (b"size", stored, 8**11)):
            if value >= limit:
                records[key] = b"%d" % value
        seconds, rest = divmod(self.mtime, 10**9)
        if rest or not 0 <= seconds < 8**11:
            records[b"mtime"] = _decimal(self.mtime)
        for name, content in self.attributes.items():
            plain = _plain_attribute.fullmatch(name)
            records[PLAIN_ATTRIBUTE + name if plain else ODD_ATTRIBUTE + name.hex().encode()] = content
        said = b""
        if records:
            text = b"".join(_as_record(key, value) for key, value in records.items())
            said = _ustar(b"pax", "x", len(text)) + text + _PADDING[: -len(text) % TAR_BLOCK]
        if not 0 <= seconds < 8**11:
            seconds = 0
        return said + _ustar(self.path, self.kind, stored, self, seconds) + sparse

    @property
    def stored(self) -> int:
        """Return how many bytes of content stand in the archive, without what fills the last block."""
        if self.extents is not None:
            return sum(length for _offset, length in self.extents)
        return self.size if self.kind == TarKind.FILE else 0


def padding(size: int) -> bytes:
    """Return what fills the last block of so many bytes."""
    return _PADDING[: -size % TAR_BLOCK]


def _as_record(key: bytes, value: bytes) -> bytes:
    """Return a record of pax, which says how long it is, that number included."""
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest) + 1
    while length != len(rest) + len(str(length)):
        length = len(rest) + len(str(length))
    return b"%d" % length + rest


def _decimal(nanoseconds: int) -> bytes:
    sign, value = (b"-", -nanoseconds) if nanoseconds < 0 else (b"", nanoseconds)
    return b"%s%d.%09d" % (sign, value // 10**9, value % 10**9)


def _ustar(path: bytes, kind: str, size: int, member: Member | None = None, seconds: int = 0) -> bytes:
    found = member or Member(path, kind, 0o600)
    header = b"".join(
        (
            path[:100].ljust(100, b"\0"),
            b"%07o\0%07o\0%07o\0" % (found.mode, found.uid % 8**7, found.gid % 8**7),
            b"%011o\0%011o\0" % (size if size < 8**11 else 0, seconds),
            b" " * 8 + kind.encode(),
            found.target[:100].ljust(100, b"\0"),
            b"ustar\00000" + bytes(64) + b"%07o\0%07o\0" % (0, 0) + bytes(167),
        )
    )
    return header[:148] + b"%06o\0 " % sum(header) + header[156:]


class Members:
    """An archive that is read, forward only.

    :param source: its bytes.
    :param note: called with each part that was read, in order.
    """

    def __init__(self, source: IO[bytes], note: Callable[[bytes], None]) -> None:
        self.source = source
        self.note = note
        self._left = 0  # bytes of the content of the last member that were not read
        self._filled = 0

    def _exactly(self, size: int) -> bytes:
        found = self.source.read(size)
        while len(found) < size:
            part = self.source.read(size - len(found))
            if not part:
                raise Damaged("it is cut off")
            found += part
        self.note(found)
        return found

    def next(self) -> Member | None:
        """Return the next member; None at the archive's mark of its end. Skip what is left of the former one.

        :raises Damaged: it is no such archive, or cut off, or damaged.
        """
        for _part in self.content():
            pass
        records: dict[bytes, bytes] = {}
        header = self._exactly(TAR_BLOCK)
        if header == _PADDING:
            if self._exactly(TAR_BLOCK) != _PADDING or self.source.read(1):
                raise Damaged("there is something after its end")
            return None
        if header[156:157] == b"x":
            size = _octal(header[124:136])
            _check_sum(header)
            if size > PAX_LIMIT:
                raise Damaged("a header of it is larger than %d bytes" % PAX_LIMIT)
            records = _records(self._exactly(size))
            self._fill(size)
            header = self._exactly(TAR_BLOCK)
        _check_sum(header)
        return self._member(header, records)

    def _fill(self, size: int) -> None:
        rest = -size % TAR_BLOCK
        if rest and self._exactly(rest).strip(b"\0"):
            raise Damaged("there is something between its members")

    def _member(self, header: bytes, records: dict[bytes, bytes]) -> Member:
        kind = header[156:157].decode("latin-1")
        if not kind or kind not in TarKind.ALL:
            raise Damaged("a member of it is of the unknown type %a" % kind)
        sparse = records.pop(b"GNU.sparse.major", None), records.pop(b"GNU.sparse.minor", None)
        name = records.pop(b"GNU.sparse.name", None)
        if sparse not in ((None, None), (b"1", b"0")) or (name is None) != (sparse[0] is None):
            raise Damaged("a sparse file in it is of another format")
        path = name or records.pop(b"path", b"") or header[:100].rstrip(b"\0")
        stored = _whole(records.pop(b"size", None), _octal(header[124:136]))
        seconds = records.pop(b"mtime", None)
        member = Member(
            path,
            kind,
            _octal(header[100:108]),
            _whole(records.pop(b"uid", None), _octal(header[108:116])),
            _whole(records.pop(b"gid", None), _octal(header[116:124])),
            _octal(header[136:148]) * 10**9 if seconds is None else _nanoseconds(seconds),
            stored,
            records.pop(b"linkpath", b"") or header[157:257].rstrip(b"\0"),
        )
        if (_octal(header[329:337]), _octal(header[337:345])) != (0, 0):
            raise Damaged("a member of it is a device")
        self._filled = stored
        self._left = stored
        if kind != TarKind.FILE and stored:
            raise Damaged("a member of it has content, and is no file")
        if name is not None:
            member.size = _whole(records.pop(b"GNU.sparse.realsize", None), 0)
            member.extents = self._extents(member.size)
        for key, value in records.items():
            member.attributes[_attribute(key)] = value
        return member

    def _extents(self, size: int) -> list[tuple[int, int]]:
        """Return where a sparse file has its data, by the text that its content begins with."""
        text = bytearray()
        count, seen = -1, 0
        while count < 0 or seen < 2 * count + 1:
            if self._left < TAR_BLOCK:
                raise Damaged("a sparse file in it is damaged")
            part = self._exactly(TAR_BLOCK)
            self._left -= TAR_BLOCK
            text += part
            seen += part.count(b"\n")
            if count < 0:
                count = _whole(bytes(text.partition(b"\n")[0]), 0)
                if count > EXTENTS_LIMIT:
                    raise Damaged("a sparse file in it is in more than %d pieces" % EXTENTS_LIMIT)
        numbers = [_whole(bytes(line), 0) for line in text.split(b"\n")[1 : 2 * count + 1]]
        found = list(zip(numbers[::2], numbers[1::2]))
        end = 0
        for offset, length in found:
            if offset < end or offset + length > size:
                raise Damaged("a sparse file in it is damaged")
            end = offset + length
        if sum(length for _offset, length in found) != self._left:
            raise Damaged("a sparse file in it is damaged")
        return found

    def content(self) -> Iterator[bytes]:
        """Yield what is left of the content of the last member, in parts."""
        while self._left:
            part = self._exactly(min(self._left, TAR_PART))
            self._left -= len(part)
            yield part
        filled, self._filled = self._filled, 0
        self._fill(filled)


def _check_sum(header: bytes) -> None:
    if header[257:265] != b"ustar\00000" or _octal(header[148:156]) != sum(header) - sum(header[148:156]) + 8 * 32:
        raise Damaged("a header of it is damaged, or it is no such archive")


def _octal(field: bytes) -> int:
    digits = field.rstrip(b" \0")
    if not digits or digits.strip(b"01234567"):
        raise Damaged("a header of it is damaged")
    return int(digits, 8)


def _whole(text: bytes | None, default: int) -> int:
    if text is None:
        return default
    if not _number.fullmatch(text):
        raise Damaged("a number in it is damaged")
    return int(text)


def _nanoseconds(text: bytes) -> int:
    found = _time.fullmatch(text)
    if not found:
        raise Damaged("a time in it is damaged")
    value = int(found[2]) * 10**9 + int(found[3] or 0)
    return -value if found[1] else value


def _records(text: bytes) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    place = 0
    while place < len(text):
        record = _record.match(text, place, place + 700)
        end = place + int(record[1]) if record else 0
        if record is None or not record.end() < end <= len(text) or text[end - 1 : end] != b"\n":
            raise Damaged("a header of it is damaged")
        if record[2] in found:
            raise Damaged("a header of it says the same twice")
        found[record[2]] = text[record.end() : end - 1]
        place = end
    return found


def _attribute(key: bytes) -> bytes:
    if key.startswith(PLAIN_ATTRIBUTE) and _plain_attribute.fullmatch(key[len(PLAIN_ATTRIBUTE) :]):
        return key[len(PLAIN_ATTRIBUTE) :]
    if key.startswith(ODD_ATTRIBUTE):
        try:
            return bytes.fromhex(key[len(ODD_ATTRIBUTE) :].decode("ascii"))
        except ValueError:
            pass
    raise Damaged("a header of it is of an unknown kind: %a" % key[:100])
