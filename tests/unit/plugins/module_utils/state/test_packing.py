# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading a volume that root inside has filled with what makes readers wait, fail, or take room."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.state import packing, tar_reading, unpacking
from ansible_collections.unshare.container.plugins.module_utils.state.archive_streams import Checksum, Damaged, Sink
from ansible_collections.unshare.container.plugins.module_utils.state.file_writing import write_small
from ansible_collections.unshare.container.plugins.module_utils.state.helper import Helper
from ansible_collections.unshare.container.plugins.module_utils.state.packing import (
    ATTRIBUTE_COST,
    ATTRIBUTES_LIMIT,
    Packer,
)
from ansible_collections.unshare.container.plugins.module_utils.state.plain_files import plain_members
from ansible_collections.unshare.container.plugins.module_utils.state.tar_members import TAR_END
from ansible_collections.unshare.container.plugins.module_utils.state.tar_reading import Members
from ansible_collections.unshare.container.plugins.module_utils.state.target import TargetError
from ansible_collections.unshare.container.plugins.module_utils.state.unpacking import INHERITED, Unpacker

DEEP = 3000
ACCESS_LIST = bytes.fromhex(
    "02000000 01000700ffffffff 02000600d2040000 04000500ffffffff 10000700ffffffff 20000400ffffffff"
)
"""Of an ACL, as the kernel has it: the user 1234 can read and write."""


@pytest.fixture
def data(tmp_path: Path) -> t.Iterator[Path]:
    path = tmp_path / "data"
    path.mkdir()
    yield path
    subprocess.run(["rm", "--recursive", path], check=True)  # pytest does not remove what is so deep


def packed(data: Path, path: Path) -> list[str]:
    """Write the archive of a directory. Return the paths in it, with what hard links are of."""
    directory = os.open(data, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with (
            path.open("wb", buffering=0) as file,
            Helper(plain_members) as helper,
            Checksum() as checksum,
            Sink(file, checksum) as sink,
        ):
            Packer(sink, helper).pack(directory, b"data")
            sink.put(TAR_END)
            sink.flush()
    finally:
        os.close(directory)
    return subprocess.run(["tar", "-tf", path], capture_output=True, text=True, check=True).stdout.splitlines()


def test_v5_a_lease_does_not_keep_the_host_waiting(data: Path, tmp_path: Path) -> None:
    """Whoever has one stands still, and gives it up only after lease-break-time, of which there can be any number."""
    (data / "leased").write_text("x")
    former = signal.signal(signal.SIGIO, signal.SIG_IGN)  # what tells whoever has a lease that it is to be given up
    descriptor = os.open(data / "leased", os.O_RDWR)
    before = os.listdir("/proc/self/fd")
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        with pytest.raises(TargetError, match="data/leased': somebody inside has a lease on it.*stop: true"):
            packed(data, tmp_path / "archive")
        assert os.listdir("/proc/self/fd") == before
    finally:
        os.close(descriptor)
        signal.signal(signal.SIGIO, former)


def test_v5_a_file_has_its_names_however_deep_they_lie(data: Path, tmp_path: Path) -> None:
    """Each of them some thousand directories below the volume, so that no step may be taken in another."""
    home = os.open(".", os.O_RDONLY)
    os.chdir(data)
    try:
        for _ in range(DEEP):
            os.mkdir("d")
            os.chdir("d")
        Path("file").write_text("deep")
        os.link("file", "../twin")
        os.link("file", "name")
    finally:
        os.fchdir(home)
        os.close(home)
    deep = "data" + "/d" * DEEP
    found = packed(data, tmp_path / "archive")
    assert found[-4:] == [deep[:-1] + "twin", deep, deep + "/file", deep + "/name"]


def test_v5_the_order_is_that_of_the_names(data: Path, tmp_path: Path) -> None:
    """A directory has first what is none, and then its directories, each by the bytes of its name."""
    for name in ("b", "a", "\U00010000", "\uffff", "d"):
        (data / name).mkdir()
        (data / name / "file").write_text("x")
    for name in ("c", "z", "e"):
        (data / name).write_text("x")
    inner = [f"data/{name}{rest}" for name in ("a", "b", "d", "\uffff", "\U00010000") for rest in ("", "/file")]
    found = [
        name.encode().decode("unicode_escape").encode("latin-1").decode() for name in packed(data, tmp_path / "archive")
    ]
    assert found == ["data", "data/c", "data/e", "data/z", *inner]


def test_v5_reading_leaves_the_time_of_access(data: Path, tmp_path: Path) -> None:
    (data / "file").write_text("x")
    os.utime(data / "file", ns=(1, 2))
    packed(data, tmp_path / "archive")
    assert (data / "file").stat().st_atime_ns == 1


def imported(archive: Path, aside: Path) -> None:
    """Unpack what `packed` has written."""
    aside.mkdir(mode=0o700)
    with (
        archive.open("rb", buffering=0) as file,
        Helper(write_small) as helper,
        Unpacker(str(aside), helper) as unpacker,
    ):
        members = Members(file)
        member = members.next()
        while member is not None:
            unpacker.write(member, members.content())
            member = members.next()


@pytest.mark.parametrize("mask", [0, 0o022, 0o777])
def test_v5_owners_and_modes_come_back_whatever_new_files_get(data: Path, tmp_path: Path, mask: int) -> None:
    """A new file has a part of its mode at once: what is above it, or the module's process, may ask for another."""
    for owner in (0, 1234):
        for mode in (0, 0o400, 0o644, 0o666, 0o700, 0o755, 0o1777, 0o2644, 0o2700, 0o2755, 0o4755, 0o6777):
            for path in (data / f"file{owner}-{mode:o}", data / f"directory{owner}-{mode:o}"):
                path.touch() if path.name.startswith("file") else path.mkdir()
                os.chown(path, owner, owner)
                path.chmod(mode)
    before = {path.name: shown(path) for path in data.iterdir()}
    packed(data, tmp_path / "archive")
    os.setxattr(tmp_path, INHERITED, ACCESS_LIST)
    os.chown(tmp_path, -1, 5678)
    tmp_path.chmod(0o2700)  # a directory in a set-group-ID one is one, too, and has its group
    former = os.umask(mask)
    try:
        imported(tmp_path / "archive", tmp_path / "imported")
    finally:
        os.umask(former)
        os.removexattr(tmp_path, INHERITED)
    assert {path.name: shown(path) for path in (tmp_path / "imported/data").iterdir()} == before


def shown(path: Path) -> tuple[int, int, int, list[str]]:
    """Return the mode and the owner of a file, and the names of its attributes."""
    status = path.stat()
    return status.st_mode, status.st_uid, status.st_gid, os.listxattr(path)


def with_attributes(monkeypatch: pytest.MonkeyPatch, attributes: dict[str, bytes]) -> None:
    """Have each file have these extended attributes, of which a file system takes only some."""
    monkeypatch.setattr(os, "listxattr", lambda _file: list(attributes))
    monkeypatch.setattr(os, "getxattr", lambda _file, name: attributes[name])


def test_v5_an_archive_has_no_attribute_that_an_import_refuses(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is inside gives a file such a one of btrfs; a backup with it could never be restored."""
    with monkeypatch.context() as patched:
        with_attributes(patched, {"btrfs.compression": b"zstd", "security.selinux": b"label", "trusted.x": b"y"})
        packed(data, tmp_path / "archive")
    imported(tmp_path / "archive", tmp_path / "imported")
    assert os.listxattr(tmp_path / "imported/data") == []


def test_v5_attributes_are_in_the_order_that_has_room_for_them(data: Path, tmp_path: Path) -> None:
    """Of ext4 a part is in the inode and a part in a block, and both can be full."""
    file = data / "file"
    file.touch()
    os.setxattr(file, "user.z", b"a" * 56)
    size = 2000
    for number in range(90):
        while size:
            try:
                os.setxattr(file, f"user.b{number:02}", b"x" * size)
                break
            except OSError:
                size -= 1 if size < 64 else 16
    packed(data, tmp_path / "archive")
    imported(tmp_path / "archive", tmp_path / "imported")
    names = os.listxattr(file)
    assert "user.z" in names
    again = tmp_path / "imported/data/file"
    assert [(name, os.getxattr(again, name)) for name in os.listxattr(again)] == [
        (name, os.getxattr(file, name)) for name in names
    ]


def test_v5_more_attributes_than_an_import_takes_are_refused_by_the_export(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A btrfs, or an XFS, has any number of them."""
    path = tmp_path / "archive"
    refused = pytest.raises(TargetError, match="volume 'data' has more extended attributes than an archive takes")
    value = 1 << 16
    most = ATTRIBUTES_LIMIT // (value + 2 * len("user.xxx") + ATTRIBUTE_COST)
    for number in (most, most + 1):
        with monkeypatch.context() as patched:
            with_attributes(patched, {f"user.{at:03}": bytes(value) for at in range(number)})
            with refused if number > most else contextlib.nullcontext():
                packed(data, path)
        if number == most:
            with path.open("rb", buffering=0) as file:
                member = Members(file).next()
            assert member is not None
            assert len(member.attributes) == number

    def too_many_names(file: object) -> list[str]:
        raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))

    monkeypatch.setattr(os, "listxattr", too_many_names)
    with refused:
        packed(data, path)


@pytest.mark.parametrize("pieces", [7, 8])
def test_v5_a_file_has_as_many_pieces_as_an_import_takes(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pieces: int
) -> None:
    for module in (packing, tar_reading):
        monkeypatch.setattr(module, "EXTENTS_LIMIT", 8)
    with (data / "sparse").open("wb", buffering=0) as file:
        for number in range(pieces):
            os.pwrite(file.fileno(), b"x", number << 17)
        file.truncate(pieces << 17)
    if pieces == 8:
        with pytest.raises(TargetError, match="holes between more than 7 pieces: copy it"):
            packed(data, tmp_path / "archive")
        return
    packed(data, tmp_path / "archive")
    imported(tmp_path / "archive", tmp_path / "imported")
    assert (tmp_path / "imported/data/sparse").read_bytes() == (data / "sparse").read_bytes()


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EIO, "volume 'data/inner/bad' cannot be read: Input/output error"),
        (errno.ENOENT, "volume 'data/inner/bad' was exchanged while it was read: try again"),
        (errno.ELOOP, "volume 'data/inner/bad' was exchanged while it was read: try again"),
    ],
)
def test_v5_what_cannot_be_read_is_named(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    (data / "inner").mkdir()
    for name in ("a", "bad", "c"):
        (data / "inner" / name).write_text("x")
    opened = os.open

    def fails(path: t.Any, *arguments: t.Any, **options: t.Any) -> int:
        if path == b"bad":
            raise OSError(number, os.strerror(number), path)
        return opened(path, *arguments, **options)

    monkeypatch.setattr(packing.os, "open", fails)
    with pytest.raises(TargetError, match=f"^{said}$"):
        packed(data, tmp_path / "archive")


def test_v5_what_cannot_be_written_is_not_said_of_the_volume(data: Path) -> None:
    (data / "file").write_bytes(b"x" * (1 << 20))
    with pytest.raises(OSError, match="No space left on device"):
        packed(data, Path("/dev/full"))


def test_v5_a_file_with_more_names_than_a_file_system_has_is_no_damage(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data / "file").write_text("x")
    os.link(data / "file", data / "link")
    packed(data, tmp_path / "archive")

    def fails(*_arguments: t.Any, **_options: t.Any) -> t.NoReturn:
        raise OSError(errno.EMLINK, os.strerror(errno.EMLINK))

    monkeypatch.setattr(unpacking.os, "link", fails)
    with pytest.raises(TargetError, match="^'data/link': the file system of the volumes lets no file") as raised:
        imported(tmp_path / "archive", tmp_path / "imported")
    assert not isinstance(raised.value, Damaged)
