# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A volume of very many files is saved as any other: a million of them with `UNSHARE_FULL=1` (V4, V5)."""

from __future__ import annotations

import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.life.container import Container
from ansible_collections.unshare.container.plugins.module_utils.life.snapshot_request import SnapshotRequest
from ansible_collections.unshare.container.plugins.module_utils.life.snapshotting import Snapshotting
from ansible_collections.unshare.container.plugins.module_utils.life.starting import LauncherStarter
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout

from .archives import another, data_of, export, reach, restore, system
from .conftest import Machine
from .lives import rounds

pytestmark = [pytest.mark.root, pytest.mark.long, pytest.mark.timeout(3600)]

NAME = "test-many-files"
OTHER = "test-many-files-other"
COUNT = rounds(30_000, 10**6)

MAKE = f"""
import os
os.chdir("/srv/data")
os.mkdir("together")
for number in range({COUNT}):
    if number % 1000 == 0:
        os.mkdir(str(number))
    name = ("together" if number % 4 == 0 else str(number // 1000 * 1000)) + "/file %d" % number
    if number % 97 == 1:
        os.symlink("file %d" % number, name)
    elif number % 89 == 1:
        os.link(last, name)
    else:
        with open(name, "wb") as file:
            file.write(b"%d " % number * (number % 300))
        last = name
    if number % 83 == 0:
        os.chown(name, number % 65536, 7, follow_symlinks=False)
"""
"""Makes files, hard links and links, a quarter of them in one directory."""


def checksum(directory: Path) -> str:
    """Return the checksum of all that tar keeps of a directory, in the order of the names."""
    kept = "--create --sort=name --format=pax --pax-option=delete=atime,delete=ctime --numeric-owner --xattrs --acls"
    script = f"set -o pipefail; tar {kept} --directory={directory} . | sha256sum"
    return subprocess.run(["bash", "-c", script], check=True, capture_output=True, text=True, timeout=1200).stdout


@pytest.fixture
def other(host_unchanged: None) -> t.Iterator[Container]:
    with another(OTHER) as container:
        yield container


def test_v4_v5_they_come_back_as_they_were(container: Container, other: Container, tmp_path: Path) -> None:
    made = system(NAME)
    reach(container, system=made)
    Machine(NAME, made).output("python3", "-c", MAKE, timeout=1200)
    before = checksum(data_of(NAME))
    archive = export(NAME, tmp_path / "archive")
    assert archive["volumes"][0]["files"] > COUNT
    restore(OTHER, tmp_path / "archive", other=NAME)
    assert checksum(data_of(OTHER)) == before
    Snapshotting(Layout(), container, LauncherStarter(container), SnapshotRequest("many")).reach("present")
    assert checksum(Path(container.directory, "snapshots/many/volumes/data")) == before
    assert checksum(data_of(NAME)) == before
