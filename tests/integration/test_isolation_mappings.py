# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Shared directories and disks in hostile hands: links and nodes in them, and file systems that cannot map ids."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError

from . import isolation_record
from .isolation import attach_loop, differences, host_state, make_hostile, make_overlay, mounted, writable

if t.TYPE_CHECKING:
    from .conftest import Machine, MakeMachine

pytestmark = pytest.mark.root

NAME = "test-isolation-map"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.mkdir()
    return path


def test_mount_points_through_links_stay_inside(make_machine: MakeMachine, data: Path, tmp_path: Path) -> None:
    """CVE-2021-30465, CVE-2024-45310: absolute, upward and looped links that root inside has left behind."""
    machine = make_machine(name=NAME, mappings=[writable(data)])
    machine.start()
    links = "ln -s /data/etc absolute; ln -s ../../../../../../../../data/etc upward; ln -s /data/../etc out"
    machine.output("sh", "-c", f"mkdir /data/etc; cd /data && {links}")
    machine.stop()
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "here").write_text("shared\n")
    before = host_state()
    points = ["/data/absolute/one", "/data/upward/two"]
    mappings = [writable(data)] + [{"source": str(shared), "target": point} for point in points]
    machine = make_machine(name=NAME, mappings=mappings)
    machine.start()
    assert machine.output("cat", "/data/etc/one/here", "/data/etc/two/here") == "shared\nshared\n"
    machine.stop()
    mappings.append({"source": str(shared), "target": "/data/out/three"})
    machine = make_machine(name=NAME, mappings=mappings)
    with pytest.raises(LauncherError, match="/data/out: a symbolic link on the way leads out of the mapping"):
        machine.start()
    assert not [name for name in ("one", "two", "three") if Path("/etc", name).exists()]
    assert differences(before) == {}


@pytest.mark.parametrize("link", ["nowhere", "/proc/1/root/etc", "loop"])
def test_mount_points_that_lead_nowhere_are_errors(make_machine: MakeMachine, data: Path, link: str) -> None:
    """A link to nothing, one of the kernel's, one to itself: never a directory made where they might lead."""
    (data / "loop").symlink_to(link)
    machine = make_machine(name=NAME, mappings=[writable(data), {"source": "/usr/share", "target": "/data/loop"}])
    with pytest.raises(LauncherError, match="/data/loop"):
        machine.start()
    assert os.listdir(data) == ["loop"]


@pytest.mark.parametrize(
    "place", ["/", "/run", "/run/host", "/run/current-system", "/dev", "/dev/../dev", "/proc", "/proc/../sys"]
)
def test_a_mount_point_is_not_led_to_the_foundations(make_machine: MakeMachine, data: Path, place: str) -> None:
    """Neither that of a mapping, nor that of a kept journal, which could bring a null device of its own."""
    (data / "log").mkdir()
    for link in ("link", "log/journal"):
        (data / link).symlink_to(place)
    mapped = make_machine(name=NAME, mappings=[writable(data), "/usr/share=/data/link"])
    with pytest.raises(LauncherError, match="/data/link: a symbolic link"):
        mapped.start()
    logging = make_machine(name=NAME, mappings=[writable(data, "/var")], log="persistent")
    with pytest.raises(LauncherError, match="/var/log/journal: a symbolic link"):
        logging.start()


@pytest.mark.parametrize("own", [False, True])
def test_a_source_in_a_containers_state_is_never_reached_by_a_link(
    make_machine: MakeMachine, data: Path, own: bool
) -> None:
    """Neither in a directory somewhere, nor in one beside the container's own state."""
    kept = Path("/var/lib/unshare/containers", NAME, "data") if own else data
    kept.mkdir(parents=True, exist_ok=True)
    try:
        (kept / "sub").symlink_to("/etc")
        mappings = [{"source": str(kept), "target": "/data"}, {"source": str(kept / "sub"), "target": "/mnt/sub"}]
        machine = make_machine(name=NAME, mappings=mappings)
        with pytest.raises(LauncherError, match="symbolic link"):
            machine.start()
    finally:
        (kept / "sub").unlink()
        kept.rmdir()


def test_directories_are_made_inside_whatever_a_link_says(
    make_machine: MakeMachine, data: Path, tmp_path: Path
) -> None:
    """What the services need is made as the container's root, in its own tree."""
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o700)
    (data / "link").symlink_to(victim)
    machine = make_machine(name=NAME, mappings=[writable(data)])
    path = machine.system / "spec.json"
    spec = json.loads(path.read_text())
    spec["directories"].append({"path": "/data/link", "mode": "0777", "uid": 0, "gid": 0})
    path.write_text(json.dumps(spec))
    with pytest.raises(LauncherError, match="/data/link"):
        machine.start()
    assert stat.S_IMODE(victim.stat().st_mode) == 0o700


def test_the_hosts_network_files_are_read_only_when_shared(make_machine: MakeMachine) -> None:
    """C11 declares one writable: so that it can be bound at all elsewhere. Root inside would own the host's file."""
    before = Path("/etc/resolv.conf").read_bytes()
    machine = make_machine(name=NAME, shared_network=True)
    machine.start()
    for name in ("resolv.conf", "hosts", "nsswitch.conf", "services"):
        refused = machine.shell(f"echo >> /etc/{name}; chmod 666 /etc/{name}; mv /etc/{name} /etc/moved")
        assert refused.returncode != 0
        assert refused.stderr.count("Read-only file system") == 2, refused.stderr
    assert Path("/etc/resolv.conf").read_bytes() == before


class TestUnmapped:
    """On a file system that cannot map ids (overlayfs)."""

    def test_a_read_only_share_is_nobodys(self, make_machine: MakeMachine, tmp_path: Path) -> None:
        with make_overlay(tmp_path) as merged:
            (merged / "file").write_text("shared\n")
            machine = make_machine(name=NAME, mappings=[{"source": str(merged), "target": "/data"}])
            assert [line.split(": ")[0] for line in machine.start().warnings] == [str(merged)]
            assert machine.output("cat", "/data/file") == "shared\n"
            assert machine.output("stat", "-c", "%U", "/data/file").strip() == "nobody"
            machine.stop()

    def test_a_writable_share_is_refused_and_not_given_to_root(self, make_machine: MakeMachine, tmp_path: Path) -> None:
        with make_overlay(tmp_path) as merged:
            machine = make_machine(name=NAME, mappings=[writable(merged)])
            with pytest.raises(LauncherError, match="share it read-only"):
                machine.start()
            assert os.listdir(merged) == []

    def test_a_writable_share_of_the_containers_own_ids_works(self, make_machine: MakeMachine, tmp_path: Path) -> None:
        base = 0x7F000000
        with make_overlay(tmp_path) as merged:
            os.chown(merged, base, base)
            machine = make_machine(name=NAME, mappings=[writable(merged)], private_users=base)
            machine.start()
            machine.output("touch", "/data/made-inside")
            assert (merged / "made-inside").stat().st_uid == base
            machine.stop()

    def test_a_store_boots_and_is_nobodys(self, make_machine: MakeMachine, tmp_path: Path) -> None:
        with make_overlay(tmp_path, "/usr") as merged:
            machine = make_machine(name=NAME, store=f"{merged}=/usr")
            warnings = machine.start().warnings
            assert any("su, sudo" in line for line in warnings), warnings
            assert machine.output("stat", "-c", "%U", "/usr/bin/su").strip() == "nobody"
            machine.output("useradd", "--create-home", "someone")
            refused = machine.run("su", "-c", "id -u", user="someone", input="\n")
            assert refused.returncode != 0
            machine.stop()


def test_a_kept_journal_works_where_ids_cannot_be_mapped(
    make_machine: MakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = _without_id_maps(make_machine(name=NAME, log="persistent"), monkeypatch)
    machine.start()
    machine.output("logger", "said inside")
    machine.output("journalctl", "--sync")
    journal = Path("/var/lib/unshare/containers", NAME, "journal")
    kept = subprocess.run(["journalctl", "-D", str(journal)], capture_output=True, text=True, timeout=60, check=True)
    assert "said inside" in kept.stdout


def _without_id_maps(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """As on a kernel that has none."""
    from ansible_collections.unshare.container.plugins.module_utils.launcher import mount_calls

    mount_setattr = mount_calls.mount_setattr

    def refuse(mount: int, attributes: int, recursive: bool, user_namespace: int | None = None) -> None:
        if user_namespace is not None:
            raise OSError(22, "Invalid argument", "mount_setattr()")
        mount_setattr(mount, attributes, recursive)

    monkeypatch.setattr(mount_calls, "mount_setattr", refuse)
    return machine


USE_NODES = """
import errno, json, os, sys
def word(path, flags):
    try:
        descriptor = os.open(path, flags)
        os.write(descriptor, b"WRITTEN") if flags & os.O_WRONLY else os.read(descriptor, 7)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"
places = [line.split()[:2] for line in sys.stdin]
words = {f"{verb} the node of a {name} device on a disk": word(path, flags)
    for name, path in places for verb, flags in (("read", os.O_RDONLY), ("write", os.O_WRONLY))}
own = ["/dev/" + name for name in os.listdir("/dev") if name in ("null", "zero", "full", "random", "urandom")]
master, slave = os.openpty()
os.write(slave, b"said")
broken = [path for path in own if word(path, os.O_RDONLY) != "done"]
print(json.dumps([words, broken, os.read(master, 4).decode()]))
"""
"""What root inside does with nodes that it is shown, and what it must be able to do with those of its own `/dev`."""


@pytest.mark.parametrize("mode", ["auto", "identity", "nesting"])
def test_a_node_on_a_declared_disk_is_no_device(make_machine: MakeMachine, tmp_path: Path, mode: str) -> None:
    """As a copy of another system's `/dev` has them; the disk is declared, not mapped."""
    with contextlib.ExitStack() as stack:
        devices = []
        for name, size in (("secret", 1 << 20), ("disk", 16 << 20)):
            (tmp_path / name).write_bytes(b"SECRET\n")
            os.truncate(tmp_path / name, size)
            devices.append(attach_loop(tmp_path / name, stack))
        secret, disk = devices
        subprocess.run(["mkfs.ext4", "-q", "-F", disk], check=True, timeout=60)
        (tmp_path / "mnt").mkdir()
        with mounted(disk, tmp_path / "mnt"):
            os.mknod(tmp_path / "mnt/block", 0o666 | stat.S_IFBLK, os.stat(secret).st_rdev)
            os.mknod(tmp_path / "mnt/character", 0o666 | stat.S_IFCHR, os.stat("/dev/zero").st_rdev)
            for name in ("block", "character"):
                os.chmod(tmp_path / "mnt" / name, 0o666)
        record = {"device": disk, "mount_point": "/disk", "type": "ext4", "needed_for_boot": True}
        machine = make_hostile(make_machine, mode, NAME, tmp_path / "data", extra_file_systems=[record])
        machine.start()
        places = "block /disk/block\ncharacter /disk/character\n"
        words, broken, said = json.loads(machine.run("python3", "-c", USE_NODES, input=places).stdout)
        assert (broken, said) == ([], "said")
        isolation_record.check(mode, "nodes on a disk", "devices", words)
        assert set(words.values()) == {"EACCES"}
        machine.stop()
        assert Path(secret).read_bytes()[:7] == b"SECRET\n"
