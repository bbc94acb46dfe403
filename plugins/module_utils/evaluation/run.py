# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One run from its beginning to its end: the command's input and output, its time limit, its exit code."""

from __future__ import annotations

import os
import selectors
import signal
import time
from typing import Callable

from ..host import nested
from ..launcher import linux
from ..launcher.courier import Courier, Shared
from ..launcher.errors import LauncherError
from ..launcher.process import PAUSE, leave
from . import identity
from .closure import Closure, Requisites
from .processes import Processes, exit_code
from .request import MANAGED, Request
from .view import View, doing

PART = 1 << 16
OUTPUT_LIMIT = 16 << 20
"""Bytes of each stream of the command's that are kept; the rest is read, so that it can go on, and dropped."""
DRAIN_TIMEOUT = 5.0
"""Seconds after the end of its time for what is in the pipes; a process may hold them open for ever."""
END_TIMEOUT = 2.0
"""Seconds in which a killed process must end: one that waits in the kernel, for a file system, may never do so."""


class Outcome:
    """The outcome of a command.

    Attributes:
        code: its exit code.
        output: its standard output.
        error: its standard error.
        expired: whether it was killed at its time limit.
        truncated: whether it said more than is kept.
        warnings: what was not as a user may expect.
        closure: the paths of the host that it saw.
    """

    def __init__(self) -> None:
        self.code = 0
        self.output = b""
        self.error = b""
        self.expired = False
        self.truncated = False
        self.warnings: list[str] = []
        self.closure: list[str] = []


def find_closure(request: Request, requisites: Requisites, deadline: float | None = None) -> Closure:
    """Return the closure of a request: what its command needs of the host (E2).

    Args:
        requisites: asks the package manager what members of its store refer to.
        deadline: when, by `time.monotonic`, it must be found.
    """
    manager = MANAGED.get(request.closure)
    closure = Closure(request.environment, request.closure != "store", manager and manager.store, deadline)
    closure.name(mapping.source for mapping in request.mappings)
    closure.name(request.source_of(path) for path in [request.argv[0]] + request.inputs)
    if request.closure == "store":
        closure.add_store(request.store)
    for path in [request.argv[0]] + request.inputs:
        file = request.files.get(path)
        if file is None:
            closure.add(request.source_of(path))
        elif file.content.startswith(b"#!"):
            closure.add_script(path, os.fsdecode(file.content.split(b"\n")[0]))
        elif file.link is not None:
            closure.add(os.path.normpath(os.path.join(os.path.dirname(path), file.link)))
    closure.add_requisites(requisites)
    return closure


def run(request: Request, requisites: Requisites) -> Outcome:
    """Run a command, and return its outcome.

    Raises:
        LauncherError: it could not be started.
    """
    deadline = None if request.timeout is None else time.monotonic() + request.timeout
    refused = nested.refusal() if request.has("mnt") else None
    if refused:
        raise LauncherError(refused)
    ids = identity.choose(request)
    try:
        view = None
        outcome = Outcome()
        if request.has("mnt"):
            closure = find_closure(request, requisites, deadline)
            view = View(request, closure, ids)
            outcome.closure = closure.paths()
            outcome.warnings += closure.warnings
        _Run(request, view, ids, outcome, deadline).run()
        return outcome
    finally:
        ids.release()


class _Run:
    def __init__(
        self, request: Request, view: View | None, ids: identity.Ids, outcome: Outcome, deadline: float | None
    ) -> None:
        self.request = request
        self.view = view
        self.ids = ids
        self.outcome = outcome
        self.selector = selectors.DefaultSelector()
        self.deadline = deadline
        self.pid: int | None = None
        self.go = -1
        self.courier: Courier | None = None
        self.status: int | None = None
        self.errors: list[str] = []
        self.report = b""
        self.streams: dict[str, bytearray] = {"output": bytearray(), "error": bytearray()}

    def run(self) -> None:
        ends, inside = [], []
        for number in (0, 1, 2) if self.request.input is not None else (1, 2):
            pipe = os.pipe()
            ends.append(pipe[number == 0])
            inside.append(pipe[number != 0])
        uid, gid = self.ids.owner(self.request.guest_uid, self.request.guest_gid)
        if self.ids.privileged:
            with doing("private_users: the host's ids %d and %d" % (uid, gid)):
                for end in inside:
                    os.fchown(end, uid, gid)  # so that the command can open its /dev/stdout
        self._serve(ends)
        try:
            self._run(inside)
        finally:
            if self.courier is not None:
                self.courier.close()

    def _run(self, inside: list[int]) -> None:
        streams = (inside[-3] if len(inside) > 2 else None, inside[-2], inside[-1])
        builder, report, self.go = Processes(self.request, self.view, self.ids, streams, os.getpid()).spawn()
        for end in inside:
            os.close(end)
        self._watch(report, selectors.EVENT_READ, self._read_report)
        try:
            self._follow(builder)
        finally:
            self._end(builder)
        if self.errors:
            raise LauncherError(self.errors[0])
        if self.status is None:
            raise LauncherError("the command was not started in %g s" % (self.request.timeout or 0))
        self.outcome.code = exit_code(self.status)
        self.outcome.output, self.outcome.error = bytes(self.streams["output"]), bytes(self.streams["error"])

    def _serve(self, ends: list[int]) -> None:
        """Have a courier carry the streams; from the moment that the command runs, it can hold what it shares."""
        source = ends[-3] if len(ends) > 2 else None
        shared = Shared(source, ends[-2:])
        self.courier = courier = Courier(source is not None, 2, lambda: shared, tuple(ends))
        for end in ends:
            os.close(end)
        courier.await_made()
        for name, descriptor in zip(("output", "error"), courier.outputs):
            self._watch(descriptor, selectors.EVENT_READ, self._read_stream(name))
        if self.request.input is not None:
            self._watch(courier.input, selectors.EVENT_WRITE, self._write_input(self.request.input))

    def _follow(self, builder: int) -> None:
        """Serve the pipes until the command and its children have ended, or the time limit is over."""
        while self.selector.get_map():
            left = None if self.deadline is None else self.deadline - time.monotonic()
            if left is not None and left <= 0:
                if self.outcome.expired or self.status is not None:
                    return
                self.outcome.expired = True
                self._kill(builder)
                self.deadline = time.monotonic() + DRAIN_TIMEOUT
                continue
            for key, _events in self.selector.select(left):
                callback: Callable[[int], bool] = key.data
                if not callback(key.fd):
                    self.selector.unregister(key.fd)
                    self._close(key.fd)

    def _close(self, descriptor: int) -> None:
        """Close a descriptor that was served; the outputs are the courier's to close."""
        if self.courier is not None and descriptor == self.courier.input:
            self.courier.close_input()
        elif self.courier is None or descriptor not in self.courier.outputs:
            os.close(descriptor)

    def _watch(self, descriptor: int, events: int, callback: Callable[[int], bool]) -> None:
        """Serve a descriptor without ever blocking: the command can open its pipes anew, and add or take bytes."""
        os.set_blocking(descriptor, False)
        self.selector.register(descriptor, events, callback)

    def _read_stream(self, name: str) -> Callable[[int], bool]:
        def read(descriptor: int) -> bool:
            data = read_part(descriptor)
            if data is None:
                return True
            kept = self.streams[name]
            room = OUTPUT_LIMIT - len(kept)
            self.outcome.truncated |= len(data) > room
            kept += data[:room]
            return bool(data)

        return read

    @staticmethod
    def _write_input(data: bytes) -> Callable[[int], bool]:
        left = memoryview(data)

        def write(descriptor: int) -> bool:
            nonlocal left
            try:
                left = left[os.write(descriptor, left[:PART]) :]
            except BlockingIOError:
                return True
            except BrokenPipeError:
                return False  # the command does not want all of it
            return bool(left)

        return write

    def _read_report(self, descriptor: int) -> bool:
        data = read_part(descriptor)
        if data is None:
            return True
        self.report += data
        *lines, self.report = self.report.split(b"\n")
        for line in lines:
            kind, _space, text = line.decode("utf-8", "replace").partition(" ")
            if kind == "pid":
                self.pid = int(text)
                self._watch(linux.pidfd_open(self.pid), selectors.EVENT_READ, self._read_end)
                try:
                    os.write(self.go, b"1")
                except BrokenPipeError:
                    pass  # it has ended already, and why is reported
            elif kind == "warning":
                self.outcome.warnings.append(text)
            else:
                self.errors.append(text)
        return bool(data)

    def _read_end(self, _descriptor: int) -> bool:
        if self.pid is not None:
            self.status = wait_for(self.pid, PAUSE)
            if self.status is None:
                return True  # a process that traces it has not let go of it yet
            self.pid = None
            # Something may live on with the command's streams, as a daemon does: of these, what is there by now.
            if self.courier is not None:
                self.courier.end()
            self.deadline = time.monotonic() + DRAIN_TIMEOUT
        return False

    def _kill(self, builder: int) -> None:
        """Kill the pid namespace with all that the command left or, without one, the session's process group."""
        for pid in (builder, self.pid):
            if pid is not None:
                try:
                    if pid == self.pid and not self.request.has("pid"):
                        os.killpg(pid, signal.SIGKILL)
                    os.kill(pid, signal.SIGKILL)
                except (ProcessLookupError, PermissionError):
                    pass

    def _end(self, builder: int) -> None:
        started = self.pid
        self._kill(builder)
        if started is not None:
            self.status = wait_for(started, END_TIMEOUT)
        for pid, status in ((started, self.status), (builder, wait_for(builder, END_TIMEOUT))):
            if pid is not None and status is None:
                leave(pid)
                text = "process %d was killed and does not end: it waits for the kernel, or for its tracer"
                self.outcome.warnings.append(text % pid)
        if started is not None and self.status is None:
            self.status = signal.SIGKILL
        for key in list(self.selector.get_map().values()):
            self._close(key.fd)
        self.selector.close()
        os.close(self.go)


def read_part(descriptor: int) -> bytes | None:
    """Read some of the bytes in a pipe. Return b"" at its end, None when somebody else has taken the bytes."""
    try:
        return os.read(descriptor, PART)
    except BlockingIOError:
        return None


def wait_for(child: int, timeout: float) -> int | None:
    """Return a child's wait status, or None when it is traced or has not ended within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return status
        if time.monotonic() >= deadline:
            return None
        time.sleep(PAUSE)
