# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is noted of a mapping's source: it is read as it was written, whatever its names are."""

from __future__ import annotations

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import mapped, mount_table
from hypothesis import example, given
from hypothesis import strategies as st

from ..specifications import mount

WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
FLAGS = st.lists(st.sampled_from(["bind-mount", "read-only", "no-exec"]), unique=True)

TABLE = b"""\
1 0 8:1 / / rw shared:1 - ext4 /dev/a rw
2 1 8:2 / /srv rw - ext4 /dev/b rw
3 2 8:3 / /srv/a\\040b rw shared:2 - xfs /dev/c rw
4 3 8:4 /part /srv/a\\040b/c rw master:2 - xfs /dev/d rw
5 3 8:5 / /srv/a\\040b/c rw - xfs /dev/e rw
6 2 0:9 / /srv/auto rw - autofs map rw
7 6 0:10 / /srv/auto/x rw - nfs4 server:/x rw
8 2 8:6 / /srvother rw - xfs /dev/f rw
9 2 8:7 / /srv/run/web rw - tmpfs t rw
"""


ID = st.none() | st.integers(0, 65535)
DISK = st.none() | st.tuples(st.integers(0, 2**32 - 2), st.integers(0, 2**32 - 2))


@given(WORDS, WORDS, FLAGS, st.sampled_from(["", "2:3"]), st.dictionaries(WORDS, WORDS, max_size=3), ID, ID, DISK)
@example(" \\040", "\\\n\t#", [], "1:1", {" ": "\\134040"}, None, None, None)
@example("/a", "/b", [], "1:1", {"/a/b": "8:1 /"}, 901, None, (107, 112))
def test_a_note_is_read_as_it_was_written(
    source: str,
    point: str,
    flags: list[str],
    identity: str,
    below: dict[str, str],
    uid: int | None,
    gid: int | None,
    disk: tuple[int, int] | None,
) -> None:
    record = mount().replacing(device=source, mount_point=point, flags=flags, propagation="slave", uid=uid, gid=gid)
    line = mapped.Mapped(record, identity, below, disk).line()
    assert "\n" not in line
    (found,) = mapped.parse(line + "\nbroken\n\n")
    assert (found.record, found.identity, found.below) == (record, identity, below)
    assert found.disk == (None if uid is None and gid is None else disk)


def test_v2_a_note_without_owners_is_as_it_was() -> None:
    """A container that runs may have been started by an older release."""
    record = mount(device="/srv", mount_point="/x", type="none", flags=["bind-mount"])
    assert (
        mapped.Mapped(record, "2:3", {"/srv/a": "8:1 /"}, (1, 2)).line()
        == "/x /srv bind-mount private 2:3 /srv/a 8:1\\040/"
    )
    owned = mapped.Mapped(record.replacing(uid=901), "2:3", {}, (1, 2)).line()
    assert owned == "/x /srv bind-mount private 2:3 901:-:1:2"


@pytest.mark.parametrize("ids", ["901", "901:901:1", "901:901:1:x", "901:901:1:2:3", "::::", "-1:1:1:1"])
def test_v2_a_damaged_note_is_left_out(ids: str) -> None:
    assert mapped.parse(f"/x /srv bind-mount private 2:3 {ids}\n") == []


def test_cases_b5_what_is_mounted_below() -> None:
    """The topmost at each point; nothing beside, nothing of an automounter, nothing of the launcher's own."""
    table = mount_table.parse(TABLE)
    mounted = mount_table.Mounted(table)
    assert mapped.below(mounted, "/srv//", "/srv/run/web") == {"/srv/a b": "8:3 /", "/srv/a b/c": "8:5 /"}
    assert mapped.below(mounted, "/srv/a b") == {"/srv/a b/c": "8:5 /"}
    assert mapped.below(mounted, "/srv/auto") == {}
    assert mapped.below(mounted, "/srv/a b/c") == {}
    assert [entry.shared for entry in table][:4] == [True, False, True, False]
