# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The volumes of a container as one file, and back: byte for byte, whole or not at all, and nothing outside (V5)."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import shutil
import stat
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import volumes as launcher_volumes
from ansible_collections.unshare.container.plugins.module_utils.life.archiving_volumes import Archiving
from ansible_collections.unshare.container.plugins.module_utils.life.container import Container
from ansible_collections.unshare.container.plugins.module_utils.life.life_cycle import LifeCycle
from ansible_collections.unshare.container.plugins.module_utils.state import restoring, volume_archives, volumes
from ansible_collections.unshare.container.plugins.module_utils.state.tar_members import TAR_END, Member, padding
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout, TargetError

from .conftest import Host, Machine, write_system
from .lives import Run, rounds, seeded

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


def digest(container: str) -> dict[str, str]:
    """Return a digest of each entry of a container's volumes: kind, mode, owner, times, names, attributes, content."""
    found: dict[str, str] = {}
    links: dict[int, str] = {}

    def look(directory: int, path: str) -> None:
        while True:
            names = sorted(os.listdir(directory))
            deeper = None
            for name in names:
                status = os.stat(name, dir_fd=directory, follow_symlinks=False)
                if stat.S_ISSOCK(status.st_mode):
                    continue
                here = f"{path}/{name}"
                said: list[t.Any] = [status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns]
                said.append(links.setdefault(status.st_ino, here) if not stat.S_ISDIR(status.st_mode) else "")
                opened = os.open(name, os.O_PATH | os.O_NOFOLLOW, dir_fd=directory)
                file = f"/proc/self/fd/{opened}"
                if stat.S_ISLNK(status.st_mode):
                    said.append(os.readlink(name, dir_fd=directory))
                else:
                    said += [(each, os.getxattr(file, each)) for each in sorted(os.listxattr(file))]
                if stat.S_ISREG(status.st_mode):
                    said += [status.st_size, content(file)]
                os.close(opened)
                found[hashlib.sha256(os.fsencode(here)).hexdigest()] = repr(said)
                if stat.S_ISDIR(status.st_mode):
                    inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory)
                    if (len(names) == 2 and names == ["d", "end"]) or names == ["d"]:
                        deeper = inner, here  # no recursion: it is too deep for that
                    else:
                        look(inner, here)
            os.close(directory)
            if deeper is None:
                return
            directory, path = deeper

    top = f"/var/lib/unshare/containers/{container}/volumes"
    look(os.open(top, os.O_RDONLY | os.O_DIRECTORY), "")
    return found


def content(file: str) -> str:
    """Return a digest of what is in a file, but the zeros of its holes, and where that is."""
    found = hashlib.sha256()
    with open(file, "rb") as opened:
        size, place = os.fstat(opened.fileno()).st_size, 0
        while place < size:
            try:
                place = os.lseek(opened.fileno(), place, os.SEEK_DATA)
            except OSError:
                break
            end = os.lseek(opened.fileno(), place, os.SEEK_HOLE)
            while place < end:
                part = os.pread(opened.fileno(), min(1 << 20, end - place), place)
                if part.strip(b"\0"):
                    found.update(b"%d %s" % (place, part))
                place += len(part)
    return found.hexdigest()


@pytest.fixture
def other(host_unchanged: None) -> t.Iterator[Container]:
    Host.claim(OTHER)
    container = Container(OTHER)
    yield container
    LifeCycle(Layout(), OTHER, container, remove_volumes=True).reach("absent")


def reach(container: Container, state: str = "started", **options: t.Any) -> None:
    LifeCycle(Layout(), container.name, container, timeout=60, **options).reach(state)


def system(name: str, **options: t.Any) -> Path:
    return write_system({"host_name": name}, name, volumes=[{"name": "data", "path": "/srv/data"}], **options)


def export(name: str, path: Path, compression: str = "none", stop: bool = False) -> dict[str, t.Any]:
    return Archiving(Layout(), name, str(path), stop, 60).export(compression, False)


def restore(
    name: str, path: Path, other: str | None = None, replace: bool = False, stop: bool = False, check: bool = False
) -> dict[str, t.Any]:
    return Archiving(Layout(), name, str(path), stop, 60).restore(other, replace, check)


@pytest.fixture
def filled(container: Container) -> Container:
    """Return the container, which does not run, with a volume in which little is."""
    Host.claim(NAME)
    path = Path(launcher_volumes.volume_directory(NAME, "data"))
    path.mkdir(parents=True, mode=0o755)
    (path / "file").write_text("content\n" * 1000)
    (path / "directory").mkdir()
    (path / "directory/other").write_text("other")
    return container


@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_v5_what_root_inside_left_comes_back_byte_for_byte(
    container: Container, other: Container, tmp_path: Path, compression: str
) -> None:
    made = system(NAME)
    reach(container, system=made)
    Machine(NAME, made).output("/usr/bin/python3", "-c", HOSTILE)
    data = Path(launcher_volumes.volume_directory(NAME, "data"))
    os.chmod(data / "setuid", 0o6755)  # which nobody can do inside
    os.chmod(data / "sub", 0o2751)
    os.setxattr(data / "setuid", "security.capability", CAPABILITY)
    before = digest(NAME)
    assert len(before) > DEPTH
    path = tmp_path / "archive"
    exported = export(NAME, path, compression)
    assert exported["consistent"] == "frozen"
    assert exported["checksum"] == "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()
    assert (path.stat().st_size, stat.S_IMODE(path.stat().st_mode)) == (exported["size"], 0o600)
    assert os.listdir(tmp_path) == ["archive"]
    assert path.stat().st_size < 100 << 20
    assert container.status().state == "running"

    imported = restore(OTHER, path, other=NAME)
    assert imported["volumes"] == exported["volumes"]
    assert exported["volumes"][0]["files"] == len(before)
    assert digest(OTHER) == before
    reach(other, system=system(OTHER, private_users=RANGE))
    inside = Machine(OTHER, Path(other.status().system or ""))
    assert inside.output("stat", "-c", "%u:%g %a %h", "/srv/data/setuid") == "12:34 6755 3\n"
    assert inside.output("tail", "-c", "3", "/srv/data/giant") == "abc"


WRITER = 'for number in $(seq 1000000); do echo "insert into said values ($number);"; done | psql -XAtq postgres'


def test_v5_a_database_that_is_written_to_begins_elsewhere_with_what_it_had(
    container: Container, other: Container, tmp_path: Path
) -> None:
    """With other ids on the host, under another name, and on a host that has never had it."""

    def database(name: str, **options: t.Any) -> Path:
        services = [{"type": "postgresql"}]
        return write_system({"host_name": name, "services": services}, name, volumes=True, **options)

    def sql(of: Container, text: str) -> str:
        machine = Machine(of.name, Path(of.status().system or ""))
        return machine.output("psql", "-XAtqc", text, "postgres", user="postgres").strip()

    reach(container, system=database(NAME))
    sql(container, "create table said (number integer primary key)")
    made = Machine(NAME, Path(container.status().system or ""))
    command = [str(made.system / "enter-container"), "--user=postgres", "--", "sh", "-c", WRITER]
    null = subprocess.DEVNULL
    writer = subprocess.Popen(command, stdin=null, stdout=null, stderr=null)
    try:
        for round_ in range(rounds(2, 10)):
            while int(sql(container, "select count(*) from said")) < 50 * (round_ + 1):
                assert writer.poll() is None
            least = int(sql(container, "select max(number) from said"))
            path = tmp_path / f"archive{round_}"
            exported = export(NAME, path)
            most = int(sql(container, "select max(number) from said"))
            assert exported["consistent"] == "frozen"
            imported = restore(OTHER, path, other=NAME, replace=True, stop=True)
            assert imported["checksum"] == exported["checksum"]
            reach(other, system=database(OTHER, private_users=RANGE + round_ * 65536))
            found = int(sql(other, "select max(number) from said"))
            assert least <= found <= most
            assert int(sql(other, "select count(*) from said")) == found
            reach(other, "absent")
    finally:
        writer.kill()
        writer.wait()


def test_v5_a_well_kept_tool_reads_the_archive(filled: Container, tmp_path: Path) -> None:
    data = Path(launcher_volumes.volume_directory(NAME, "data"))
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


def test_v5_nothing_of_a_damaged_archive_is_imported(filled: Container, tmp_path: Path) -> None:
    """Whatever bit is turned, and wherever it is cut off."""
    good = tmp_path / "good"
    export(NAME, good)
    whole, before = good.read_bytes(), digest(NAME)
    bad = tmp_path / "bad"
    choices = seeded()
    places = sorted({*range(0, 3000, 37), *choices.sample(range(len(whole)), rounds(60, 400)), len(whole) - 1})
    for place in places:
        changed = bytearray(whole)
        changed[place] ^= 1 << choices.randrange(8)
        bad.write_bytes(changed)
        with pytest.raises(TargetError, match="is refused|is an archive of|is not in the archive"):
            restore(NAME, bad, replace=True)
    for place in [*choices.sample(range(len(whole)), rounds(40, 200)), 0, 1, len(whole) - 512, len(whole) - 1]:
        bad.write_bytes(whole[:place])
        with pytest.raises(TargetError, match="is refused"):
            restore(NAME, bad, replace=True)
    bad.write_bytes(whole + bytes(512))
    with pytest.raises(TargetError, match="after its end"):
        restore(NAME, bad, replace=True, check=True)
    assert digest(NAME) == before
    assert os.listdir(filled.directory) == ["volumes"]


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
def test_v5_nothing_of_a_damaged_compressed_archive_is_imported(
    filled: Container, tmp_path: Path, compression: str
) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    export(NAME, good, compression)
    whole, before = good.read_bytes(), digest(NAME)
    choices = seeded()
    for place in choices.sample(range(4, len(whole)), 30):
        bad.write_bytes(whole[:place])
        with pytest.raises(TargetError, match="is refused"):
            restore(NAME, bad, replace=True)
    assert digest(NAME) == before


def made_by_hand(path: Path, members: list[tuple[Member, bytes]], **manifest: t.Any) -> Path:
    """Write an archive whose checksum is right, whatever is in it."""
    said = {"format": 1, "container": NAME, "volumes": ["data"], **manifest}
    text = json.dumps(said).encode()
    stream = io.BytesIO()
    first = Member(volume_archives.ARCHIVE_MANIFEST, "0", size=len(text)), text
    for member, inside in [first, *members]:
        stream.write(member.head() + inside + padding(len(inside)))
    checksum = hashlib.sha256(stream.getvalue()).hexdigest().encode() + b"\n"
    last = Member(volume_archives.ARCHIVE_CHECKSUM, "0", size=len(checksum))
    path.write_bytes(stream.getvalue() + last.head() + checksum + padding(len(checksum)) + TAR_END)
    return path


TOP = Member(b"data", "5"), b""
HOSTILE_MEMBERS = {
    "upward": [TOP, (Member(b"data/../../x", "0"), b"")],
    "absolute": [TOP, (Member(b"/data/x", "0"), b"")],
    "other volume": [TOP, (Member(b"other/x", "0"), b"")],
    "no volume": [TOP, (Member(b".", "5"), b"")],
    "through a link": [TOP, (Member(b"data/l", "2", target=b"/tmp"), b""), (Member(b"data/l/x", "0"), b"")],
    "over a link": [TOP, (Member(b"data/l", "2", target=b"/tmp/x"), b""), (Member(b"data/l", "0"), b"")],
    "a volume that is a link": [(Member(b"data", "2", target=b"/tmp"), b"")],
    "hard link to outside": [TOP, (Member(b"data/h", "1", target=b"../../etc/shadow"), b"")],
    "absolute hard link": [TOP, (Member(b"data/h", "1", target=b"/etc/shadow"), b"")],
    "hard link through a link": [
        TOP,
        (Member(b"data/l", "2", target=b"/etc"), b""),
        (Member(b"data/h", "1", target=b"data/l/shadow"), b""),
    ],
    "hard link to a directory": [TOP, (Member(b"data/h", "1", target=b"data"), b"")],
    "attribute of the host": [TOP, (Member(b"data/f", "0", attributes={b"trusted.overlay.opaque": b"y"}), b"")],
    "sparse beyond its size": [TOP, (Member(b"data/f", "0", size=5, extents=[(3, 4)]), b"abcd")],
    "sparse backward": [TOP, (Member(b"data/f", "0", size=9, extents=[(5, 2), (1, 2)]), b"abcd")],
    "a file below a file": [TOP, (Member(b"data/f", "0"), b""), (Member(b"data/f/x", "0"), b"")],
    "too long a name": [TOP, (Member(b"data/" + b"x" * 256, "0"), b"")],
    "an owner that is none": [TOP, (Member(b"data/f", "0", uid=(1 << 32) - 1), b"")],
}


@pytest.mark.parametrize("case", HOSTILE_MEMBERS)
def test_v5_an_archive_that_leads_outside_is_refused(filled: Container, tmp_path: Path, case: str) -> None:
    before = digest(NAME)
    bad = made_by_hand(tmp_path / "bad", HOSTILE_MEMBERS[case])
    for check in (True, False):
        try:
            restore(NAME, bad, replace=True, check=check)
        except TargetError as error:
            said = str(error)
        else:
            said = "is refused" if check else "it was imported"  # check mode writes no link that could lead elsewhere
        assert "is refused" in said
    assert digest(NAME) == before
    assert os.listdir(filled.directory) == ["volumes"]
    assert os.listdir(tmp_path) == ["bad"]


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        ({"format": 2}, "of the format 2, .*use a newer one"),
        ({"container": "another"}, "is an archive of the container 'another'"),
        ({"volumes": ["data", "data"]}, "names a volume twice"),
        ({"volumes": ["data", "more"]}, "a volume that its manifest names is missing"),
        ({"more": 1}, "its manifest is damaged"),
    ],
)
def test_v5_another_archive_is_refused(
    filled: Container, tmp_path: Path, manifest: dict[str, t.Any], said: str
) -> None:
    before = digest(NAME)
    with pytest.raises(TargetError, match=said):
        restore(NAME, made_by_hand(tmp_path / "bad", [TOP], **manifest), replace=True)
    assert digest(NAME) == before


def test_v5_what_is_there_is_replaced_only_when_asked(filled: Container, tmp_path: Path) -> None:
    path, data = tmp_path / "archive", Path(launcher_volumes.volume_directory(NAME, "data"))
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


def test_v5_an_export_that_fails_leaves_what_was_there(filled: Container, tmp_path: Path) -> None:
    path = tmp_path / "small/archive"
    path.parent.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=0755", "none", path.parent], check=True)
    try:
        export(NAME, path)
        former = path.read_bytes()
        (Path(launcher_volumes.volume_directory(NAME, "data")) / "large").write_bytes(os.urandom(1 << 17))
        for compression in ("none", "gzip", "zstd"):
            with pytest.raises(TargetError, match=r"No space left|failed with status|is the disk full"):
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


def test_v5_killed_at_any_moment_it_leaves_old_or_new(filled: Container, tmp_path: Path) -> None:
    data = Path(launcher_volumes.volume_directory(NAME, "data"))
    for index in range(200):
        (data / f"file{index}").write_bytes(os.urandom(20000))
    path, later = tmp_path / "archive", tmp_path / "later"
    export(NAME, path)
    old = digest(NAME)
    (data / "new").write_text("new")
    export(NAME, later)
    new = digest(NAME)
    choices = seeded()
    seen = set()
    for number in range(rounds(20, 100)):
        archive = (path, later)[number % 2]
        run = Run(functools.partial(restore, NAME, archive, replace=True))
        run.process.wait(choices.uniform(0, 0.12))
        run.kill()
        run.end()
        found = digest(NAME)
        assert found in (old, new)
        seen.add((found == new) == (archive == later))
    restore(NAME, path, replace=True)
    assert digest(NAME) == old
    assert os.listdir(filled.directory) == ["volumes"]
    for _ in range(rounds(10, 50)):
        run = Run(lambda: export(NAME, tmp_path / "third") and None)
        run.process.wait(choices.uniform(0, 0.08))
        run.kill()
        run.end()
    export(NAME, tmp_path / "third")
    assert sorted(os.listdir(tmp_path)) == ["archive", "later", "third"]
    restore(NAME, tmp_path / "third", replace=True)


def test_v6_what_a_killed_import_left_goes_with_the_volumes(filled: Container) -> None:
    (Path(filled.directory) / volumes.IMPORTING).mkdir()
    reach(filled, "absent", remove_volumes=True)
    assert not os.path.exists(filled.directory)


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


def test_v5_check_mode_leaves_what_a_killed_import_left(filled: Container, tmp_path: Path) -> None:
    path = tmp_path / "archive"
    export(NAME, path)
    left = Path(filled.directory, volumes.IMPORTING, "data")
    left.mkdir(parents=True)
    restore(NAME, path, replace=True, check=True)
    assert left.is_dir()
