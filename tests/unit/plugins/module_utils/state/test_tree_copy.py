# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A copy of a hostile tree is the same, byte for byte, and nothing beside the tree is read or written (V4)."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import socket
import stat
import struct
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.state import snapshots, tree_copy
from ansible_collections.unshare.container.tests.trees_alike import described

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="owners, devices and ACLs are root's to give")
NOBODY = 0xFFFFFFFF
ACL = struct.pack("<I" + "HHI" * 5, 2, 1, 7, NOBODY, 2, 5, 1234, 4, 5, NOBODY, 16, 5, NOBODY, 32, 0, NOBODY)
"""An ACL that gives the user 1234 rights to read and to execute."""
CAPABILITY = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
"""CAP_NET_BIND_SERVICE, permitted and effective, of a program."""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    found = tmp_path / "from/data"
    found.mkdir(parents=True)
    (tmp_path / "to").mkdir()
    return found


def copied(data: Path) -> tree_copy.TreeCopy:
    return snapshots.copy(data.parent, data.name, data.parents[1] / "to")


def copy_of(data: Path) -> Path:
    return data.parents[1] / "to" / data.name


def hostile(data: Path, precious: Path) -> None:
    """Fill a directory with what gives trouble."""
    (data / "plain").write_bytes(os.urandom(5000))
    (data / "empty").touch()
    os.symlink(precious, data / "link")
    os.symlink("../../..", data / "up")
    os.symlink("/", data / "d-is-a-link")
    os.symlink("x" * 4000, data / "long link")
    Path(os.fsdecode(bytes(data) + b"/new\nline \xff\xfe*")).write_text("odd")
    os.mkfifo(data / "fifo", 0o640)
    os.link(data / "plain", data / "plain too")
    os.link(data / "fifo", data / "fifo too")
    os.link(data / "link", data / "link too", follow_symlinks=False)
    (data / "sub").mkdir()
    os.link(data / "plain", data / "sub/plain three")
    with open(data / "giant", "wb") as giant:
        giant.truncate(1 << 40)
        os.pwrite(giant.fileno(), b"middle", 1 << 39)
        os.pwrite(giant.fileno(), b"begin", 0)
    (data / "x" / ("y" * 255)).mkdir(parents=True)
    os.chmod(data / "plain", 0o6751)
    os.chmod(data / "sub", 0o3000)
    (data / "unreadable").write_text("x")
    os.chmod(data / "unreadable", 0)
    os.setxattr(data / "plain", "user.word", b"\0\xff" * 300)
    os.setxattr(data / "sub", "user.empty", b"")
    for path in (data / "sub", data / "plain", data / "fifo", data / "link", data):
        os.utime(path, ns=(1_000_000_001, 2_000_000_003), follow_symlinks=False)


@ROOT
def test_v4_all_of_it_is_the_same(data: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("stays")
    hostile(data, tmp_path / "precious")
    (data / "program").write_text("program")
    os.chown(data / "program", 1234, 4321)
    os.setxattr(data / "program", "security.capability", CAPABILITY)
    os.setxattr(data / "empty", "system.posix_acl_access", ACL)
    os.setxattr(data / "sub", "system.posix_acl_default", ACL)
    os.setxattr(data / "link", "trusted.word", b"of a link", follow_symlinks=False)
    os.chown(data / "link", 5, 6, follow_symlinks=False)
    os.mknod(data / "gone", stat.S_IFCHR | 0o600, 0)
    os.chown(data, 70, 71)
    os.chmod(data, 0o2750)
    before = described(data)
    done = copied(data)
    assert described(copy_of(data)) == before == described(data)
    assert (done.files, done.sockets, done.devices) == (len(before), 0, 0)
    assert os.listdir(tmp_path / "to") == ["data"]
    assert (tmp_path / "precious").read_text() == "stays"
    assert copy_of(data).joinpath("giant").stat().st_blocks < 1000


def test_v4_it_is_the_same_where_the_kernel_copies_nothing(data: Path, tmp_path: Path, monkeypatch: t.Any) -> None:
    """A file system that shares nothing, and between two of which the kernel does not copy."""

    def refuse(*_arguments: t.Any) -> t.NoReturn:
        raise OSError(errno.EOPNOTSUPP, "not here")

    monkeypatch.setattr(tree_copy.fcntl, "ioctl", refuse)
    monkeypatch.setattr(tree_copy.os, "copy_file_range", refuse)
    (data / "large").write_bytes(os.urandom((2 << 20) + 5))
    with open(data / "holes", "wb") as holes:
        os.pwrite(holes.fileno(), b"x" * 5000, 1 << 20)
        holes.truncate(3 << 20)
    before = described(data)
    copied(data)
    assert described(copy_of(data)) == before


def test_v4_what_is_shared_is_not_copied(data: Path, monkeypatch: t.Any) -> None:
    """A file that cannot be shared, such as one without copy on write beside others, is copied, and those after not."""
    said = [errno.EINVAL, 0, errno.EOPNOTSUPP]
    asked: list[int] = []

    def share(target: int, number: int, source: int) -> int:
        assert number == tree_copy.FICLONE
        asked.append(target)
        if said[len(asked) - 1]:
            raise OSError(said[len(asked) - 1], "refused")
        os.write(target, b"shared")
        return 0

    monkeypatch.setattr(tree_copy.fcntl, "ioctl", share)
    for number in range(5):
        (data / str(number)).write_text("copied")
    copied(data)
    texts = sorted(path.read_text() for path in copy_of(data).iterdir())
    assert texts == ["copied"] * 4 + ["shared"]
    assert len(asked) == 3


def test_v4_any_depth(data: Path) -> None:
    """Deeper than any path can be, and wider than a directory is read at once."""
    here = os.open(data, os.O_RDONLY)
    for _ in range(5000):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(os.open("bottom", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=here))
    os.close(here)
    assert copied(data).files == 5002
    there = os.open(copy_of(data), os.O_RDONLY)
    for _ in range(5000):
        inner = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=there)
        os.close(there)
        there = inner
    assert os.listdir(there) == ["bottom"]
    os.close(there)
    for top in (data, copy_of(data)):
        snapshots.remove_tree(str(top))


def test_v4_as_many_names_as_a_file_can_have(data: Path) -> None:
    (data / "0").write_text("one")
    with contextlib.suppress(OSError):  # EMLINK, on a file system that has a limit
        for number in range(1, 70000):
            os.link(data / "0", data / str(number))
    copied(data)
    assert copy_of(data).joinpath("0").stat().st_nlink == (data / "0").stat().st_nlink
    assert os.listdir(data.parents[1] / "to") == ["data"]


def test_v4_sockets_and_devices_are_left_out_and_counted(data: Path, monkeypatch: t.Any) -> None:
    monkeypatch.chdir(data)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
    if os.geteuid() == 0:
        os.mknod("device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    done = copied(data)
    assert (done.sockets, done.devices) == (1, int(os.geteuid() == 0))
    assert (list(copy_of(data).iterdir()), done.files) == ([], 1)


def test_v4_a_lease_does_not_keep_the_host_waiting(data: Path) -> None:
    """Whoever has one stands still, and gives it up only after lease-break-time, of which there can be any number."""
    (data / "leased").write_text("x")
    former = signal.signal(signal.SIGIO, signal.SIG_IGN)  # what tells whoever has a lease that it is to be given up
    descriptor = os.open(data / "leased", os.O_RDWR)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        with pytest.raises(LauncherError, match="leased: somebody inside has a lease on it.*stop: true"):
            copied(data)
    finally:
        os.close(descriptor)
        signal.signal(signal.SIGIO, former)


def test_v4_what_cannot_be_copied_leaves_no_descriptor(data: Path, monkeypatch: t.Any) -> None:
    (data / "sub").mkdir()
    (data / "sub/file").write_text("x")

    def refuse(*_arguments: t.Any) -> t.NoReturn:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(tree_copy.os, "copy_file_range", refuse)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(OSError, match="no space"):
        copied(data)
    assert os.listdir("/proc/self/fd") == before


@ROOT
def test_v4_nothing_is_inherited_of_the_host(data: Path) -> None:
    """Where the administrator has given the directory of all that is kept a default ACL."""
    os.setxattr(data.parents[1] / "to", "system.posix_acl_default", ACL)
    making = snapshots.Snapshots("web", data.parents[1] / "to")
    (data / "file").write_text("x")
    with making.making("one") as path:
        snapshots.copy(data.parent, data.name, path)
        assert described(path / "data") == described(data)


def test_v4_more_attributes_than_can_be_listed_are_said_with_their_file(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A btrfs, or an XFS, has any number of them."""
    (data / "file").touch()

    def too_many_names(file: object) -> list[str]:
        raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))

    monkeypatch.setattr(os, "listxattr", too_many_names)
    with pytest.raises(LauncherError, match="from/data/.../file: has more extended attributes than the kernel lists"):
        copied(data)
