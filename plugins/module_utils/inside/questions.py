# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Questions to a running container's init; the answers are the container's own word, and bounded."""

from __future__ import annotations

import os
import select
import time

from ..launcher.errors import LauncherError
from ..launcher.process import KILL, Process, reap_left, reap_within
from ..launcher.specification import read_outline
from ..launcher.targets import OUTPUT_LOG
from .enter import REAP_TIMEOUT, Entry
from .streams import Pipes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..state.record import RecordedContainer

CAPTURE_LIMIT = 1 << 20  # bytes of a captured answer; the rest is dropped


def log_tail(container: RecordedContainer, lines: int = 20, unit: str | None = None, timeout: float = 10.0) -> str:
    """Return the end of the journal, or of one unit's; with another init than systemd, the end of its output."""
    if not read_outline(str((container.record() or {}).get("system"))).init.systemd:
        return capture(container, ["tail", "-n", str(lines), OUTPUT_LOG], timeout)
    command = ["journalctl", "--no-pager", "--quiet", "--output=short-iso", "--lines=%d" % lines]
    return capture(container, command + (["--unit=" + unit] if unit else []), timeout)


def capture(container: RecordedContainer, command: list[str], timeout: float) -> str:
    """Return the output of a command run as root in the container, within `timeout` seconds and up to 1 MiB.

    Raises:
        LauncherError: the container does not run, or the command cannot be run, or takes longer.
    """
    return ask(container, command, timeout)[1]


def ask(container: RecordedContainer, command: list[str], timeout: float) -> tuple[int, str]:
    """Run a command as root in the container. Return its wait status and its output; limits and errors as `capture`."""
    deadline = time.monotonic() + timeout
    entry = Entry(container)
    try:
        variables = {"SYSTEMD_PAGER": "", "TERM": "dumb"}
        entered = entry.spawn(command, "root", Pipes(1, 2), variables, "/", timeout)
    finally:
        entry.close()
    try:
        process = Process.pin_child(entered.pid)
        answer, errors = entered.courier.outputs
        said, over = _read_all(answer, errors, process.descriptor, deadline)
        if not over:
            process.signal(KILL)
        process.close()
        status = reap_within(entered.pid, max(deadline, time.monotonic() + REAP_TIMEOUT))
        reap_left()
        if not over or status is None:
            raise LauncherError("container %s: %s did not answer in %g s" % (container.name, command[0], timeout))
        return status, said.decode("utf-8", "replace")
    finally:
        entered.courier.close()


def _read_all(answer: int, errors: int, process: int, deadline: float) -> tuple[bytes, bool]:
    """Read an answer to its end, and wait for the end of who gives it: either may come first.

    Args:
        answer, errors: its standard output, and its standard error, which is read, and dropped.
        process: descriptor of its process.

    Returns:
        What was said, and whether both ended by the deadline.
    """
    poll = select.poll()
    waited = {answer, errors, process}
    for descriptor in waited:
        poll.register(descriptor, select.POLLIN)
    said = b""
    while waited & {answer, process}:
        left = deadline - time.monotonic()
        ready = poll.poll(int(left * 1000) + 1) if left > 0 else []
        if not ready:
            return said, False
        for descriptor, _events in ready:
            data = b""
            if descriptor != process:
                try:
                    data = os.read(descriptor, 65536)
                except BlockingIOError:
                    continue
            if not data:
                poll.unregister(descriptor)
                waited.discard(descriptor)
            elif descriptor == answer and len(said) < CAPTURE_LIMIT:
                said += data
    return said, True
