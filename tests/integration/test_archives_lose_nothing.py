# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""No data are lost by an export or an import in silence, whatever an administrator or the container does meanwhile."""

from __future__ import annotations

import os
import re
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.life.archiving_volumes import Archiving
from ansible_collections.unshare.container.plugins.module_utils.life.container import Container
from ansible_collections.unshare.container.plugins.module_utils.life.snapshot_request import SnapshotRequest
from ansible_collections.unshare.container.plugins.module_utils.life.snapshotting import Snapshotting
from ansible_collections.unshare.container.plugins.module_utils.life.starting import LauncherStarter
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout, TargetError
from ansible_collections.unshare.container.plugins.module_utils.state.volumes import IMPORTING

from .archives import data_of, digest, export, fill, reach, restore, system
from .conftest import Machine, heard

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

NAME = "test-whole-archives"


@pytest.fixture
def filled(container: Container) -> Container:
    return fill(container)


@pytest.mark.parametrize("volume", ["data", "uploads"])
def test_v6_what_is_written_while_the_archive_is_unpacked_is_replaced_only_when_asked(
    container: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, volume: str
) -> None:
    made = system(NAME, more=[{"name": "uploads", "path": "/srv/uploads"}])
    reach(container, system=made)
    machine = Machine(NAME, made)
    machine.output("sh", "-c", "echo old > /srv/data/file")
    export(NAME, tmp_path / "archive")
    machine.output("rm", "/srv/data/file")
    whole = Archiving._unpack

    def slow(self: Archiving, *arguments: t.Any) -> t.Any:
        found = whole(self, *arguments)
        machine.output("sh", "-c", f"echo acknowledged > /srv/{volume}/order")
        return found

    monkeypatch.setattr(Archiving, "_unpack", slow)
    with pytest.raises(TargetError, match=f"volume {volume}: something is in it; replace: true"):
        restore(NAME, tmp_path / "archive", stop=True)
    assert machine.output("cat", f"/srv/{volume}/order") == "acknowledged\n"
    assert not Path(container.directory, IMPORTING).exists()


def test_v6_what_an_import_cannot_remove_is_said_and_no_failure(filled: Container, tmp_path: Path) -> None:
    """An administrator has pinned a file with chattr(1)."""
    export(NAME, tmp_path / "archive")
    before = digest(NAME)
    (data_of(NAME) / "pinned").write_text("x")
    subprocess.run(["chattr", "+i", data_of(NAME) / "pinned"], check=True)
    pinned = Path(filled.directory, IMPORTING, "data/pinned")
    try:
        archiving = Archiving(Layout(), NAME, str(tmp_path / "archive"), False, 60)
        assert archiving.restore(None, True, False)["changed"]
        assert digest(NAME) == before
        assert f"{pinned.parents[1]} is not removed: " in heard(archiving.warnings)[0]
        with pytest.raises(TargetError, match=f"^{pinned.parents[1]} is not removed: .*chattr -i"):
            restore(NAME, tmp_path / "archive", replace=True)
        assert digest(NAME) == before
    finally:
        for path in (pinned, data_of(NAME) / "pinned"):
            if path.exists():
                subprocess.run(["chattr", "-i", path], check=True)
    restore(NAME, tmp_path / "archive", replace=True)
    assert os.listdir(filled.directory) == ["volumes"]


def test_v5_a_declared_volume_that_is_not_there_is_missed(container: Container, tmp_path: Path) -> None:
    reach(container, system=system(NAME, more=[{"name": "uploads", "path": "/srv/uploads"}]))
    assert export(NAME, tmp_path / "archive")["warnings"] == []
    (data_of(NAME).parent / "uploads").rmdir()
    missing = "volume uploads: the current system of the container .* what is saved is without it"
    (said,) = export(NAME, tmp_path / "archive")["warnings"]
    assert re.match(missing, said)
    snapshotting = Snapshotting(Layout(), container, LauncherStarter(container), SnapshotRequest("first"))
    snapshotting.reach("present")
    (said,) = heard(snapshotting.warnings)
    assert re.match(missing, said)


def test_v5_a_volume_that_is_a_link_is_named(filled: Container, tmp_path: Path) -> None:
    (data_of(NAME).parent / "moved").symlink_to(tmp_path)
    said = f"^volume moved: {data_of(NAME).parent}/moved is no directory that can be read: .*mount that there"
    with pytest.raises(TargetError, match=said):
        export(NAME, tmp_path / "archive")
