# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container as a unit of systemd on the host (`unshare-container@.service`, Type=notify).

No process of ours stays: once the container is ready, its PID 1 becomes the unit's main process and the launcher ends.
systemd inherits that process, and sees in the way it ends (reboot(2)) what has happened: a power-off is SIGINT, a
reboot SIGHUP, all else a crash.
"""

from __future__ import annotations

import _signal
import os
import select

from ..launcher.errors import RUNS_ELSEWHERE, AlreadyRunning, Held, LauncherError, NotReady
from ..launcher.printable import print_error
from ..launcher.process import Uninterrupted, milliseconds
from . import by_hand, machined
from .container import Container, explain_or_stop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from ..launcher.contract import Mount
    from ..state.record import Status

FAILED = 125  # exit status of a start that can be tried again
NOTIFY = "NOTIFY_SOCKET"
BARRIER_SECONDS = 5.0


def start_in_unit(
    container: Container,
    system: str,
    timeout: float,
    explain: Callable[[Status], None],
    extra_file_systems: list[Mount],
    said: str,
) -> int:
    """Start a container, and hand it over to the service manager that started this process. Return the exit status.

    A child starts it and ends, so that its PID 1 is systemd's own child by the time that systemd is told of it.

    Args:
        extra_file_systems: further mount records (S11).
        said: the file for whom has started it by hand (`by_hand`), or "". Then a container goes on running that is not
            ready in time.
    """
    address = os.environ.pop(NOTIFY, "")
    if not address:
        raise LauncherError("--service: is for a unit of systemd with Type=notify; use --detach")
    if said:
        by_hand.tell_caller(said, by_hand.BEGUN)
    container.cgroup.move_below_unit()
    # Besides those of HEEDED, the init's own signal asks the launcher to end, too.
    former = _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
    child = os.fork()
    ended: int | None = None
    try:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, former)
        if child == 0:
            os._exit(_start(container, system, timeout, explain, extra_file_systems, said))
        os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        with Uninterrupted():
            ended = os.waitpid(child, 0)[1]
        status = container.status()
        if ended != 0 or status.state != "running":
            return os.WEXITSTATUS(ended) or 128 + os.WTERMSIG(ended)
        notify(address, "MAINPID=%d\nREADY=1\nSTATUS=Runs %s" % (status.pid or 0, system))
        return 0
    except SystemExit as stop:  # a signal came
        if child == 0:
            os._exit(int(stop.code or 0))
        if ended is None:
            # Who starts it undoes that, before the unit goes on to what follows a stop. Or it was refused, and what
            # runs is not this unit's.
            os.kill(child, _signal.SIGTERM)
            ended = os.waitpid(child, 0)[1]
        if ended == 0:
            with container.lock(timeout):
                container.stop(timeout)
        raise


def _start(
    container: Container,
    system: str,
    timeout: float,
    explain: Callable[[Status], None],
    extra_file_systems: list[Mount],
    said: str,
) -> int:
    """Start the container, in a process that does only this. Return the exit status."""
    try:
        with container.lock(timeout):
            running = container.status()
            if running.state == "running":
                message = "container %s: runs outside of its unit, as PID %s; stop it first"
                raise AlreadyRunning(message % (container.name, running.pid))
            try:
                status = container.start(system, True, timeout, extra_file_systems=extra_file_systems)
            except NotReady as error:
                if error.ended or not said:
                    raise
                _say(error, said)
                status = container.status()
            explain_or_stop(container, status, timeout, lambda found: explain(machined.registered(container, found)))
        return 0
    except (LauncherError, OSError) as error:
        _say(error, said)
        return RUNS_ELSEWHERE if isinstance(error, (AlreadyRunning, Held)) else FAILED
    except SystemExit as error:  # a signal came
        return int(error.code or 0)


def _say(error: Exception, said: str) -> None:
    """Tell the unit's log of an error, and who waits for a start by hand."""
    print_error("run-container", str(error))
    if said:
        by_hand.tell_caller(said, "%s\n" % error)


def clear(container: Container, timeout: float) -> int:
    """Remove what an ended container left in memory. Do nothing when it runs. Return the exit status."""
    with container.lock(timeout):
        if container.status().state != "running":
            container.clear()
    return 0


def notify(address: str, message: str) -> None:
    """Send a message to the service manager (sd_notify(3)), and wait until it has read it, before this process ends."""
    import array
    import socket

    if address.startswith("@"):
        address = "\0" + address[1:]
    read, write = os.pipe()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.sendto(message.encode(), address)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [write]))]
        channel.sendmsg([b"BARRIER=1"], rights, 0, address)
    os.close(write)
    poll = select.poll()
    poll.register(read, 0)  # the other side's close, which is always reported
    poll.poll(milliseconds(BARRIER_SECONDS))
    os.close(read)
