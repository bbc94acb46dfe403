# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The child that has the ends of what is shared, and that can be left behind."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.courier import Courier, Shared
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.launcher.process import reap_left

PATIENCE = 10.0


def everything(descriptor: int) -> bytes:
    """Return what comes from a courier up to the end."""
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    said = b""
    while poll.poll(PATIENCE * 1000):
        part = os.read(descriptor, 1 << 16)
        if not part:
            return said
        said += part
    raise AssertionError(f"no end after {said!r}")


@pytest.fixture(autouse=True)
def nothing_left() -> t.Iterator[None]:
    """See that no descriptor is left."""
    before = os.listdir("/proc/self/fd")
    yield
    assert os.listdir("/proc/self/fd") == before


@pytest.fixture
def output() -> t.Iterator[tuple[Courier, int]]:
    """Yield a courier that reads a pipe, and the pipe's other end."""
    read, write = os.pipe()
    courier = Courier(False, 1, lambda: Shared(None, [read], said="hello"), (read,))
    os.close(read)
    assert courier.await_made() == "hello"
    yield courier, write
    courier.close()
    os.close(write)


def test_what_is_there_at_the_end_comes(output: tuple[Courier, int]) -> None:
    courier, write = output
    os.write(write, b"x" * 60000)
    courier.end()
    assert everything(courier.outputs[0]) == b"x" * 60000


def test_input_arrives_and_ends() -> None:
    read, write = os.pipe()
    courier = Courier(True, 0, lambda: Shared(write, []), (write,))
    os.close(write)
    os.write(courier.input, b"words")
    courier.close_input()
    assert everything(read) == b"words"
    courier.close()
    os.close(read)


def test_it_has_nothing_else_of_its_parents(output: tuple[Courier, int]) -> None:
    courier, _write = output
    assert courier.process is not None
    child = f"/proc/{courier.process.pid}/fd/"
    shared = {os.readlink(child + name) for name in os.listdir(child)}
    assert all(name.startswith("pipe:") for name in shared)
    assert not shared & {os.readlink(f"/proc/self/fd/{number}") for number in (0, 1, 2)}


def test_it_makes_what_it_is_to_while_its_parent_goes_on() -> None:
    go_read, go_write = os.pipe()

    def make() -> Shared:
        ready = select.select([go_read], [], [], PATIENCE)[0]
        return Shared(None, [], said=os.read(go_read, 1).decode() if ready else "nobody went on")

    courier = Courier(False, 0, make, (go_read,))
    os.write(go_write, b"y")
    assert courier.await_made(time.monotonic() + 2 * PATIENCE) == "y"
    courier.close()
    os.close(go_read)
    os.close(go_write)


def test_a_failure_is_told() -> None:
    def make() -> t.Any:
        raise LauncherError("it cannot be")

    with pytest.raises(LauncherError, match="^it cannot be$"):
        Courier(True, 2, make, ()).await_made()


def test_it_is_given_up_when_it_does_not_answer() -> None:
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        Courier(True, 2, lambda: signal.pause() or Shared(None, []), ()).await_made(began + 0.2)  # type: ignore[func-returns-value]
    assert time.monotonic() - began < PATIENCE


def test_who_holds_it_keeps_it_alone(output: tuple[Courier, int]) -> None:
    """Not its parent; and it ends when it is let go of."""
    courier, write = output
    assert courier.process is not None
    pid = courier.process.pid
    silent, kept = socket.socketpair()
    holder = os.fork()
    if holder == 0:
        ctypes.CDLL(None).splice(silent.fileno(), None, write, None, 4096, 0)
        os._exit(0)
    try:
        deadline = time.monotonic() + PATIENCE
        while Path(f"/proc/{holder}/stat").read_text().rpartition(")")[2].split()[0] != "S":  # it is in the call
            assert time.monotonic() < deadline
        courier.end()  # it asks how much there is
        while not courier.is_held():
            assert time.monotonic() < deadline
        began = time.monotonic()
        courier.close()
        assert time.monotonic() - began < 2
        assert os.path.exists(f"/proc/{pid}")
    finally:
        os.kill(holder, signal.SIGKILL)
        os.waitpid(holder, 0)
        silent.close()
        kept.close()
    while os.path.exists(f"/proc/{pid}"):
        reap_left()
        assert time.monotonic() < deadline + PATIENCE
