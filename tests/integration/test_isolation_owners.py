# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mappings that say whose they are (V2), in hostile hands: no id on disk but those that the map gives."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError

from . import isolation_record
from .isolation import MODES, make_hostile

if t.TYPE_CHECKING:
    from .conftest import MakeMachine

pytestmark = pytest.mark.root

NAME = "test-isolation-owners"
DECLARED = {"groups": [{"name": "db", "gid": 901}], "users": [{"name": "db", "uid": 901, "group": "db"}]}
OWNER, FOREIGN = 107, 100000
HELD = {"owned": {OWNER, 901}, "rooted": {1000}}
"""The ids on disk, of the two mappings, that the attempts may have files of, beside root's in the first one."""

ATTEMPTS = """
import ctypes, errno, json, os, struct, sys
LIBC = ctypes.CDLL(None, use_errno=True)
NEWNS, NEWUSER, IDMAP, CLONE_TREE, EMPTY_PATH = 0x20000, 0x10000000, 0x100000, 1, 0x1000

def call(number, *words):
    result = LIBC.syscall(number, *words)
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
    return result

def apart(function, *words):
    child = os.fork()
    if child == 0:
        try:
            function(*words)
        except OSError as error:
            os._exit(error.errno)
        except BaseException:
            os._exit(254)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status:
        raise OSError(status, "")

def made(path, uid=0, mode=0o644):
    if uid:
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))

def other_map(path):
    ready, told = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(told)
        LIBC.unshare(NEWUSER)
        os.read(ready, 1)
        os._exit(0)
    os.close(ready)
    try:
        while os.readlink(f"/proc/{child}/ns/user") == os.readlink("/proc/self/ns/user"):
            pass
        for name in ("uid_map", "gid_map"):
            with open(f"/proc/{child}/{name}", "w") as file:
                file.write("0 901 1")
        space = os.open(f"/proc/{child}/ns/user", os.O_RDONLY)
        mount = call(428, -100, path.encode(), CLONE_TREE)
        words = struct.pack("QQQQ", IDMAP, 0, 0, space)
        call(442, mount, b"", EMPTY_PATH, words, ctypes.c_size_t(len(words)))
        made(f"/proc/self/fd/{mount}/by-another-map")
    finally:
        os.close(told)
        os.waitpid(child, 0)

def in_a_namespace_of_its_own(path):
    if LIBC.unshare(NEWUSER):
        raise OSError(ctypes.get_errno(), "")
    for name in ("setgroups", "uid_map", "gid_map"):
        with open(f"/proc/self/{name}", "w") as file:
            file.write("deny" if name == "setgroups" else "0 0 1")
    os.chown(path, 1000, 1000)

def acl(uid):
    entries = [(1, 6, -1), (2, 6, uid), (4, 0, -1), (16, 6, -1), (32, 0, -1)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)

def changed(path):
    for change in (lambda: os.chmod(path, 0o666), lambda: os.chown(path, 901, 901), lambda: os.unlink(path),
                   lambda: os.rename(path, path + "-moved"), lambda: open(path, "a").close(),
                   lambda: os.setxattr(path, "user.note", b"x"), lambda: os.link(path, path + "-link")):
        try:
            change()
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EACCES, errno.EOVERFLOW):
                raise
            refused = error
        else:
            return
    raise refused

def remounted(path, flags):
    if LIBC.mount(None, path.encode(), None, ctypes.c_ulong(32 | 4096 | flags), None):
        raise OSError(ctypes.get_errno(), "")

def attempt(function, *words):
    try:
        apart(function, *words)
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error.errno))
    return "ok"

made("/owned/file"), made("/rooted/file")
tries = {
    "give away a file to an id of the host's": (os.chown, "/owned/file", 100000, -1),
    "give away a file to a group of the host's": (os.chown, "/owned/file", -1, 100000),
    "name an id of the host's in an ACL": (os.setxattr, "/owned/file", "system.posix_acl_access", acl(100000)),
    "name an id in an ACL that the map leaves out": (os.setxattr, "/rooted/file", "system.posix_acl_access", acl(1000)),
    "change a file of an id that a container does not have": (changed, "/owned/foreign"),
    "change a file of the host's root that the map leaves out": (changed, "/rooted/foreign"),
    "make a file of the user whom the map leaves out": (made, "/rooted/by-1000", 1000),
    "give a file to the user whom the map leaves out": (os.chown, "/rooted/file", 1000, 1000),
    "map the ids of a copy of the mount anew": (other_map, "/owned"),
    "give away a file in a user namespace of its own": (in_a_namespace_of_its_own, "/rooted/file"),
    "take nosuid from the mount": (remounted, "/owned", 0),
    "give a file there a capability": (os.setxattr, "/owned/file", "security.capability",
                                       struct.pack("<IIIII", 0x02000001, 1 << 7, 0, 0, 0)),
}
words = {name: attempt(*function) for name, function in tries.items()}
done = os.popen("/owned/set-user-id -ru; cd /; su db -s /bin/sh -c '/owned/set-user-id -u'").read().split()
words["run a set-user-ID program of the owner's"] = "stripped" if done == ["0", "901"] else repr(done)
apart(made, "/owned/by-db", 901), made("/owned/by-owner"), os.chown("/owned/by-owner", 107, 107)
print(json.dumps(words))
"""
"""What root inside tries: `/owned` is of 107 on disk and of db inside, `/rooted` of 1000 and of root."""


def prepared(base: Path) -> list[dict[str, t.Any]]:
    """Make the two directories on the host; return their mappings."""
    for name, owner, foreign in (("owned", OWNER, FOREIGN), ("rooted", 1000, 0)):
        path = base / name
        path.mkdir()
        (path / "foreign").write_text("foreign\n")
        os.chown(path / "foreign", foreign, foreign)
        (path / "foreign").chmod(0o600)
        os.chown(path, owner, owner)
        path.chmod(0o777)
    program = base / "owned/set-user-id"
    shutil.copy("/usr/bin/id", program)
    os.chown(program, 0, 0)
    program.chmod(0o4755)
    return [
        {"source": str(base / "owned"), "target": "/owned", "writable": True, "owner": "db"},
        {"source": str(base / "rooted"), "target": "/rooted", "writable": True, "owner": "root"},
    ]


@pytest.mark.parametrize("mode", MODES)
def test_v2_no_ids_but_those_of_the_map(make_machine: MakeMachine, tmp_path: Path, mode: str) -> None:
    tmp_path.chmod(0o700)
    mappings = prepared(tmp_path)
    machine = make_hostile(make_machine, mode, NAME, tmp_path / "data", DECLARED, mappings=mappings)
    machine.start()
    done = machine.run("python3", "-c", ATTEMPTS)
    assert done.returncode == 0, done.stderr
    words = json.loads(done.stdout)
    isolation_record.check(mode, "owners of mappings", "owner", words)
    assert not isolation_record.through(words)
    machine.stop()
    for name, held in HELD.items():
        for path in (tmp_path / name).iterdir():
            status = path.lstat()
            if path.name in ("foreign", "set-user-id"):
                continue
            assert {status.st_uid, status.st_gid} <= held | ({0} if name == "owned" else set()), path
            assert not status.st_mode & (stat.S_ISUID | stat.S_ISGID)
            assert "security.capability" not in os.listxattr(path)
    for name, foreign in (("owned", FOREIGN), ("rooted", 0)):
        status = (tmp_path / name / "foreign").stat()
        assert (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)) == (foreign, foreign, 0o600)
    found = {name: (tmp_path / "owned" / name).stat().st_uid for name in ("by-db", "by-owner", "file")}
    assert found == {"by-db": OWNER, "by-owner": 901, "file": 0}
    assert (tmp_path / "rooted/file").stat().st_uid == 1000


@pytest.mark.parametrize("left", [5, 65535, 0])
def test_v2_who_gives_the_source_away_gains_no_ids(make_machine: MakeMachine, tmp_path: Path, left: int) -> None:
    """The next start looks at the owner anew: the ids are among those that the map had, and root's is refused."""
    tmp_path.chmod(0o700)
    mappings = prepared(tmp_path)[:1]
    machine = make_hostile(make_machine, "auto", NAME, tmp_path / "data", DECLARED, mappings=mappings)
    machine.start()
    machine.output("chown", f"{left}:{left}", "/owned")
    machine.stop()
    owned = tmp_path / "owned"
    if left == 0:
        with pytest.raises(LauncherError, match="belongs to root on the host"):
            machine.start()
        assert owned.stat().st_uid == 0
        return
    machine.start()
    machine.output("sh", "-ec", "echo > /owned/new", user="db")
    assert (owned / "new").stat().st_uid == left
    for command in ("cat /owned/foreign", "chown 0:0 /owned/foreign", "chown 100000 /owned/new"):
        assert machine.shell(command).returncode != 0, command
    machine.stop()
    assert (owned / "foreign").stat().st_uid == FOREIGN


def test_v2_the_filter_makes_no_set_user_id_files_there(make_machine: MakeMachine, tmp_path: Path) -> None:
    """Neither root inside nor the owner, whose files would run with the rights of the host's user."""
    tmp_path.chmod(0o700)
    mappings = prepared(tmp_path)
    machine = make_hostile(make_machine, "auto", NAME, tmp_path / "data", DECLARED, mappings=mappings)
    machine.start()
    for user, place in (("db", "/owned"), ("root", "/owned"), ("root", "/rooted")):
        refused = machine.shell(f"cp /usr/bin/id {place}/of-{user} && chmod 4755 {place}/of-{user}", user=user)
        assert "Operation not permitted" in refused.stderr
    machine.stop()
    found = subprocess.run(
        ["find", tmp_path / "owned", tmp_path / "rooted", "-perm", "/6000"], capture_output=True, text=True, check=True
    )
    assert found.stdout.split() == [str(tmp_path / "owned/set-user-id")]
