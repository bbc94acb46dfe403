# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The text of an error about a container that runs and is not well: the reason first, then the log of the culprit."""

from __future__ import annotations

import contextlib
import re
from typing import Any

from ..launcher.errors import LauncherError

LOG_LINES = 12
"""Lines of a log: of each unit that is to blame or, where none is, of the whole."""

UNITS = 3
"""Units whose logs are shown."""

LOG_LIMIT = 16 * 1024
"""Characters of all logs together, of the end of each: a line may be of any length."""

_STAMP = re.compile(r"^\S+ \S+ ")
_PID = re.compile(r"\[\d+\]")


class FailureReport:
    """The report on one container.

    :param reason: what is wrong with it, as far as it is known.
    :param container: a `life.container.Container`.
    :ivar units: the units that do not do what was declared.
    """

    def __init__(self, reason: str, container: Any) -> None:
        self.reason = reason
        self.container = container
        self.units: list[str] = []
        with contextlib.suppress(LauncherError, OSError):
            judgement = container.judge()
            self.units = judgement.units
            if self.units and not any(unit in reason for unit in self.units):
                self.reason += f". Its units: {judgement.summary()}"

    def text(self) -> str:
        """Return the reason, and below it the log.

        :raises LauncherError, OSError: the log cannot be read.
        """
        blamed = [unit for unit in self.units if unit in self.reason][:UNITS]
        found = {unit: self.container.log_tail(LOG_LINES, unit) for unit in blamed}
        if not self.units:
            found = {"": self.container.log_tail(LOG_LINES)}
        parts = [self.reason]
        seen = set(self.reason.split("\n"))
        for unit, log in found.items():
            lines = once(log, seen)
            if lines:
                parts.append(f"The log of {unit}:" if unit else "The end of its log:")
                parts.append("\n".join(lines)[-LOG_LIMIT // len(found) :])
        return "\n".join(parts)


def once(log: str, seen: set[str]) -> list[str]:
    """Return the lines of a log that have not been seen, whenever and by whichever process they were written.

    :param seen: what has been; what is returned is added.
    """
    lines = []
    for line in log.split("\n"):
        words = _PID.sub("", _STAMP.sub("", line))
        if words.strip() and words not in seen:
            seen.add(words)
            lines.append(line)
    return lines
