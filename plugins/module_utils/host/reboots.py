# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The limit on starts of a container that reboots itself, so that root inside cannot choose the host's load."""

from __future__ import annotations

import _signal
import os
import time

from ..launcher.errors import LauncherError
from ..launcher.stop_signals import HEEDED
from ..launcher.times import as_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

BURST = 60  # starts within INTERVAL, after which it stays down, in the foreground and as a unit (StartLimitBurst=)
INTERVAL = 600.0  # seconds
PAUSES = (0.0, 1.0, 2.0, 4.0, 5.0)  # seconds before a start, by the number of starts before the last; short enough that
# BURST starts fit into INTERVAL, or the end would never come


def wait(seconds: float) -> bool:
    """Wait for some seconds, or until a signal asks this process to stop; return whether a signal did."""
    former = _signal.pthread_sigmask(_signal.SIG_BLOCK, HEEDED)
    try:
        return _signal.sigtimedwait(HEEDED, seconds) is not None
    finally:
        _signal.pthread_sigmask(_signal.SIG_SETMASK, former)


class Reboots:
    """The starts of one container by this process.

    Args:
        clock: tells seconds.
        wait: waits for seconds; whether the caller has asked for the end meanwhile.
    """

    def __init__(
        self, name: str, clock: Callable[[], float] = time.monotonic, wait: Callable[[float], bool] = wait
    ) -> None:
        self.name = name
        self.clock = clock
        self.wait = wait
        self.starts = [clock()]

    def again(self) -> bool:
        """Wait until the container may be started again, and count that start.

        The first reboot in a while is followed by a start at once.

        Returns:
            False when the caller has asked for the end meanwhile.

        Raises:
            LauncherError: it was started too often.
        """
        self._forget()
        if len(self.starts) >= BURST:
            raise LauncherError(
                "container %s: was started %d times in %s seconds, for it reboots itself again and again; it stays "
                "down. See what reboots it inside, and start it again" % (self.name, BURST, as_text(INTERVAL))
            )
        pause = PAUSES[min(max(len(self.starts) - 1, 0), len(PAUSES) - 1)]
        if pause:
            line = "run-container: container %s reboots itself often; it starts again in %s s\n"
            # Whoever reads the line may ask for the end at once.
            former = _signal.pthread_sigmask(_signal.SIG_BLOCK, HEEDED)
            try:
                os.write(2, (line % (self.name, as_text(pause))).encode())
                if self.wait(pause):
                    return False
            finally:
                _signal.pthread_sigmask(_signal.SIG_SETMASK, former)
        self.starts.append(self.clock())
        return True

    def _forget(self) -> None:
        since = self.clock() - INTERVAL
        self.starts = [start for start in self.starts if start > since]
