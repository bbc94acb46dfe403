# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the host runs is recognised by what it is. Mounts, for which root is needed, are in the integration tests."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import guarded, mount_table
from ansible_collections.unshare.container.plugins.module_utils.launcher.targets import is_below

from ..specifications import mount


class Guard:
    def __init__(self, root: Path) -> None:
        self.state = root / "var/lib/unshare"
        (self.state / "systems/one").mkdir(parents=True)
        (root / "srv/data").mkdir(parents=True)
        self.root = root
        self.host = guarded.GuardedHost({str(self.state): "the state"}, (str(self.state),))

    def look(self, path: str, writable: bool = True) -> str | None:
        source = os.open(self.root / path, os.O_PATH)
        try:
            if not writable:
                return self.host.warning(source, path)
            self.host.refuse_writable(source, path)
        except guarded.WritableSource as error:
            return str(error)
        finally:
            os.close(source)
        return None


@pytest.fixture
def guard(tmp_path: Path) -> Guard:
    return Guard(tmp_path)


@pytest.mark.parametrize(
    ("path", "relation"),
    [
        ("var/lib/unshare", "is"),
        ("var//lib/./unshare/", "is"),
        ("var/lib", "contains"),
        ("var", "contains"),
        (".", "contains"),
        ("srv/../var", "contains"),
        ("var/lib/unshare/systems", "lies in"),
        ("var/lib/unshare/systems/one", "lies in"),
        ("link", "is"),
        ("link/systems", "lies in"),
        ("above/lib", "contains"),
    ],
)
def test_each_way_to_it(guard: Guard, path: str, relation: str) -> None:
    (guard.root / "link").symlink_to(guard.state)
    (guard.root / "above").symlink_to("var")
    said = guard.look(path)
    assert said is not None
    assert said.startswith(f"{path}: {relation} {guard.state}, the state: root inside could")
    warned = guard.look(path, writable=False)
    assert warned is not None
    assert f"{relation} {guard.state}, so root inside can read the secrets" in warned


@pytest.mark.parametrize("path", ["srv", "srv/data", "var/lib/unshared", "var/lib/other", "var/lib/unshare.d"])
def test_what_is_beside_it_is_not_it(guard: Guard, path: str) -> None:
    (guard.root / path).mkdir(parents=True, exist_ok=True)
    assert guard.look(path) is None
    assert guard.look(path, writable=False) is None


def test_what_is_not_made_yet_is_guarded(tmp_path: Path) -> None:
    guard = Guard(tmp_path)
    guard.host = guarded.GuardedHost({str(tmp_path / "run/unshare/deep"): "the state"})
    (tmp_path / "run").mkdir()
    assert guard.look("run") is not None
    assert guard.look("srv") is None


@pytest.mark.parametrize(
    "options",
    [
        "lowerdir=/a,upperdir={}/systems,workdir=/c",
        "lowerdir=/a,upperdir=/b,workdir={}/systems/one",
        "lowerdir=/a,upperdir=/{}/./systems//,workdir=/c",
        "lowerdir=/a,upperdir={}\\/systems,workdir=/c",
    ],
)
def test_what_an_overlay_writes_to_is_seen(guard: Guard, options: str) -> None:
    record = mount(type="overlay", options=options.format(guard.state))
    with pytest.raises(guarded.WritableSource, match="is|lies in"):
        guard.host.refuse_writable_file_system(record, "overlay")
    assert "can read" in str(guard.host.warning_of_file_system(record, "overlay"))


@pytest.mark.parametrize(
    "options", ["lowerdir=/a:{}/systems", "lowerdir+={}", "lowerdir={}::/a", "lowerdir=/a::{}", "datadir+={}"]
)
def test_what_an_overlay_only_reads_is_a_warning(guard: Guard, options: str) -> None:
    record = mount(type="overlay", options=options.format(guard.state) + ",upperdir=/srv/b,workdir=/srv/c")
    guard.host.refuse_writable_file_system(record, "overlay")
    assert "can read" in str(guard.host.warning_of_file_system(record, "overlay"))


def test_a_path_that_is_mounted_itself_is_seen(guard: Guard) -> None:
    for kind in ("ecryptfs", "ext4"):
        with pytest.raises(guarded.WritableSource, match="is "):
            guard.host.refuse_writable_file_system(mount(type=kind, options=None), str(guard.state))


HONEST = {
    "the root of NFSv4": ("nfs4", "nas:/", "addr=127.0.0.1"),
    "a directory of NFS": ("nfs", "nas:/var", None),
    "the state of another host": ("nfs4", "nas:/var/lib/unshare", "fsc=/var"),
    "CephFS": ("ceph", "mon1,mon2:/", "secretfile=/etc"),
    "CephFS by its new name": ("ceph", "user@.fs=/", "mon_addr=10.0.0.1:6789"),
    "a share": ("cifs", "//var/lib", "credentials=/etc,prefixpath=/"),
    "Plan 9": ("9p", "/", "trans=tcp,aname=/var/lib"),
    "a tag": ("virtiofs", "/", None),
    "the first subvolume": ("btrfs", "/dev/disk/by-id/another", "subvol=/,compress=zstd"),
    "a data set": ("zfs", "var/lib", "mountpoint=/var/lib"),
    "an overlay named like a path": ("overlay", "/", "lowerdir=/srv,upperdir=/srv/a,workdir=/srv/b"),
}


@pytest.mark.parametrize("case", HONEST)
def test_names_that_look_like_its_path_are_not_it(case: str) -> None:
    kind, device, options = HONEST[case]
    host = guarded.GuardedHost(dict(guarded.RUNS))
    record = mount(type=kind, options=options)
    host.refuse_writable_file_system(record, device)
    assert host.warning_of_file_system(record, device) is None


@pytest.mark.parametrize(("kind", "source"), [("zfs", "tank/state"), ("nfs4", "nas:/state"), ("virtiofs", "state")])
def test_a_name_that_is_mounted_already_is_one_file_system(guard: Guard, kind: str, source: str) -> None:
    device = os.stat(guard.state).st_dev
    line = f"9999 1 {os.major(device)}:{os.minor(device)} / /elsewhere rw - {kind} {source} rw"
    for known in guard.host.mounts:
        known.device = f"{os.major(device)}:{os.minor(device)}" if is_below(str(guard.state), known.point) else "0:0"
    guard.host.mounts.append(mount_table.MountTableEntry(line))
    with pytest.raises(guarded.WritableSource, match="contains"):
        guard.host.refuse_writable_file_system(mount(type=kind, options=None), source)
    guard.host.refuse_writable_file_system(mount(type=kind, options=None), source + "2")


@pytest.mark.parametrize(
    ("settings", "layers"),
    [
        (
            "rw,lowerdir=/a:/b,upperdir=/c,workdir=/d",
            [("/a", "lowerdir"), ("/b", "lowerdir"), ("/c", "upperdir"), ("/d", "workdir")],
        ),
        ("lowerdir=/a\\:b::/data\\,x,index=off", [("/a:b", "lowerdir"), ("/data,x", "lowerdir")]),
        ("lowerdir+=/a,lowerdir+=/b,datadir+=/c", [("/a", "lowerdir+"), ("/b", "lowerdir+"), ("/c", "datadir+")]),
        ("lowerdir=relative,size=1", []),
    ],
)
def test_layers_of_an_overlay(settings: str, layers: list[tuple[str, str]]) -> None:
    assert guarded._layers(settings) == layers


def test_the_interpreter_is_guarded() -> None:
    found = guarded.interpreter("/opt/python/bin/python3")
    assert {"/opt/python/bin/python3", os.path.realpath(sys.executable), os.path.dirname(os.__file__)} <= set(found)


@pytest.mark.parametrize(
    ("source", "relation"),
    [
        ("/var/lib/unshare", "is"),
        ("/var/lib//unshare/", "is"),
        ("/var", "contains"),
        ("/", "contains"),
        ("/var/lib/unshare/systems/x", "lies in"),
        ("/var/lib/unshared", None),
        ("/srv", None),
    ],
)
def test_what_its_words_say_already(source: str, relation: str | None) -> None:
    expected = (
        relation and f"'{source}' {relation} /var/lib/unshare, {guarded.RUNS['/var/lib/unshare']}: {guarded.REMEDY}"
    )
    assert guarded.refusal_of_words(source) == expected


@pytest.mark.parametrize("path", ["/var/lib/unshare", "/run/unshare", "/etc/systemd/system"])
def test_what_a_host_runs(path: str) -> None:
    assert path in guarded.RUNS
    assert path in (*guarded.SECRET, "/etc/systemd/system")
    assert str(guarded.refusal_of_words(path)).startswith(f"'{path}' is {path}, where ")


def host_with(*mounts: str, runs: str = "/var/lib/unshare") -> guarded.GuardedHost:
    """Return a host with these mounts alone, whose paths are as they are spelled."""
    host = guarded.GuardedHost({runs: "the state"}, (runs,))
    host.mounts = [mount_table.MountTableEntry(line) for line in mounts]

    def places_of(path: str) -> guarded.Reach:
        on = mount_table.way(host.mounts, path)[-1]
        inner = path[len(on.point.rstrip("/")) :]
        return {(on.device, (on.part.rstrip("/") + inner) or "/"): True}

    host._places_of = places_of  # type: ignore[method-assign]
    return host


ROOT = "1 0 8:1 / / rw - ext4 /dev/sda1 rw"


@pytest.mark.parametrize(
    ("more", "found"),
    [
        ([], ["/srv/up/x"]),
        (["2 1 8:1 /srv /mnt rw - ext4 /dev/sda1 rw"], ["/srv/up/x", "/mnt/up/x"]),
        (["2 1 8:1 /srv/up/x/y /mnt rw - ext4 /dev/sda1 rw"], ["/srv/up/x", "/mnt"]),
        (["2 1 8:1 /srv /mnt rw,nosuid - ext4 /dev/sda1 rw"], ["/srv/up/x"]),
        (["2 1 8:1 /srv /mnt rw,noexec - ext4 /dev/sda1 rw"], ["/srv/up/x"]),
        (["2 1 8:1 /other /mnt rw - ext4 /dev/sda1 rw"], ["/srv/up/x"]),
        (["2 1 8:2 /srv /mnt rw - ext4 /dev/sda2 rw"], ["/srv/up/x"]),
    ],
)
def test_where_an_overlays_layer_is_shown(more: list[str], found: list[str]) -> None:
    host = host_with(ROOT, *more)
    record = mount(type="overlay", options="lowerdir=/a,upperdir=/srv/up/x,workdir=/srv/up/x")
    assert host.shown_of_file_system(record, "overlay") == [(path, "") for path in found]


def test_where_a_device_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    host = host_with(ROOT, "2 1 8:2 / /srv rw - ext4 /dev/sda2 rw", "3 1 8:3 / /mnt rw - xfs /dev/sda3 rw")
    numbers = {"/dev/sda2": "8:2", "/dev/sda3": "8:3"}
    monkeypatch.setattr(guarded.devices, "block_device", numbers.get)
    monkeypatch.setattr(guarded.devices, "holds", lambda one, other: one == other)
    assert host.shown_of_file_system(mount(type="ext4", options=None), "/dev/sda2") == [("/srv", "")]
    assert host.shown_of_file_system(mount(type="ext4", options=None), "/dev/sdb") == []
    logged = mount(type="xfs", options="logdev=/dev/sda3")
    assert host.shown_of_file_system(logged, "/dev/sda2") == [("/srv", ""), ("/mnt", "")]


def test_where_a_directory_is_shown(guard: Guard) -> None:
    source = os.open(guard.root / "srv/data", os.O_PATH)
    device = os.fstat(source).st_dev
    numbers = f"{os.major(device)}:{os.minor(device)}"
    guard.host._reach = lambda source: {(numbers, "/data"): True, (numbers, "/read"): False}  # type: ignore[method-assign]
    guard.host.mounts = [mount_table.MountTableEntry(f"9 1 {numbers} / /mnt rw - ext4 /dev/x rw")]
    assert guard.host.shown(source) == [("/mnt/data", str(guard.root / "srv/data"))]
    os.close(source)


@pytest.mark.parametrize(("kind", "members"), [("btrfs", ["0:50"]), ("xfs", [])])
def test_what_has_been_mounted_and_not_attached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, members: list[str]
) -> None:
    host = host_with(ROOT, "2 1 0:50 /@ /var/lib/unshare rw - btrfs /dev/sdb rw")
    descriptor = os.open(tmp_path, os.O_PATH)
    asked: list[tuple[str, int | None]] = []

    def members_of(path: str, at: int | None = None) -> list[str]:
        asked.append((path, at))
        return ["8:16"]

    monkeypatch.setattr(guarded.devices, "members_of_btrfs", members_of)
    monkeypatch.setattr(
        guarded.devices, "of_mount", lambda entry: ["8:16"] if entry.kind == "btrfs" else [entry.device]
    )
    monkeypatch.setattr(guarded.devices, "holds", lambda one, other: one == other)
    if members:
        with pytest.raises(
            guarded.WritableSource, match=r"^it: contains /var/lib/unshare, the state: root inside could"
        ):
            host.refuse_writable_mount(descriptor, kind, "it")
        assert asked == [(".", descriptor)]
    else:
        host.refuse_writable_mount(descriptor, kind, "it")
        assert asked == []
    device = os.fstat(descriptor).st_dev
    own = host_with(f"1 0 {os.major(device)}:{os.minor(device)} / / rw - ext4 /dev/sda1 rw")
    with pytest.raises(guarded.WritableSource, match=r"^it: contains /var/lib/unshare"):
        own.refuse_writable_mount(descriptor, "xfs", "it")
    os.close(descriptor)


def overlay(**layers: str) -> mount_table.MountTableEntry:
    settings = ",".join(f"{name}={value}" for name, value in layers.items())
    return mount_table.MountTableEntry(f"9 1 0:99 / /merged rw - overlay overlay rw,{settings}")


@pytest.mark.parametrize(
    ("layer", "inner", "path", "written"),
    [
        ("upperdir", "/x", "up/x", True),
        ("lowerdir", "/x", "up/x", False),
        ("workdir", "/x", "up", True),
        ("upperdir", "/", "up", True),
    ],
)
def test_where_an_overlay_keeps_what_is_in_it(tmp_path: Path, layer: str, inner: str, path: str, written: bool) -> None:
    (tmp_path / "up/x").mkdir(parents=True)
    host = guarded.GuardedHost({})
    reach: guarded.Reach = {}
    host._add(reach, overlay(**{layer: f"{tmp_path}/up"}), inner, True)
    expected: guarded.Reach = {("0:99", inner): True}
    host._add_path(expected, str(tmp_path / path), written)
    assert reach == expected
    assert len(reach) >= 2


def test_what_is_only_read_is_not_written_below(tmp_path: Path) -> None:
    host = guarded.GuardedHost({})
    reach: guarded.Reach = {}
    entry = overlay(upperdir=str(tmp_path))
    host._add(reach, entry, "/x", False)
    assert set(reach.values()) == {False}
    host._add(reach, entry, "/x", True)  # now it is written to
    assert set(reach.values()) == {True}
    host._add(reach, entry, "/x", False)
    assert set(reach.values()) == {True}


def test_places_are_joined() -> None:
    reach = {("8:1", "/a"): True, ("8:1", "/b"): False}
    guarded._join(reach, {("8:1", "/a"): False, ("8:1", "/b"): True, ("8:1", "/c"): False})
    assert reach == {("8:1", "/a"): True, ("8:1", "/b"): True, ("8:1", "/c"): False}
    assert guarded._written(reach) == [("8:1", "/a"), ("8:1", "/b")]
