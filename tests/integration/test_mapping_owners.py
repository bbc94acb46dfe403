# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mappings that say whose they are inside (V2): both directions, what has no counterpart, and what is not given."""

from __future__ import annotations

import json
import os
import re
import stat
import struct
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host import facts, preflight
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.launcher.mapping_ids import IdMap
from ansible_collections.unshare.container.plugins.module_utils.launcher.specification import read_spec

from . import machine_tree
from .isolation import make_overlay
from .test_healing import bring, tmpfs

if t.TYPE_CHECKING:
    from .conftest import Machine, MakeMachine

pytestmark = pytest.mark.root

NAME = "test-mapping-owners"
DECLARED = {
    "groups": [{"name": "db", "gid": 901}],
    "users": [{"name": "db", "uid": 901, "group": "db"}, {"name": "other", "uid": 107}],
}
OWNER, INSIDE = (107, 112), (901, 901)
ACL = "system.posix_acl_access"
USER_OBJ, USER, GROUP_OBJ, GROUP, MASK, OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
READ_XATTRS = f"""
import json, os, sys
path = sys.argv[1]
print(json.dumps({{name: os.getxattr(path, name).hex() for name in ("{ACL}", "user.note")}}))
"""
WRITE_XATTRS = f"""
import os, sys
path, acl = sys.argv[1:]
os.setxattr(path, "{ACL}", bytes.fromhex(acl))
os.setxattr(path, "user.said", b"inside")
"""
tree = machine_tree.unchanged_tree


def acl(users: t.Sequence[int], groups: t.Sequence[int]) -> bytes:
    """Return an access ACL that lets these users and groups read, as acl(5) has it in an extended attribute."""
    none = 0xFFFFFFFF
    entries = [(USER_OBJ, 6, none), *((USER, 4, uid) for uid in users), (GROUP_OBJ, 4, none)]
    entries += [*((GROUP, 4, gid) for gid in groups), (MASK, 4, none), (OTHER, 0, none)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def mapping(source: Path, target: str = "/data", **more: t.Any) -> dict[str, t.Any]:
    return {"source": str(source), "target": target, "writable": True, "owner": "db", **more}


def directory(path: Path, ids: tuple[int, int] = OWNER, mode: int = 0o700) -> Path:
    path.mkdir()
    path.chmod(mode)
    os.chown(path, *ids)
    return path


def file(path: Path, ids: tuple[int, int], mode: int = 0o600) -> Path:
    path.write_text(f"{path.name}\n")
    path.chmod(mode)
    os.chown(path, *ids)
    return path


def ids_of(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_uid, status.st_gid


def inside(machine: Machine, *paths: str) -> list[tuple[int, int]]:
    """Return the owners of paths as the container sees them."""
    said = machine.output("stat", "--format=%u %g", *paths)
    return [(int(uid), int(gid)) for uid, gid in re.findall(r"(\d+) (\d+)", said)]


def foreseen(machine: Machine) -> list[str]:
    """Return what a run says before a start that would be said at the start."""
    return preflight.warnings_of_start(facts.HostFacts(), read_spec(str(machine.system)))


def refused(machine: Machine) -> list[str]:
    return preflight.problems(facts.HostFacts(), read_spec(str(machine.system)))


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Return a directory whose parent no user of the host can enter."""
    tmp_path.chmod(0o700)
    return tmp_path


@pytest.mark.parametrize("private_users", ["auto", "identity", 0x7F000000])
def test_v2_the_owner_on_the_host_is_the_user_inside_in_both_directions(
    make_machine: MakeMachine, base: Path, private_users: str | int
) -> None:
    """All others are as they are, but the two that have lost their counterparts have each other."""
    data = directory(base / "data")
    file(data / "old", OWNER)
    file(data / "of-another", (33, 33))
    file(data / "of-901", (901, 112))
    machine = make_machine(DECLARED, name=NAME, mappings=[mapping(data)], private_users=private_users)
    assert (refused(machine), [line for line in foreseen(machine) if "data" in line]) == ([], [])
    for _start in range(2):
        assert [line for line in machine.start().warnings if "data" in line] == []
        seen = [INSIDE, INSIDE, (33, 33), (107, 901)]
        assert inside(machine, "/data", "/data/old", "/data/of-another", "/data/of-901") == seen
        assert machine.output("cat", "/data/old", user="db") == "old\n"
        assert machine.run("cat", "/data/old", user="other").returncode != 0
        machine.output("sh", "-ec", "rm -f /data/new; echo new > /data/new", user="db")
        machine.output("sh", "-ec", "cd /data; touch root other; chown 107:112 other; chown -h db:db /data")
        made = {name: ids_of(data / name) for name in ("new", "root", "other")}
        assert made == {"new": OWNER, "root": (0, 0), "other": (901, 901)}
        assert ids_of(data) == OWNER
        machine.stop()


def test_v2_a_database_whose_files_belong_to_a_user_of_the_host(make_machine: MakeMachine, base: Path) -> None:
    """PostgreSQL, which runs only on files of its own, makes a cluster there, and finds it at the next start."""
    data = directory(base / "pg")
    mappings = [mapping(data, "/var/lib/postgresql", owner="postgres")]
    machine = make_machine({"services": [{"type": "postgresql"}]}, name=NAME, mappings=mappings)
    assert refused(machine) == []
    for statement in ("create table kept (n int)", "insert into kept values (7)"):
        machine.start()
        machine.output("psql", "-c", statement, user="postgres", timeout=120)
        machine.stop()
    machine.start()
    assert machine.output("psql", "-Atc", "select n from kept", user="postgres") == "7\n"
    machine.stop()
    assert {ids_of(path) for path in (data, *data.rglob("*"))} == {OWNER}


def test_v2_a_group_of_its_own_and_numbers(make_machine: MakeMachine, base: Path) -> None:
    data, shared = directory(base / "data"), directory(base / "shared")
    mappings = [
        mapping(data, owner="901", group="audio"),
        {"source": str(shared), "target": "/shared", "group": 901, "writable": False},
    ]
    machine = make_machine(DECLARED, name=NAME, mappings=mappings)
    machine.start()
    assert inside(machine, "/data", "/shared") == [(901, 29), (107, 901)]


def test_v2_a_file_alone(make_machine: MakeMachine, base: Path) -> None:
    one = file(base / "one", OWNER)
    machine = make_machine(DECLARED, name=NAME, mappings=[mapping(one, "/etc/one")])
    machine.start()
    machine.output("sh", "-ec", "cat /etc/one; echo more >> /etc/one", user="db")
    assert one.read_text() == "one\nmore\n"


def test_v2_acls_and_extended_attributes_survive(make_machine: MakeMachine, base: Path) -> None:
    """The ids in an ACL are translated as those of owners are, in both directions."""
    data = directory(base / "data")
    old, new = file(data / "old", OWNER), file(data / "new", OWNER)
    os.setxattr(old, ACL, acl([33, 107], [112]))
    os.setxattr(old, "user.note", b"kept")
    machine = make_machine(DECLARED, name=NAME, mappings=[mapping(data)])
    machine.start()
    seen = json.loads(machine.output("python3", "-c", READ_XATTRS, "/data/old"))
    assert seen == {ACL: acl([33, 901], [901]).hex(), "user.note": b"kept".hex()}
    machine.output("python3", "-c", WRITE_XATTRS, "/data/new", acl([33, 901], [901]).hex(), user="db")
    assert (os.getxattr(new, ACL), os.getxattr(new, "user.said")) == (acl([33, 107], [112]), b"inside")
    machine.stop()
    assert (os.getxattr(old, ACL), os.getxattr(old, "user.note")) == (acl([33, 107], [112]), b"kept")


@pytest.mark.parametrize(
    ("owner", "declared", "foreign", "said"),
    [
        pytest.param(OWNER, "db", (100000, 112), "has the ids 0 to 65535", id="above_those_of_a_container"),
        pytest.param((100000, 100000), "db", (901, 100000), "leaves no id inside", id="of_a_large_owner"),
        pytest.param((1000, 1000), "root", (0, 1000), "leaves no id inside", id="of_root"),
    ],
)
def test_v2_ids_without_a_counterpart_are_said(
    make_machine: MakeMachine, base: Path, owner: tuple[int, int], declared: str, foreign: tuple[int, int], said: str
) -> None:
    """Before the start and at the start; root inside has no power over them."""
    data = directory(base / "data", owner)
    strange = file(data / "strange", foreign)
    machine = make_machine(DECLARED, name=NAME, mappings=[mapping(data, owner=declared)])
    expected = f"{strange}: belongs to {foreign[0]}:{foreign[1]}, and "
    for lines in (foreseen(machine), machine.start().warnings):
        (line,) = [line for line in lines if "strange" in line]
        assert line.startswith(expected)
        assert said in line
    assert inside(machine, "/data", "/data/strange")[1][0] == 65534
    machine.output("touch", "/data/new", user=declared)
    assert ids_of(data / "new") == owner
    for command in ("cat /data/strange", "chmod 666 /data/strange", "chown db /data/strange"):
        assert machine.shell(command).returncode != 0, command
    assert (ids_of(strange), stat.S_IMODE(strange.stat().st_mode)) == (foreign, 0o600)


def test_v2_an_empty_directory_of_roots_is_given(make_machine: MakeMachine, base: Path) -> None:
    """As without an owner where a service asks for it: that is what is made for somebody to keep data in."""
    data = directory(base / "data", (0, 0), 0o755)
    machine = make_machine(DECLARED, name=NAME, mappings=[mapping(data)])
    assert (refused(machine), [line for line in foreseen(machine) if "data" in line]) == ([], [])
    assert ids_of(data) == (0, 0)
    for _start in range(2):
        machine.start()
        assert (ids_of(data), inside(machine, "/data"), stat.S_IMODE(data.stat().st_mode)) == (INSIDE, [INSIDE], 0o755)
        machine.output("sh", "-ec", "echo > /data/new", user="db")
        machine.output("touch", "/data/root")
        machine.stop()
    assert (ids_of(data / "new"), ids_of(data / "root")) == (INSIDE, (0, 0))


def test_v2_what_is_roots_is_nobody_elses_to_write(make_machine: MakeMachine, base: Path) -> None:
    """It is refused before anything changes, and by the start itself; to be read it is given."""
    data = directory(base / "data", (0, 0))
    file(data / "secret", (0, 0))
    machine = make_machine(DECLARED, name=NAME, mappings=[mapping(data)])
    (problem,) = refused(machine)
    assert f"{data}: belongs to root on the host" in problem
    assert f"chown -R 901:901 {data}" in problem
    with pytest.raises(LauncherError, match="belongs to root on the host"):
        machine.start()
    assert ids_of(data) == (0, 0)
    machine.destroy()
    machine = make_machine(DECLARED, name=NAME, mappings=[mapping(data, writable=False, group="root")])
    machine.start()
    assert machine.output("cat", "/data/secret", user="db") == "secret\n"
    assert machine.shell("touch /data/new || echo > /data/secret").returncode != 0


def test_v2_the_group_of_root_stays(make_machine: MakeMachine, base: Path) -> None:
    data = directory(base / "data", (107, 0))
    machine = make_machine(DECLARED, name=NAME, mappings=[mapping(data)])
    assert [line for line in foreseen(machine) if "its group on the host is root's" in line]
    assert [line for line in machine.start().warnings if "its group on the host is root's" in line]
    assert inside(machine, "/data") == [(901, 0)]
    machine.output("touch", "/data/new", user="db")
    assert ids_of(data / "new") == (107, 901)


def test_v2_a_file_system_that_cannot_map_ids(make_machine: MakeMachine, base: Path) -> None:
    """Refused, to be read as well, unless it has the ids of the container anyway."""
    first = 0x7F000000
    with make_overlay(base) as merged:
        os.chown(merged, *OWNER)
        for writable in (True, False):
            for private_users in ("auto", "identity"):
                mappings = [mapping(merged, writable=writable)]
                machine = make_machine(DECLARED, name=NAME, mappings=mappings, private_users=private_users)
                (problem,) = refused(machine)
                assert "cannot map ids" in problem
                with pytest.raises(LauncherError, match="put it on ext4, xfs or btrfs, or leave these out"):
                    machine.start()
        os.chown(merged, first + 901, first + 901)
        machine = make_machine(DECLARED, name=NAME, mappings=[mapping(merged)], private_users=first)
        assert refused(machine) == []
        machine.start()
        assert inside(machine, "/data") == [INSIDE]
        machine.stop()


def test_v2_a_healed_mapping_has_the_same_ids(make_machine: MakeMachine, base: Path) -> None:
    """One that was left out is mounted with its owner's; what is mounted below later with those of the mapping."""
    machine = make_machine(DECLARED, name=NAME, mappings=[mapping(base / "late")])
    machine.start()
    late = directory(base / "late")
    file(late / "old", OWNER)
    assert bring(machine)[0]["healed"] == ["/data: is mounted in the running container"]
    assert inside(machine, "/data", "/data/old") == [INSIDE, INSIDE]
    (late / "disk").mkdir()
    with tmpfs(late / "disk") as disk:
        os.chown(disk, 0, 0)
        file(disk / "file", OWNER)
        os.chown(late, 33, 33)  # it counts whose the mapping was when it was mounted
        assert bring(machine)[0]["healed"] == ["/data/disk: is mounted in the running container"]
        assert inside(machine, "/data/disk", "/data/disk/file") == [(0, 0), INSIDE]
        machine.output("sh", "-ec", "echo > /data/disk/new; chown db:db /data/disk/new")
        assert ids_of(disk / "new") == OWNER
        for mode in (True, False):
            assert not bring(machine, check=mode)[0]["changed"]
        machine.stop()


def test_v2_an_account_of_a_machines_tree_keeps_its_id(make_machine: MakeMachine, tree: Path, base: Path) -> None:
    """The owner is who has that name inside, whatever number the declaration gives it; so after a heal."""
    own = re.search(r"^messagebus:x:(\d+):(\d+):", (tree / "etc/passwd").read_text(), re.MULTILINE)
    assert own is not None
    ids = int(own[1]), int(own[2])
    declared = {
        "groups": [{"name": "messagebus"}],
        "users": [{"name": "messagebus", "group": "messagebus", "home_directory": "/srv/bus", "system": True}],
    }
    data = directory(base / "data", (4242, 4243))
    mappings = [mapping(data, owner="messagebus"), mapping(base / "late", "/late", owner="messagebus")]
    machine = machine_tree.machine_of(make_machine, tree, declared=declared, name=NAME, mappings=mappings)
    machine.start()
    late = directory(base / "late", (4242, 4243))
    assert bring(machine)[0]["healed"] == ["/late: is mounted in the running container"]
    assert inside(machine, "/data", "/late") == [ids, ids]
    machine.output("sh", "-ec", "touch /data/new; chown messagebus:messagebus /data/new")
    assert (ids_of(data / "new"), ids_of(late)) == ((4242, 4243), (4242, 4243))


def test_v2_the_kernel_takes_each_map(make_machine: MakeMachine, base: Path) -> None:
    """At the edges of a container's ids, where runs of ids are empty."""
    pairs = [(disk, uid) for disk in (1, 2, 65535, 65536, 4294967294) for uid in (1, 2, 65534, 65535)]
    assert {len(IdMap(65536, *pair).extents) for pair in pairs} == {1, 2, 3, 4, 5}
    mappings = [
        mapping(directory(base / f"{disk}-{uid}", (disk, disk)), f"/srv/{disk}-{uid}", owner=uid, group=uid)
        for disk, uid in pairs
    ]
    machine = make_machine(name=NAME, mappings=mappings)
    machine.start()
    assert inside(machine, *(f"/srv/{disk}-{uid}" for disk, uid in pairs)) == [(uid, uid) for _disk, uid in pairs]
