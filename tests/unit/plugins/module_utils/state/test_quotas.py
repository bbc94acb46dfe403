# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The sizes of volumes as a host keeps to them (V3): when a directory is enlisted, and which limits change.

What file systems do is for `tests/integration/test_volume_sizes.py` and `tests/hosts/test_volumes.py`.
"""

from __future__ import annotations

import errno
import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import identity, trees
from ansible_collections.unshare.container.plugins.module_utils.launcher.contract import Specification
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.state import (
    directory_quota,
    project_quotas,
    quotas,
    volume_sizes,
    volumes,
)
from ansible_collections.unshare.container.plugins.module_utils.state.directory_quota import (
    DirectoryQuota,
    size_text,
)
from ansible_collections.unshare.container.plugins.module_utils.state.volume_sizes import VolumeSize

from ..specifications import specification
from .counted_directories import Counted

M = 1 << 20


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    host = Counted()
    monkeypatch.setattr(quotas, "KINDS", dict.fromkeys(range(1), host.quota))
    monkeypatch.setattr(quotas.linux, "file_system_type", lambda descriptor: 0)
    return host


class Kept:
    """A container's directory on the host, with volumes."""

    def __init__(self, path: Path, *names: str) -> None:
        self.path = path
        self.names = names
        for name in names:
            (path / "volumes" / name).mkdir(parents=True)

    def specification(self, **fields: t.Any) -> Specification:
        found = specification(filter_digest="0" * 64)
        mounts = [
            {
                "device": f"/var/lib/unshare/containers/{found.name}/volumes/{name}",
                "mount_point": f"/srv/{name}",
                "type": "none",
                "flags": ["bind-mount"],
                "volume": {"name": name},
            }
            for name in self.names
        ]
        return Specification.read({**found.write(), "file_systems": mounts}).replacing(**fields)

    def volume(self, name: str) -> str:
        return str(self.path / "volumes" / name)

    def sizes(self, **sizes: int) -> dict[str, VolumeSize]:
        return {name: VolumeSize(size=size) for name, size in sizes.items()}

    def enforce(self, **fields: t.Any) -> list[str]:
        return quotas.enforce(str(self.path), self.specification(**fields))


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path, "data", "other")


def test_v3_sizes_are_kept_and_read(tmp_path: Path) -> None:
    sizes = {"data": VolumeSize(size=5 << 30), "more": VolumeSize(size=1, may_fail=True)}
    assert volume_sizes.read(str(tmp_path)) == {}
    volume_sizes.write(str(tmp_path), sizes)
    assert volume_sizes.read(str(tmp_path)) == sizes
    volume_sizes.write(str(tmp_path), {})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "text",
    ['{"volumes": {"data": {"size": 0}}}', '{"volumes": {"data": {"size": true}}}', '{"volumes": {"..": {"size": 1}}}']
    + ['{"volumes": []}', "{", '{"volumes": {"data": {"size": 1, "more": 1}}}', '{"volumes": {"data": {"size": 1.5}}}'],
)
def test_v3_damaged_sizes_are_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "sizes.json").write_text(text)
    with pytest.raises(LauncherError, match=r"sizes\.json: .*; declare the container's volumes again"):
        volume_sizes.read(str(tmp_path))


def test_v3_a_start_enlists_what_has_a_size_once(kept: Kept, counted: Counted) -> None:
    volume_sizes.write(str(kept.path), kept.sizes(data=32 * M, gone=M))
    assert kept.enforce() == []
    assert counted.did == [("enlist", str(kept.path / "volumes.sizing")), ("limit", 32 * M)]
    assert kept.enforce() == []
    assert len(counted.did) == 2
    assert not (kept.path / "volumes.sizing").exists()
    volume_sizes.write(str(kept.path), kept.sizes(data=64 * M))
    assert kept.enforce() == []
    assert counted.did[2:] == [("limit", 64 * M)]


def test_v3_a_start_without_sizes_asks_for_no_quota(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quotas, "enforce", pytest.fail)
    monkeypatch.setattr(volumes, "make_directory", lambda *arguments: None)
    left = kept.path / "volumes.sizing" / "data"
    left.mkdir(parents=True)
    assert volumes.prepare(str(kept.path), kept.specification()) == []
    assert not left.parent.exists()  # which a start that was killed has left


@pytest.mark.parametrize(
    ("fields", "lack", "filtered", "said"),
    [
        ({}, "no quotas here", False, "no quotas here"),
        ({"private_users": "identity"}, None, False, "root inside is the host's root, whom no quota holds"),
        (
            {"filter_digest": ""},
            None,
            True,
            "has no filter of system calls that keeps it from making subvolumes: install",
        ),
    ],
)
def test_v3_a_size_that_cannot_be_kept_ends_a_start_unless_it_may_fail(
    kept: Kept, counted: Counted, fields: dict[str, t.Any], lack: str | None, filtered: bool, said: str
) -> None:
    counted.lack, counted.filter = lack, filtered
    volume_sizes.write(str(kept.path), kept.sizes(data=32 * M))
    with pytest.raises(LauncherError, match=f"^volume data: its size of 32M is not kept: .*{said}"):
        kept.enforce(**fields)
    volume_sizes.write(str(kept.path), {"data": VolumeSize(size=32 * M, may_fail=True)})
    (warning,) = kept.enforce(**fields)
    assert said in warning
    assert counted.did == []
    if filtered:  # it is needed for a subvolume alone
        counted.filter = False
        assert kept.enforce(**fields) == []


def test_v3_an_error_names_the_volume(kept: Kept, counted: Counted) -> None:
    counted.broken = OSError(errno.EPERM, "not permitted")
    volume_sizes.write(str(kept.path), kept.sizes(data=32 * M))
    with pytest.raises(LauncherError, match=r"^volume data: its size of 32M is not kept: \[Errno 1\] not permitted"):
        kept.enforce()
    assert not (kept.path / "volumes.sizing").exists()


def test_v3_what_holds_more_starts_with_a_warning(kept: Kept, counted: Counted) -> None:
    volume_sizes.write(str(kept.path), kept.sizes(data=32 * M))
    counted.holds[kept.volume("data")] = 32 * M
    assert kept.enforce() == []
    counted.holds[kept.volume("data")] = 48 * M
    (warning,) = kept.enforce()
    assert warning.startswith("volume data: holds 48M, more than its size of 32M: nothing can be written before")


def test_v3_limits_of_what_is_enlisted_change_at_any_moment(kept: Kept, counted: Counted) -> None:
    directory, sizes = str(kept.path), kept.sizes(data=32 * M, other=M)
    counted.limits[kept.volume("data")] = 0
    assert quotas.differing(directory, sizes) == ["data"]
    assert quotas.not_enlisted(directory, {**sizes, **kept.sizes(gone=M)}) == ["other"]
    quotas.set_limits(directory, sizes)
    assert counted.did == [("limit", 32 * M)]
    quotas.set_limits(directory, sizes)
    assert len(counted.did) == 1
    assert quotas.differing(directory, {}) == ["data"]
    counted.lack = "quotas are off"
    assert quotas.differing(directory, {}) == []
    counted.lack = None
    quotas.set_limits(directory, {})
    assert counted.limits[kept.volume("data")] == 0
    assert quotas.differing(str(kept.path / "nowhere"), sizes) == []


def test_v3_what_is_not_there_yet_is_asked_of_the_directory_above(tmp_path: Path, counted: Counted) -> None:
    with quotas.opened(str(tmp_path / "containers/web/volumes/data")) as quota:
        assert quota.path == str(tmp_path)
        assert not quota.is_enlisted()


def test_v3_a_link_is_no_volume(tmp_path: Path, kept: Kept, counted: Counted) -> None:
    (kept.path / "volumes" / "link").symlink_to(kept.path / "volumes" / "data")
    counted.limits[kept.volume("data")] = M
    assert quotas.differing(str(kept.path), {}) == ["data"]


def test_v3_another_file_system_says_where_there_are_quotas(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "available", lambda: (4294967295, False))
    quota = DirectoryQuota(-1, str(tmp_path))
    assert str(quota.refusal()).endswith("has no quotas of directories: put it on ext4, xfs or btrfs")
    assert (quota.is_enlisted(), quota.limit(), quota.needs_filter()) == (False, 0, False)
    monkeypatch.setattr(identity, "available", lambda: (65536, True))
    assert quota.refusal() == directory_quota.NESTED


@pytest.mark.parametrize("lack", [None, "no quotas here"])
def test_v3_what_is_larger_than_a_size_is_told_before_it_is_there(
    kept: Kept, counted: Counted, lack: str | None
) -> None:
    """That of an import or a snapshot; where nothing keeps to the size it is no matter."""
    counted.lack = lack
    volume_sizes.write(str(kept.path), kept.sizes(data=32 * M, gone=16 * M))
    found = {"data": 32 * M + 1, "gone": 17 * M, "other": 64 * M}
    said = quotas.larger(str(kept.path), found)
    assert [words.partition(",")[0] for words in said] == (
        [] if lack else ["the volume data would hold 32.0M", "the volume gone would hold 17M"]
    )
    assert quotas.larger(str(kept.path), {"data": 32 * M, "other": 64 * M}) == []


def test_v3_only_what_is_to_have_a_size_is_counted(kept: Kept, counted: Counted, tmp_path: Path) -> None:
    for name in ("data", "other"):
        (tmp_path / "aside" / name).mkdir(parents=True)
        (tmp_path / "aside" / name / "file").write_bytes(bytes(2 * M))
    names = ["data", "other", "which is not there"]
    assert quotas.larger_trees(str(kept.path), str(tmp_path / "aside"), names) == []
    volume_sizes.write(str(kept.path), kept.sizes(data=M))
    (said,) = quotas.larger_trees(str(kept.path), str(tmp_path / "aside"), names)
    assert said.startswith("the volume data would hold 2")


def test_v3_what_a_tree_takes_is_counted_once(tmp_path: Path) -> None:
    deep = tmp_path / "deep"
    deep.mkdir()
    (deep / "file").write_bytes(bytes(1 << 20))
    os.link(deep / "file", tmp_path / "other")
    with (tmp_path / "holes").open("wb") as file:
        file.truncate(1 << 30)
    (tmp_path / "link").symlink_to("/")
    descriptor = os.open(tmp_path, os.O_RDONLY)
    try:
        assert 1 << 20 <= trees.tree_size(descriptor, str(tmp_path)) < (1 << 20) + (64 << 10)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(
    ("size", "text"),
    [(5 << 30, "5G"), (16 << 20, "16M"), (1536 << 20, "1.5G"), (1 << 40, "1T"), (1000, "1000 bytes"), (1024, "1K")],
)
def test_v3_sizes_are_told_to_people(size: int, text: str) -> None:
    assert size_text(size) == text


def test_v3_numbers_of_projects_that_the_host_has_given_away_are_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "projid").write_text("mine:1700000001\n# comment\nother:x\n")
    (tmp_path / "projects").write_text("1700000002:/srv/1700000003\n")
    files = tuple(str(tmp_path / name) for name in ("projid", "projects", "missing"))
    monkeypatch.setattr(project_quotas, "NAMED_PROJECTS", files)
    assert project_quotas._named_projects() == {1700000001, 1700000002}
