# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ids of a mapping that says whose it is (V2): which id on disk is which inside, and whose nothing becomes."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import mapping_ids, ownership, unmapped
from ansible_collections.unshare.container.plugins.module_utils.launcher.contract import Directory, Mount
from ansible_collections.unshare.container.plugins.module_utils.launcher.mapping_ids import IdMap, MappingIds
from ansible_collections.unshare.container.plugins.module_utils.launcher.owners import Owners
from hypothesis import example, given
from hypothesis import strategies as st

from ..specifications import mount

COUNT = 65536
EXTENTS_LIMIT = 340  # of the kernel (user_namespaces(7))
INSIDE = st.integers(0, COUNT - 1)
DISK = INSIDE | st.integers(0, 2**32 - 2)


def owned(uid: int | None = 901, gid: int | None = 901, **more: t.Any) -> Mount:
    return mount(device="/srv/x", flags=["bind-mount"], uid=uid, gid=gid, **more)


def status(uid: int, gid: int) -> os.stat_result:
    return os.stat_result((0, 0, 0, 0, uid, gid, 0, 0, 0, 0))


@given(DISK, INSIDE)
@example(107, 901)
@example(0, 901)
@example(1000, 0)
@example(901, 901)
@example(100000, 901)
@example(0, 0)
@example(65535, 65534)
def test_v2_the_map_is_one_to_one_and_moves_no_more_than_it_must(disk: int, inside: int) -> None:
    found = IdMap(COUNT, disk, inside)
    assert len(found.extents) <= EXTENTS_LIMIT
    assert found.extents == sorted(found.extents)
    assert all(size > 0 for _first, _other, size in found.extents)
    pairs = [(first + n, other + n) for first, other, size in found.extents for n in range(size)]
    to_inside = dict(pairs)
    assert len(to_inside) == len(pairs) == len(set(to_inside.values()))
    assert to_inside[disk] == inside
    assert all(other == one for one, other in pairs if not {one, other} & {disk, inside})
    left_out = {inside} - {disk} if disk >= COUNT or 0 in (disk, inside) else set()
    assert {*range(COUNT), disk} - to_inside.keys() == left_out
    no_more_inside = {disk} if 0 in (disk, inside) and disk != inside and disk < COUNT else set()
    assert set(range(COUNT)) - set(to_inside.values()) == no_more_inside
    for one in {0, 1, disk, inside, COUNT - 1, COUNT, 2**32 - 2}:
        assert found.inside(one) == to_inside.get(one)
        assert found.on_disk(one) == {other: here for here, other in pairs}.get(one)


@given(DISK, INSIDE)
def test_v2_root_becomes_nobody_else_for_anothers_sake(disk: int, inside: int) -> None:
    """Root's files on disk are an ordinary account's inside, or the other way round, only where just that is said."""
    found = IdMap(COUNT, disk, inside)
    if disk != 0:
        assert found.inside(0) in (0, None)
    if inside != 0:
        assert [first for first, other, _size in found.extents if other == 0] == ([0] if disk else [])


def test_v2_the_lines_of_a_map() -> None:
    assert IdMap(COUNT).line(5000) == "0 5000 65536\n"
    assert IdMap(COUNT, 107, 901).line(1 << 20) == (
        "0 1048576 107\n107 1049477 1\n108 1048684 793\n901 1048683 1\n902 1049478 64634\n"
    )
    assert IdMap(COUNT, 100000, 901).line(0) == "0 0 901\n902 902 64634\n100000 901 1\n"
    assert IdMap(COUNT, 1000, 0).line(0) == "1 1 999\n1000 0 1\n1001 1001 64535\n"


def test_v2_owner_and_group_each_have_a_map() -> None:
    found = MappingIds(COUNT, (107, 112), 901, 902)
    assert found.lines(0) == (IdMap(COUNT, 107, 901).line(0), IdMap(COUNT, 112, 902).line(0))
    assert found.inside(status(107, 112)) == (901, 902)
    assert found.inside(status(901, 70000)) == (107, 65534)
    assert found.inside(status(70000, 902)) == (65534, 112)
    assert found.on_disk(901, 902) == (107, 112)
    assert MappingIds(COUNT, (1000, 1000), 0, 0).on_disk(1000, 1000) == (1000, 1000)
    assert found.without_counterpart(107, 902) == []
    assert found.without_counterpart(70000, 80000) == [70000, 80000]
    assert not found.is_usual


@pytest.mark.parametrize(
    ("disk", "uid", "gid", "usual"),
    [
        ((107, 112), None, None, True),
        ((107, 112), 107, 112, True),
        ((107, 112), 107, None, True),
        ((107, 112), 901, None, False),
        ((107, 112), None, 901, False),
        ((107, 0), 107, 901, True),
        ((0, 0), 0, 0, True),
    ],
)
def test_v2_a_map_of_its_own_only_where_it_differs(
    disk: tuple[int, int], uid: int | None, gid: int | None, usual: bool
) -> None:
    found = MappingIds(COUNT, disk, uid, gid)
    assert (found.is_usual, found.lines(7) == MappingIds(COUNT).lines(7)) == (usual, usual)


def test_v2_the_group_of_root_stays() -> None:
    found = MappingIds(COUNT, (107, 0), 901, 901)
    assert found.inside(status(107, 0)) == (901, 0)
    assert found.groups.extents == IdMap(COUNT).extents
    said = mapping_ids.group_warning(owned(), (107, 0))
    assert said is not None
    assert said.startswith("/srv/x: its group on the host is root's")
    assert "does not become 901: give it another group on the host (chgrp 901 /srv/x)" in said
    for gid, group in ((None, 0), (0, 0), (901, 112)):
        assert mapping_ids.group_warning(owned(gid=gid), (107, group)) is None


@pytest.mark.parametrize(
    ("record", "disk", "refused"),
    [
        (owned(), (0, 0), True),
        (owned(gid=None), (0, 5), True),
        (owned(), (107, 0), False),
        (owned(uid=0), (0, 0), False),
        (owned(uid=None), (0, 0), False),
        (owned().replacing(flags=["bind-mount", "read-only"]), (0, 0), False),
    ],
)
def test_v2_what_is_roots_is_nobody_elses_to_write(record: Mount, disk: tuple[int, int], refused: bool) -> None:
    said = mapping_ids.refusal(record, disk)
    assert bool(said) == refused
    if said:
        assert said.startswith("/srv/x: belongs to root on the host")
        assert "(chown -R 901:901 /srv/x)" in said


def test_v2_an_owner_has_the_id_that_the_tree_gives() -> None:
    owners = Owners({901: 103}, {901: 106})
    found = mapping_ids.with_own_ids(owned(), owners)
    assert (found.uid, found.gid, found.source) == (103, 106, "/srv/x")
    assert mapping_ids.with_own_ids(owned(uid=None), owners).uid is None
    assert mapping_ids.with_own_ids(owned(gid=None), owners).gid is None
    assert mapping_ids.with_own_ids(owned(7, 8), owners) == owned(7, 8)
    plain = mount()
    assert mapping_ids.with_own_ids(plain, owners) is plain
    assert [mapping_ids.has_owner(each) for each in (plain, owned(gid=None), owned(uid=None))] == [False, True, True]


@pytest.mark.parametrize(
    ("record", "ids", "is_so"),
    [
        (owned(), (5901, 5901), True),
        (owned(), (901, 901), False),
        (owned(), (5901, 5902), False),
        (owned(), (5902, 5901), False),
        (owned(gid=None), (5901, 1), True),
        (owned(uid=None), (1, 5901), True),
    ],
)
def test_v2_what_needs_no_map(record: Mount, ids: tuple[int, int], is_so: bool) -> None:
    assert unmapped.is_as_declared(record, status(*ids), 5000) == is_so


@pytest.mark.root
class TestGiving:
    """An empty directory of root's is given to the owner that its mapping says."""

    @staticmethod
    def given(path: Path, record: Mount, *entries: Directory) -> bool:
        source = os.open(path, os.O_PATH)
        try:
            return ownership.give(source, os.fstat(source), record, list(entries))
        finally:
            os.close(source)

    @pytest.mark.parametrize(
        ("entries", "mode"),
        [([], 0o750), ([("/other", "0700")], 0o750), ([("//data/", "0701"), ("/data", "0755")], 0o700)],
    )
    def test_v2_to_whom_it_says(self, tmp_path: Path, entries: list[tuple[str, str]], mode: int) -> None:
        (tmp_path / "lost+found").mkdir()
        tmp_path.chmod(0o750)
        record = owned(901, 902).replacing(mount_point="/data/")
        assert self.given(tmp_path, record, *(Directory(path=path, mode=mode) for path, mode in entries))
        found = tmp_path.stat()
        assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (901, 902, mode)

    @pytest.mark.parametrize(("ids", "name"), [((0, 0), "file"), ((0, 5), ""), ((5, 0), "")])
    def test_v2_all_else_is_left_alone(self, tmp_path: Path, ids: tuple[int, int], name: str) -> None:
        if name:
            (tmp_path / name).touch()
        os.chown(tmp_path, *ids)
        assert not self.given(tmp_path, owned())
        assert (tmp_path.stat().st_uid, tmp_path.stat().st_gid) == ids

    def test_v2_a_file_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        assert not self.given(tmp_path / "file", owned())
        assert (tmp_path / "file").stat().st_uid == 0

    @pytest.mark.parametrize(
        ("ids", "made", "said"),
        [
            (MappingIds(COUNT), (70000, 5), "/srv/x/file: belongs to 70000:5, and a container has the ids 0 to 65535:"),
            (MappingIds(COUNT), (5, 70000), "/srv/x/file: belongs to 5:70000, and a container has the ids 0 to 65535:"),
            (MappingIds(COUNT), (901, 0), ""),
            (MappingIds(COUNT, (107, 112), 901, 901), (901, 107), ""),
            (MappingIds(COUNT, (70000, 5), 901, 5), (70000, 5), ""),
            (
                MappingIds(COUNT, (70000, 5), 901, 5),
                (901, 5),
                "901:5, and what its `owner` and `group` say leaves no id",
            ),
            (MappingIds(COUNT, (5, 70000), 5, 901), (70000, 901), "70000:901, and a container has the ids 0 to 65535:"),
        ],
    )
    def test_v2_a_file_without_a_counterpart(
        self, tmp_path: Path, ids: MappingIds, made: tuple[int, int], said: str
    ) -> None:
        (tmp_path / "file").touch()
        os.chown(tmp_path, *ids.disk)
        os.chown(tmp_path / "file", *made)
        source = os.open(tmp_path, os.O_PATH)
        found = ownership.foreign_warning(source, "/srv/x", ids)
        os.close(source)
        assert said in (found or "")
        assert bool(found) == bool(said)


@pytest.mark.root
@pytest.mark.parametrize(
    ("owner", "mapped", "account", "remedy"),
    [
        ((107, 112), True, "db", "let the mapping say whose it is (owner: db), declare the account with its ids"),
        ((107, 112), True, "", "let the mapping say whose it is (owner: 902), declare the account with its ids"),
        ((107, 112), False, "db", ": declare the account with its ids"),
        ((0, 5), True, "db", ": chown -R 902:902 /srv/x on the host, or map an empty"),
    ],
)
def test_v2_the_way_out_names_the_owner(
    tmp_path: Path, owner: tuple[int, int], mapped: bool, account: str, remedy: str
) -> None:
    (tmp_path / "file").touch()
    descriptor = os.open(tmp_path, os.O_RDONLY)
    entry = Directory(path="/data", uid=902, gid=902, account=account)
    said = ownership.refusal(entry, status(*owner), descriptor, "/srv/x", mapped)
    os.close(descriptor)
    assert said is not None
    assert remedy in said
