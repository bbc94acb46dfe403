# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What another process can take away, hold or go on with keeps nobody waiting."""

from __future__ import annotations

import array
import contextlib
import os
import select
import signal
import socket
import struct
import subprocess
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.inside import questions
from ansible_collections.unshare.container.plugins.module_utils.launcher import (
    courier,
    excursion,
    linux,
    notification,
    process,
)

LONG = 30
"""Seconds for which a closing would wait."""


POLL = select.poll


class Stolen:
    """A poll that sees what is in a pipe, of which somebody takes it away then."""

    def __init__(self) -> None:
        self.poll_object = POLL()

    def register(self, descriptor: int, events: int) -> None:
        self.poll_object.register(descriptor, events)

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        found = self.poll_object.poll(timeout)
        for descriptor, _events in found:
            other = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY)
            os.read(other, 1)
            os.close(other)
        return found


@pytest.fixture(autouse=True)
def bounded() -> t.Iterator[None]:
    """End what waits all the same."""

    def ring(_number: int, _frame: object) -> None:
        raise AssertionError("it waits")

    former = signal.signal(signal.SIGALRM, ring)
    signal.alarm(10)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, former)


def pipe_to_read() -> tuple[int, int]:
    """Return a pipe's reading and writing end, as a courier's parent gets it."""
    read, write = os.pipe()
    os.set_blocking(read, False)
    return read, write


@pytest.fixture
def pipe() -> t.Iterator[tuple[int, int]]:
    """Yield a pipe for the host to read, with a byte in it."""
    ends = pipe_to_read()
    os.write(ends[1], b"x")
    yield ends
    for end in ends:
        os.close(end)


def test_an_answer_that_is_taken_away(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(questions.select, "poll", Stolen)
    (errors, no_errors), (process, runs) = os.pipe(), os.pipe()
    assert questions._read_all(pipe[0], errors, process, time.monotonic() + 0.2) == (b"", False)
    for descriptor in (errors, no_errors, process, runs):
        os.close(descriptor)


@pytest.mark.parametrize(
    ("script", "said", "over"),
    [
        ("echo one; echo two >&2", b"one\n", True),
        ("yes | head -c 3000000 >&2; echo one", b"one\n", True),  # more than a pipe takes
        ("echo one; exec >&-; yes | head -c 3000000 >&2", b"one\n", True),
        ("exec 2>&-; echo one", b"one\n", True),
        ("echo one; sleep 9 & exit 3", b"one\n", False),
        ("echo one; exec >&- 2>&-; exec sleep 9", b"one\n", False),
    ],
)
def test_an_answer_is_read_whatever_else_is_said(script: str, said: bytes, over: bool) -> None:
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as asked:
        assert asked.stdout is not None
        assert asked.stderr is not None
        descriptor = os.pidfd_open(asked.pid)
        deadline = time.monotonic() + (20 if over else 0.5)
        assert questions._read_all(asked.stdout.fileno(), asked.stderr.fileno(), descriptor, deadline) == (said, over)
        os.close(descriptor)
        asked.kill()


@pytest.mark.parametrize("number", [1, 2])
def test_output_of_a_command_that_is_taken_away(number: int) -> None:
    read, write = os.pipe()  # as a courier gets it
    flow = courier.Flow(read, number)
    flow.read()
    assert flow.open
    assert flow.pending == b""
    os.close(read)
    os.close(write)


def written(output: Path, held: int, more: int) -> bytes:
    """Return what a courier writes of a pipe that holds some, and to which more is written after each read."""
    read, write = pipe_to_read()
    os.set_blocking(write, False)
    os.write(write, b"h" * held)
    target = os.open(output, os.O_WRONLY | os.O_CREAT)
    control, told = os.pipe()
    os.close(told)
    service = courier.SharedCopier([(read, target)], None, control, None)
    flow = service.flows[0]
    take = flow.read

    def read_more() -> None:
        take()
        os.write(write, b"m" * more)

    flow.read = read_more  # type: ignore[method-assign]
    service.run()
    os.close(control)
    os.close(write)
    if service.flows:  # what is there is not looked at again when there is nothing
        os.close(read)
        os.close(target)
    return output.read_bytes()


@pytest.mark.parametrize("held", [0, 1, 4096, 4097, 65536])
@pytest.mark.parametrize("more", [0, 1000])
def test_what_comes_after_the_end_is_left(tmp_path: Path, held: int, more: int) -> None:
    """All that was there is not."""
    assert written(tmp_path / "output", held, more) == b"h" * held


def test_a_child_that_is_traced_is_looked_at() -> None:
    """Its end is its tracer's to know first."""
    import ctypes

    go_read, go_write = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(go_read, 1)
        os._exit(9)
    traced_read, traced_write = os.pipe()
    tracer = os.fork()
    if tracer == 0:
        os.write(traced_write, b"%d" % ctypes.CDLL(None).ptrace(0x4206, child, 0, 0))
        signal.pause()
        os._exit(0)
    assert os.read(traced_read, 9) == b"0"
    found = process.Process(child, linux.pidfd_open(child))
    os.write(go_write, b"x")
    assert found.wait(10)
    try:
        assert os.WEXITSTATUS(process.wait_status(child)) == 9
    finally:
        os.kill(tracer, signal.SIGKILL)
        os.waitpid(tracer, 0)
        found.close()
        for end in (go_read, go_write, traced_read, traced_write):
            os.close(end)
    process.reap_left()
    with pytest.raises(ChildProcessError):
        os.waitpid(child, 0)


class Sender:
    """Somebody who sends connections that linger, the last of their kind. Their other ends are kept."""

    def __init__(self, path: Path) -> None:
        self.kept: list[socket.socket] = []
        self.host = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.host.connect(str(path))

    def send(self, text: bytes, count: int = 1) -> None:
        made = []
        for _number in range(count):
            with socket.create_server(("127.0.0.1", 0)) as server:
                made.append(socket.create_connection(server.getsockname()))
                self.kept.append(server.accept()[0])
            made[-1].setblocking(False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    made[-1].send(bytes(1 << 16))
            made[-1].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, LONG))
        files = array.array("i", [sender.fileno() for sender in made])
        self.host.sendmsg([text], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
        for sender in made:
            sender.close()

    def close(self) -> None:
        for connection in [*self.kept, self.host]:
            connection.close()


@pytest.fixture
def listening(tmp_path: Path) -> t.Iterator[tuple[notification.Notification, Sender]]:
    found = notification.Notification(str(tmp_path / "notify"), os.geteuid())
    sender = Sender(tmp_path / "notify")
    yield found, sender
    if found.fileno() >= 0:
        found.close()
    sender.close()


Listening = tuple[notification.Notification, Sender]


def test_messages_come_in_their_order(listening: Listening) -> None:
    listener, sender = listening
    for text in (b"STATUS=a\nREADY=1", b"", b"x" * 5000):
        sender.host.send(text)
    assert [listener.take() for _number in range(4)] == [
        [b"STATUS=a", b"READY=1"],
        [b""],
        [b"x" * notification.MESSAGE_LIMIT],
        [],
    ]


@pytest.mark.parametrize("count", [1, 5])
def test_files_that_come_with_a_message(listening: Listening, count: int) -> None:
    listener, sender = listening
    sender.send(b"STATUS=files", count)
    sender.host.send(b"READY=1")
    began = time.monotonic()
    assert listener.take() == [b"STATUS=files"]
    assert listener.take() == [b"READY=1"]
    assert listener.take() == []
    assert time.monotonic() - began < 4


@pytest.mark.parametrize("before", [0, 3])
def test_files_that_are_left_when_it_closes(listening: Listening, before: int) -> None:
    listener, sender = listening
    for _number in range(before):
        sender.host.send(b"STATUS=x")
    for _number in range(3):
        sender.send(b"STATUS=files", 2)
    descriptors = os.listdir("/proc/self/fd")
    began = time.monotonic()
    listener.close()
    assert time.monotonic() - began < 4
    assert len(os.listdir("/proc/self/fd")) == len(descriptors) - 1
    with pytest.raises(ConnectionRefusedError):
        sender.host.send(b"STATUS=too late")


def test_a_child_has_it_last() -> None:
    """The other end of a pipe sees its close."""
    read, write = os.pipe()
    excursion.close_in_child(write)
    assert os.read(read, 1) == b""
    os.close(read)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(write)
