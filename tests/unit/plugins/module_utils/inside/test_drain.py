# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long the output of a command that has ended keeps its caller waiting, and what becomes of input nobody reads."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.inside import terminal
from ansible_collections.unshare.container.plugins.module_utils.launcher.courier import Courier
from ansible_collections.unshare.container.plugins.module_utils.launcher.process import Process

HELD, DRAIN = 0.4, 1.2  # seconds
SLACK = 1.0  # seconds that a loaded machine may add


class Outputs:
    """A courier's ends, whose bytes this test decides."""

    def __init__(self, count: int, held: bool) -> None:
        pipes = [os.pipe() for _number in range(count)]
        self.input = -1
        self.outputs = [read for read, _write in pipes]
        self.theirs = [write for _read, write in pipes]
        self.held = held
        self.is_given_up = False
        self.ended = threading.Event()

    def end(self) -> None:
        self.ended.set()

    def is_held(self) -> bool:
        return self.held

    def close_input(self) -> None:
        """There is none."""


@pytest.fixture(autouse=True)
def limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "HELD_SECONDS", HELD)
    monkeypatch.setattr(terminal, "DRAIN_SECONDS", DRAIN)


@contextlib.contextmanager
def standard_output() -> t.Iterator[int]:
    """Yield the other end of a pipe that is standard output and error meanwhile."""
    kept = [os.dup(1), os.dup(2)]
    read, write = os.pipe()
    try:
        os.dup2(write, 1)
        os.dup2(write, 2)
        os.close(write)
        yield read
    finally:
        for number, descriptor in enumerate(kept, 1):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.close(read)


def seconds(courier: Outputs, feed: t.Callable[[threading.Event], None]) -> float:
    """Return how long a carrier runs after the end of a process; `feed` runs from that on, until its event is set."""
    pid = os.fork()
    if pid == 0:
        os._exit(3)
    process = Process.pin_child(pid)
    done = threading.Event()

    def wait_and_feed() -> None:
        courier.ended.wait()
        feed(done)
        for descriptor in courier.theirs:
            os.close(descriptor)

    feeder = threading.Thread(target=wait_and_feed)
    bound = threading.Timer(3 * DRAIN + SLACK, done.set)  # or a carrier without a limit would run for ever
    feeder.start()
    bound.start()
    try:
        carrier = terminal.Carrier(process, t.cast("Courier", courier))
        began = time.monotonic()
        assert os.WEXITSTATUS(carrier.run()) == 3
        return time.monotonic() - began
    finally:
        bound.cancel()
        done.set()
        courier.ended.set()
        feeder.join()
        process.close()


@pytest.mark.parametrize(
    ("outputs", "pause", "held", "limit"),
    [
        (1, 60, True, HELD),
        (1, 60, False, DRAIN),
        (1, 0.1, True, HELD),
        (1, 0.1, False, DRAIN),
        (1, 0.001, True, HELD),
        (1, 0.001, False, DRAIN),
        (2, 0.1, True, HELD),
        (2, 0.3, False, DRAIN),
    ],
)
def test_no_byte_that_comes_renews_the_time(outputs: int, pause: float, held: bool, limit: float) -> None:
    courier = Outputs(outputs, held)

    def drip(done: threading.Event) -> None:
        while not done.wait(pause):
            with contextlib.suppress(BrokenPipeError):
                for descriptor in courier.theirs:
                    os.write(descriptor, b".")

    with standard_output():
        taken = seconds(courier, drip)
    assert limit / 2 <= taken < limit + SLACK
    assert courier.is_given_up


def test_who_reads_slowly_loses_nothing() -> None:
    """A pager reads on when its person does; meanwhile nobody waits for root inside."""
    courier = Outputs(2, held=True)
    size = 1 << 18
    read = bytearray()

    def write(_done: threading.Event) -> None:
        for descriptor in courier.theirs:
            os.write(descriptor, bytes(size // 2))

    def read_late(source: int) -> None:
        time.sleep(2 * DRAIN)  # the time itself is what is tried
        while len(read) < size:
            read.extend(os.read(source, 1 << 16))

    with standard_output() as source:
        reader = threading.Thread(target=read_late, args=(source,))
        courier_ended = courier.end

        def end() -> None:
            courier_ended()
            reader.start()

        courier.end = end  # type: ignore[method-assign]
        seconds(courier, write)
        reader.join(10)
    assert len(read) == size
    assert not courier.is_given_up


@pytest.mark.parametrize("closed_first", [True, False])
@pytest.mark.parametrize("discard", [True, False])
def test_input_that_nobody_reads_is_dropped_where_that_is_asked_for(closed_first: bool, discard: bool) -> None:
    """A command may close its input before it ends. SSH calls it a lost connection when what it sends is not read."""
    go_read, go_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.read(go_read, 1)
        os._exit(3)
    process = Process.pin_child(pid)
    read, write = os.pipe()
    courier = Outputs(0, held=False)
    courier.input = write

    def close_input() -> None:
        if courier.input >= 0:
            os.close(courier.input)
            courier.input = -1
            os.write(go_write, b"x")

    courier.close_input = close_input  # type: ignore[method-assign]
    if closed_first:
        os.close(read)
    else:
        os.write(go_write, b"x")
    kept = os.dup(0)
    source, sink = os.pipe()
    os.dup2(source, 0)
    os.close(source)
    sent = threading.Event()

    def send() -> None:
        with contextlib.suppress(BrokenPipeError):
            for _number in range(16):
                os.write(sink, bytes(1 << 16))
            sent.set()
        os.close(sink)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        carrier = terminal.Carrier(process, t.cast("Courier", courier), discard)
        assert os.WEXITSTATUS(carrier.run()) == 3
        assert not discard or sent.wait(10)
    finally:
        os.dup2(kept, 0)
        os.close(kept)
        sender.join(10)
        process.close()
        for descriptor in (go_read, go_write, *([] if closed_first else [read])):
            os.close(descriptor)
    assert not sender.is_alive()
    assert sent.is_set() == discard


@pytest.mark.parametrize("entered", [True, False])
def test_what_a_command_has_given_is_reaped_while_a_reader_stalls(
    monkeypatch: pytest.MonkeyPatch, entered: bool
) -> None:
    """PID 1 waits for that, and a stop for PID 1; who has not entered is not woken for nothing."""
    looked: list[float] = []
    monkeypatch.setattr(terminal, "REAP_PAUSE", 0.05)
    monkeypatch.setattr(terminal, "has_entered", lambda: entered)
    monkeypatch.setattr(terminal, "reap_left", lambda: looked.append(time.monotonic()))
    courier = Outputs(1, held=False)
    pid = os.fork()
    if pid == 0:
        os._exit(3)
    process = Process.pin_child(pid)
    wake, woken = os.pipe()
    timer = threading.Timer(1.0, os.write, (woken, b"x"))
    with standard_output():
        carrier = terminal.Carrier(process, t.cast("Courier", courier))
        carrier.drained = -60.0

        def feed() -> None:
            with contextlib.suppress(BrokenPipeError):
                os.write(courier.theirs[0], bytes(1 << 18))  # more than the pipes take

        def give_up(_number: int) -> None:
            carrier.given_up = True

        feeder = threading.Thread(target=feed)
        feeder.start()
        began = time.monotonic()
        timer.start()
        assert os.WEXITSTATUS(carrier.run(wake, give_up)) == 3
        os.close(courier.outputs[0])
        feeder.join()
    later = [moment for moment in looked if began + 0.4 < moment < began + 0.9]  # what can be carried is by then
    assert len(later) >= 4 if entered else not later
    for descriptor in (wake, woken, *courier.theirs):
        os.close(descriptor)
    process.close()


def test_one_that_says_too_much_is_not_waited_for_but_reaped(monkeypatch: pytest.MonkeyPatch) -> None:
    left: list[int] = []
    monkeypatch.setattr(terminal, "leave", left.append)
    courier = Outputs(1, held=False)
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(3)
    process = Process.pin_child(pid)
    os.write(courier.theirs[0], bytes(100))
    with standard_output(), pytest.raises(terminal.TooMuch):
        terminal.Carrier(process, t.cast("Courier", courier), limit=10).run()
    assert left == [pid]
    os.waitpid(pid, 0)
    process.close()
    for descriptor in (*courier.theirs, *courier.outputs):
        os.close(descriptor)
