# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which block devices are one for the guard, by a made-up /sys."""

from __future__ import annotations

import fcntl
import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import devices, guarded, mount_table

from ..specifications import mount

NUMBERS = {
    "sda": "8:0", "sda1": "8:1", "sda2": "8:2", "sda3": "8:3", "sdb": "8:16", "sdc": "8:32", "sdd": "8:48",
    "sde": "8:64",    "dm-0": "253:0", "dm-1": "253:1", "dm-2": "253:2", "md0": "9:0",
}  # fmt: skip
ON = {"dm-0": ["sda1"], "dm-1": ["sda1"], "dm-2": ["md0"], "md0": ["sdd", "sde"]}
"""Two logical volumes on one partition; an encrypted device on a RAID."""


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    block = tmp_path / "devices"
    for name, number in NUMBERS.items():
        directory = block / ("sda" if name.startswith("sda") else "") / name
        directory = block / name if name == "sda" else directory
        directory.mkdir(parents=True)
        (directory / "dev").write_text(number + "\n")
        if name in ("sda1", "sda2", "sda3"):
            (directory / "partition").write_text(name[-1])
        _link(tmp_path / "dev/block" / number, directory)
        _link(tmp_path / "class" / name, directory)
        for below in ON.get(name, []):
            _link(directory / "slaves" / below, block / ("sda" if below.startswith("sda") else "") / below)
    for name in ("sda2", "sdb"):
        _link(tmp_path / "fs/btrfs/1d9f24a8-a9d7-4e0b-8ba4-8c8f1d6a3f10/devices" / name, tmp_path / "class" / name)
    (tmp_path / "fs/btrfs/features").mkdir()
    (tmp_path / "fs/btrfs/features/raid56").write_text("0\n")
    for place, name in enumerate(("sdc", "sda3")):
        _link(tmp_path / f"fs/bcachefs/5f0c/dev-{place}/block", tmp_path / "class" / name)
    (tmp_path / "fs/bcachefs/5f0c/options").mkdir()
    monkeypatch.setattr(devices, "SYSTEM", str(tmp_path))
    monkeypatch.setattr(devices, "block_device", lambda path: NUMBERS.get(path.rpartition("/")[2]))
    return tmp_path


def _link(path: Path, target: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


@pytest.mark.parametrize(
    ("path", "disk"),
    [("sdb", "8:16"), ("sda2", "8:0"), ("dm-0", "8:0"), ("md0", "9:0"), ("dm-2", "9:0")],
)
def test_the_disk_that_work_is_counted_on(system: Path, path: str, disk: str) -> None:
    assert devices.whole_disk("/dev/" + path) == disk


@pytest.mark.parametrize(
    ("source", "kind", "disk"),
    [("/dev/sda2", "btrfs", "8:0"), ("/dev/sdc:/dev/sda3", "bcachefs", None), ("tmpfs", "tmpfs", None)],
)
def test_the_disk_of_a_file_system_with_numbers_of_its_own(
    system: Path, monkeypatch: pytest.MonkeyPatch, source: str, kind: str, disk: str | None
) -> None:
    line = f"30 1 0:30 / / rw - {kind} {source} rw"
    monkeypatch.setattr(mount_table, "read", lambda: [mount_table.MountTableEntry(line)])
    monkeypatch.setattr(devices.os, "stat", lambda path: os.stat_result((0, 0, 30, *[0] * 7)))
    assert devices.whole_disk("/srv/x") == disk


def test_the_disk_of_a_file(system: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices.os, "stat", lambda path: os.stat_result((0, 0, os.makedev(8, 1), *[0] * 7)))
    assert devices.whole_disk("/srv/x") == "8:0"


def test_there_is_no_disk_of_a_path_that_leads_nowhere(system: Path) -> None:
    with pytest.raises(FileNotFoundError):
        devices.whole_disk("/nowhere/x")


ONE = [
    ("sda", "sda"), ("sda", "sda1"), ("dm-0", "sda1"), ("dm-0", "sda"), ("md0", "sdd"), ("dm-2", "md0"),
    ("dm-2", "sde"), ("sda2", "sdb"), ("sdc", "sda3"), ("sda", "sdb"),
]  # fmt: skip
OTHERS = [("sda1", "sda2"), ("dm-0", "dm-1"), ("dm-0", "sda2"), ("sdd", "sde"), ("sdb", "sdc"), ("dm-2", "sda")]


@pytest.mark.parametrize(("one", "other"), ONE)
def test_those_that_are_one(system: Path, one: str, other: str) -> None:
    assert devices.holds(NUMBERS[one], NUMBERS[other])
    assert devices.holds(NUMBERS[other], NUMBERS[one])


@pytest.mark.parametrize(("one", "other"), OTHERS)
def test_those_that_are_not(system: Path, one: str, other: str) -> None:
    assert not devices.holds(NUMBERS[one], NUMBERS[other])
    assert not devices.holds(NUMBERS[other], NUMBERS[one])


@pytest.mark.parametrize(
    ("kind", "source", "members", "others"),
    [
        ("btrfs", "/dev/sda2", ("sda2", "sdb", "sda"), ("sdc", "sda1")),
        ("btrfs", "/dev/sdb", ("sda2", "sdb", "sda"), ("sdc", "sda1")),
        ("bcachefs", "/dev/sdc:/dev/sda3", ("sdc", "sda3"), ("sda1", "sdb")),
    ],
)
def test_any_member_is_the_file_system_of_the_state(
    system: Path, monkeypatch: pytest.MonkeyPatch, kind: str, source: str, members: t.Any, others: t.Any
) -> None:
    host = guarded.GuardedHost({"/state": "the state"})
    host.mounts = [mount_table.MountTableEntry(f"9 1 0:99 /@ /state rw - {kind} {source} rw")]
    monkeypatch.setattr(host, "_places_of", lambda path: {("0:99", "/@/state"): True} if path == "/state" else {})
    for name in members:
        for device in (f"/dev/{name}", f"/dev/disk/by-uuid/{name}"):
            with pytest.raises(guarded.WritableSource, match="contains /state"):
                host.refuse_writable_file_system(mount(type=kind, options="subvol=/@home"), device)
    for name in others:
        host.refuse_writable_file_system(mount(type=kind, options="subvol=/"), f"/dev/{name}")
    if kind == "bcachefs":
        with pytest.raises(guarded.WritableSource):
            host.refuse_writable_file_system(mount(type=kind), f"/dev/none:{source.rpartition(':')[2]}")
    with pytest.raises(guarded.WritableSource):
        host.refuse_writable_file_system(mount(type="xfs", options=f"logdev=/dev/{members[0]}"), "/dev/none")


def test_every_source_of_a_bcachefs_is_a_device_of_it(system: Path) -> None:
    entry = mount_table.MountTableEntry("9 1 0:99 / /state rw - bcachefs /dev/sdc:/dev/sda3:/dev/gone rw")
    assert devices.of_mount(entry) == [NUMBERS["sdc"], NUMBERS["sda3"]]


@pytest.mark.parametrize("source", ["/dev/root", "/dev/gone", "none"])
@pytest.mark.parametrize("kind", ["btrfs", "overlay"])
def test_a_btrfs_whose_source_names_no_device_says_its_members(
    system: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str, kind: str
) -> None:
    uuid = "1d9f24a8-a9d7-4e0b-8ba4-8c8f1d6a3f10"
    answer = bytes(devices.UUID_AT) + bytes.fromhex(uuid.replace("-", "")) + bytes(devices.INFO_SIZE)
    asked: list[int] = []

    def ioctl(_descriptor: int, request: int, _data: bytes) -> bytes:
        asked.append(request)
        return answer[: devices.INFO_SIZE]

    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    entry = mount_table.MountTableEntry(f"9 1 0:99 / {tmp_path} rw - {kind} {source} rw")
    members = [NUMBERS["sda2"], NUMBERS["sdb"]] if kind == "btrfs" else ["0:99"]
    assert sorted(devices.of_mount(entry)) == sorted(members)
    assert asked == ([devices.BTRFS_FS_INFO] if kind == "btrfs" else [])
