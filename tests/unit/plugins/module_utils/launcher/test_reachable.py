# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which directories let others than root through; what lies behind them is in the integration tests."""

from __future__ import annotations

import errno
import os
import stat
import struct
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import guarded, mount_table, reachable

USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 1, 2, 4, 8, 0x10, 0x20
NOBODY = 0xFFFFFFFF

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files to others")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "directory"
    path.mkdir(mode=0o700)
    return path


@pytest.mark.parametrize(
    ("mode", "uid", "gid", "through"),
    [
        (0o700, 0, 0, False),
        (0o700, 0, 1000, False),
        (0o766, 0, 1000, False),  # to list is not to pass
        (0o750, 0, 0, False),
        (0o750, 0, 1000, True),
        (0o701, 0, 0, True),
        (0o700, 1000, 0, True),
        (0o000, 1000, 0, True),  # its owner can change that
    ],
)
def test_owner_group_and_others(directory: Path, mode: int, uid: int, gid: int, through: bool) -> None:
    os.chown(directory, uid, gid)
    directory.chmod(mode)
    assert reachable.lets_users_in(str(directory)) is through


def entries(**more: tuple[int, int, int]) -> list[tuple[int, int, int]]:
    """Return an ACL of a directory of mode 0770 or less: its entries by name, in the order of the kernel."""
    given: dict[str, tuple[int, int, int]] = {
        "owner": (USER_OBJ, 7, NOBODY),
        "user": (USER, 0, 1000),
        "owning": (GROUP_OBJ, 0, NOBODY),
        "group": (GROUP, 0, 1000),
        "mask": (MASK, 7, NOBODY),
        "other": (OTHER, 0, NOBODY),
        **more,
    }
    return list(given.values())


@pytest.mark.parametrize(
    ("more", "through"),
    [
        ({}, False),
        ({"user": (USER, 1, 1000)}, True),
        ({"user": (USER, 6, 1000)}, False),
        ({"user": (USER, 1, 0)}, False),
        ({"user": (USER, 1, 1000), "mask": (MASK, 6, NOBODY)}, False),
        ({"group": (GROUP, 5, 1000)}, True),
        ({"group": (GROUP, 5, 0)}, False),
        ({"owning": (GROUP_OBJ, 5, NOBODY)}, True),
        ({"other": (OTHER, 1, NOBODY)}, True),
    ],
)
def test_access_control_lists(directory: Path, more: dict[str, t.Any], through: bool) -> None:
    os.chown(directory, 0, 1000)
    value = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries(**more))
    try:
        os.setxattr(directory, reachable.ACL, value)
    except OSError as error:
        pytest.skip(f"no ACL here: {error}")
    assert reachable.lets_users_in(str(directory)) is through


def table(*lines: str) -> guarded.GuardedHost:
    """Return a host with these mounts."""
    host = guarded.GuardedHost({})
    host.mounts = [mount_table.MountTableEntry(line) for line in lines]
    return host


@pytest.mark.parametrize(("kind", "through"), [("ext4", False), ("xfs", False), ("nfs4", True), ("fuse.sshfs", True)])
def test_what_a_server_says_of_a_directory_keeps_nobody_out(public: Path, kind: str, through: bool) -> None:
    (public / "server/private/data").mkdir(parents=True)
    (public / "server/private").chmod(0o700)
    data = str(public / "server/private/data")
    host = table(
        "1 0 8:1 / / rw - ext4 /dev/sda1 rw",
        f"2 1 0:50 / {public}/server rw - {kind} nas:/x rw",
        f"3 2 8:2 / {data} rw - ext4 /dev/sdb rw",
    )
    assert reachable._is_reachable(host, data, "") is through


def test_the_modes_in_what_is_mapped_are_root_insides(public: Path) -> None:
    """A mount in it is not kept from users by a directory that root inside can open to them."""
    (public / "mapped/private/mounted").mkdir(parents=True)
    for name in ("mapped", "mapped/private"):
        (public / name).chmod(0o700)
    host = table("1 0 8:1 / / rw - ext4 /dev/sda1 rw")
    mounted, mapped = str(public / "mapped/private/mounted"), str(public / "mapped")
    assert not reachable._is_reachable(host, mounted, "")
    assert reachable._is_reachable(host, mounted, mapped)
    public.chmod(0o700)
    assert not reachable._is_reachable(host, mounted, mapped)


@pytest.mark.parametrize("gone", ["", "a", "a/b"])
def test_what_is_not_there_any_more_is_out_of_reach(public: Path, gone: str) -> None:
    host = table("1 0 8:1 / / rw - ext4 /dev/sda1 rw")
    path = public / gone / "missing" / "deep" / "data"
    (public / gone).mkdir(parents=True, exist_ok=True)
    assert not reachable._is_reachable(host, str(path), "")
    path.mkdir(parents=True)
    assert reachable._is_reachable(host, str(path), "")


@pytest.mark.parametrize(
    ("number", "through"), [(errno.ENOENT, False), (errno.ELOOP, True), (errno.EIO, None), (errno.EACCES, None)]
)
def test_what_cannot_be_looked_at_is_an_error(
    monkeypatch: pytest.MonkeyPatch, public: Path, number: int, through: bool | None
) -> None:
    """Nobody can tell then who is let in; a link that came there meanwhile leads to where anybody may be let in."""

    def fail(_directory: str) -> bool:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(reachable, "lets_users_in", fail)
    host = table("1 0 8:1 / / rw - ext4 /dev/sda1 rw")
    if through is not None:
        assert reachable._is_reachable(host, str(public), "") is through
        return
    with pytest.raises(OSError) as raised:
        reachable._is_reachable(host, str(public), "")
    assert raised.value.errno == number


@pytest.mark.parametrize("kind", ["file", "fifo", "socket", "device"])
def test_in_what_is_no_directory_nothing_can_be_made(public: Path, kind: str) -> None:
    path = public / "mapped"
    make = {"file": stat.S_IFREG, "fifo": stat.S_IFIFO, "socket": stat.S_IFSOCK, "device": stat.S_IFCHR}
    os.mknod(path, make[kind] | 0o666, os.makedev(1, 3))
    host = guarded.GuardedHost({})
    for place, refused in ((path, False), (public, True)):
        source = os.open(place, os.O_PATH)
        try:
            if refused:
                with pytest.raises(guarded.WritableSource):
                    reachable.check_bind(host, source, "it", "/data", "root: machine")
            else:
                assert reachable.check_bind(host, source, "it", "/data", "root: machine") is None
        finally:
            os.close(source)


@pytest.mark.parametrize(
    ("options", "shown"), [("rw", True), ("rw,nodev", True), ("rw,nosuid", False), ("rw,noexec", False), ("ro", True)]
)
def test_where_programs_have_no_rights(options: str, shown: bool) -> None:
    host = table(f"1 0 8:1 / /srv {options} - ext4 /dev/sda1 rw", "2 0 8:1 /x /mnt rw,nosuid - ext4 /dev/sda1 rw")
    assert host._shown({("8:1", "/x/y"): True}) == (["/srv/x/y"] if shown else [])
