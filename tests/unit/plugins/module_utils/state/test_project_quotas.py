# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Project quotas, as far as no file system is needed (V3): what a host lacks, and which numbers projects get."""

from __future__ import annotations

import errno
import os
import stat
import typing as t
import zlib
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import mount_table, quota_calls
from ansible_collections.unshare.container.plugins.module_utils.launcher.quota_calls import FileAttributes, QuotaBlock
from ansible_collections.unshare.container.plugins.module_utils.state import project_quotas
from ansible_collections.unshare.container.plugins.module_utils.state.project_quotas import (
    FIRST_PROJECT,
    LIFTED,
    PROJECTS,
    ProjectQuota,
)

ENFORCED = 1 << 5
ACCOUNTED = 1 << 4
M = 1 << 20


class Disk:
    """A file system with project quotas, in place of the kernel's answers.

    Attributes:
        state: of its quotas; None where it has none.
        quotas: of projects, by their numbers.
        project, flags: of the directory.
    """

    def __init__(self) -> None:
        self.state: int | None = ENFORCED | ACCOUNTED
        self.quotas: dict[int, QuotaBlock] = {}
        self.project = 0
        self.flags = 0

    def quotactl(self, command: int, number: int, data: t.Any, descriptor: int) -> None:
        if self.state is None:
            raise OSError(errno.ENOSYS, "quotactl")
        if command == quota_calls.Q_XGETQSTAT:
            data.flags = self.state
        elif command == quota_calls.Q_SETQUOTA:
            assert data.valid == 5
            block = self.quotas.setdefault(number, QuotaBlock())
            block.hard_blocks, block.hard_files = data.hard_blocks, data.hard_files
        elif number not in self.quotas:
            raise OSError(errno.ENOENT, "quotactl")
        else:
            for field in ("hard_blocks", "space", "files"):
                setattr(data, field, getattr(self.quotas[number], field))

    def call(self, descriptor: int, number: int, data: t.Any) -> None:
        assert isinstance(data, FileAttributes)
        if number == quota_calls.FS_IOC_FSGETXATTR:
            data.project, data.flags = self.project, self.flags
        else:
            self.project, self.flags = data.project, data.flags


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    made = Disk()
    monkeypatch.setattr(quota_calls, "quotactl", made.quotactl)
    monkeypatch.setattr(quota_calls, "call", made.call)
    monkeypatch.setattr(project_quotas, "NAMED_PROJECTS", ())
    return made


def quota(kind: str = "ext4") -> ProjectQuota:
    made = ProjectQuota(-1, "/var/lib/unshare/containers/web/volumes/data")
    line = f"1 1 8:1 / /var rw - {kind} /dev/sda1 rw"
    made._mount = lambda: mount_table.MountTableEntry(line)  # type: ignore[method-assign]
    return made


@pytest.mark.parametrize("state", [None, 0, ACCOUNTED])
def test_v3_what_enforces_nothing_is_refused_with_the_way_out(
    disk: Disk, state: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.state = state
    monkeypatch.setattr(project_quotas, "CODE", dict.fromkeys(("ext4", "xfs"), "/"))
    said = str(quota()._lack())
    assert said.startswith(
        "ext4 at /var enforces no project quotas: unmount it, run `tune2fs -O project,quota /dev/sda1`"
    )
    assert "prjquota" in said
    said = str(quota("xfs")._lack())
    assert said.startswith("xfs at /var enforces no project quotas: mount it anew with the option prjquota")
    assert "rootflags=prjquota" in said
    monkeypatch.setattr(project_quotas, "CODE", dict.fromkeys(("ext4", "xfs"), "/nowhere"))
    for kind in ("ext4", "xfs"):
        assert "the kernel was built without quotas" in str(quota(kind)._lack())


@pytest.mark.parametrize(
    ("kind", "release", "kept"),
    [("ext4", "5.12.19", False), ("ext4", "5.13-rc1", True), ("ext4", "6.1.0-9-amd64", True), ("xfs", "5.12.1", True)],
)
def test_v3_a_kernel_that_lets_root_inside_out_is_refused(
    disk: Disk, kind: str, release: str, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = os.uname()
    monkeypatch.setattr(os, "uname", lambda: type("Uname", (), {"release": release, "machine": named.machine})())
    assert (quota(kind)._lack() is None) is kept


def test_v3_only_what_has_a_limit_is_enlisted(disk: Disk) -> None:
    made = quota()
    assert (made.is_enlisted(), made.limit()) == (False, 0)
    disk.project = FIRST_PROJECT + 7
    disk.quotas[disk.project] = QuotaBlock(hard_blocks=M, space=5)
    assert not made.is_enlisted()  # it hands nothing down
    disk.flags = quota_calls.INHERITED
    assert (made.is_enlisted(), made.limit(), made.used()) == (True, 1 << 30, 5)
    made.set_limit(0)
    assert (made.is_enlisted(), made.limit()) == (True, 0)
    assert disk.quotas[disk.project].hard_blocks << 10 == LIFTED
    made.set_limit(32 * M)
    found = disk.quotas[disk.project]
    assert (found.hard_blocks, found.hard_files) == (32 << 10, 8192)
    disk.quotas[disk.project].hard_blocks = 0  # whoever enlisted it was killed
    assert not made.is_enlisted()
    for other in (1, FIRST_PROJECT - 1, FIRST_PROJECT + PROJECTS):
        disk.project, disk.quotas[other] = other, QuotaBlock(hard_blocks=M)
        assert not made.is_enlisted()  # somebody else's


def test_v3_a_project_is_nobody_elses(disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = quota()
    first = FIRST_PROJECT + zlib.crc32(b"web/volumes/data") % PROJECTS
    assert made._free_project() == first
    disk.quotas[first] = QuotaBlock(hard_blocks=1)  # of one that is gone
    assert made._free_project() == first
    disk.quotas[first].files = 1
    assert made._free_project() == first + 1
    disk.quotas[first + 1] = QuotaBlock(space=4096)
    (tmp_path / "projid").write_text(f"theirs:{first + 2}\n")
    monkeypatch.setattr(project_quotas, "NAMED_PROJECTS", (str(tmp_path / "projid"),))
    assert made._free_project() == first + 3


def test_v3_what_cannot_be_opened_is_made_again(tmp_path: Path) -> None:
    place, aside = tmp_path / "place", tmp_path / "aside"
    for path in (place, aside):
        path.mkdir()
    (place / "link").symlink_to("nowhere")
    os.mkfifo(place / "fifo", 0o640)
    os.utime(place / "link", ns=(1, 2), follow_symlinks=False)
    before = {path.name: path.lstat() for path in place.iterdir()}
    opened = [os.open(path, os.O_RDONLY) for path in (place, aside)]
    try:
        for name, status in before.items():
            project_quotas._make_again(opened[0], name, status, opened[1])
    finally:
        for descriptor in opened:
            os.close(descriptor)
    assert os.readlink(place / "link") == "nowhere"
    assert stat.S_ISFIFO((place / "fifo").lstat().st_mode)
    for name, status in before.items():
        now = (place / name).lstat()
        assert now.st_ino != status.st_ino
        assert (now.st_mode, now.st_uid, now.st_mtime_ns) == (status.st_mode, status.st_uid, status.st_mtime_ns)
    assert os.listdir(aside) == []
