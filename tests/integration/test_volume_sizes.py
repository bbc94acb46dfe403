# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sizes of volumes (V3), on a btrfs with quotas. For ext4 and xfs, `tests/hosts` has kernels with project quotas."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.launcher.specification import read_spec
from ansible_collections.unshare.container.plugins.module_utils.life.archiving_volumes import Archiving
from ansible_collections.unshare.container.plugins.module_utils.life.container_information import Information
from ansible_collections.unshare.container.plugins.module_utils.life.snapshot_request import SnapshotRequest
from ansible_collections.unshare.container.plugins.module_utils.life.snapshotting import Snapshotting
from ansible_collections.unshare.container.plugins.module_utils.life.starting import LauncherStarter
from ansible_collections.unshare.container.plugins.module_utils.state import volumes
from ansible_collections.unshare.container.plugins.module_utils.state.systems import Systems
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout, TargetError

from .playbooks import Run, playbook
from .size_attempts import FULL
from .sized_volumes import M, Sized, btrfs

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

NAME = "test-sizes"


@pytest.fixture
def sized(tmp_path: Path, host_unchanged: None) -> t.Iterator[Sized]:
    with btrfs(tmp_path, NAME) as path:
        found = Sized(path, NAME)
        yield found
        found.close()


def test_v3_a_full_volume_is_full_inside_and_nowhere_else(sized: Sized) -> None:
    data, beside = {"name": "data", "size": "32M"}, {"name": "beside", "size": "64M"}
    free = os.statvfs(sized.path)
    assert sized.bring(data, beside)["changed"]
    assert (sized.limit("data"), sized.limit("beside")) == (32 * M, 64 * M)
    assert not sized.bring(data, beside)["changed"]
    assert sized.warnings == []
    number, written = sized.fill()
    assert number in FULL
    assert 28 * M < written <= 32 * M
    inside = sized.inside()
    inside.output("sh", "-c", "head -c 40M /dev/zero > /srv/beside/file && sync /srv/beside/file")
    (sized.path / "host").write_bytes(bytes(8 * M))
    (sized.path / "host").unlink()
    assert os.statvfs(sized.path).f_bavail > free.f_bavail - (90 * M) // free.f_frsize

    # It grows while it is full, without a restart; and what is removed can be written again.
    pid = sized.container.status().pid
    assert sized.bring({**data, "size": "48M"}, beside, check=True)["changed"]
    assert sized.limit("data") == 32 * M
    result = sized.bring({**data, "size": "48M"}, beside)
    assert result["changed"]
    assert result["diff"]["before"]["volume_sizes"] == {"beside": "64M", "data": "32M"}
    assert result["diff"]["after"]["volume_sizes"] == {"beside": "64M", "data": "48M"}
    number, more = sized.fill()
    assert number in FULL
    assert 12 * M < more <= 16 * M

    # To less than it holds it does not shrink, and nothing else of that run happens.
    with pytest.raises(
        TargetError, match=r"volumes\[0\]\.size: the volume data holds 4[0-9.]+M, which is more than 40M"
    ):
        sized.bring({**data, "size": "40M"}, beside)
    assert sized.limit("data") == 48 * M
    inside.output("rm", "/srv/data/full")
    assert sized.bring({**data, "size": "20M"}, beside)["changed"]
    assert sized.fill()[1] <= 20 * M
    inside.output("rm", "/srv/data/full")

    # Without a size there is none, and with one again there is, all of it while the container runs.
    assert sized.bring({"name": "data"}, beside)["changed"]
    assert sized.limit("data") == 0
    inside.output("sh", "-c", "head -c 60M /dev/zero > /srv/data/file && sync /srv/data/file")
    assert not sized.bring({"name": "data"}, beside)["changed"]
    assert sized.bring({**data, "size": "100M"}, beside)["changed"]
    assert sized.container.status().pid == pid
    assert sized.fill()[0] in FULL


CONTENT = (
    "import os\n"
    "os.chdir('/srv/data')\n"
    "open('file', 'wb').write(b'content' * 100000); os.link('file', 'other'); os.symlink('nowhere', 'link')\n"
    "os.mkdir('deep'); open('deep/file', 'w').write('deep'); os.chown('deep/file', 1234, 4321); os.mkfifo('fifo')\n"
    "os.setxattr('deep/file', 'user.said', b'so'); os.chmod('.', 0o751); os.chown('.', 33, 33)\n"
)
MANY = (
    "import os\nos.chdir('/srv/data')\n"
    "for n in range(3000):\n    open(str(n), 'w').write(str(n)); n % 9 or os.link(str(n), 'other-%d' % n)\n"
)
LOOK = "cd /srv/data && find . -printf '%p %y %m %U:%G %n %l\\n' | sort && sha256sum file deep/file"


def test_v3_a_volume_with_data_gets_its_first_size_at_a_start(sized: Sized) -> None:
    sized.bring({"name": "data"})
    sized.inside().output("python3", "-c", CONTENT)
    before = sized.inside().output("sh", "-c", LOOK)
    kept = sized.volume("data").stat()
    assert sized.bring({"name": "data", "size": "32M"}, check=True)["changed"]
    assert sized.bring({"name": "data", "size": "32M"})["changed"]
    assert [said for said in sized.warnings if "is kept to 32M from the next start on" in said]
    assert not sized.bring({"name": "data", "size": "32M"})["changed"]
    assert sized.limit("data") == 0
    sized.bring({"name": "data", "size": "32M"}, state="restarted")
    assert not [said for said in sized.warnings if "size" in said or "32M" in said]
    assert sized.limit("data") == 32 * M
    assert sized.inside().output("sh", "-c", LOOK) == before
    assert sized.volume("data").stat().st_uid == kept.st_uid == 33
    assert sized.fill()[0] in FULL


def test_v3_a_restored_volume_keeps_its_size(sized: Sized, tmp_path: Path) -> None:
    """By a snapshot, and by an archive, volumes are other directories afterwards."""
    data = {"name": "data", "size": "40M"}
    sized.bring(data)
    sized.inside().output("python3", "-c", CONTENT)
    before = sized.inside().output("sh", "-c", LOOK)

    def snapshot(state: str) -> None:
        request = SnapshotRequest(snapshot="one", stop=True, timeout=60.0)
        Snapshotting(Layout(), sized.container, LauncherStarter(sized.container), request).reach(state)

    snapshot("present")
    sized.fill()
    snapshot("restored")
    assert sized.inside().output("sh", "-c", LOOK) == before
    assert sized.limit("data") == 40 * M
    number, written = sized.fill()
    assert number in FULL
    assert written < 40 * M
    sized.inside().output("rm", "/srv/data/full")

    tmp_path.chmod(0o700)
    archive = "/root/test-sizes.tar"
    try:
        Archiving(Layout(), NAME, archive, True, 60).export("none", False)
        sized.inside().output("rm", "-r", "/srv/data/deep")
        Archiving(Layout(), NAME, archive, True, 60).restore(None, True, False)
    finally:
        Path(archive).unlink(missing_ok=True)
    assert sized.inside().output("sh", "-c", LOOK) == before
    assert sized.limit("data") == 40 * M
    assert sized.fill()[0] in FULL


def test_v3_what_is_larger_than_a_volume_is_neither_imported_nor_restored(sized: Sized, tmp_path: Path) -> None:
    """It is refused before anything changes, and before the container stops, in check mode as well."""
    sized.bring({"name": "data", "size": "64M"})
    sized.inside().output("sh", "-c", "head -c 40M /dev/urandom >/srv/data/large && truncate -s 1T /srv/data/hole")

    def snapshot(state: str, check: bool = False) -> None:
        request = SnapshotRequest(snapshot="one", stop=True, timeout=60.0)
        Snapshotting(Layout(), sized.container, LauncherStarter(sized.container), request, check).reach(state)

    def imported(check: bool = False) -> None:
        Archiving(Layout(), NAME, archive, True, 60).restore(None, True, check)

    archive = "/root/test-sizes.tar"
    try:
        Archiving(Layout(), NAME, archive, True, 60).export("none", False)
        snapshot("present")
        sized.inside().output("sh", "-c", "rm /srv/data/large && echo new >/srv/data/new")
        sized.bring({"name": "data", "size": "32M"})
        pid = sized.container.status().pid
        for check in (True, False):
            with pytest.raises(TargetError, match=f"path: {archive} is refused: the volume data would hold 40.*of 32M"):
                imported(check)
            with pytest.raises(TargetError, match=r"snapshot one: is not restored: the volume data would hold 40"):
                snapshot("restored", check)
        assert sized.container.status().pid == pid
        assert sized.inside().output("cat", "/srv/data/new") == "new\n"
        assert not os.path.lexists(sized.path / volumes.IMPORTING)
        sized.bring({"name": "data", "size": "48M"})
        imported()
        assert sized.limit("data") == 48 * M
        snapshot("restored")
        assert sized.inside().output("sh", "-c", "ls /srv/data") == "hole\nlarge\n"
    finally:
        Path(archive).unlink(missing_ok=True)


def test_v3_what_was_restored_may_hold_more(sized: Sized) -> None:
    """Nothing of it is lost, and a warning says that nothing can be written."""
    sized.bring({"name": "data"})
    sized.fill()
    sized.bring({"name": "data"}, state="stopped")
    with pytest.raises(
        TargetError, match=r"volumes\[0\]\.size: the volume data holds 30[0-9.]*M, which is more than 32M"
    ):
        sized.bring({"name": "data", "size": "32M"})
    assert sized.container.status().state != "running"


def test_v3_a_start_that_was_killed_meanwhile_is_made_good(sized: Sized) -> None:
    """What it had made of the volume goes, and the volume is what it was."""
    sized.bring({"name": "data"})
    sized.inside().output("python3", "-c", CONTENT)
    before = sized.inside().output("sh", "-c", LOOK)
    sized.bring({"name": "data", "size": "32M"}, state="stopped")
    left = sized.path / "volumes.sizing"
    left.mkdir(mode=0o700)
    subprocess.run(["btrfs", "subvolume", "create", str(left / "data")], check=True, capture_output=True)
    (left / "data" / "half").write_text("half")
    sized.bring({"name": "data", "size": "32M"})
    assert not left.exists()
    assert sized.inside().output("sh", "-c", LOOK) == before
    assert sized.limit("data") == 32 * M


def test_v3_without_quotas_nothing_changes(tmp_path: Path, host_unchanged: None) -> None:
    with btrfs(tmp_path, NAME, quota=False) as path:
        sized = Sized(path, NAME)
        remedy = f"turn them on with `btrfs quota enable {path}`"
        with pytest.raises(TargetError) as error:
            sized.bring({"name": "data", "size": "32M"})
        assert "volumes[0].size: the volume data cannot be kept to 32M here" in str(error.value)
        assert remedy in str(error.value)
        assert os.listdir(path) == []
        may_fail = {"name": "data", "size": "32M", "size_may_fail": True}
        assert sized.bring(may_fail)["changed"]
        assert [said for said in sized.warnings if remedy in said]
        assert not sized.bring(may_fail)["changed"]
        assert len(sized.warnings) == 1, "it says what is, and promises nothing"
        assert sized.fill()[0] not in FULL or sized.limit("data") == 0
        # What is turned on later counts from the next start on; what is turned off keeps nobody from stopping it.
        sized.inside().output("rm", "/srv/data/full")
        subprocess.run(["btrfs", "quota", "enable", str(path)], check=True, capture_output=True)
        sized.bring(may_fail, state="restarted")
        assert sized.limit("data") == 32 * M
        sized.bring({"name": "data", "size": "32M"})
        subprocess.run(["btrfs", "quota", "disable", str(path)], check=True, capture_output=True)
        sized.bring({"name": "data", "size": "32M"}, state="stopped")
        with pytest.raises(TargetError, match="btrfs quota enable"):
            sized.bring({"name": "data", "size": "32M"})
        with pytest.raises(LauncherError, match="volume data: its size of 32M is not kept"), sized.container.lock(30):
            sized.container.start(str(Layout().current_system(NAME)))


def test_v3_the_host_s_root_has_no_size(sized: Sized) -> None:
    """The controller refuses it as well; this is for who calls the module himself."""
    with pytest.raises(TargetError, match="root inside is the host's root, whom no quota holds"):
        sized.bring({"name": "data", "size": "32M"}, private_users="identity")


@pytest.mark.long
def test_v3_the_role_has_sizes(tmp_path: Path, host_unchanged: None) -> None:
    """Where there are no quotas not even the system is written; a size that changes is one change, and no restart."""

    def deploy(size: str, *arguments: str) -> Run:
        variables = {
            "system_container_name": NAME,
            "operating_system": {"host_name": NAME},
            "system_container_volumes": [{"name": "data", "path": "/srv/data", "size": size}],
        }
        return playbook("deploy-container.yml", "examples/inventory", *arguments, variables=variables)

    with btrfs(tmp_path, NAME, quota=False) as path:
        sized = Sized(path, NAME)
        refused = deploy("32M")
        said = " ".join(refused.output.split())
        assert refused.counts("localhost")["failed"] == 1
        assert refused.changed() == 0
        assert "volumes[0].size: the volume data cannot be kept to 32M here: btrfs at" in said
        assert os.listdir(path) == []
        assert Systems(Layout()).of_container(NAME) == []

        subprocess.run(["btrfs", "quota", "enable", str(path)], check=True, capture_output=True)
        assert deploy("32M", "--check").succeeded().changed() == 2
        assert deploy("32M").succeeded().changed() == 2
        assert sized.limit("data") == 32 * M
        assert deploy("32M").succeeded().changed() == 0
        pid = sized.container.status().pid
        assert sized.fill()[0] in FULL
        assert deploy("48M", "--check").succeeded().changed() == 1
        assert deploy("48M").succeeded().changed() == 1
        assert sized.limit("data") == 48 * M
        assert sized.container.status().pid == pid
        (told,) = Information(Layout(), NAME, sized.container).gather()["volumes"]
        assert (told["name"], told["size"]) == ("data", 48 * M)
        assert 0 < told["used"] <= 48 * M
        wrong = deploy("1M")
        assert "system_container_volumes[0].size: '1M' is not a size of 16M or more" in " ".join(wrong.output.split())
        sized.close()


def test_v3_who_gives_a_volume_its_size_is_killed_at_any_moment(sized: Sized) -> None:
    """The volume is what it was, and the next start makes good what was begun."""
    sized.bring({"name": "data"})
    sized.inside().output("python3", "-c", MANY)
    look = "cd /srv/data && find . -printf '%p %y %m %U:%G %n\\n' | sort | sha256sum; cat [0-9]* | sha256sum"
    before = sized.inside().output("sh", "-c", look)
    sized.bring({"name": "data", "size": "64M"}, state="stopped")
    specification = read_spec(str(Layout().current_system(NAME)))
    choices = random.Random(14)
    done = 0
    for _round in range(12):
        child = os.fork()
        if child == 0:
            try:
                volumes.prepare(str(sized.path), specification)
            finally:
                os._exit(0)
        pidfd = os.pidfd_open(child)
        select.select([pidfd], [], [], choices.uniform(0.01, 0.5))  # until then, or its end
        os.close(pidfd)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        done += sized.limit("data") == 64 * M
        assert len(os.listdir(sized.volume("data"))) == 3000 + 334
    assert done < 12, "no kill came in time"
    sized.bring({"name": "data", "size": "64M"})
    assert os.listdir(sized.path / "volumes") == ["data"]
    assert not (sized.path / "volumes.sizing").exists()
    assert sized.inside().output("sh", "-c", look) == before
    assert sized.limit("data") == 64 * M
    assert sized.fill()[0] in FULL
