# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Devices of the host in a container (P6): nodes of its own, whose owner and mode are nobody else's."""

from __future__ import annotations

import json
import os
import stat
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError

from .isolation import MODES, make_hostile

if t.TYPE_CHECKING:
    from .conftest import Machine, MakeMachine

pytestmark = pytest.mark.root

NAME = "test-given-devices"
SYSTEM = {
    "host_name": NAME,
    "users": [{"name": "guest", "uid": 1000, "group": "guest"}],
    "groups": [{"name": "guest", "gid": 1001}],
}
DEVICES: list[t.Any] = [
    {"path": "/dev/zero", "target": "/dev/given/zero", "mode": "0640", "owner": "guest", "group": "guest"},
    {"path": "/dev/full", "target": "/dev/given/full"},
]
TUN = "/dev/net/tun"
SHOW = (
    "import json, os, sys; print(json.dumps([list(os.stat(path)) + [os.stat(path).st_rdev] for path in sys.argv[1:]]))"
)
MAKE_TUN = """
import fcntl, os, struct
tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", b"given0", 0x1001))
print(os.listdir("/sys/class/net"))
"""
ATTACK = """
import ctypes, errno, json, os, stat, struct, subprocess
words = {}
libc = ctypes.CDLL(None, use_errno=True)
def attempt(name, work):
    try:
        words[name] = work() or "done"
    except OSError as error:
        words[name] = errno.errorcode[error.errno]
KMSG = (0o600 | stat.S_IFCHR, os.makedev(1, 11))
os.makedirs("/mnt/own")
assert libc.mount(b"none", b"/mnt/own", b"tmpfs", 0, None) == 0
for directory in ("/dev", "/dev/given", "/dev/shm", "/tmp", "/run", "/data", "/mnt/own", "/root"):
    attempt(f"mknod in {directory}", lambda: os.mknod(directory + "/kmsg-of-the-host", *KMSG))
    attempt(f"link in {directory}", lambda: os.link("/dev/given/zero", directory + "/linked"))
def mount_devtmpfs():
    if libc.mount(b"none", b"/mnt", b"devtmpfs", 0, None):
        raise OSError(ctypes.get_errno(), "")
attempt("mount devtmpfs", mount_devtmpfs)
NOBODY = 0xFFFFFFFF
entries = ((1, 6, NOBODY), (2, 7, 1234), (4, 6, NOBODY), (16, 7, NOBODY), (32, 6, NOBODY))
acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
attempt("an access list", lambda: os.setxattr("/dev/given/full", "system.posix_acl_access", acl))
attempt("chmod", lambda: os.chmod("/dev/given/full", 0o777))
attempt("chown", lambda: os.chown("/dev/given/full", 1000, 1000))
attempt("utime", lambda: os.utime("/dev/given/full", (1, 1)))
attempt("remove", lambda: os.unlink("/dev/given/full"))
attempt("another in its place", lambda: os.mknod("/dev/given/full", *KMSG))
print(json.dumps(words))
"""


def shown(machine: Machine, *paths: str) -> list[dict[str, int]]:
    """Return type, mode, owner and number of files inside."""
    found = json.loads(machine.output("python3", "-c", SHOW, *paths))
    return [{"mode": item[0], "uid": item[4], "gid": item[5], "device": item[-1]} for item in found]


def of_host(path: str) -> tuple[t.Any, ...]:
    """Return all that root inside could have changed of a node of the host's."""
    status = os.stat(path)
    return status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, sorted(os.listxattr(path))


def test_nodes_have_the_mode_and_the_owner_that_are_declared(make_machine: MakeMachine) -> None:
    machine = make_machine(SYSTEM, name=NAME, devices=DEVICES)
    machine.start()
    zero, full = shown(machine, "/dev/given/zero", "/dev/given/full")
    assert zero == {"mode": stat.S_IFCHR | 0o640, "uid": 1000, "gid": 1001, "device": os.makedev(1, 5)}
    assert full == {"mode": os.stat("/dev/full").st_mode, "uid": 0, "gid": 0, "device": os.makedev(1, 7)}
    assert machine.output("head", "-c", "3", "/dev/given/zero", user="guest").count("\0") == 3
    assert machine.run("sh", "-c", "echo x >/dev/given/zero", user="nobody").returncode != 0
    assert "No space left" in machine.run("python3", "-c", "open('/dev/given/full', 'wb', 0).write(b'x')").stderr


@pytest.mark.skipif(not os.path.exists(TUN), reason="this machine has no /dev/net/tun")
def test_a_container_makes_a_tunnel_in_its_own_network(make_machine: MakeMachine) -> None:
    machine = make_machine(SYSTEM, name=NAME, devices=["/dev/net"])  # all that is in it
    machine.start()
    assert machine.output("ls", "/dev/net").split() == sorted(os.listdir("/dev/net"))
    assert "given0" in machine.output("python3", "-c", MAKE_TUN)
    assert "given0" not in os.listdir("/sys/class/net")


@pytest.mark.parametrize("mode", MODES)
def test_root_inside_makes_no_other_node_and_changes_none_of_the_hosts(
    make_machine: MakeMachine, tmp_path: Path, mode: str
) -> None:
    before = {path: of_host(path) for path in ("/dev/zero", "/dev/full", "/dev/kmsg") if os.path.exists(path)}
    data = tmp_path / "data"
    machine = make_hostile(make_machine, mode, NAME, data, SYSTEM, devices=DEVICES)
    machine.start()
    words = json.loads(machine.output("python3", "-c", ATTACK))
    refused = {name for name, word in words.items() if word in ("EPERM", "EXDEV", "EACCES", "EROFS", "ENODEV")}
    own = {"chmod", "chown", "utime", "an access list", "remove"}  # of its own node, which is no other's
    assert set(words) - refused <= own | {"link in /dev", "link in /dev/given"}, words
    assert not any(stat.S_ISCHR(os.lstat(data / name).st_mode) for name in os.listdir(data))
    assert {path: of_host(path) for path in before} == before


def test_in_a_container_the_nodes_of_that_are_bound(make_machine: MakeMachine) -> None:
    """No kernel makes a node there, and none lets anybody inside change the one that is bound."""
    inner = make_machine(SYSTEM, name=NAME + "-inner", devices=DEVICES)
    mapping = {"source": str(inner.system), "target": str(inner.system)}
    outer = make_machine(name=NAME + "-outer", mappings=[mapping], security={"nesting": True})
    outer.start()
    said = outer.run(str(inner.system / "run-container"), "--detach").stderr
    assert "devices[0]: /dev/given/zero has the host's owner and mode" in said
    assert "devices[1]" not in said
    enter = [str(inner.system / "enter-container"), "--"]
    assert outer.output(*enter, "head", "-c", "3", "/dev/given/zero").count("\0") == 3
    assert outer.output(*enter, "sh", "-c", "echo x >/dev/given/zero") == ""
    for change in (("chmod", "0"), ("chown", "7"), ("touch",)):
        assert "Read-only" in outer.run(*enter, *change, "/dev/given/zero").stderr
    mode = outer.output("stat", "-c", "%a %u", "/dev/zero")
    assert mode == "666 0\n"


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("/dev/no-such-thing", r"devices\[1\]: this host has no /dev/no-such-thing; plug it in"),
        ("/dev/kmsg-of-the-host", r"devices\[1\]: .* cannot be given to a container: it is the kernel's log"),
        ("/dev/a-file-of-the-host", r"devices\[1\]: .* is neither a device nor a directory of devices"),
    ],
)
def test_a_device_that_cannot_be_given_ends_the_start(
    make_machine: MakeMachine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, device: str, message: str
) -> None:
    place = Path("/dev") / device.rpartition("/")[2]
    if "kmsg" in device:
        os.mknod(place, 0o600 | stat.S_IFCHR, os.makedev(1, 11))
    elif "file" in device:
        place.write_text("")
    try:
        machine = make_machine(SYSTEM, name=NAME, devices=[DEVICES[1], device])
        with pytest.raises(LauncherError, match=message):
            machine.start()
        assert machine.container.status().state == "stopped"
    finally:
        place.unlink(missing_ok=True)
