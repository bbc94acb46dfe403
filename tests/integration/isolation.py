# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests of isolation plant on the host, what they run inside, and what must be as before."""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import json
import os
import socket
import stat
import subprocess
import typing as t
from pathlib import Path

if t.TYPE_CHECKING:
    from .conftest import Machine

PROBE = Path(__file__).with_name("isolation_probe.py")
MARKER = "a-process-of-the-host-for-the-tests"
CHANGING = ("random", "nr", "state", "count", "pid", "hostname", "_id", "uuid", "domain", "drop_caches")
"""Of names in /proc/sys whose values change by themselves, or are of the reader."""

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
            "own": ["/proc/1/fd", "/proc/self/fd"],
        }


def probe(machine: Machine, words: dict[str, t.Any]) -> dict[str, t.Any]:
    """Run every attempt as root inside; the word for each."""
    output = machine.output("/usr/bin/python3", "-I", "-", json.dumps(words), input=PROBE.read_text())
    return t.cast("dict[str, t.Any]", json.loads(output))


def _sys_values() -> dict[str, bytes]:
    values = {}
    for directory, _directories, names in os.walk("/proc/sys"):
        for name in names:
            path = os.path.join(directory, name)
            if not any(word in path for word in CHANGING):
                with contextlib.suppress(OSError), open(path, "rb") as file:
                    values[path] = file.read()
    return values


def _tree(root: str) -> dict[str, t.Any]:
    """Every file of a tree: type, mode, owner, and content or target."""
    found: dict[str, t.Any] = {}
    for directory, directories, names in os.walk(root):
        for name in directories + names:
            path = os.path.join(directory, name)
            status = os.lstat(path)
            content: t.Any = None
            if stat.S_ISREG(status.st_mode):
                content = hashlib.sha256(Path(path).read_bytes()).hexdigest()
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            found[path] = (status.st_mode, status.st_uid, status.st_gid, content)
    return found


def host_state() -> dict[str, dict[str, t.Any]]:
    """The host's kernel settings, /usr by its times and samples, /etc byte for byte, the null device."""
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
    """What of the host is not as it was."""
    after = host_state()
    return {
        f"{part}: {key}": (before[part].get(key), after[part].get(key))
        for part in before
        for key in before[part].keys() | after[part].keys()
        if before[part].get(key) != after[part].get(key)
    }


@contextlib.contextmanager
def make_overlay(directory: Path, lower: str = "") -> t.Iterator[Path]:
    """An overlayfs, whose mounts cannot map ids, mounted below the directory; over `lower`, or over nothing."""
    parts = {name: directory / name for name in ("lower", "upper", "work", "merged")}
    for path in parts.values():
        path.mkdir()
    options = f"lowerdir={lower or parts['lower']},upperdir={parts['upper']},workdir={parts['work']}"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", str(parts["merged"])], check=True, timeout=60)
    try:
        yield parts["merged"]
    finally:
        subprocess.run(["umount", str(parts["merged"])], check=True, timeout=60)
