# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Snapshots of volumes: of one moment, byte for byte, restored as a whole or not at all, whoever is killed (V4, V6)."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.launcher.volumes import VOLUMES
from ansible_collections.unshare.container.plugins.module_utils.life.container import Container
from ansible_collections.unshare.container.plugins.module_utils.life.life_cycle import LifeCycle
from ansible_collections.unshare.container.plugins.module_utils.life.snapshot_request import SnapshotRequest
from ansible_collections.unshare.container.plugins.module_utils.life.snapshotting import Snapshotting
from ansible_collections.unshare.container.plugins.module_utils.life.starting import LauncherStarter
from ansible_collections.unshare.container.plugins.module_utils.state import holds, tree_copy
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout, TargetError
from ansible_collections.unshare.container.tests.trees_alike import described

from .conftest import write_system
from .isolation import mounted
from .saving import ask, is_frozen, reach, saved, snapshot_directory, two, volume

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

NAME = "test-snapshots"

LOOP = """
import itertools, os
for n in itertools.count():
    for place in ('/srv/one', '/srv/two'):
        with open(place + '/new', 'w') as file: file.write(str(n))
        os.rename(place + '/new', place + '/n')
"""
"""A program that writes a number to a file of each of two volumes, one after the other, and then the next."""


def test_v4_a_snapshot_is_saved_restored_and_removed(container: Container) -> None:
    machine = two(container)
    system = machine.system
    machine.output("sh", "-c", "echo first > /srv/one/file; echo first > /srv/two/file; chown 1234:4321 /srv/one/file")
    before = described(volume(container, "one"))
    planned = ask(container, check=True, snapshot="first")
    assert (planned["changed"], planned["kept"], planned["diff"]["after"]) == (
        True,
        ["first"],
        {"snapshots": ["first"]},
    )
    assert not snapshot_directory(container).exists()

    made = ask(container, snapshot="first", labels={"why": "test"})
    assert {key: made[key] for key in ("changed", "snapshot", "system", "consistent", "volumes", "labels", "kept")} == {
        "changed": True,
        "snapshot": "first",
        "system": system.name,
        "consistent": "frozen",
        "volumes": ["one", "two"],
        "labels": {"why": "test"},
        "kept": ["first"],
    }
    assert made["path"] == str(snapshot_directory(container) / "first")
    assert made["files"] == 4
    assert made["size"] >= 4096
    assert 0 < made["paused_seconds"] <= made["seconds"]
    assert not is_frozen(container)
    assert described(saved(container, "first", "one")) == before
    assert [oct(path.stat().st_mode & 0o777) for path in (snapshot_directory(container), Path(made["path"]))] == [
        "0o700"
    ] * 2
    again = ask(container, snapshot="first")
    assert (again["changed"], again["size"], "diff" in again) == (False, made["size"], False)

    machine.output("sh", "-c", "echo second > /srv/one/file; rm /srv/two/file; touch /srv/two/more")
    with pytest.raises(TargetError, match="runs, and its volumes cannot be replaced meanwhile: with stop: true"):
        ask(container, "restored", snapshot="first")
    assert machine.output("cat", "/srv/one/file") == "second\n"
    planned = ask(container, "restored", check=True, snapshot="first", stop=True)
    assert planned["changed"]
    pid = container.status().pid
    result = ask(container, "restored", snapshot="first", stop=True)
    assert result["changed"]
    assert (result["untouched"], result["warnings"]) == ([], [])
    assert container.status().pid not in (None, pid)
    assert described(volume(container, "one")) == before
    assert machine.output("ls", "/srv/two") == "file\n"
    assert machine.output("stat", "-c", "%u:%g", "/srv/one/file") == "1234:4321\n"
    assert os.listdir(snapshot_directory(container)) == ["first"], "what was is gone, and so is what was made aside"
    assert described(saved(container, "first", "one")) == before, "it can be restored again"

    assert ask(container, "absent", check=True, snapshot="first")["removed"] == ["first"]
    gone = ask(container, "absent", snapshot="first")
    assert (gone["changed"], gone["removed"], gone["kept"]) == (True, ["first"], [])
    assert ask(container, "absent", snapshot="first")["changed"] is False
    assert not snapshot_directory(container).exists()


def test_v4_it_is_of_one_moment_of_all_volumes(container: Container) -> None:
    """Of two volumes that are written to in turn, the first is never behind the second, nor ahead by more than one."""
    machine = two(container)
    machine.output("sh", "-c", f'exec setsid python3 -c "{LOOP}" </dev/null >/dev/null 2>&1 &')
    deadline = time.monotonic() + 20
    while not (volume(container, "two") / "n").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    former = -1
    for number in range(5):
        snapshot = ask(container, snapshot=str(number))["snapshot"]
        one, other = (int((saved(container, snapshot, name) / "n").read_text()) for name in ("one", "two"))
        assert 0 <= one - other <= 1
        assert one > former, "it goes on in between"
        former = one


@pytest.mark.parametrize("stop", [False, True])
def test_v4_a_copy_that_fails_leaves_the_container_running_and_nothing_else(
    container: Container, monkeypatch: pytest.MonkeyPatch, stop: bool
) -> None:
    machine = two(container)
    machine.output("sh", "-c", "head -c 100000 /dev/urandom > /srv/one/file")
    before = described(volume(container, "one"))
    ask(container, snapshot="good")
    real = tree_copy._copy_range

    def refuse(*_arguments: t.Any) -> t.NoReturn:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tree_copy, "_copy_range", refuse)
    with pytest.raises(TargetError, match="no space is left for the copy.*nothing was changed"):
        ask(container, snapshot="bad", stop=stop)
    assert container.status().state == "running"
    assert not is_frozen(container)
    assert os.listdir(snapshot_directory(container)) == ["good"]
    pid = container.status().pid
    with pytest.raises(TargetError, match="no space is left for the copy"):
        ask(container, "restored", snapshot="good", stop=True)
    assert container.status().pid == pid, "it is stopped only for the last step"
    assert os.listdir(snapshot_directory(container)) == ["good"]
    monkeypatch.setattr(tree_copy, "_copy_range", real)
    assert described(volume(container, "one")) == before
    assert ask(container, snapshot="bad", stop=stop)["consistent"] == ("stopped" if stop else "frozen")
    assert container.status().state == "running"


def test_v4_what_does_not_start_again_has_its_snapshot(container: Container) -> None:
    machine = two(container)
    machine.output("touch", "/srv/one/file")

    class Failing(LauncherStarter):
        def start(self, system: Path, wait: bool, timeout: float) -> list[str]:
            raise LauncherError("no start")

    for state, said in (("present", "snapshot x: is made"), ("restored", "snapshot x: is restored")):
        making = Snapshotting(Layout(), container, Failing(container), SnapshotRequest("x", stop=True))
        with pytest.raises(TargetError, match=f"{said}, but the container does not start again: no start"):
            making.reach(state)
        assert container.status().state == "stopped"
        assert os.listdir(snapshot_directory(container)) == ["x"]
        reach(container)
    assert ask(container, snapshot="x")["consistent"] == "stopped"


HOSTILE = r"""
import os, socket
os.chdir('/srv/one')
os.symlink('/etc/shadow', 'link'); os.symlink('../../../../../..', b'up\n\xff')
os.link('link', 'link2', follow_symlinks=False)
open(b'new\nline \xfe', 'w').write('x'); os.link(b'new\nline \xfe', 'hard')
os.mkfifo('fifo'); os.mknod('whiteout', 0o20600, 0)
with open('giant', 'wb') as f: f.truncate(1 << 43); f.seek(1 << 42); f.write(b'here')
os.setxattr('hard', 'user.x', b'\0\xff' * 99)
socket.socket(socket.AF_UNIX).bind('socket')
os.mkdir('deep'); os.chdir('deep')
for _ in range(5000): os.mkdir('d'); os.chdir('d')
open('bottom', 'w').write('bottom')
os.chdir('/srv/two')
for n in range(20000): os.close(os.open('f%d' % n, os.O_CREAT | os.O_WRONLY))
os.chown('f7', 65000, 65001); os.chmod('f7', 0); os.utime('f7', ns=(1, 999999999000000001))
"""


def test_v4_hostile_content_is_the_same_byte_for_byte(container: Container) -> None:
    """What root inside can leave; and nothing outside is read, or written to."""
    machine = two(container)
    machine.output("/usr/bin/python3", "-c", HOSTILE)
    machine.output(
        "sh", "-c", "setcap cap_net_bind_service=ep /srv/two/f9 || true; setfacl -m u:7:r /srv/two/f8 || true"
    )
    depth = volume(container, "one") / "deep"
    aside = Path(container.directory, "deep-aside")
    before = described(volume(container, "two"))
    ask_result = ask(container, snapshot="hostile")
    assert ask_result["files"] > 25000
    assert [said for said in ask_result["warnings"] if said.startswith("volume one: 1 sockets are not in the snapshot")]
    # os.walk cannot go as deep, and the copy of the deep part is looked at by names.
    for top in (saved(container, "hostile", "one"), volume(container, "one")):
        assert bottom(top / "deep") == b"bottom"
    assert depth.exists()
    assert not aside.exists()
    assert described(saved(container, "hostile", "two")) == before
    shallow = {
        name: what for name, what in described_without(volume(container, "one"), b"deep").items() if name != b"socket"
    }
    assert described_without(saved(container, "hostile", "one"), b"deep") == {**shallow, b".": shallow[b"."]}
    machine.output("sh", "-c", "rm -r /srv/one/fifo /srv/two/*")
    ask(container, "restored", snapshot="hostile", stop=True)
    assert described(volume(container, "two")) == before
    assert machine.output("sh", "-c", "cat /srv/one/hard") == "x"
    ask(container, "absent", snapshot="hostile")
    reach(container, "absent", remove_volumes=True)
    assert not os.path.exists(container.directory)


def bottom(top: Path) -> bytes:
    """Return what is in the file at the bottom of a tree that is deeper than a path can be."""
    here = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    while os.listdir(here) == ["d"]:
        inner = os.open("d", os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = inner
    file = os.open("bottom", os.O_RDONLY, dir_fd=here)
    text = os.read(file, 100)
    os.close(file)
    os.close(here)
    return text


def described_without(top: Path, name: bytes) -> dict[bytes, tuple[t.Any, ...]]:
    """Return the description of a tree without one of its directories, which is not gone through."""
    aside = top.with_name("aside-of-test")
    status = os.stat(top)
    os.rename(top / os.fsdecode(name), aside)
    try:
        found = described(top)
    finally:
        os.rename(aside, top / os.fsdecode(name))
        os.utime(top, ns=(status.st_atime_ns, status.st_mtime_ns))
    # Its own time was another for that moment.
    here = found[b"."]
    return {**found, b".": (*here[:3], *here[4:])}


def test_v4_retention_counts_what_has_the_same_labels(container: Container) -> None:
    two(container)
    nightly: dict[str, t.Any] = {"labels": {"made": "nightly"}}
    for name in ("a", "b", "c"):
        ask(container, snapshot=name, **nightly)
    ask(container, snapshot="other")
    planned = ask(container, check=True, snapshot="d", keep=2, **nightly)
    result = ask(container, snapshot="d", keep=2, **nightly)
    assert planned["removed"] == result["removed"] == ["a", "b"]
    assert planned["kept"] == result["kept"] == ["c", "d", "other"]
    assert planned["diff"] == result["diff"]
    assert ask(container, snapshot="d", keep=2, **nightly)["changed"] is False
    path = snapshot_directory(container) / "c/snapshot.json"
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "made": record["made"] - 86401}))
    result = ask(container, snapshot="d", max_age=1, **nightly)
    assert (result["removed"], result["kept"], result["changed"]) == (["c"], ["d", "other"], True)


def test_v6_snapshots_stay_with_a_container_that_is_absent(container: Container) -> None:
    machine = two(container)
    machine.output("sh", "-c", "echo old > /srv/one/file")
    ask(container, snapshot="old")
    gone = reach(container, "absent")
    assert [said for said in gone.warnings if "its snapshots are kept in" in said and said.count(": old;")]
    (volume(container, "one") / "file").write_text("new\n")
    assert ask(container, "restored", snapshot="old")["consistent"] == "frozen"
    assert (volume(container, "one") / "file").read_text() == "old\n"
    assert ask(container, snapshot="kept")["consistent"] == "was not running"
    cycle = LifeCycle(Layout(), NAME, container, remove_volumes=True)
    assert cycle.would_change("absent")
    cycle.reach("absent")
    assert not os.path.exists(container.directory)


def test_v4_what_cannot_be_done_is_refused_before_anything(container: Container) -> None:
    def refused(said: str, state: str = "present", **options: t.Any) -> None:
        with pytest.raises((TargetError, LauncherError), match=said):
            ask(container, state, **options)

    refused("this host has no container of this name")
    assert ask(container, "absent", snapshot="x")["changed"] is False
    planned = ask(container, check=True)
    assert planned["changed"]
    assert "no container of this name" in planned["warnings"][0]
    reach(container, system=write_system({"host_name": NAME}, NAME))
    refused("has no volumes on this host")
    two(container)
    refused("container 'test-snapshots' has no snapshot 'x'; it has none", "restored", snapshot="x")
    ask(container, snapshot="known")
    refused("has no snapshot 'x'; it has known", "restored", snapshot="x", stop=True)
    refused("snapshot: 'X y' cannot name a snapshot", snapshot="X y")
    refused(r"labels\.version: is no text; put it in quotes", labels={"version": 1.5})
    refused("keep: 0 is no number from 1", keep=0)
    refused("max_age: True is no number from 1", max_age=True)
    refused("needs the name of one", "restored")
    path = snapshot_directory(container) / "known/snapshot.json"
    text = path.read_text()
    path.write_text(json.dumps({**json.loads(text), "format": 2}))
    refused("has format 2, and this version of the collection knows 1", "restored", snapshot="known", stop=True)
    path.write_text(text[:20])
    refused("known/snapshot.json: is damaged: .*remove the snapshot", snapshot="known")
    result = ask(container, snapshot="next", keep=1)
    assert [said for said in result["warnings"] if "is damaged" in said]
    assert result["kept"] == ["known", "next"], "what cannot be read is nobody's to remove by counting"
    assert container.status().state == "running"
    assert ask(container, "absent", snapshot="known")["changed"], "but by its name"


def test_v5_while_it_moves_no_snapshot_replaces_its_volumes(container: Container) -> None:
    two(container)
    ask(container, snapshot="before")
    reach(container, "stopped")
    (volume(container, "one") / "new").write_text("new")
    holds.write(container.directory, holds.Hold(state=holds.HELD, peer="other", move="abc"))
    said = f"container {NAME!r}: its volumes are not replaced: it moves to other"
    with pytest.raises(TargetError, match=said):
        ask(container, "restored", snapshot="before")
    assert [warning for warning in ask(container, "restored", True, snapshot="before")["warnings"] if said in warning]
    assert (volume(container, "one") / "new").read_text() == "new"


def test_v4_what_the_host_has_mounted_on_a_volume_is_refused_before_the_container_stops(
    container: Container, tmp_path: Path
) -> None:
    """Nothing can take the place of a mount; a container that was stopped for that could not start again."""
    two(container)
    ask(container, snapshot="before")
    pid = container.status().pid
    with mounted("--bind", tmp_path, volume(container, "two")):
        for check in (True, False):
            with pytest.raises(LauncherError, match="volume two: something is mounted there: unmount it"):
                ask(container, "restored", check, snapshot="before", stop=True)
    assert container.status().pid == pid
    assert os.listdir(snapshot_directory(container)) == ["before"]


@pytest.mark.parametrize("kind", ["btrfs", "xfs"])
def test_v4_where_the_file_system_can_a_snapshot_shares_its_data(tmp_path: Path, kind: str) -> None:
    """The bytes of a file are there once, whatever the number of its snapshots."""
    if kind not in Path("/proc/filesystems").read_text().split():
        pytest.skip(f"this kernel has no {kind}")
    if subprocess.run(["which", f"mkfs.{kind}"], capture_output=True, check=False).returncode:
        pytest.skip(f"mkfs.{kind} is not installed")
    image, place = tmp_path / "image", tmp_path / "mounted"
    with open(image, "wb") as file:
        file.truncate(512 << 20)
    place.mkdir()
    subprocess.run([f"mkfs.{kind}", "-q", str(image)], check=True, capture_output=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True)
    with contextlib.ExitStack() as stack:
        stack.callback(subprocess.run, ["umount", str(place)], check=True)
        source = place / VOLUMES / "data"
        source.mkdir(parents=True)
        (source / "file").write_bytes(os.urandom(64 << 20))
        os.sync()
        before = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize
        for number in range(10):
            target = place / str(number)
            target.mkdir()
            tree_copy_of(source, target)
        os.sync()
        after = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize
        assert before - after < 32 << 20
        assert described(place / "9/data") == described(source)


def tree_copy_of(source: Path, target: Path) -> None:
    from ansible_collections.unshare.container.plugins.module_utils.state.snapshots import copy

    copy(source.parent, source.name, target)
