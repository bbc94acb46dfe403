# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The volumes of a container as one file, and back: byte for byte, whole or not at all, and nothing outside (V5)."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import stat
import subprocess
import types
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import volumes as launcher_volumes
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import Held
from ansible_collections.unshare.container.plugins.module_utils.life import archiving_volumes
from ansible_collections.unshare.container.plugins.module_utils.life.archiving_volumes import Archiving
from ansible_collections.unshare.container.plugins.module_utils.life.container import Container
from ansible_collections.unshare.container.plugins.module_utils.state import holds, restoring
from ansible_collections.unshare.container.plugins.module_utils.state.holds import Hold
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout, TargetError
from ansible_collections.unshare.container.plugins.modules import container_archive

from .archives import another, data_of, digest, export, fill, reach, restore, system
from .conftest import Machine

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

NAME = "test-archived"
OTHER = "test-archived-other"
RANGE = 0x60000000
"""The first of other ids on the host than the launcher would choose."""

CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
"""That of cap_net_raw=ep."""

DEPTH = 5000
HOSTILE = f"""
import os, socket
os.chdir("/srv/data")
os.mkdir("sub"); os.chmod("sub", 0o751); os.chown("sub", 1234, 4321)
open("setuid", "w").write("x"); os.chown("setuid", 12, 34)
os.link("setuid", "sub/again"); os.link("setuid", b"third \\xff")
os.symlink("/etc/shadow", "link"); os.lchown("link", 7, 8); os.link("link", "sub/same link", follow_symlinks=False)
os.symlink("../../../../../../etc/passwd", b"new\\nline \\xff\\xfe")
open(b"a\\nb\\t\\x01 \\xc3\\xa4", "w").write("odd")
open("..." , "w"); open("-rf", "w"); os.mkdir("x" * 255); open("x" * 255 + "/" + "y" * 255, "w").write("y")
os.mkfifo("pipe", 0o622)
with open("giant", "wb") as file:
    file.truncate(8 << 40)
    for place in (0, 5 << 30, (8 << 40) - 3):
        file.seek(place); file.write(b"abc")
with open("hole", "wb") as file:
    file.truncate(1 << 20)
open("plain", "wb").write(os.urandom(3_000_001))
os.setxattr("plain", b"user.odd=\\xff\\n", bytes(range(256)))
os.setxattr("plain", "user.digits", b"7" * 1000)
os.setxattr("sub", "user.on directory", b"")
acl = bytes.fromhex("02000000" "01000700ffffffff" "02000600d2040000" "04000500ffffffff" "10000700ffffffff"
    "20000400ffffffff")
os.setxattr("sub", "system.posix_acl_default", acl)
os.setxattr("plain", "system.posix_acl_access", acl)
os.utime("plain", ns=(1, 1234567890123456789)); os.utime("hole", ns=(0, -1500000000))
listening = socket.socket(socket.AF_UNIX); listening.bind("socket")
try:
    os.mknod("whiteout", 0o020600, 0)
except OSError:
    pass
for _ in range({DEPTH}):
    os.mkdir("d"); os.chdir("d")
open("end", "w").write("deep")
"""


@pytest.fixture
def other(host_unchanged: None) -> t.Iterator[Container]:
    with another(OTHER) as container:
        yield container


@pytest.fixture
def filled(container: Container) -> Container:
    return fill(container)


UNPACKED_BY = {"none": ["cat"], "gzip": ["gzip", "-dc"], "zstd": ["zstd", "-dcq"]}


@pytest.mark.parametrize("compression", [*UNPACKED_BY])
def test_v5_what_root_inside_left_comes_back_byte_for_byte(
    container: Container, other: Container, tmp_path: Path, compression: str
) -> None:
    made = system(NAME)
    reach(container, system=made)
    Machine(NAME, made).output("/usr/bin/python3", "-c", HOSTILE)
    data = data_of(NAME)
    os.chmod(data / "setuid", 0o6755)  # which nobody can do inside
    os.chmod(data / "sub", 0o2751)
    os.setxattr(data / "setuid", "security.capability", CAPABILITY)
    before = digest(NAME)
    assert len(before) > DEPTH
    path = tmp_path / "archive"
    exported = export(NAME, path, compression)
    assert exported["consistent"] == "frozen"
    bare = subprocess.run([*UNPACKED_BY[compression], path], check=True, stdout=subprocess.PIPE).stdout
    assert exported["checksum"] == "sha256:" + hashlib.sha256(bare).hexdigest()
    assert (path.stat().st_size, stat.S_IMODE(path.stat().st_mode)) == (exported["size"], 0o600)
    assert os.listdir(tmp_path) == ["archive"]
    assert path.stat().st_size < 100 << 20
    assert container.status().state == "running"

    imported = restore(OTHER, path, other=NAME)
    assert (imported["volumes"], imported["checksum"]) == (exported["volumes"], exported["checksum"])
    assert exported["volumes"][0]["files"] == len(before)
    assert digest(OTHER) == before
    reach(other, system=system(OTHER, private_users=RANGE))
    inside = Machine(OTHER, Path(other.status().system or ""))
    assert inside.output("stat", "-c", "%u:%g %a %h", "/srv/data/setuid") == "12:34 6755 3\n"
    assert inside.output("tail", "-c", "3", "/srv/data/giant") == "abc"


def test_v5_a_well_kept_tool_reads_the_archive(filled: Container, tmp_path: Path) -> None:
    data = data_of(NAME)
    with open(data / "sparse", "wb") as file:
        file.truncate(1 << 24)
        file.seek(1 << 23)
        file.write(b"here")
    os.setxattr(data / "file", "user.said", b"\xff\x00")
    os.chown(data / "directory", 1234, 1 << 24)
    (data / ("long" * 50)).write_text("long")
    export(NAME, tmp_path / "archive")
    (tmp_path / "out").mkdir()
    options = ["--xattrs", "--xattrs-include=*", "--numeric-owner", "-p"]
    subprocess.run(["tar", "-xf", tmp_path / "archive", *options, "-C", tmp_path / "out"], check=True)
    found = tmp_path / "out/data"
    assert (found / "file").read_text() == "content\n" * 1000
    assert os.getxattr(found / "file", "user.said") == b"\xff\x00"
    assert (found / "directory").stat().st_gid == 1 << 24
    assert (found / ("long" * 50)).read_text() == "long"
    assert (found / "sparse").read_bytes() == (data / "sparse").read_bytes()
    assert (found / "sparse").stat().st_blocks < 1000
    shutil.rmtree(tmp_path / "out")


def test_v5_what_is_there_is_replaced_only_when_asked(filled: Container, tmp_path: Path) -> None:
    path, data = tmp_path / "archive", data_of(NAME)
    export(NAME, path)
    before = digest(NAME)
    (data / "new").write_text("new")
    with pytest.raises(TargetError, match="volume data: something is in it; replace: true"):
        restore(NAME, path)
    (data.parent / "more").mkdir()
    (data.parent / "more/file").write_text("precious")
    with pytest.raises(TargetError, match="volume more: is not in the archive, and something is in it"):
        restore(NAME, path, replace=True)
    shutil.rmtree(data.parent / "more")
    assert restore(NAME, path, replace=True, check=True)["changed"]
    assert (data / "new").exists()
    restore(NAME, path, replace=True)
    assert digest(NAME) == before


def test_v5_a_container_that_runs_is_stopped_only_when_asked(container: Container, tmp_path: Path) -> None:
    made = system(NAME)
    reach(container, system=made)
    machine = Machine(NAME, made)
    machine.output("sh", "-c", "echo first > /srv/data/file")
    export(NAME, tmp_path / "archive", stop=True)
    machine.output("sh", "-c", "echo second > /srv/data/file")
    pid = container.status().pid
    with pytest.raises(TargetError, match="runs, and its volumes cannot be replaced meanwhile: with stop: true"):
        restore(NAME, tmp_path / "archive", replace=True)
    assert container.status().pid == pid
    assert restore(NAME, tmp_path / "archive", replace=True, stop=True)["consistent"] == "stopped"
    assert machine.output("cat", "/srv/data/file") == "first\n"


@pytest.mark.parametrize("moment", ["write_out", "put_in_place"])
def test_v6_an_import_that_fails_at_its_end_leaves_the_volumes_and_nothing_beside(
    filled: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    export(NAME, tmp_path / "archive")
    (data_of(NAME) / "new").write_text("new")
    before = digest(NAME)

    def fail(*_arguments: t.Any) -> t.NoReturn:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(archiving_volumes, moment, fail)
    with pytest.raises(OSError, match="Input/output"):
        restore(NAME, tmp_path / "archive", replace=True)
    assert digest(NAME) == before
    assert os.listdir(filled.directory) == ["volumes"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_v6_an_import_without_room_says_where_and_leaves_the_volumes(
    filled: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    export(NAME, tmp_path / "archive")
    before = digest(NAME)

    def fail(*_arguments: t.Any) -> t.NoReturn:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(archiving_volumes.Unpacker, "write", fail)
    with pytest.raises(TargetError, match=f"^{filled.directory}: no space is left to unpack.*nothing was changed"):
        restore(NAME, tmp_path / "archive", replace=True)
    assert digest(NAME) == before
    assert os.listdir(filled.directory) == ["volumes"]


def test_v5_an_export_that_fails_leaves_what_was_there(filled: Container, tmp_path: Path) -> None:
    path = tmp_path / "small/archive"
    path.parent.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=0755", "none", path.parent], check=True)
    try:
        export(NAME, path)
        former = path.read_bytes()
        (data_of(NAME) / "large").write_bytes(os.urandom(1 << 17))
        said = f"^path: {path} cannot be written: .*(No space left|is the disk full)"
        for compression in ("none", "gzip", "zstd"):
            with pytest.raises(TargetError, match=said):
                export(NAME, path, compression)
        assert os.listdir(path.parent) == ["archive"]
        assert path.read_bytes() == former
    finally:
        subprocess.run(["umount", path.parent], check=True)


def test_v5_check_mode_warns_of_what_an_earlier_task_may_make(container: Container, tmp_path: Path) -> None:
    for state, said in (("exported", ["has no volumes", "is not there: make it"]), ("imported", ["is not there"])):
        archiving = Archiving(Layout(), NAME, str(tmp_path / "none/archive"), False, 60)
        result = archiving.export("none", True) if state == "exported" else archiving.restore(None, False, True)
        assert result["changed"]
        assert [each in warning for each, warning in zip(said, archiving.warnings, strict=True)] == [True] * len(said)
    with pytest.raises(TargetError, match="has no volumes on this host"):
        export(NAME, tmp_path / "archive")
    with pytest.raises(TargetError, match="cannot be read: No such file"):
        restore(NAME, tmp_path / "archive")


@pytest.mark.parametrize("mode", [0o777, 0o1777, 0o775])
def test_v5_an_archive_is_written_where_root_alone_writes(filled: Container, tmp_path: Path, mode: int) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(mode)
    with pytest.raises(TargetError, match="others than root can write to"):
        export(NAME, tmp_path / "open/archive")
    assert os.listdir(tmp_path / "open") == []


@pytest.mark.parametrize("place", ["volumes/data/archive", "volumes/data/directory/archive", "config.json"])
def test_v5_no_archive_is_written_to_what_is_kept_of_containers(filled: Container, place: str) -> None:
    """Root inside, who looks like root there, could read it, or exchange the directory; or a file would be lost."""
    before = digest(NAME)
    with pytest.raises(TargetError, match="path: /var/lib/unshare/containers is kept of containers"):
        export(NAME, Path(filled.directory, place))
    assert digest(NAME) == before
    assert os.listdir(filled.directory) == ["volumes"]


@pytest.mark.parametrize("kind", ["a directory", "a FIFO", "a link"])
def test_v5_what_is_no_file_is_no_archive(filled: Container, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "other"
    {"a directory": os.mkdir, "a FIFO": os.mkfifo, "a link": lambda new: os.symlink("/etc/passwd", new)}[kind](path)
    with pytest.raises(TargetError, match=f"path: {path} (is no file|cannot be read)"):
        restore(NAME, path, replace=True)


@pytest.mark.parametrize(
    "made_by",
    ["echo precious >", "seq 9999 | gzip >", "seq 9999 | zstd -q -o", "tar --create --files-from=/dev/null -f"],
)
def test_v5_an_export_replaces_nothing_but_an_archive(filled: Container, tmp_path: Path, made_by: str) -> None:
    path = tmp_path / "notes"
    subprocess.run(["sh", "-euc", f"{made_by} {path}"], check=True)
    before = path.read_bytes()
    with pytest.raises(TargetError, match=f"path: {path} is there, and is no archive of volumes that is known"):
        export(NAME, path)
    assert path.read_bytes() == before


def test_v5_an_export_replaces_an_archive_however_it_is_compressed(filled: Container, tmp_path: Path) -> None:
    path = tmp_path / "archive"
    path.touch()  # as mktemp(1) does
    for compression in (*UNPACKED_BY, "none"):
        assert export(NAME, path, compression)["size"] == path.stat().st_size > 0


def test_v5_the_difference_is_what_is_replaced(filled: Container, tmp_path: Path) -> None:
    path = tmp_path / "archive"

    def difference(check: bool, **given: t.Any) -> tuple[str, str]:
        defaults = {name: option.get("default") for name, option in container_archive.ARGUMENT_SPEC.items()}
        asked = {**defaults, "name": NAME, "path": str(path), **given}
        module = types.SimpleNamespace(params=asked, check_mode=check, _diff=True, warn=lambda _said: None)
        found = container_archive.run(t.cast("t.Any", module), Layout()).get("diff", {})
        return found.get("before"), found.get("after")

    assert difference(True) == ("", "data\n")
    before, after = difference(False)
    assert (before, bool(re.fullmatch(r"data: [0-9]+ files, [0-9]+ bytes\n", after))) == ("", True)
    assert difference(True) == (f"an archive of {path.stat().st_size} bytes\n", "data\n")
    for check in (True, False):
        assert difference(check, state="imported", replace=True) == ("data\n", after)
    path.unlink()
    assert difference(True, state="imported", replace=True) == (None, None)


def test_v5_while_it_moves_nothing_but_its_move_replaces_its_volumes(filled: Container, tmp_path: Path) -> None:
    """Such as the import of a run that was killed, which comes late: also where the volumes are empty."""
    path, data = tmp_path / "archive", data_of(NAME)
    export(NAME, path)
    before = digest(NAME)
    shutil.rmtree(data)
    data.mkdir(mode=0o755)
    holds.write(filled.directory, Hold(state=holds.EXPECTED, peer="other", move="abc"))
    for move, said in (("late", r"no import of a move of this name \(late\)"), (None, "it moves here from other")):
        with pytest.raises(Held, match=f"container {NAME}: {said}"):
            Archiving(Layout(), NAME, str(path), False, 60).restore(None, True, False, move)
        archiving = Archiving(Layout(), NAME, str(path), False, 60)
        assert archiving.restore(None, True, True, move)["changed"]
        assert [warning for warning in archiving.warnings if warning.startswith(f"container {NAME}: ")]
    assert os.listdir(data) == []
    Archiving(Layout(), NAME, str(path), False, 60).restore(None, False, False, "abc")
    assert digest(NAME) == before


def test_v5_a_restore_of_a_snapshot_is_finished_first(filled: Container, tmp_path: Path) -> None:
    """Else the next start would put the snapshot's volumes in the place of those that were imported."""
    path = tmp_path / "archive"
    export(NAME, path)
    snapshots = Path(filled.directory, "snapshots")
    (snapshots / launcher_volumes.RESTORING).mkdir(parents=True)
    note = restoring.Restore(snapshot="old", restart=False, ready=True, volumes={"data": 1})
    restoring.note(str(snapshots), note)
    before = digest(NAME)
    for ask in (lambda: restore(NAME, path, replace=True), lambda: export(NAME, path)):
        with pytest.raises(TargetError, match="a restore of the snapshot old was interrupted"):
            ask()
    assert digest(NAME) == before
    restoring.note(str(snapshots), note.replacing(ready=False))
    restore(NAME, path, replace=True)
