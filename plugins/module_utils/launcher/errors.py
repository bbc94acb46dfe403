# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The one exception that leaves the launcher, and its kinds."""

from __future__ import annotations

# Exit status of a start that no further try can mend; the unit names it in RestartPreventExitStatus=.
RUNS_ELSEWHERE = 126


class LauncherError(Exception):
    """An error with one message for people: what is wrong, where, and what to do about it."""


class OptionError(LauncherError):
    """A value that cannot be used.

    Attributes:
        path: where it was written.
        message: what is wrong with it.
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__("%s: %s" % (path, message))
        self.path = path
        self.message = message


class TooMuch(LauncherError):
    """A command whose output exceeded its limit, and that was ended for it."""


class NotRunning(LauncherError):
    """An operation that needs a running container, while it does not run."""


class AlreadyRunning(LauncherError):
    """A start of a container that runs already."""


class Held(LauncherError):
    """A start of a container that is held here, for it moves to another host, or from one (`state/holds`)."""


class NotReady(LauncherError):
    """A container that was launched and did not become ready; it still runs unless `ended` is true.

    Attributes:
        ended: whether PID 1 has ended by itself.
    """

    def __init__(self, message: str, ended: bool) -> None:
        super().__init__(message)
        self.ended = ended
