# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Root inside neither fills nor holds who heals its container, nor makes a run say what is not so."""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.inside import mending
from ansible_collections.unshare.container.plugins.module_utils.launcher import mount_table, network_files
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.launcher.excursion import in_child

from .fuse_servers import holding, need_fuse
from .test_healing import bring

if t.TYPE_CHECKING:
    from .conftest import Machine, MakeMachine

pytestmark = pytest.mark.root

NAME = "test-hostile-healing"

# More than 4 MiB of mountinfo(5), in which a space takes four bytes.
MANY = """
import ctypes, os
mount = ctypes.CDLL(None, use_errno=True).mount
os.mkdir("/run/q")
assert mount(b"q", b"/run/q", b"tmpfs", 0, None) == 0
assert mount(None, b"/run/q", None, 1 << 18, None) == 0  # private: each further mount is one, not twice as many
os.chdir("/run/q")
for _each in range(60):
    os.mkdir(" " * 250)
    os.chdir(" " * 250)
for _each in range(80):
    assert mount(b".", b".", None, 4096, None) == 0, os.strerror(ctypes.get_errno())
"""
SPACES = b"\\040" * 250

# A server in user space that never says what is in its file. A process has the kernel read /etc/hosts, past the cache,
# into memory that is this file, and waits for it with the lock of /etc/hosts.
HOLDING = holding("""
def hold(address):
    libc.read(os.open("/etc/hosts", os.O_RDONLY | os.O_DIRECT), address, ctypes.c_size_t(4096))

def asked():
    pass
""")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """Return a directory whose parent no user of the host can enter."""
    tmp_path.chmod(0o700)
    return tmp_path


def mounted(machine: Machine, point: str) -> list[list[str]]:
    """Return the options of what is mounted at a path inside."""
    table = subprocess.run(
        [
            "findmnt",
            "--noheadings",
            "--output=TARGET,VFS-OPTIONS",
            "--raw",
            "--task",
            str(machine.container.status().pid),
        ],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout
    words = [line.split(" ") for line in table.splitlines()]
    return [options.split(",") for place, options in words if place == point]


def test_no_list_is_read_that_root_inside_makes_long(
    make_machine: MakeMachine, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mappings = [
        {"source": str(base / "late"), "target": "/late"},
        {"source": str(base / "late file"), "target": "/late file", "writable": True},
        {"source": str(base / "slave"), "target": "/slave", "propagation": "slave"},
    ]
    machine = make_machine(name=NAME, mappings=mappings)
    bring(machine)
    machine.output("python3", "-S", "-c", MANY)
    for name in ("late", "slave"):
        (base / name).mkdir()
    (base / "late file").touch()
    read = mount_table._read

    def read_without_the_containers(path: str, limit: int | None) -> bytes:
        text = read(path, limit)
        assert SPACES not in text, "a list with the container's mounts"
        return text

    monkeypatch.setattr(mount_table, "_read", read_without_the_containers)
    note = Path("/run/unshare", NAME, "mapped")
    former = note.read_bytes()
    done, said = bring(machine)
    assert len(done["healed"]) == 3, (done, said)
    assert [line for line in said if "no shared mount" not in line] == []
    assert "healed" not in bring(machine)[0]
    note.write_bytes(former)  # as a run leaves it that is ended after it has mounted
    done, said = bring(machine)
    assert len(done["healed"]) == 3, (done, said)
    for point in ("/late", "/late\\x20file", "/slave"):
        assert len(mounted(machine, point)) == 1, point


def test_nothing_is_imported_in_the_containers_mounts(
    make_machine: MakeMachine, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module would be the container's there, with the rights of the host's root."""
    machine = make_machine(name=NAME, mappings=[{"source": str(base / "late"), "target": "/late"}])
    bring(machine)
    (base / "late").mkdir()
    machine.output("sh", "-c", "mkdir /run/planted && echo > /run/planted/planted.py")

    def load(*_arguments: t.Any) -> t.NoReturn:
        sys.path.insert(0, "/run/planted")
        try:
            importlib.import_module("planted")
        except ImportError:
            raise LauncherError("it is not imported") from None
        raise LauncherError("it is imported")

    monkeypatch.setattr(mending.mount_calls, "open_tree", load)
    with machine.container.lock(30), pytest.raises(LauncherError, match="^it is not imported$"):
        mending.put(machine.container, [], 20)


def test_numbers_of_mounts_that_change_say_nothing(make_machine: MakeMachine, base: Path) -> None:
    """Mounts come and go inside while a mapping is kept out."""
    machine = make_machine(name=NAME, mappings=[{"source": str(base / "late"), "target": "/late"}])
    bring(machine)
    (base / "late").mkdir()
    loop = """
        mount --make-rprivate / && mkdir /run/x || exit 1
        while :; do
            for each in 1 2 3 4 5 6 7 8; do mount -t tmpfs x /run/x; done
            for each in 1 2 3 4 5 6 7 8; do umount /run/x; done
        done >/dev/null 2>&1 </dev/null & echo $!
    """
    going = machine.shell(loop).stdout.strip()
    for _time in range(5):
        done, said = bring(machine)
        assert "healed" not in done
        assert "taken its mounts out of propagation" in said[0]
    assert mounted(machine, "/late") == []
    machine.output("sh", "-c", f"kill {going}; mount --make-rshared /")
    assert bring(machine)[0]["healed"] == ["/late: is mounted in the running container"]
    assert len(mounted(machine, "/late")) == 1


@pytest.mark.parametrize("prepare", ["true", "mount --bind /all/late /all/late"], ids=["nothing", "its own mount"])
def test_the_same_directory_seen_otherwise_is_no_mapping(make_machine: MakeMachine, base: Path, prepare: str) -> None:
    """What was declared read-only is, although a writable mapping around it shows the same."""
    (base / "all").mkdir()
    mappings = [
        {"source": str(base / "all"), "target": "/all", "writable": True},
        {"source": str(base / "all/late"), "target": "/all/late"},
    ]
    machine = make_machine(name=NAME, mappings=mappings)
    bring(machine)
    (base / "all/late").mkdir()
    machine.output("sh", "-c", prepare)
    assert bring(machine)[0]["healed"] == ["/all/late: is mounted in the running container"]
    assert machine.shell("touch /all/late/there").returncode != 0
    assert "healed" not in bring(machine)[0]


def test_a_copy_that_root_inside_holds_keeps_no_lock_held(
    make_machine: MakeMachine, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need_fuse()
    (base / "data").mkdir()
    machine = make_machine(
        name=NAME,
        shared_network=True,
        mappings=[{"source": str(base / "data"), "target": "/data", "writable": True}],
        security={"fuse": True},
    )
    bring(machine)
    (base / "data/script").write_text(HOLDING)
    machine.output("systemd-run", "--quiet", "/usr/bin/python3", "-S", "/data/script")
    deadline = time.monotonic() + 20
    while not (base / "data/ready").exists():
        assert time.monotonic() < deadline, "what is to run inside does not"
        time.sleep(0.01)
    copy = Path("/run/unshare", NAME, network_files.DIRECTORY, "hosts")
    try:
        in_child(lambda: str(copy.write_bytes(copy.read_bytes())), 1, keep=())
        held = False  # the file system of /run has no lock for such a read
    except TimeoutError:
        held = True
    known = network_files._content
    monkeypatch.setattr(network_files, "_content", lambda path: (known(path) or b"") + b"# new\n")
    monkeypatch.setattr(network_files, "SECONDS", 1.0)
    for number in range(2):
        began = time.monotonic()
        done, said = bring(machine)
        assert time.monotonic() - began < 10
        assert said == ([network_files.HELD % 1] if held else [])
        assert ("/etc/hosts: is as on the host again" in done.get("healed", [])) == (not held and number == 0)
    refreshed = subprocess.run(
        [machine.system / "run-container", "--refresh"], check=False, capture_output=True, text=True, timeout=20
    )
    assert refreshed.returncode == (125 if held else 0)
    assert ("have not been brought up to date" in refreshed.stderr) == held
    assert machine.output("true", timeout=20) == ""
    began = time.monotonic()
    assert machine.stop(8)
    assert time.monotonic() - began < 10
