# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests of a container's life stand on: runs in processes of their own, which can be killed; what is left."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
import time
import traceback
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import linux
from ansible_collections.unshare.container.plugins.module_utils.launcher.process import Process, start_time
from ansible_collections.unshare.container.plugins.module_utils.life.container import Container
from ansible_collections.unshare.container.plugins.module_utils.life.life_cycle import LifeCycle
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout

from .conftest import Host

FULL = bool(os.environ.get("UNSHARE_FULL"))
"""Whether the long version was asked for: more rounds, more containers."""


def rounds(usual: int, full: int) -> int:
    """Return how often something is done."""
    return full if FULL else usual


def seeded() -> random.Random:
    """Random choices that can be made again: set UNSHARE_SEED to the number that a failed test prints."""
    seed = int(os.environ.get("UNSHARE_SEED") or random.SystemRandom().randrange(10**6))
    print(f"UNSHARE_SEED={seed}")
    return random.Random(seed)


def reach(name: str, state: str, system: Path | None = None, **options: t.Any) -> LifeCycle:
    """Do what the module does for one container, in this process."""
    cycle = LifeCycle(Layout(), name, Container(name), system=system, **{"timeout": 30.0, **options})
    cycle.reach(state)
    return cycle


def children() -> list[str]:
    """Return the children of this process that it has not reaped."""
    return [pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()]


class Run:
    """A function in a process of its own, which may be killed.

    Attributes:
        pid: that process.
    """

    def __init__(self, function: t.Callable[[], object]) -> None:
        self.read, write = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._run(function, write)
        os.close(write)
        self.process = Process(self.pid, linux.pidfd_open(self.pid))

    @staticmethod
    def _run(function: t.Callable[[], object], write: int) -> t.NoReturn:
        status = 1
        try:
            try:
                text = "" if (result := function()) is None else str(result)
                status = 0
            except BaseException as error:
                text = f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
            with open(write, "w") as stream:
                stream.write(text)
        finally:
            os._exit(status)

    def children(self) -> list[int]:
        """Return the processes that it has made and that still exist."""
        with contextlib.suppress(OSError):
            return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
        return []

    def kill(self) -> None:
        """Kill it at once."""
        self.process.signal(signal.SIGKILL)

    def end(self, timeout: float = 60.0) -> tuple[int, str]:
        """Wait for its end; its exit status (negative: the signal that ended it), and what it returned or raised."""
        if not self.process.wait(timeout):
            self.kill()
            os.waitpid(self.pid, 0)
            raise AssertionError(f"a run did not end within {timeout:g} s")
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        self.process.close()
        # A process that it left behind may hold the pipe; what the run itself wrote is there.
        os.set_blocking(self.read, False)
        try:
            text = os.read(self.read, 1 << 20).decode()
        except BlockingIOError:
            text = ""
        os.close(self.read)
        return status, text

    def result(self, timeout: float = 60.0) -> str:
        """Wait for its end, which must be a good one; what it returned."""
        status, text = self.end(timeout)
        assert status == 0, text
        return text


def kill_pid(pid: int) -> bool:
    """Kill a process that may have ended already; whether it was there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def pause(seconds: float) -> None:
    """Let time pass: the moment of a kill is to be one that nothing announces."""
    time.sleep(seconds)


class Remains:
    """What is on the host of the containers whose names begin with `prefix`, and of this process."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.before = self._look()

    def _look(self) -> dict[str, t.Any]:
        def ours(names: t.Iterable[str]) -> set[str]:
            return {name for name in names if self.prefix in name or Host.directory in name}

        return {
            "mounts": ours(Host.mounts()),
            "control groups": ours(Host.control_groups()),
            "/run/unshare": ours(Host.listing("/run/unshare")),
            "containers": ours(Host.listing("/var/lib/unshare/containers")),
            "systems": ours(Host.listing("/var/lib/unshare/systems")),
            "descriptors": Host.descriptors(),
            "processes": self._processes(),
            "children": self._children(),
        }

    def _processes(self) -> set[str]:
        found = set()
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                if start_time(int(pid)) is None:
                    continue  # has ended, and the host's init is about to wait for it
                command = Path("/proc", pid, "cmdline").read_bytes()
                script = b"run-container" in command or b"enter-container" in command
                inside = self.prefix in Path("/proc", pid, "cgroup").read_text()
                if inside or (script and self.prefix.encode() in command):
                    found.add(pid)
        return found

    @staticmethod
    def _children() -> set[str]:
        return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())

    def check(self) -> None:
        """Fail when anything is there that was not, or the other way round but for a child that has been waited for."""
        after = self._look()
        after["children"] |= self.before["children"]
        differences = {key: (self.before[key] ^ after[key]) for key in after if key != "descriptors"}
        differences["descriptors"] = set(self.before["descriptors"].items()) ^ set(after["descriptors"].items())
        left = {key: value for key, value in differences.items() if value}
        assert not left, left


def nothing_in_memory(name: str) -> None:
    """Fail when a stopped container has left a control group, a runtime file or a process."""
    left = Path("/run/unshare", name)
    assert not left.exists(), sorted(path.name for path in left.iterdir())
    assert not {path for path in Host.control_groups() if path.endswith("/" + name)}


@pytest.fixture
def host_unchanged(request: pytest.FixtureRequest) -> t.Iterator[None]:
    """Fail when a test leaves anything of its containers behind, or of its own process."""
    remains = Remains(request.module.PREFIX)
    yield
    remains.check()
