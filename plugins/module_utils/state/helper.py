# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A second process that does parts of a long work, so that a host with a free processor is done earlier.

Python runs one thread at a time, and a file costs more steps of Python than a checksum does. A part is many files of
one directory: its descriptor goes to the helper over a socket, the rest through memory that both share. A file that the
helper fails with it leaves undone, and says so; the first process does that again, and tells the error.

The helper has all descriptors of the first process. So a lock that the first one has is free only when neither can
write any more: a process that is killed gives up its locks before its children are.
"""

from __future__ import annotations

import array
import contextlib
import mmap
import os
import pickle
import select
import signal
import socket
import struct
from collections import deque
from typing import Any, Callable, Sequence, TypeVar

from ..launcher import linux
from ..launcher.errors import LauncherError
from ..launcher.process import Process

PARTS = 4  # that the helper has at a time
PART_ROOM = 1 << 20  # bytes of a part, or of the answer to it
WAITING = 16  # parts and steps whose turn has not come: each has descriptors
FILES_OF_PART = 64
LEAST_OF_PART = 8  # files; fewer are not worth the message
HELPER_ENDED = "a process that did a part of this has ended before that was done: try again"

_message = struct.Struct("=I")  # how long what lies in the room is
Work = Callable[[Sequence[int], Any], Any]
H = TypeVar("H", bound="Helper")


def has_free_processor(busy: int) -> bool:
    """Return whether this process may use a processor beside its own, and those of so many busy other processes."""
    return len(os.sched_getaffinity(0)) > 1 + busy


class _Step:
    """What is done when all before it is done.

    Attributes:
        descriptors: what it needs; they are closed afterwards.
        action: is called with the answer to the part, which is None for what is no part, and with the descriptors.
        is_part: whether the helper has it.
    """

    __slots__ = ("action", "descriptors", "is_part")

    def __init__(self, descriptors: list[int], action: Callable[..., object], is_part: bool) -> None:
        self.descriptors = descriptors
        self.action = action
        self.is_part = is_part

    def close(self) -> None:
        for descriptor in self.descriptors:
            os.close(descriptor)


class Helper:
    """A child of this process, for the length of a context, and the steps that wait for it.

    Where no further processor is free, or there is no room for a process, there is none: it is never `ready`.

    :param work: what the child does with a part: it is called with descriptors and a request, and returns the answer.
        It raises no exception, and changes nothing but files. None where there is nothing to do for a helper.
    :param busy: how many other processes have a processor of their own meanwhile, beside this one.
    """

    def __init__(self, work: Work | None, busy: int = 0) -> None:
        self._work = work
        self._busy = busy
        self._steps: deque[_Step] = deque()
        self._process: Process | None = None
        self._given = self._taken = 0

    def __enter__(self: H) -> H:
        if self._work is not None and has_free_processor(self._busy):
            with contextlib.suppress(OSError):
                self._begin(self._work)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_error: object) -> None:
        try:
            if kind is None:
                self.settle()
        finally:
            for step in self._steps:
                step.close()
            self._steps.clear()
            self._work = None
            if self._process is not None:
                self._process.end()  # so that it writes nothing more
                self._process.close()
                self._process = None
                self._socket.close()
                self._room.close()

    def ready(self) -> bool:
        """Do the steps whose turn has come. Return whether a part can be given then."""
        if self._process is None:
            return False
        while self._steps and (not self._steps[0].is_part or self._has_answered()):
            self._next()
        return self._given - self._taken < PARTS

    def give(self, descriptors: Sequence[int], request: object, done: Callable[[Any, Sequence[int]], object]) -> None:
        """Give the helper, which is ready, a part. Duplicates of the descriptors are kept until the answer has come.

        :param request: at most `PART_ROOM` bytes with its form, as the answer.
        :param done: is called with the answer and these descriptors, in its turn.
        """
        step = _Step([], done, True)
        self._steps.append(step)
        for descriptor in descriptors:
            step.descriptors.append(os.dup(descriptor))
        size = _put(self._room, self._given, request)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", step.descriptors))]
        try:
            self._socket.sendmsg([_message.pack(size)], rights)
        except ConnectionError:
            raise LauncherError(HELPER_ENDED) from None
        self._given += 1

    def then(self, descriptors: list[int], action: Callable[[Sequence[int]], object]) -> None:
        """Do a step when all before it is done: now, where nothing waits.

        :param descriptors: are closed afterwards.
        """
        self._steps.append(_Step(descriptors, lambda _answer, given: action(given), False))
        while self._steps and (not self._steps[0].is_part or len(self._steps) > WAITING):
            self._next()

    def settle(self) -> None:
        """Wait until all is done."""
        while self._steps:
            self._next()

    def _has_answered(self) -> bool:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return bool(poll.poll(0))

    def _next(self) -> None:
        """Do the step whose turn it is."""
        step = self._steps[0]
        answer = None
        if step.is_part:
            said = self._said()
            if not said:
                raise LauncherError(HELPER_ENDED)
            answer = _get(self._room, self._taken, *_message.unpack(said))
            self._taken += 1
        try:
            step.action(answer, step.descriptors)
        finally:
            self._steps.popleft()
            step.close()

    def _said(self) -> bytes:
        try:
            return self._socket.recv(_message.size)
        except ConnectionError:  # it has left parts that it was given
            return b""

    def _begin(self, work: Work) -> None:
        """Make the child. Raise OSError when there is no room for it."""
        room = mmap.mmap(-1, PARTS * PART_ROOM)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        parent = os.getpid()
        # What a signal raises in the child would go up through the steps of its parent, and undo them.
        former = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            child = os.fork()
            if child == 0:
                try:
                    linux.end_with(parent)
                    ours.close()
                    _help(work, theirs, room)
                finally:
                    os._exit(1)
            self._process = Process.pin_child(child)
            self._socket, self._room = ours, room
        finally:
            theirs.close()
            if self._process is None:
                ours.close()
                room.close()
            signal.pthread_sigmask(signal.SIG_SETMASK, former)


def _help(work: Work, theirs: socket.socket, room: mmap.mmap) -> None:
    """Do the parts that come, until nobody is there any more."""
    number = 0
    while True:
        given = array.array("i")
        said, rights, *_flags = theirs.recvmsg(_message.size, socket.CMSG_SPACE(4 * given.itemsize))
        if not said:
            return
        for _level, _kind, data in rights:
            given.frombytes(data)
        answer = work(given, _get(room, number, *_message.unpack(said)))
        size = _put(room, number, answer)
        for descriptor in given:
            os.close(descriptor)
        theirs.send(_message.pack(size))
        number += 1


def _put(room: mmap.mmap, number: int, value: object) -> int:
    """Write a value to the place of the part of this number. Return how many bytes it takes."""
    data = pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    place = number % PARTS * PART_ROOM
    if len(data) > PART_ROOM:
        raise ValueError("a part of %d bytes" % len(data))
    room[place : place + len(data)] = data
    return len(data)


def _get(room: mmap.mmap, number: int, size: int) -> Any:
    """Return the value that is at the place of a part. Both processes are this program: it is no stranger's."""
    place = number % PARTS * PART_ROOM
    with memoryview(room) as whole, whole[place : place + size] as part:
        return pickle.loads(part)
