# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a start does with a volume, and what the contract says of one (V1)."""

from __future__ import annotations

import copy
import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import contract, kinds, ownership, volumes
from ansible_collections.unshare.container.plugins.module_utils.launcher.owners import Owners
from ansible_collections.unshare.container.plugins.module_utils.state import volumes as kept_volumes

from ..specifications import SPECIFICATION, specification

pytestmark = pytest.mark.root

VOLUME = volumes.Volume(name="data", uid=33, gid=34, mode="2750")


def given(directory: Path, owners: Owners) -> str | None:
    source = os.open(directory, os.O_PATH | os.O_DIRECTORY)
    try:
        return ownership.give_volume(source, VOLUME, owners)
    finally:
        os.close(source)


@pytest.mark.parametrize(
    ("owners", "ids"), [(Owners(), (33, 34)), (Owners({33: 5}, {34: 6}), (5, 6)), (Owners({34: 5}, {33: 6}), (33, 34))]
)
@pytest.mark.parametrize("content", ["", "lost+found"])
def test_v1_an_empty_volume_is_made_what_was_declared(
    tmp_path: Path, owners: Owners, ids: tuple[int, int], content: str
) -> None:
    if content:
        (tmp_path / content).mkdir()
    assert given(tmp_path, owners) is None
    status = tmp_path.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (*ids, 0o2750)


def test_v1_one_with_data_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.chown(tmp_path, 33, 34)
    tmp_path.chmod(0o700)
    assert given(tmp_path, Owners()) is None
    assert tmp_path.stat().st_mode & 0o7777 == 0o700
    os.chown(tmp_path, 33, 77)
    said = given(tmp_path, Owners({33: 5}))
    assert said is not None
    assert said.startswith("volume data: is of 33:77 inside, and was declared to be of 5:34; it stays so")
    assert tmp_path.stat().st_gid == 77


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"device": "/srv/data"}, r"file_systems\[3\].device: is no directory of this volume"),
        ({"volume": {"name": "other"}}, r"file_systems\[3\].device: is no directory of this volume"),
        ({"volume": {"name": "../x"}}, r"file_systems\[3\].volume.name: is no name of a volume"),
        ({"volume": {"name": "data", "uid": 65536}}, r"file_systems\[3\].volume.uid: 65536 is no id"),
        ({"type": "tmpfs", "flags": []}, r"file_systems\[3\].volume: is a directory, and so a bind mount"),
    ],
)
def test_v1_a_volume_is_a_directory_of_its_container(change: dict[str, t.Any], said: str) -> None:
    spec = copy.deepcopy(SPECIFICATION)
    spec["file_systems"][3].update(change)
    with pytest.raises(kinds.ContractError, match=said):
        contract.Specification.read(spec)


def test_v1_directories_are_made_for_the_hosts_root_alone(tmp_path: Path) -> None:
    directory = tmp_path / "web"
    source = str(directory / "volumes/data")
    mount = contract.Mount(device=source, mount_point="/x", type="none", flags=["bind-mount"], volume=VOLUME)
    kept_volumes.prepare(str(directory), specification().replacing(file_systems=[mount]))
    kept_volumes.prepare(str(directory), specification().replacing(file_systems=[mount]))
    assert [path.stat().st_mode & 0o7777 for path in (directory / "volumes", Path(source))] == [0o700, 0o700]
    assert kept_volumes.volume_names(str(directory)) == ["data"]


def test_v6_volumes_go_when_that_is_asked(tmp_path: Path) -> None:
    directory = tmp_path / "web"
    assert kept_volumes.part_with("web", str(directory), asked=True) == []
    for name in ("b", "a", ".new"):
        (directory / "volumes" / name).mkdir(parents=True)
    (said,) = kept_volumes.part_with("web", str(directory), asked=False)
    assert said == (
        f"container web: its volumes are kept in {directory}/volumes: a, b; a container of this name that declares "
        "them finds their data, and remove_volumes: true removes them"
    )
    assert kept_volumes.part_with("web", str(directory), asked=True) == []
    assert not directory.exists()


def test_v6_what_is_somebodys_stays(tmp_path: Path) -> None:
    (tmp_path / "web/volumes").mkdir(parents=True)
    (tmp_path / "web/file").touch()
    assert kept_volumes.part_with("web", str(tmp_path / "web"), asked=False) == []
    assert [path.name for path in (tmp_path / "web").iterdir()] == ["file"]
