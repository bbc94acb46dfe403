# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A process in a running container: in its namespaces, its control group, and under the limits of its PID 1.

Until it has executed a program of the container, the entering process is not dumpable: root inside can neither trace it
nor look through its descriptors at the host (CVE-2019-5736, CVE-2024-21626). The kernel forgets that of a dying
process, and root inside can kill it. So it has no descriptor of the host by the time root inside can see it. Root
inside can still stop it, so every wait for it has a time limit.

It enters a control group below those of the container's init, where the init can move it to another. Root inside can
make that group unfit at any moment; then the process enters a group that is out of its reach.

The streams of the command are made by a courier, which alone has the host's ends of them, and makes the entering
process for this one: the command's parent has no part in what root inside can hold.

This module is the caller's side: the host's root reads from outside what must be known of the container. The processes
that enter are in `passage`.
"""

from __future__ import annotations

import os
import select
import time

from ..launcher import confine, linux, lookup
from ..launcher.courier import Courier, Shared
from ..launcher.errors import LauncherError, NotRunning
from ..launcher.paths import read_text
from ..launcher.process import KILL, Process, enters, leave, milliseconds, reap_within
from ..launcher.specification import read_outline
from .passage import CAN_RUN, ENDED, INSIDE, NO_TASKS, InheritedLimits, Passage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, NoReturn

    from ..state.record import RecordedContainer
    from .streams import Pipes, Terminal

ENTER_TIMEOUT = 30.0  # seconds until the command must run
INSIDE_TIMEOUT = 3.0  # of these, as many as a control group that root inside rules may take
OWN_STATUS = "/proc/self/status"
# A system of a former version does not say whether it has a filter, but its PID 1 does.
NO_FILTER = "its PID 1 has a system-call filter, and its system has none any more; stage it again"
REAP_TIMEOUT = 1.0  # seconds in which the end of a killed process must come to be known
LATE = "it could not enter in time; has a process inside been stopped on purpose?"


class Entered:
    """A command in a container.

    Attributes:
        pid: a child of this process.
        courier: what carries its streams; whoever gets this closes it.
        warning: what is not as a user may expect, or "".
    """

    def __init__(self, pid: int, courier: Courier, warning: str) -> None:
        self.pid = pid
        self.courier = courier
        self.warning = warning


class Entry:
    """The means of entering a container, taken from the host before anything of the container is touched.

    Args:
        lowered: whether a command has the scheduling of PID 1 even where root inside has lowered that. It has not when
            it could not even begin to run so.

    Raises:
        NotRunning: the container does not run.
    """

    def __init__(self, container: RecordedContainer, lowered: bool = False) -> None:
        process = container.process()
        if process is None:
            raise NotRunning("container %s: does not run; start it first" % container.name)
        self.process = process
        self.container = container
        self.lowered = lowered
        record = container.record() or {}
        system = str(record.get("system"))
        self.base = int(record.get("uid_base") or 0)  # the host's id of root inside
        try:
            self.outline = read_outline(system)
            self.filter_program = confine.read_filter(system, self.outline.filter_digest)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the host's descriptors."""
        self.process.close()
        self.container.cgroup.close()

    def open_root(self) -> int:
        """Return the container's root directory, as a descriptor."""
        try:
            return lookup.open_root("/proc/%d/root" % self.process.pid)
        except OSError:
            raise self._cannot_enter(ENDED) from None

    def spawn(
        self,
        command: list[str] | None,
        user: str,
        streams: Pipes | Terminal,
        environment: dict[str, str] | None = None,
        directory: str | None = None,
        timeout: float = ENTER_TIMEOUT,
    ) -> Entered:
        """Run a command, or the user's login shell when there is none. Return a child to wait for, and its streams.

        Args:
            user: a name of the container's `/etc/passwd`, or a number.
            streams: its standard streams, which are given to the user; a terminal controls its new session.
            environment: added to that of the user.
            directory: where to start; the user's home by default.
            timeout: seconds until the command must run.

        Raises:
            LauncherError: it does not run.
        """

        def go(passage: Passage, inside: tuple[int, int, int]) -> NoReturn:
            passage.go(command, user, inside, streams.is_terminal, environment or {}, directory)

        began = time.monotonic()
        deadline = began + timeout
        cgroup = self.container.cgroup
        try:
            limits = InheritedLimits(self.process.pid)
            if limits.filtered and self.filter_program is None and not confine.is_filtered(read_text(OWN_STATUS)):
                raise self._cannot_enter(NO_FILTER)
            if not self.lowered:
                limits.raise_scheduling()
            try:
                soon = began + min(timeout / 2, INSIDE_TIMEOUT)
                return self._spawn(cgroup.open_inside(), limits, streams, go, soon)
            except (LauncherError, OSError):  # which may be nothing but the place
                limits.raise_scheduling()
                if self.process.wait(0):
                    raise ProcessLookupError(self.process.pid) from None
                if time.monotonic() >= deadline:
                    raise
            return self._spawn(cgroup.open_out_of_reach(self.base), limits, streams, go, deadline)
        except ProcessLookupError:
            raise self._cannot_enter(ENDED) from None
        except OSError as error:
            raise self._cannot_enter(str(error)) from error

    def _spawn(
        self,
        cgroup: int,
        limits: InheritedLimits,
        streams: Pipes | Terminal,
        go: Callable[[Passage, tuple[int, int, int]], NoReturn],
        deadline: float,
    ) -> Entered:
        """Start the entering process in a control group, and wait until it runs the command.

        The control group's descriptor is closed here.
        """
        mine: list[int] = []
        theirs = [cgroup]

        def make() -> Shared:
            """Make the streams, and this process's sibling that enters with them."""
            try:
                made = streams.make(self.container.name, self.base, self.open_root)
                middle = self._clone(cgroup)
            except OSError as error:
                raise self._cannot_enter(str(error)) from error
            if middle == 0:
                passage = Passage(
                    self.process, self.outline.security, self.filter_program, limits, theirs[1], theirs[2]
                )
                go(passage, made.inside)
            for descriptor in {*made.inside, *theirs, self.process.descriptor} - {INSIDE}:
                os.close(descriptor)
            made.shared.said = "%d %s" % (middle, made.shared.said)
            return made.shared

        try:
            for step in (1, -1):  # the report is to be read here, the go to be written
                pipe = os.pipe()[::step]
                mine.append(pipe[0])
                theirs.append(pipe[1])
            try:
                keep = (self.process.descriptor, *theirs)
                courier = Courier(streams.with_input, streams.outputs, make, keep)
                said = courier.await_made(deadline)
            except TimeoutError:
                raise self._cannot_enter(LATE) from None
            for descriptor in theirs:
                os.close(descriptor)
            theirs = []
            try:
                middle, _space, warning = said.partition(" ")
                return Entered(self._follow(mine[0], mine[1], int(middle), limits, deadline), courier, warning)
            except BaseException:
                courier.close()
                raise
        finally:
            for descriptor in mine + theirs:
                os.close(descriptor)

    def _clone(self, cgroup: int) -> int:
        """Make the entering process, a child of this process's parent. Return its PID, and 0 in itself."""
        try:
            return linux.clone3(linux.CLONE_PARENT, 0, cgroup)
        except BlockingIOError:
            raise self._cannot_enter(NO_TASKS) from None

    def _cannot_enter(self, why: str) -> LauncherError:
        return LauncherError("container %s: cannot enter: %s" % (self.container.name, why))

    def _follow(self, report: int, go: int, middle: int, limits: InheritedLimits, deadline: float) -> int:
        """Read the reports of the entering processes until the command runs, or the deadline. Return the command's PID.

        The command runs only when this process has given it its scheduling, and tells it to go on; after the deadline
        it does not.
        """
        poll = select.poll()
        poll.register(report, select.POLLIN)
        said = b""
        child, errors = 0, []
        late = ready = False
        while not late:
            late = not poll.poll(milliseconds(deadline - time.monotonic()))
            data = b"" if late else os.read(report, 65536)
            if not data:
                break
            *lines, said = (said + data).split(b"\n")
            for line in lines:
                kind, _separator, text = line.decode("utf-8", "replace").partition(" ")
                if kind == "pid" and text.isdigit() and not child and _is_child(int(text)):
                    child = int(text)
                    enters(child)
                elif line + b"\n" == CAN_RUN and not ready:
                    ready = True
                else:
                    errors.append(text)
                    continue
                if child and ready:
                    _give(limits, child)
                    _let_go(go)
        if late:
            os.kill(middle, KILL)
            errors.insert(0, LATE)
        _await_end(middle)
        if errors or not child:
            if child:
                os.kill(child, KILL)
                reap_within(child, time.monotonic() + REAP_TIMEOUT)
            raise self._cannot_enter(errors[0] if errors else "it ended meanwhile")
        return child


def _give(limits: InheritedLimits, child: int) -> None:
    try:
        limits.attributes.give(child)
    except ProcessLookupError:
        pass  # it has ended already; the report says why


def _let_go(go: int) -> None:
    try:
        os.write(go, b"1")
    except BrokenPipeError:
        pass  # it has ended already; the report says why


def _await_end(middle: int) -> None:
    """Reap the middle process, which is about to end.

    Root inside can keep it from a processor, so the wait has a time limit.
    """
    process = Process.pin_child(middle)
    if process.wait(REAP_TIMEOUT):
        process.reap()
    else:
        process.signal(KILL)
        leave(middle)
    process.close()


def _is_child(pid: int) -> bool:
    """Return whether this is a child of this process. Only such may be killed by its number, whoever reported that."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True
