# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The signals by which the processes of a start, an entry or a single command wait for each other (S14).

Each wait is a read from a pipe that ends with an error when the other side dies, so that no kill leaves a waiting
process.
"""

from __future__ import annotations

import os
import select
import time

from .errors import LauncherError
from .process import milliseconds


def write_all(descriptor: int, data: bytes) -> None:
    """Write all bytes to a pipe or file."""
    while data:
        data = data[os.write(descriptor, data) :]


def read_token(descriptor: int, otherwise: str, deadline: float | None = None) -> bytes:
    """Wait for the other side's byte. Raise an error with the text `otherwise` at its death, or at the deadline."""
    if deadline is not None:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        if not poll.poll(milliseconds(deadline - time.monotonic())):
            raise LauncherError("not in time: " + otherwise)
    token = os.read(descriptor, 1)
    if not token:
        raise LauncherError(otherwise)
    return token


def error_line(error: BaseException) -> str:
    """Return an error in one line; an unforeseen one with its type."""
    text = str(error) if isinstance(error, (LauncherError, OSError)) else "%s: %s" % (type(error).__name__, error)
    return text.replace("\n", " ")


def tell(report: int, where: str, error: BaseException) -> None:
    """Send an error to the caller, in one line."""
    try:
        write_all(report, ("error " + where + error_line(error)).encode("utf-8", "replace") + b"\n")
    except OSError:
        pass
