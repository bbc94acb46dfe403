# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Base systems with systemd, booted: one, or many at once, and what they take while they idle."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import traceback
import typing as t
from pathlib import Path

from ansible_collections.unshare.container.plugins.module_utils.life.container import Container

from .subjects import nspawn, skeleton

MEBIBYTE = 1 << 20
TIMEOUT = 300.0
"""Seconds in which a system is ready, also when many start."""
SETTLE = 2.0
"""Seconds after which what boots is idle."""


class Ours:
    """A base system started as the module does it."""

    name = "module"

    def __init__(self, system: Path, number: int | str) -> None:
        self.system = system
        self.container = Container(number if isinstance(number, str) else f"bench-{number}")

    def start(self) -> float:
        began = time.perf_counter()
        with self.container.lock(60):
            self.container.start(str(self.system), timeout=TIMEOUT)
        return time.perf_counter() - began

    def stop(self) -> None:
        with self.container.lock(60):
            self.container.stop(20)
            self.container.remove()

    def time(self) -> float:
        seconds = self.start()
        self.stop()
        return seconds

    def processes(self) -> list[int]:
        group = f"/sys/fs/cgroup/unshare/{self.container.name}"
        files = [os.path.join(parent, "cgroup.procs") for parent, _directories, _files in os.walk(group)]
        return [int(pid) for file in files for pid in Path(file).read_text().split()]


class Peer:
    """A system that another program boots, and which says when it is ready (`sd_notify`).

    Args:
        name: of the program, in the results.
        number: which tells several apart.
        words: the command that boots it, and which ends with it.
        stopped_by: the command that stops it; without one, its program gets SIGTERM.
    """

    def __init__(self, name: str, number: int, words: list[str], stopped_by: list[str] | None = None) -> None:
        self.name = name
        self.words = words
        self.stopped_by = stopped_by
        self.path = f"/run/bench-notify-{os.getpid()}-{name.replace(' ', '-')}-{number}"

    def begin(self) -> None:
        """Start it, and do not wait."""
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(60)
        environment = {**os.environ, "NOTIFY_SOCKET": self.path, "SYSTEMD_LOG_LEVEL": "warning"}
        null = subprocess.DEVNULL
        self.process = subprocess.Popen(
            self.words, env=environment, stdin=null, stdout=null, stderr=subprocess.PIPE, text=True
        )

    def await_ready(self) -> None:
        """Wait until it is ready."""
        try:
            while b"READY=1" not in self.socket.recv(4096).split(b"\n"):
                pass
        except TimeoutError as error:
            self.process.kill()
            raise RuntimeError(f"{self.name}: {self.process.communicate()[1]}") from error

    def start(self) -> float:
        began = time.perf_counter()
        self.begin()
        self.await_ready()
        return time.perf_counter() - began

    def stop(self) -> None:
        if self.stopped_by:
            subprocess.run(self.stopped_by, capture_output=True, check=False, timeout=60)
        else:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
        self.socket.close()
        os.unlink(self.path)

    def time(self) -> float:
        seconds = self.start()
        self.stop()
        return seconds

    def processes(self) -> list[int]:
        found, new = [], [self.process.pid]
        while new:
            found += new
            children = [Path(f"/proc/{pid}/task/{pid}/children").read_text().split() for pid in new]
            new = [int(child) for of_one in children for child in of_one]
        return found


BOOTED_BY_NSPAWN = ("--console=read-only", "--notify-ready=yes", "--boot")


def by_nspawn(directory: Path, number: int) -> Peer:
    """Return a base system of the host's /usr that systemd-nspawn boots."""
    root = directory / f"boot-{number}"
    if not root.exists():
        skeleton(root)
    return Peer("systemd-nspawn -b", number, nspawn(root, [*BOOTED_BY_NSPAWN, f"--machine=bench-{number}"]))


def many(
    systems: list[t.Any], measure: bool = False, then: t.Callable[[], None] = lambda: None
) -> tuple[float, dict[str, float]]:
    """Start all at once, each from a process of its own; the seconds until the last is ready, and figures for each.

    :param then: called when all are ready.

    A peer's system has a supervisor that stays, so its start is one of this process's.
    """
    before = used_memory()
    began = time.perf_counter()
    try:
        if isinstance(systems[0], Ours):
            children = [_fork(system) for system in systems]
            failed = [pid for pid in children if os.waitpid(pid, 0)[1]]
            if failed:
                raise RuntimeError(f"{len(failed)} of {len(systems)} did not start")
        else:
            for system in systems:
                system.begin()
            for system in systems:
                system.await_ready()
        seconds = time.perf_counter() - began
        then()
        figures = {}
        if measure:
            time.sleep(SETTLE)
            pids = [pid for system in systems for pid in system.processes()]
            count = len(systems)
            figures["memory, free"] = (used_memory() - before) / count / MEBIBYTE
            figures["memory, PSS"] = sum(share(pid) for pid in pids) / count / MEBIBYTE
            figures["launchers left"] = float(launchers())
        return seconds, figures
    finally:
        for system in systems:
            system.stop()


def _fork(system: Ours) -> int:
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            system.start()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return pid


def used_memory() -> float:
    """Bytes that are not available (`free`), after what can be given back was."""
    subprocess.run(["sync"], check=True)
    Path("/proc/sys/vm/drop_caches").write_text("3")
    fields = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    values = {name: int(fields[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable")}
    return values["MemTotal"] - values["MemAvailable"]


def share(pid: int) -> float:
    """Bytes of a process, with its part of what it shares (PSS)."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


def launchers() -> int:
    """How many processes of this collection's stayed behind: Python, and a child of none of ours."""
    found = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            words = Path("/proc", pid, "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        found += any(b"/run-container" in word and b"bench" in word for word in words)
    return found


def forget(name: str) -> None:
    """Take away what is kept of a container."""
    container = Container(name)
    with container.lock(60):
        container.stop(5)
        container.remove()
