# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbooks that back up the containers of a host, and restore one of them (V5)."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import volumes as launcher_volumes
from ansible_collections.unshare.container.plugins.module_utils.life.container import Container

from .conftest import Host
from .playbooks import Run, playbook

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

NAME = "test-backed-up"
INVENTORY = "examples/inventory"


@pytest.fixture
def file(container: Container) -> Path:
    """Return a file in a volume of a container that does not run."""
    Host.claim(NAME)
    path = Path(launcher_volumes.volume_directory(NAME, "data"))
    path.mkdir(parents=True, mode=0o755)
    (path / "file").write_text("first")
    return path / "file"


def run(name: str, **variables: object) -> Run:
    return playbook(name, INVENTORY, variables={"target": "localhost", **variables})


def test_v5_backups_are_kept_by_count_and_restored(file: Path, tmp_path: Path) -> None:
    backups, fetched = tmp_path / "backups", tmp_path / "fetched"
    options = {"backup_directory": str(backups), "backup_keep": 2, "backup_containers": [NAME]}
    seen: set[str] = set()
    for number in range(4):
        done = run("backup-containers.yml", **options, backup_fetch=str(fetched)).succeeded()
        assert f"{NAME}: data" in done.output
        names = set(os.listdir(backups))
        assert len(names) == min(number + 1, 2)
        new = names - seen
        assert len(new) == 1, "the newest is there"
        assert min(new) > max(seen, default="")
        seen |= new
        time.sleep(1)  # the archives' names have seconds
    assert (backups.stat().st_mode & 0o777, len(os.listdir(fetched / "localhost"))) == (0o700, 4)

    file.write_text("second")
    archive = fetched / "localhost" / max(seen)
    what = {"restore_container": NAME, "restore_archive": str(archive)}
    refused = run("restore-container.yml", **what)
    assert refused.code != 0
    assert "volume data: something is in it; replace: true" in refused.output
    assert file.read_text() == "second"
    assert run("restore-container.yml", **what, restore_replace=True).succeeded().changed() > 0
    assert file.read_text() == "first"
    assert [name for name in os.listdir("/var/lib/unshare") if name.startswith(".restored")] == []


def test_v5_a_restoration_is_of_one_host(file: Path) -> None:
    done = playbook("restore-container.yml", INVENTORY, variables={"restore_container": NAME, "restore_archive": "/x"})
    assert done.code != 0
    assert "target: name the one host whose container it is" in done.output


def test_v5_check_mode_of_a_backup_writes_nothing(file: Path, tmp_path: Path) -> None:
    variables = {"target": "localhost", "backup_directory": str(tmp_path / "none")}
    done = playbook("backup_containers.yml", INVENTORY, "--check", variables=variables).succeeded()
    assert NAME in done.output, "it finds who has volumes"
    assert os.listdir(tmp_path) == []
