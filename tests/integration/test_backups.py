# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The playbooks that back up the containers of a host, and restore one of them (V5)."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import volumes as launcher_volumes
from ansible_collections.unshare.container.plugins.module_utils.life.container import Container

from .conftest import Host
from .fleet_hosts import Fleet
from .playbooks import Run, playbook

pytestmark = [pytest.mark.root, pytest.mark.long, pytest.mark.timeout(300)]

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
    options = {"backup_directory": str(backups), "backup_keep": 2}
    seen: set[str] = set()
    for number in range(4):
        asked = [NAME] if number % 2 else f"{NAME}, {NAME}"  # as -e backup_containers=… gives them
        done = run("backup-containers.yml", **options, backup_containers=asked, backup_fetch=str(fetched)).succeeded()
        assert f"{NAME}: data" in done.output
        names = set(os.listdir(backups))
        assert len(names) == min(number + 1, 2)
        new = names - seen
        assert len(new) == 1, "the newest is there"
        assert min(new) > max(seen, default="")
        seen |= new
        time.sleep(1)  # the archives' names have seconds
    assert (backups.stat().st_mode & 0o777, len(os.listdir(fetched / "localhost"))) == (0o700, 4)
    assert (fetched / "localhost").stat().st_mode & 0o777 == 0o700, "nobody else reads the copies"

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


@pytest.mark.parametrize(
    ("name", "misspelled", "meant"),
    [
        ("backup_containers.yml", "backup_container", "backup_containers"),
        ("restore_container.yml", "restore_onhost", "restore_on_host"),
        ("move_container.yml", "move_containers", "move_container"),
    ],
)
def test_v5_a_misspelled_variable_is_refused(
    file: Path, tmp_path: Path, name: str, misspelled: str, meant: str
) -> None:
    """Left out, it would have every container of a host backed up."""
    done = run(name, backup_directory=str(tmp_path / "none"), **{misspelled: NAME})
    assert done.code != 0
    said = f"{misspelled}: the playbook {name[:-4]} has no variable of this name; did you mean '{meant}'"
    assert said in " ".join(done.output.split())
    assert os.listdir(tmp_path) == []


def test_v5_an_archive_that_is_not_there_is_named(file: Path, tmp_path: Path) -> None:
    done = run("restore-container.yml", restore_container=NAME, restore_archive=str(tmp_path / "none.tar"))
    assert done.code != 0
    said = (
        f"restore_archive: {tmp_path}/none.tar is no file on the controller: name the archive, or say restore_on_host"
    )
    assert said in " ".join(done.output.split())


def test_v5_a_restoration_is_of_one_host(file: Path) -> None:
    done = playbook(
        "restore-container.yml", INVENTORY, variables={"restore_container": NAME, "restore_archive": "/etc/passwd"}
    )
    assert done.code != 0
    assert "target: name the one host whose container it is" in done.output


def test_v5_check_mode_of_a_backup_writes_nothing(file: Path, tmp_path: Path) -> None:
    variables = {"target": "localhost", "backup_directory": str(tmp_path / "none")}
    done = playbook("backup_containers.yml", INVENTORY, "--check", variables=variables).succeeded()
    assert f"{NAME}: data; would be written: {tmp_path}/none/{NAME}-" in " ".join(done.output.split())
    assert os.listdir(tmp_path) == []


def test_v5_check_mode_of_a_restoration_reads_what_it_can(file: Path, tmp_path: Path) -> None:
    backups = tmp_path / "backups"
    run("backup-containers.yml", backup_directory=str(backups), backup_containers=[NAME]).succeeded()
    (archive,) = backups.iterdir()
    what = {"target": "localhost", "restore_container": NAME, "restore_archive": str(archive), "restore_replace": True}
    for on_host, said in ((False, "is not there"), (True, f"{NAME}: data, ")):
        done = playbook(
            "restore-container.yml", INVENTORY, "--check", variables={**what, "restore_on_host": on_host}
        ).succeeded()
        assert said in done.output
    assert [name for name in os.listdir("/var/lib/unshare") if name.startswith(".restored")] == []


def test_v5_a_container_that_cannot_be_saved_is_no_reason_for_others_to_have_no_backup(
    file: Path, tmp_path: Path
) -> None:
    """Root inside can keep an export of its own container from being made."""
    failing = NAME + "-not"
    Host.claim(failing)
    device = Path(launcher_volumes.volume_directory(failing, "data"), "device")
    device.parent.mkdir(parents=True)
    os.mknod(device, 0o020600, os.makedev(1, 3))
    without = Path(launcher_volumes.volume_directory(NAME + "-without", "data")).parent
    without.mkdir(parents=True)  # whose volume was removed by hand
    backups, fetched = tmp_path / "backups", tmp_path / "fetched"
    backups.mkdir(mode=0o700)
    (backups / f"{NAME}-20200101T000000.tar").touch()
    try:
        done = run("backup-containers.yml", backup_directory=str(backups), backup_fetch=str(fetched), backup_keep=1)
    finally:
        for path in (device.parents[2], without.parent):
            shutil.rmtree(path)
    assert done.code != 0
    assert "is a device, and can be in no archive" in done.output
    assert NAME + "-without" not in done.output
    assert f"{NAME}: data" in done.output
    saved = [name for name in os.listdir(backups) if name.startswith(NAME)]
    assert len(saved) == 1
    assert saved != [f"{NAME}-20200101T000000.tar"]
    assert saved[0] in os.listdir(fetched / "localhost")


def test_v6_what_is_to_be_restored_is_asked_for_before_anything_is_sent() -> None:
    for given in ({"restore_archive": "/etc/passwd"}, {"restore_container": NAME}, {"restore_container": "../x"}):
        done = run("restore-container.yml", **given)
        assert done.code != 0
        assert "restore_container, restore_archive: name a container, and the archive" in done.output
        assert "Send the archive" not in done.output


def test_v5_a_host_that_has_never_had_a_container_gets_one_back(file: Path, tmp_path: Path) -> None:
    backups = tmp_path / "backups"
    run("backup-containers.yml", backup_directory=str(backups), backup_containers=[NAME]).succeeded()
    (archive,) = backups.iterdir()
    with Fleet(1) as fleet:
        (host,) = fleet.hosts
        assert host.inside("mount", "-t", "tmpfs", "tmpfs", "/var/lib").returncode == 0
        what = {"target": host.name, "restore_container": NAME, "restore_archive": str(archive)}
        fleet.playbook(
            "playbooks/restore-container.yml", "-i", str(fleet.inventory({})), "-e", json.dumps(what)
        ).succeeded()
        volume = host.inside("cat", f"/var/lib/unshare/containers/{NAME}/volumes/data/file")
        assert volume.stdout == "first"
        assert host.inside("stat", "--format=%a", "/var/lib/unshare").stdout == "700\n"
