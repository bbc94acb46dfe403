# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A PID 1 that does not end, as a process of the host has not let go of its children inside, is said by a stop."""

from __future__ import annotations

import contextlib
import os
import signal
import types
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import linux
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.launcher.process import Process, start_time
from ansible_collections.unshare.container.plugins.module_utils.life import container as container_module

pytestmark = pytest.mark.root


class Holder:
    """A process of the host that has a child in a pid namespace, whose PID 1 is another of its children.

    It reaps its children, but for that PID 1, when it is told.
    """

    def __init__(self, children: int) -> None:
        said, told = os.pipe()
        self.go_read, self.go = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                linux.unshare(linux.CLONE_NEWPID)
                numbers = [self._child() for _number in range(1 + children)]
                os.write(told, b"%d" % numbers[0])
                os.read(self.go_read, 1)
                for number in numbers[1:]:
                    os.waitpid(number, 0)
                os.read(self.go_read, 1)
            finally:
                os._exit(0)
        self.first = int(os.read(said, 20))
        os.close(said)
        os.close(told)

    @staticmethod
    def _child() -> int:
        pid = os.fork()
        if pid == 0:
            signal.pause()
        return pid

    def let_go(self) -> None:
        os.write(self.go, b"x")

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.go_read)
        os.close(self.go)


@pytest.fixture
def holders() -> t.Iterator[t.Callable[[int], Holder]]:
    with contextlib.ExitStack() as stack:

        def make(children: int) -> Holder:
            holder = Holder(children)
            stack.callback(holder.end)
            return holder

        yield make


@pytest.mark.parametrize("children", [1, 3])
def test_who_keeps_it_from_ending_is_named(holders: t.Callable[[int], Holder], children: int) -> None:
    holder = holders(children)
    name = Path(f"/proc/{holder.pid}/comm").read_text().strip()
    process = Process(holder.first, os.pidfd_open(holder.first))
    assert process.unreaped() == []
    assert not process.end(2)
    assert process.unreaped() == [f"{holder.pid} ({name})"]
    holder.let_go()
    assert process.end(5)
    process.close()


def stopped(tmp_path: Path, holder: Holder, seconds: float) -> None:
    """Clear a container with this first process, of which nothing else is left."""
    started = start_time(holder.first, ended=True)
    container = container_module.Container.__new__(container_module.Container)
    container.name = "web"
    container.run_directory = str(tmp_path)
    stub: t.Any = container
    stub.process = lambda ended: Process.find(holder.first, started, ended)
    stub._kill = lambda _process, _timeout: True
    stub.cgroup = types.SimpleNamespace(whole="/x", remove=lambda: None, exists=lambda: True)
    (tmp_path / "state.json").write_text("{}")
    container.clear(seconds)


def test_a_stop_says_that_it_stays_and_the_next_finishes_it(holders: t.Callable[[int], Holder], tmp_path: Path) -> None:
    holder = holders(1)
    with pytest.raises(LauncherError, match=rf"web: its PID 1 \({holder.first}\) does not end.*: {holder.pid} \("):
        stopped(tmp_path, holder, 2)
    assert (tmp_path / "state.json").exists(), "nobody would know of it any more"
    holder.let_go()
    stopped(tmp_path, holder, 5)
    assert not (tmp_path / "state.json").exists()


def test_one_that_ends_is_stopped(holders: t.Callable[[int], Holder], tmp_path: Path) -> None:
    stopped(tmp_path, holders(0), 5)
    assert os.listdir(tmp_path) == []
