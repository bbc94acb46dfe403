# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is unchanged since an archive was made: only what nobody can have changed without a trace."""

from __future__ import annotations

import io
import os
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.state import increments
from ansible_collections.unshare.container.plugins.module_utils.state.increments import CLOCK_MARGIN, Base, Moment
from ansible_collections.unshare.container.plugins.module_utils.state.tar_members import (
    TAR_END,
    Member,
    TarKind,
    padding,
)
from ansible_collections.unshare.container.plugins.module_utils.state.tar_reading import Members
from hypothesis import given
from hypothesis import strategies as st

READ = Moment("boot", 2 * 10**18, 10**15)
CHANGED = READ.time - CLOCK_MARGIN - 1
NAMES = st.binary(min_size=1, max_size=3).filter(lambda name: not {*name} & {0, 47} and name not in (b".", b".."))


class Status(t.NamedTuple):
    """What is asked of a file."""

    st_ino: int = 7
    st_ctime_ns: int = CHANGED
    st_mtime_ns: int = 1
    st_size: int = 3


THEN = Status()


def base(members: list[Member], read: Moment = READ) -> Base:
    data = b"".join(member.head() + b"x" * member.stored + padding(member.stored) for member in members)
    return Base(Members(t.cast("t.IO[bytes]", io.BytesIO(data + TAR_END))), read)


def archived(path: bytes, status: Status) -> Member:
    stamp = increments.stamp(t.cast(os.stat_result, status))
    return Member(path, TarKind.FILE, mtime=status.st_mtime_ns, size=status.st_size, stamp=stamp)


def has(status: Status, then: Status = THEN, path: bytes = b"d/f") -> bool:
    return base([archived(b"d/f", then)]).has(path, t.cast(os.stat_result, status))


def test_a_file_is_unchanged_when_all_is_as_it_was() -> None:
    assert has(Status())


@pytest.mark.parametrize("field", Status._fields)
def test_a_file_of_which_anything_differs_is_changed(field: str) -> None:
    assert not has(Status()._replace(**{field: getattr(Status(), field) + 1}))
    assert not has(Status()._replace(**{field: getattr(Status(), field) - 1}))


def test_a_file_elsewhere_is_another() -> None:
    assert not has(Status(), path=b"d/g")


@pytest.mark.parametrize(("changed", "known"), [(CHANGED, True), (CHANGED + 1, False), (10**18, False)])
def test_a_time_tells_only_when_no_later_change_can_have_it(changed: int, known: bool) -> None:
    """Not one shortly before the base was read, nor one of whole seconds."""
    status = Status(st_ctime_ns=changed)
    assert has(status, status) is known


@pytest.mark.parametrize("stamp", [b"", b"a comment", b"inode 7 changed 1"])
def test_a_file_without_a_stamp_is_changed(stamp: bytes) -> None:
    member = archived(b"d/f", Status())
    member.stamp = stamp
    assert not base([member]).has(b"d/f", t.cast(os.stat_result, Status()))


@pytest.mark.parametrize(
    ("later", "said"),
    [
        (READ, ""),
        (READ._replace(time=READ.time + 5, uptime=READ.uptime + 5), ""),
        (READ._replace(time=READ.time - 10**9), ""),
        (READ._replace(time=READ.time - 10**9 - 1), "set back"),
        (READ._replace(uptime=READ.uptime + 2 * 10**9), "set back"),
        (READ._replace(time=READ.time + 10**12), ""),
        (READ._replace(boot="other"), "anew"),
    ],
)
def test_times_tell_nothing_after_another_start_or_when_the_clock_was_set_back(later: Moment, said: str) -> None:
    found = READ.doubt(later)
    assert said in found
    assert bool(said) == bool(found)


def test_a_base_that_does_not_tell_when_it_was_read_tells_nothing() -> None:
    assert "does not tell" in Moment("", 0, 0).doubt(Moment("", 0, 0))


def test_the_present_moment_is_of_this_boot() -> None:
    first, second = Moment.now(), Moment.now()
    assert first.boot == second.boot != ""
    assert not first.doubt(second)


def walked(tree: dict[bytes, t.Any], above: bytes = b"") -> list[bytes]:
    """Return the files of a tree in the order of an archive."""
    files = sorted(name for name, inner in tree.items() if inner is None)
    directories = sorted(name for name, inner in tree.items() if inner is not None)
    return [above + name for name in files] + [
        path for name in directories for path in walked(tree[name], above + name + b"/")
    ]


TREES = st.recursive(
    st.dictionaries(NAMES, st.none(), max_size=4),
    lambda inner: st.dictionaries(NAMES, st.none() | inner, max_size=4),
    max_leaves=20,
)


@given(TREES, TREES)
def test_what_both_have_is_found_while_both_are_read(first: dict[bytes, t.Any], second: dict[bytes, t.Any]) -> None:
    then, now = walked({b"v": first}), walked({b"v": second})
    assert then == sorted(then, key=increments.order)
    files = base([archived(path, Status()) for path in then])
    assert [path for path in now if files.has(path, t.cast(os.stat_result, Status()))] == [
        path for path in now if path in set(then)
    ]
