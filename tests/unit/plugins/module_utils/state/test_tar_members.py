# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is written as a member of an archive is what is read, whatever it is; all else is damage."""

from __future__ import annotations

import contextlib
import hashlib
import io
import itertools
import tarfile
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.state import tar_members
from ansible_collections.unshare.container.plugins.module_utils.state.archive_streams import PARTS_WAITING, Damaged
from ansible_collections.unshare.container.plugins.module_utils.state.tar_members import (
    TAR_END,
    Member,
    TarKind,
    padding,
)
from ansible_collections.unshare.container.plugins.module_utils.state.tar_reading import Members
from hypothesis import given
from hypothesis import strategies as st

SHOWN = ("path", "kind", "mode", "uid", "gid", "mtime", "size", "target", "attributes", "extents", "stamp")
NAMES = st.binary(min_size=1, max_size=300).filter(lambda name: b"\0" not in name)
NUMBERS = st.integers(0, (1 << 32) - 2)


def shown(member: Member) -> dict[str, t.Any]:
    return {name: getattr(member, name) for name in SHOWN}


class Late:
    """A digest that is as far behind as one may be: what changes too early what it was given gets another."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._waiting: list[memoryview] = []

    def update(self, part: memoryview) -> None:
        self._waiting.append(part)
        if len(self._waiting) > PARTS_WAITING + 1:
            self._digest.update(self._waiting.pop(0))

    def hexdigest(self) -> str:
        while self._waiting:
            self._digest.update(self._waiting.pop(0))
        return self._digest.hexdigest()


class Pieces(io.BytesIO):
    """What comes in pieces, as through a pipe."""

    most = 1 << 30

    def readinto(self, room: t.Any) -> int:
        return super().readinto(memoryview(room)[: self.most])


def read(data: bytes, most: int = 1 << 30) -> list[tuple[Member, bytes]]:
    source = Pieces(data)
    source.most = most
    members = Members(source, Late())
    found = []
    while (member := members.next()) is not None:
        found.append((member, b"".join(map(bytes, members.content()))))
    assert members.whole() == hashlib.sha256(data).hexdigest(), "all of it is held to the checksum"
    return found


@st.composite
def files(draw: st.DrawFn) -> tuple[Member, bytes]:
    content = draw(st.binary(max_size=2000))
    extents, size = None, len(content)
    if draw(st.booleans()):
        cuts = sorted({0, len(content), *draw(st.lists(st.integers(0, len(content)), max_size=5))})
        extents, place = [], 0
        for start, end in itertools.pairwise(cuts):
            place += draw(st.integers(0, 1 << 40))
            extents.append((place, end - start))
            place += end - start
        size = place + draw(st.integers(0, 1 << 60))
    attributes = draw(st.dictionaries(st.binary(min_size=1, max_size=20), st.binary(max_size=300), max_size=3))
    member = Member(
        draw(NAMES),
        TarKind.FILE,
        draw(st.integers(0, 0o7777)),
        draw(NUMBERS),
        draw(NUMBERS),
        draw(st.integers(-(10**20), 10**20)),
        size,
        b"",
        attributes,
        extents,
    )
    return member, content


@st.composite
def plain_files(draw: st.DrawFn) -> tuple[Member, bytes]:
    """Files as nearly all are."""
    content = draw(st.binary(max_size=2000))
    path = draw(st.from_regex(rb"[!-~]{1,100}", fullmatch=True))
    mtime = draw(st.integers(10**18, 2 * 10**18))
    stamp = draw(st.one_of(st.just(b""), st.from_regex(rb"inode [0-9]{1,9} changed [0-9]{19}", fullmatch=True)))
    ids = st.integers(0, 1 << 20)
    mode = draw(st.integers(0, 0o7777))
    return Member(path, TarKind.FILE, mode, draw(ids), draw(ids), mtime, len(content), stamp=stamp), content


@given(st.lists(plain_files(), min_size=2, max_size=4), st.data())
def test_what_is_read_at_one_look_is_what_is_read_step_by_step(
    written: list[tuple[Member, bytes]], data: st.DataObject
) -> None:
    """Also of an archive that somebody has changed, at up to three places: both see the same, or the same damage."""
    whole = bytearray(b"".join(member.head() + content + padding(len(content)) for member, content in written))
    whole += TAR_END
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=3)):
        whole[place] = data.draw(st.integers(0, 255))

    def outcome() -> object:
        try:
            return [(shown(member), content) for member, content in read(bytes(whole))]
        except Damaged as error:
            return str(error)

    at_one_look = outcome()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Members, "_plain", lambda _self: None)
        assert outcome() == at_one_look


def test_most_members_are_read_at_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """All but the first, which tells what the others are like."""
    member = Member(b"data/file", TarKind.FILE, 0o644, 107, 107, 1234567890123456789, 5, stamp=b"inode 1 changed 2")
    steps: list[Members] = []
    step_by_step = Members._any

    def counted(members: Members) -> Member | None:
        steps.append(members)
        return step_by_step(members)

    monkeypatch.setattr(Members, "_any", counted)
    assert len(read((member.head() + b"hello" + padding(5)) * 100 + TAR_END)) == 100
    assert len(steps) == 2, "of the first, and of the end"


@pytest.mark.parametrize("most", [100, 5000, 1 << 16, 700_000, 1 << 30])
def test_it_may_come_in_pieces(most: int) -> None:
    """Also what has headers that are larger than a part, and content that is: all is held to the checksum."""
    attributes = {b"user.%d" % number: bytes([number]) * 60_000 for number in range(40)}
    plain = Member(b"data/file", TarKind.FILE, 0o644, 0, 0, 1234567890123456789, 5000), bytes(range(250)) * 20
    odd = Member(b"data/odd", TarKind.FILE, 0o644, size=3 << 20, attributes=attributes), bytes(range(256)) * (3 << 12)
    written = [odd if number in (3, 4, 300) else plain for number in range(301)]
    data = b"".join(member.head() + content + padding(len(content)) for member, content in written) + TAR_END
    found = read(data, most)
    assert [(shown(member), content) for member, content in found] == [
        (shown(member), content) for member, content in written
    ]


@given(st.lists(files(), max_size=3), NAMES, NAMES)
def test_what_is_written_is_read(written: list[tuple[Member, bytes]], path: bytes, target: bytes) -> None:
    link = Member(path, TarKind.LINK, 0o777, target=target), b""
    kept = Member(path, TarKind.KEPT, stamp=b"inode 1 changed 2"), b""
    every = [*written, link, kept]
    data = b"".join(member.head() + content + padding(len(content)) for member, content in every)
    found = read(data + TAR_END)
    assert [(shown(member), content) for member, content in found] == [
        (shown(member), content) for member, content in every
    ]


def test_others_read_it(tmp_path: t.Any) -> None:
    long = b"d/" + b"x" * 200
    members = [
        (Member(b"d", "5", 0o2751, 70000, 1 << 24, 1234567890123456789), b""),
        (Member(long, "0", size=5, attributes={b"user.a": b"\xff\n"}), b"hello"),
        (Member(b"d/l", "2", target=b"t" * 300), b""),
        (Member(b"d/h", "1", target=long), b""),
        (Member(b"d/s", "0", size=9000, extents=[(4096, 3), (9000, 0)]), b"abc"),
    ]
    data = b"".join(member.head() + content + padding(len(content)) for member, content in members) + TAR_END
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as archive:
        names = [member.name for member in archive]
        assert names == ["d", long.decode(), "d/l", "d/h", "d/s"]
        first = archive.getmember("d")
        assert (first.mode, first.uid, first.gid, first.mtime) == (0o2751, 70000, 1 << 24, 1234567890.123456789)
        sparse = archive.extractfile("d/s")
        assert sparse is not None
        assert sparse.read() == bytes(4096) + b"abc" + bytes(9000 - 4099)
        assert archive.getmember("d/l").linkname == "t" * 300


@given(st.binary(max_size=3000))
def test_anything_else_is_damage(data: bytes) -> None:
    with pytest.raises(Damaged):
        read(data)


@given(files(), st.data())
def test_what_is_changed_is_damage_or_another_member(file: tuple[Member, bytes], data: st.DataObject) -> None:
    """Nothing but `Damaged` comes of it; that another member is none is for the checksum to say."""
    member, content = file
    whole = bytearray(member.head() + content + padding(len(content)) + TAR_END)
    place = data.draw(st.integers(0, len(whole) - 1))
    whole[place] ^= 1 << data.draw(st.integers(0, 7))
    with contextlib.suppress(Damaged):
        read(bytes(whole))
    with pytest.raises(Damaged):
        read(bytes(whole[:place]))


@pytest.mark.parametrize(
    ("records", "said"),
    [
        (b"8 path=x\n", "damaged"),
        (b"99999999 path=x\n", "damaged"),
        (b"9 path=x\n9 path=y\n", "the same twice"),
        (b"8 uid=-\n", "number"),
        (b"11 mtime=x\n", "time"),
        (b"13 charset=a\n", "unknown kind"),
        (b"22 GNU.sparse.major=0\n", "another format"),
    ],
)
def test_a_header_that_is_none_of_these_is_refused(records: bytes, said: str) -> None:
    header = tar_members._pax(len(records)) + records + padding(len(records))
    with pytest.raises(Damaged, match=said):
        read(header + Member(b"x", "0").head() + TAR_END)


def test_a_header_promises_no_more_than_it_may() -> None:
    header = tar_members._pax(1 << 30)
    with pytest.raises(Damaged, match="larger than"):
        read(header)


@pytest.mark.parametrize("kind", ["4", "7", "L", "g", "S", "\0"])
def test_a_member_of_another_kind_is_refused(kind: str) -> None:
    with pytest.raises(Damaged, match="unknown type"):
        read(Member(b"x", kind).head() + TAR_END)


def test_a_device_that_is_one_is_refused() -> None:
    header = bytearray(Member(b"x", TarKind.WHITEOUT).head())
    header[329:337] = b"0000001\0"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    with pytest.raises(Damaged, match="no such archive"):
        read(bytes(header) + TAR_END)
