# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading the members of an archive that somebody hostile may have made.

Read is only what is written here (`tar_members`): all else is damage, or somebody else's archive.
"""

from __future__ import annotations

import re
from typing import IO, Any, Iterable, Iterator

from .archive_streams import Damaged, Rooms
from .tar_members import (
    HEADER_END,
    ODD_ATTRIBUTE,
    PLAIN_ATTRIBUTE,
    PLAIN_ATTRIBUTE_NAME,
    PLAIN_END,
    PLAIN_SUM,
    STAMP,
    SUM_BEGIN,
    SUM_END,
    TAR_BLOCK,
    TAR_END,
    TAR_PART,
    Member,
    TarKind,
    header_sum,
    padding,
    sum_of,
)

PAX_LIMIT = 1 << 24  # bytes of a header of pax: attributes of files can have 64 KiB each
EXTENTS_LIMIT = 1 << 20
_KINDS = frozenset(
    (
        TarKind.DIRECTORY,
        TarKind.FILE,
        TarKind.LINK,
        TarKind.HARD_LINK,
        TarKind.FIFO,
        TarKind.WHITEOUT,
        TarKind.KEPT,
    )
)
_header = re.compile(
    rb"(.{100})([0-7]{7})\0([0-7]{7})\0([0-7]{7})\0([0-7]{11})\0([0-7]{11})\0([0-7]{6})\0 (.)(.{100})%b"
    % re.escape(HEADER_END),
    re.DOTALL,
)
_plain_header = re.compile(
    rb"([^\0]{1,100})\0{0,99}([0-7]{7})\0([0-7]{7})\0([0-7]{7})\0([0-7]{11})\0[0-7]{11}\0([0-7]{6})\0 "
)
"""What the header of nearly all files says, with its sum; `PLAIN_END` is to come."""

_record = re.compile(rb"([1-9][0-9]{0,8}) ([^=\n]{1,600})=", re.DOTALL)
_usual = re.compile(rb"30 mtime=([0-9]{10})\.([0-9]{9})\n(?:([0-9]{2}) %b=([^\n]*)\n)?" % STAMP)
"""What nearly all texts of pax say, which is read by one look."""

_number = re.compile(rb"[0-9]{1,20}")
_time = re.compile(rb"(-?)([0-9]{1,20})(?:\.([0-9]{9}))?")


class Members:
    """An archive that is read, forward only.

    :param source: its bytes.
    :param digest: of `hashlib`; is given all of it, in order, and may be behind. None for an archive that was checked
        before, in which content can be passed over without being read.
    """

    def __init__(self, source: IO[bytes], digest: Any = None) -> None:
        self.source = source
        self.digest = digest
        self._rooms = Rooms()
        self._room = bytearray()  # what is in memory of the archive
        self._view = memoryview(self._room)
        self._end = 0  # in it, of that
        self._place = 0  # in it, where reading goes on
        self._told = 0  # in it, up to where the digest was given it
        self._begin = 0  # in it, where the present member begins, or what is left of its content
        self._left = 0  # bytes of the content of the last member that were not read
        self._filled = 0  # bytes of all of that content
        self._usual = b""  # the last header of a text of pax; most are alike
        self._usual_fields: tuple[bytes, ...] = ()
        self._usual_size = 0  # of that text, in bytes

    def next(self) -> Member | None:
        """Return the next member; None at the archive's mark of its end. Skip what is left of the former one.

        :raises Damaged: it is no such archive, or cut off, or damaged.
        """
        if self._left or self._filled:
            self._skip()
        self._begin = self._place
        return self._plain() or self._any()

    def _plain(self) -> Member | None:
        """Return the next member if it is like most: a file of which only the usual is said. Else read nothing.

        It is looked at in place, with few steps. What is not exactly so is left to `_any`.
        """
        room, place = self._room, self._place
        text = place + TAR_BLOCK
        header = text + TAR_BLOCK
        end = header + TAR_BLOCK
        if end > self._end or not room.startswith(self._usual or b"x", place):
            return None
        text_end = text + self._usual_size
        told = _usual.fullmatch(room, text, text_end)
        found = _plain_header.fullmatch(room, header, header + SUM_END)
        if not told or not found or self._usual_size != 30 + int(told[3] or 0):
            return None
        if not (room.startswith(PLAIN_END, header + SUM_END) and room.startswith(padding(text_end - text), text_end)):
            return None
        path, mode, uid, gid, size, said_sum = found.groups()
        if int(said_sum, 8) != sum_of(self._view[header : header + SUM_BEGIN], PLAIN_SUM):
            return None
        self._place = end
        self._left = self._filled = int(size, 8)
        mtime = int(told[1] + told[2])
        member = Member(path, TarKind.FILE, int(mode, 8), int(uid, 8), int(gid, 8), mtime, self._left)
        member.stamp = told[4] or b""
        return member

    def _any(self) -> Member | None:
        """Return the next member, whatever it is."""
        text = b""
        fields = self._fields()
        if fields is None:
            return None
        if fields[7] == b"x":
            size = int(fields[4], 8)
            if size > PAX_LIMIT:
                raise Damaged("a header of it is larger than %d bytes" % PAX_LIMIT)
            text = self._exactly(size)
            self._fill(size)
            fields = self._fields()
        if fields is None or fields[7] == b"x":
            raise Damaged("a header of it is damaged")
        return self._member(fields, text)

    def checksum(self) -> str:
        """Return the digest of all before the last member, of whose content nothing was read yet."""
        self._tell()
        return str(self.digest.hexdigest())

    def whole(self) -> str:
        """Return the digest of all, at the end."""
        self._begin = self._place
        return self.checksum()

    def content(self) -> Iterable[memoryview]:
        """Return what is left of the content of the last member, in parts, each of which is valid until the next."""
        place = self._place
        end = place + self._left
        filled = end + -self._filled % TAR_BLOCK
        if filled > self._end or not self._room.startswith(padding(self._filled), end):
            return self._parts()
        self._place = self._begin = filled
        self._left = self._filled = 0
        return (self._view[place:end],) if end > place else ()

    def _parts(self) -> Iterator[memoryview]:
        """Yield content that is not in memory as a whole."""
        while self._left:
            if self._place == self._end:
                self._begin = self._place
                if self._left >= TAR_PART:
                    yield self._large()
                    continue
                self._more(1)
            end = min(self._end, self._place + self._left)
            part = self._view[self._place : end]
            self._left -= len(part)
            self._place = self._begin = end
            yield part
        filled, self._filled = self._filled, 0
        self._fill(filled)

    def _large(self) -> memoryview:
        """Return a part of content that goes past what is in memory."""
        self._tell()
        part = memoryview(self._rooms.next())
        part = part[: self.source.readinto(part)]  # type: ignore[attr-defined]  # of every file without a buffer
        if not part:
            raise Damaged("it is cut off")
        if self.digest is not None:
            self.digest.update(part)
        self._left -= len(part)
        return part

    def _skip(self) -> None:
        """Go on behind the content of the last member."""
        if self.digest is None and self._left > self._end - self._place:
            self.source.seek(self._left - (self._end - self._place), 1)
            self._place = self._begin = self._told = self._end = self._left = 0
        if self._left <= self._end - self._place:
            self._place += self._left
            self._left = 0
        for _part in self.content():
            pass

    def _more(self, size: int) -> None:
        """Have at least so many bytes in memory, from the place on."""
        self._tell()
        if self._begin or self._place + size > len(self._room):
            self._move(size)
        while self._end < self._place + size:
            count = self.source.readinto(self._view[self._end :])  # type: ignore[attr-defined]
            if not count:
                raise Damaged("it is cut off")
            self._end += count

    def _move(self, size: int) -> None:
        """Take another place for what is in memory, of which the digest was given all before the present member.

        So nothing is written to where it may still be read: it was given a part of each place that was left.
        """
        former = self._view[self._begin : self._end]
        self._place -= self._begin
        self._begin = self._told = 0
        self._end = len(former)
        self._room = self._rooms.next() if self._place + size <= TAR_PART else bytearray(self._place + size)
        self._view = memoryview(self._room)
        self._view[: self._end] = former

    def _tell(self) -> None:
        if self.digest is not None and self._told < self._begin:
            self.digest.update(self._view[self._told : self._begin])
        self._told = self._begin

    def _exactly(self, size: int) -> bytes:
        if self._end - self._place < size:
            self._more(size)
        begin = self._place
        self._place = begin + size
        return self._view[begin : self._place].tobytes()

    def _fields(self) -> tuple[bytes, ...] | None:
        """Return the fields of the next header; None at the mark of the archive's end."""
        header = self._exactly(TAR_BLOCK)
        if header == self._usual:
            return self._usual_fields
        fields = _header.fullmatch(header)
        if fields is None:
            if header != TAR_END[:TAR_BLOCK]:
                raise Damaged("a header of it is damaged, or it is no such archive")
            if self._exactly(TAR_BLOCK) != header or self._place < self._end or self.source.read(1):
                raise Damaged("there is something after its end")
            return None
        if int(fields[7], 8) != header_sum(header):
            raise Damaged("a header of it is damaged")
        found = fields.groups()
        if found[7] == b"x":
            self._usual, self._usual_fields, self._usual_size = header, found, int(found[4], 8)
        return found

    def _fill(self, size: int) -> None:
        rest = -size % TAR_BLOCK
        if rest and self._exactly(rest) != TAR_END[:rest]:
            raise Damaged("there is something between its members")

    def _member(self, fields: tuple[bytes, ...], text: bytes) -> Member:
        path, mode, uid, gid, size, mtime, _sum, letter, target = fields
        kind = letter.decode("latin-1")
        if kind not in _KINDS:
            raise Damaged("a member of it is of the unknown type %a" % kind)
        member = Member(
            path.rstrip(b"\0"),
            kind,
            int(mode, 8),
            int(uid, 8),
            int(gid, 8),
            int(mtime, 8) * 10**9,
            int(size, 8),
            target.rstrip(b"\0"),
        )
        name = None
        records: dict[bytes, bytes] = {}
        usual = _usual.fullmatch(text)
        if usual and len(text) == 30 + int(usual[3] or 0):
            member.mtime = int(usual[1]) * 10**9 + int(usual[2])
            member.stamp = usual[4] or b""
        elif text:
            records = _records(text)
            name = self._told_by(member, records)
        if member.kind != TarKind.FILE and member.size:
            raise Damaged("a member of it has content, and is no file")
        self._filled = self._left = member.size
        if name is not None:
            member.path = name
            member.size = _whole(records.pop(b"GNU.sparse.realsize", None), 0)
            member.extents = self._extents(member.size)
        for key, value in records.items():
            member.attributes[_attribute(key)] = value
        return member

    @staticmethod
    def _told_by(member: Member, records: dict[bytes, bytes]) -> bytes | None:
        """Take over what a header of pax says. Return the name of a sparse file; leave what is said of its data."""
        seconds = records.pop(b"mtime", None)
        if seconds is not None:
            member.mtime = _nanoseconds(seconds)
        member.stamp = records.pop(STAMP, b"")
        if not records:
            return None
        sparse = records.pop(b"GNU.sparse.major", None), records.pop(b"GNU.sparse.minor", None)
        name = records.pop(b"GNU.sparse.name", None)
        if sparse not in ((None, None), (b"1", b"0")) or (name is None) != (sparse[0] is None):
            raise Damaged("a sparse file in it is of another format")
        member.path = records.pop(b"path", b"") or member.path
        member.target = records.pop(b"linkpath", b"") or member.target
        member.uid = _whole(records.pop(b"uid", None), member.uid)
        member.gid = _whole(records.pop(b"gid", None), member.gid)
        member.size = _whole(records.pop(b"size", None), member.size)
        return name

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
    if key.startswith(PLAIN_ATTRIBUTE) and PLAIN_ATTRIBUTE_NAME.fullmatch(key[len(PLAIN_ATTRIBUTE) :]):
        return key[len(PLAIN_ATTRIBUTE) :]
    if key.startswith(ODD_ATTRIBUTE):
        try:
            return bytes.fromhex(key[len(ODD_ATTRIBUTE) :].decode("ascii"))
        except ValueError:
            pass
    raise Damaged("a header of it is of an unknown kind: %a" % key[:100])
