# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A child that alone has the host's ends of pipes and ptys whose other ends are in a container, and can be left behind.

Whoever has an end of a pipe or a pty can hold its lock in the kernel for as long as it likes: with splice(2) from a
silent socket, or with a system call on memory whose page never comes. Who then reads, writes, resizes or closes another
end, or only ends while holding it, waits, and no signal ends that wait. So no process that serves somebody has such an
end. It has a pipe to this child instead, of which nobody else has an end, and carries the bytes from there.

The child has no other descriptor of its parent's, so that nobody waits for it to close one, and dies with its parent.
"""

from __future__ import annotations

import _signal
import fcntl
import os
import select
import stat
import termios
import time

from . import linux
from .descriptors import FIRST_FREE, close_all_but
from .errors import LauncherError
from .handshake import error_line, write_all
from .process import KILL, KILL_SECONDS, Process, leave, milliseconds, waits_in_kernel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, NoReturn

CHUNK = 65536  # bytes read at once
PIECE = 4096  # bytes that a pipe of the caller's which can be written to takes without waiting (PIPE_BUF)
PTY_HOLDS = 1 << 17  # bytes; more than the kernel keeps of what was written to a pty
SIZE = 8  # bytes of a window size (struct winsize)
WORD = 1 + SIZE  # bytes of a word to the courier: what it is, and a window size
HELD_SECONDS = 3.0  # after so long in the kernel, without a byte, a courier is held by somebody inside
MOMENT = 0.2  # seconds in which a killed courier ends that nobody holds


class Flow:
    """The bytes on their way from one descriptor to another. The target `-1` drops them.

    Attributes:
        left: how many of them are still to be read, where that is known.
        room: how many may be, where that is limited; negative when there were more.
    """

    def __init__(self, source: int, target: int) -> None:
        self.source = source
        self.target = target
        self.pending = b""
        self.open = True
        self.left: int | None = None
        self.room: int | None = None
        self.piece = CHUNK if target >= FIRST_FREE else PIECE
        for descriptor in (source, target):
            if descriptor >= FIRST_FREE:  # the standard streams are the caller's, who shares them with others
                os.set_blocking(descriptor, False)

    def hold(self) -> None:
        """Read no more than what is there by now: the holder of the other end can go on writing."""
        self.left = PTY_HOLDS
        if stat.S_ISFIFO(os.fstat(self.source).st_mode):
            held = bytearray(4)
            fcntl.ioctl(self.source, termios.FIONREAD, held)
            self.left = memoryview(held).cast("i")[0]

    def read(self) -> None:
        """Read what is there. The end, or all that was to be read, closes the flow."""
        try:
            self.pending = os.read(self.source, CHUNK if self.left is None else min(CHUNK, self.left))
        except BlockingIOError:
            return
        except OSError:
            self.pending = b""  # EIO: the last slave of the pty was closed
        if self.left is not None:
            self.left -= len(self.pending)
        if self.room is not None:
            self.room -= len(self.pending)
        if not self.pending or self.left == 0:
            self.open = False
        if self.target < 0:
            self.pending = b""

    def write(self) -> bool:
        """Write what fits without waiting. Return False when nobody is left to read it."""
        try:
            self.pending = self.pending[os.write(self.target, self.pending[: self.piece]) :]
        except BlockingIOError:
            pass
        except OSError:
            self.pending = b""
            return False
        return True


class Copier:
    """Flows of bytes, none of which waits for another: who writes before it has read all causes no deadlock.

    A flow that is over is closed as `close` says.
    """

    def __init__(self, copies: list[tuple[int, int]]) -> None:
        self.flows = [Flow(source, target) for source, target in copies]

    def wait(self, more: dict[int, int], timeout: float | None) -> dict[int, int]:
        """Return the events (poll(2)) of the descriptors that are ready, of the flows' and of further ones."""
        events = dict(more)
        for flow in self.flows:
            if flow.pending:
                events[flow.target] = events.get(flow.target, 0) | select.POLLOUT
            else:
                events[flow.source] = events.get(flow.source, 0) | select.POLLIN
        poll = select.poll()
        for descriptor, mask in events.items():
            poll.register(descriptor, mask)
        return dict(poll.poll(None if timeout is None else milliseconds(timeout)))

    def carry(self, ready: dict[int, int]) -> None:
        """Read and write what can be without waiting."""
        for flow in list(self.flows):
            if flow.pending:
                if ready.get(flow.target) and not flow.write():
                    self.close(flow)
            elif ready.get(flow.source):
                flow.read()
                self.has_read(flow)
            if not flow.open and not flow.pending:
                self.close(flow)

    def has_read(self, flow: Flow) -> None:
        """Take notice of what a flow has read."""

    def close(self, flow: Flow) -> None:
        """End a flow, if it has not ended, and close its descriptors, but not a pty, which has two directions."""
        if flow not in self.flows:
            return
        self.flows.remove(flow)
        others = {descriptor for other in self.flows for descriptor in (other.source, other.target)}
        for descriptor in (flow.target, flow.source):
            if descriptor not in others and not os.isatty(descriptor):
                os.close(descriptor)


class Shared:
    """The host's ends of what is shared with a container.

    Args:
        source: where the container reads from: to be written to, if anything is.
        outputs: what is to be read.
        terminal: a pty's master whose window has a size, if there is one.
        said: what the caller is to know of them.
    """

    def __init__(self, source: int | None, outputs: list[int], terminal: int | None = None, said: str = "") -> None:
        self.source = source
        self.outputs = outputs
        self.terminal = terminal
        self.said = said


class Courier:
    """The child, and this process's ends of the pipes to it. What it is to make it makes while this process goes on.

    Args:
        with_input: whether something is to be written.
        outputs: how many streams are to be read.
        make: called in the child; returns the ends that are shared, as many.
        keep: the descriptors that `make` needs; no other of this process's is open there.

    Attributes:
        input: to be written to; -1 without, and when it is closed.
        outputs: to be read; at their end when the container has closed the stream, or `end` was called.
        is_given_up: set by who does not wait for the rest of the outputs, because somebody inside holds them.
    """

    def __init__(
        self,
        with_input: bool,
        outputs: int,
        make: Callable[[], Shared],
        keep: tuple[int, ...],
    ) -> None:
        self.input = self.control = self._reply = -1
        self.outputs: list[int] = []
        self.process: Process | None = None
        self.is_given_up = False
        theirs: list[int] = []
        try:
            self._reply = self._pipe(theirs, 0)
            self.control = self._pipe(theirs, 1)
            for _number in range(outputs):
                self.outputs.append(self._pipe(theirs, 0))
            if with_input:
                self.input = self._pipe(theirs, 1)
            self._fork(make, theirs, keep, with_input)
        except BaseException:
            self.close()
            raise
        finally:
            for descriptor in theirs:
                os.close(descriptor)

    @staticmethod
    def _pipe(theirs: list[int], ours: int) -> int:
        """Make a pipe. Return the end of it that is ours, 0 to read or 1 to write, and add the other to `theirs`."""
        pipe = os.pipe()
        theirs.append(pipe[1 - ours])
        os.set_blocking(pipe[ours], False)
        return pipe[ours]

    def _fork(self, make: Callable[[], Shared], theirs: list[int], keep: tuple[int, ...], with_input: bool) -> None:
        parent = os.getpid()
        child = os.fork()
        if child == 0:
            _serve(parent, make, theirs, keep, with_input)
        self.process = Process.pin_child(child)

    def await_made(self, deadline: float | None = None) -> str:
        """Wait until `make` has returned. Return what it has said. After a failure all is closed.

        Args:
            deadline: when, by `time.monotonic`, it must have returned.

        Raises:
            LauncherError: it has failed.
            TimeoutError: it has not returned in time.
        """
        poll = select.poll()
        poll.register(self._reply, select.POLLIN)
        said = b""
        try:
            while poll.poll(None if deadline is None else milliseconds(deadline - time.monotonic())):
                part = os.read(self._reply, CHUNK)
                if not part:
                    text = said[1:].decode("utf-8", "replace")
                    if said[:1] != b"+":
                        raise LauncherError(text or "a process of the launcher was killed")
                    return text
                said += part
            raise TimeoutError()
        except BaseException:
            self.close()
            raise

    def close_input(self) -> None:
        """Close the stream that the container reads."""
        given, self.input = self.input, -1  # first, for a signal may come at any moment
        if given >= 0:
            os.close(given)

    def resize(self, size: bytes) -> None:
        """Give the terminal's window another size."""
        self._tell(b"w" + size)

    def end(self) -> None:
        """Have the outputs end after what was written to them by now, and the input at once."""
        self._tell(b"e" + bytes(SIZE))
        control, self.control = self.control, -1
        if control >= 0:
            os.close(control)

    def _tell(self, word: bytes) -> None:
        try:
            os.write(self.control, word)
        except OSError:
            pass  # it is held, or it has ended

    def is_held(self) -> bool:
        """Return whether the kernel lets it wait for something that no signal ends."""
        return self.process is not None and waits_in_kernel(self.process.pid)

    def close(self) -> None:
        """Close this process's ends, and end the child. Leave it behind when the kernel does not let it end."""
        self.close_input()
        for descriptor in [self._reply, self.control, *self.outputs]:
            if descriptor >= 0:
                os.close(descriptor)
        self._reply, self.control, self.outputs = -1, -1, []
        if self.process is not None:
            self.process.signal(KILL)
            if self.process.wait(MOMENT) or (not self.is_held() and self.process.wait(KILL_SECONDS)):
                self.process.reap()
            else:
                leave(self.process.pid)
            self.process.close()
            self.process = None


def _serve(
    parent: int, make: Callable[[], Shared], own: list[int], keep: tuple[int, ...], with_input: bool
) -> NoReturn:
    """Be the child: make, or take, what is shared, say so, and carry its bytes to the end."""
    try:
        reply, control, *streams = own
        # Those of the terminal's process group are the parent's to heed.
        _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
        linux.end_with(parent)
        os.chdir("/")
        _keep_in_place({*own, *keep})
        try:
            shared = make()
        except BaseException as error:
            write_all(reply, b"-" + error_line(error).encode("utf-8", "replace"))
            os._exit(1)
        write_all(reply, b"+" + shared.said.encode("utf-8", "replace"))
        os.close(reply)
        source = (streams.pop(), shared.source) if with_input and shared.source is not None else None
        SharedCopier(list(zip(shared.outputs, streams)), source, control, shared.terminal).run()
    finally:
        os._exit(0)


def _keep_in_place(keep: set[int]) -> None:
    """Close all descriptors but these; the standard streams become a closed pipe."""
    close_all_but(keep)
    read, write = os.pipe()
    for number in range(FIRST_FREE):
        if number not in keep and number != read:
            os.dup2(read, number)
    if write >= FIRST_FREE:
        os.close(write)


class SharedCopier(Copier):
    """The work of the child: it carries bytes until it is told of the end, and then what is there.

    Args:
        outputs: pairs of what is shared, and where its bytes go.
        source: a pair of where bytes come from, and what is shared; or none.
        control: where it is told of the end, and of window sizes.
        terminal: the pty's master that has these.
    """

    def __init__(
        self, outputs: list[tuple[int, int]], source: tuple[int, int] | None, control: int, terminal: int | None
    ) -> None:
        super().__init__(outputs + ([source] if source is not None else []))
        self.source = self.flows[-1] if source is not None else None
        self.control = control
        self.terminal = terminal
        self.ended = False

    def run(self) -> None:
        """Carry until the end."""
        while True:
            # After the end, what is not there at once will never come, but what was read must be written.
            waits = not self.ended or any(flow.pending for flow in self.flows)
            ready = self.wait({} if self.ended else {self.control: select.POLLIN}, None if waits else 0)
            if self.ended and not ready:
                return
            if ready.pop(self.control, 0):
                self._heed(os.read(self.control, WORD))
            self.carry(ready)

    def _heed(self, word: bytes) -> None:
        if word[:1] == b"w":
            if self.terminal is not None:
                set_size(self.terminal, word[1:])
            return
        self.ended = True
        if self.source is not None:
            self.close(self.source)
        for flow in self.flows:
            flow.hold()


def size_of(terminal: int) -> bytes:
    """Return the size of a terminal's window (`struct winsize`), zeros where there is none."""
    try:
        return fcntl.ioctl(terminal, termios.TIOCGWINSZ, bytes(SIZE))
    except OSError:
        return bytes(SIZE)  # the other end has closed


def set_size(terminal: int, size: bytes) -> None:
    """Give the window of a terminal a size."""
    try:
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, size)
    except OSError:
        pass  # the other end has closed
