# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests of isolation plant on the host, what they run inside, and what must be as before."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import hashlib
import io
import json
import os
import re
import socket
import stat
import subprocess
import time
import typing as t
import zipfile
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import limits
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.tests import mountinfo

if t.TYPE_CHECKING:
    from .conftest import Machine, MakeMachine

ATTEMPTS = Path(__file__).with_name("attempts")
MARKER = "a-process-of-the-host-for-the-tests"
CHANGING = ("random", "nr", "state", "count", "pid", "hostname", "_id", "uuid", "domain", "drop_caches", "fs/quota")
"""Of names in /proc/sys whose values change by themselves, or are of the reader."""

INTERFACE = re.compile(r"/(?:conf|neigh)/(?!all/|default/|lo/)")
"""Settings in /proc/sys of network interfaces, which come and go."""

TASKS = 400
"""A bound of tasks for the containers of these tests, which is quickly reached."""

IPC_CREAT, IPC_RMID = 0o1000, 0


class Planted:
    """Things of the host for a container to find: a file, sockets, shared memory, a process."""

    def __init__(self, directory: Path, stack: contextlib.ExitStack) -> None:
        secret = directory / "secret-of-the-host"
        secret.write_text("secret\n")
        self.abstract = f"unshare-test-{os.getpid()}"
        listening = stack.enter_context(contextlib.closing(socket.socket(socket.AF_UNIX)))
        listening.bind("\0" + self.abstract)
        listening.listen()
        tcp = stack.enter_context(contextlib.closing(socket.create_server(("127.0.0.1", 0))))
        key = 0x55000000 | os.getpid() & 0xFFFFFF
        libc = ctypes.CDLL(None, use_errno=True)
        segment = libc.shmget(key, 4096, IPC_CREAT | 0o666)
        assert segment >= 0, os.strerror(ctypes.get_errno())
        stack.callback(libc.shmctl, segment, IPC_RMID, None)
        self.words: dict[str, t.Any] = {
            "secret": str(secret),
            "abstract": self.abstract,
            "port": tcp.getsockname()[1],
            "shared_memory": key,
            "marker": MARKER,
            "writable": "/data",
            "ptys": _ptys(),
            "own": ["/proc/1/fd", "/proc/self/fd"],
        }


def limit_tasks(machine: Machine) -> dict[str, t.Any]:
    """Give a stopped container a bound of tasks that is quickly reached; the words for `probe` that say so."""
    limits.write(machine.container.directory, {"tasks_max": TASKS})
    return {"tasks": TASKS + 100}


def _ptys() -> int:
    """Return how many ptys this host has for all its containers."""
    most, reserved = (int(Path("/proc/sys/kernel/pty", name).read_text()) for name in ("max", "reserve"))
    return most - reserved


@dataclasses.dataclass(frozen=True)
class Mode:
    """How a container is declared, and what its system goes without."""

    options: dict[str, t.Any] = dataclasses.field(default_factory=dict)
    filtered: bool = True


MODES = {
    "auto": Mode(),
    "identity": Mode({"private_users": "identity"}),
    "shared network": Mode({"shared_network": True}),
    "nesting": Mode({"security": {"nesting": True}}),
    "no new privileges": Mode({"security": {"no_new_privileges": True}}),
    "no filter": Mode(filtered=False),
}
"""As `attempts.rows.MODES`, without the one that needs two containers."""


def writable(source: Path, target: str = "/data") -> dict[str, t.Any]:
    """Return a writable mapping."""
    return {"source": str(source), "target": target, "writable": True}


def make_hostile(
    make_machine: MakeMachine,
    mode: str,
    name: str,
    data: Path,
    operating_system: dict[str, t.Any] | None = None,
    **options: t.Any,
) -> Machine:
    """Make a container in a mode; DATA is a writable mapping to `/data`. It is not started."""
    data.mkdir(exist_ok=True)
    mappings = [writable(data), *options.pop("mappings", [])]
    options = {**MODES[mode].options, **options}
    return make_machine(operating_system, name=name, mappings=mappings, filtered=MODES[mode].filtered, **options)


def stop(machine: Machine, timeout: float, grace: float) -> str:
    """Stop it; how that went.

    Args:
        grace: seconds that this may take beyond its time limit.
    """
    began = time.monotonic()
    try:
        machine.stop(timeout)
    except LauncherError as error:
        return str(error)
    return "refused" if time.monotonic() - began < timeout + grace else "too slow"


def package(main: str = "main") -> bytes:
    """Return the package `attempts` as a zip file that Python runs, by that function."""
    buffer = io.BytesIO()
    module = {"held": "filling", "lay": "trap"}.get(main, main)
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("__main__.py", f"from attempts.{module} import {main}\n{main}()\n")
        archive.writestr("attempts/__init__.py", "")
        for path in sorted(ATTEMPTS.glob("*.py")):
            archive.write(path, f"attempts/{path.name}")
    return buffer.getvalue()


def probe(machine: Machine, words: dict[str, t.Any], within: t.Sequence[str] = ()) -> dict[str, t.Any]:
    """Make every attempt as root inside; `attempts`, `rows` and `facts` as attempts/main.py prints them.

    Args:
        within: a command that gets into a container in this one.
    """
    command = [
        "sh",
        "-c",
        'cat > /tmp/attempts && exec /usr/bin/python3 -I /tmp/attempts "$1"',
        "sh",
        json.dumps(words),
    ]
    output = machine.output(*within, *command, input=package(), text=False)
    return t.cast("dict[str, t.Any]", json.loads(output))


def absent(found: dict[str, t.Any]) -> set[str]:
    """Return the attempts for which this host has nothing."""
    missing = set()
    for name, word in found["attempts"].items():
        deed, _space, what = name.partition(" ")
        if deed == "read":
            there = word != "nothing" or (os.path.exists(what) and _has_content(what))
        elif deed == "write":
            there = word != "ENOENT" or os.path.exists(what)
        elif deed == "32":
            there = found["facts"]["32 bits are answered"] == "yes"
        elif "version 1" in name:
            there = any(" - cgroup cgroup " in line for line in mountinfo.lines())
        else:
            there = word != "absent"
        if not there:
            missing.add(name)
    return missing


def _has_content(path: str) -> bool:
    if os.path.isdir(path):
        return bool(os.listdir(path))
    with open(path, "rb") as file:
        return bool(file.read(1))


def _sys_values() -> dict[str, bytes]:
    values = {}
    for directory, _directories, names in os.walk("/proc/sys"):
        for name in names:
            path = os.path.join(directory, name)
            if not any(word in path for word in CHANGING) and not INTERFACE.search(path):
                with contextlib.suppress(OSError), open(path, "rb") as file:
                    values[path] = file.read()
    return values


def _tree(root: str) -> dict[str, t.Any]:
    """Every file of a tree: type, mode, owner, and content or target."""
    found: dict[str, t.Any] = {}
    for directory, directories, names in os.walk(root):
        for name in directories + names:
            path = os.path.join(directory, name)
            try:
                status = os.lstat(path)
            except FileNotFoundError:
                continue  # another program's, which has taken it away
            content: t.Any = None
            if stat.S_ISREG(status.st_mode):
                content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            found[path] = (status.st_mode, status.st_uid, status.st_gid, content)
    return found


def host_state() -> dict[str, dict[str, t.Any]]:
    """Return the host's kernel settings, /usr by its times and samples, /etc byte for byte, the null device."""
    usr: dict[str, t.Any] = {}
    for directory in ("/usr", "/usr/bin", "/usr/lib", "/usr/sbin", "/usr/local"):
        for name in ["."] + os.listdir(directory):
            status = os.lstat(os.path.join(directory, name))
            usr[os.path.join(directory, name)] = (status.st_mode, status.st_mtime_ns, status.st_ctime_ns)
    for path in ("/usr/bin/env", "/usr/bin/su", "/usr/lib/os-release"):
        usr["content of " + path] = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    devices = {path: os.stat(path).st_mode for path in ("/dev/null", "/dev/zero", "/dev/tty", "/dev/fuse")}
    return {"/proc/sys": _sys_values(), "/usr": usr, "/etc": _tree("/etc"), "devices": devices}


def differences(before: dict[str, dict[str, t.Any]]) -> dict[str, t.Any]:
    """Return what has changed on the host."""
    after = host_state()
    return {
        f"{part}: {key}": (before[part].get(key), after[part].get(key))
        for part in before
        for key in before[part].keys() | after[part].keys()
        if before[part].get(key) != after[part].get(key)
    }


@contextlib.contextmanager
def make_overlay(directory: Path, lower: str = "") -> t.Iterator[Path]:
    """Mount an overlayfs, whose mounts cannot map ids, below the directory; over `lower`, or over nothing."""
    parts = {name: directory / name for name in ("lower", "upper", "work", "merged")}
    for path in parts.values():
        path.mkdir()
    options = f"lowerdir={lower or parts['lower']},upperdir={parts['upper']},workdir={parts['work']}"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", str(parts["merged"])], check=True, timeout=60)
    try:
        yield parts["merged"]
    finally:
        subprocess.run(["umount", str(parts["merged"])], check=True, timeout=60)


@contextlib.contextmanager
def mounted(*words: object) -> t.Iterator[None]:
    """Mount as mount(8) does with these words, the last of which is the mount point."""
    subprocess.run(["mount", *map(str, words)], check=True, timeout=60)
    try:
        yield
    finally:
        subprocess.run(["umount", str(words[-1])], check=True, timeout=60)


def attach_loop(path: Path, stack: contextlib.ExitStack) -> str:
    """Return a loop device made from a file until the stack is closed."""
    words = ["losetup", "--find", "--show", str(path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        pytest.skip("this host has no loop devices")
    device = done.stdout.strip()
    stack.callback(subprocess.run, ["losetup", "--detach", device], check=True, timeout=60)
    return device
