# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Time limits as people write them: numbers of seconds. An unusable one is an error that names the place."""

from __future__ import annotations

from .errors import OptionError

LEAST = 0.001
MOST = 1000000  # eleven days; more would overflow what the kernel counts in milliseconds


class TimeLimitError(OptionError):
    """A time limit that cannot be used."""


def seconds(value: object, path: str, least: float = LEAST) -> float:
    """Return a time limit in seconds: a number, or the text of one.

    Args:
        path: where it was written, for the error.
        least: the shortest that is of use there.

    Raises:
        TimeLimitError: it is no number, or not from `least` to `MOST`.
    """
    number = -1.0
    if isinstance(value, (int, float, str)) and not isinstance(value, bool):
        try:
            number = float(value)
        except (ValueError, OverflowError):
            pass
    if not least <= number <= MOST:  # nor is NaN
        text = str(value).lower() if isinstance(value, bool) else str(value)
        raise TimeLimitError(path, "%s is no number of seconds from %g to %d" % (text[:40] or "''", least, MOST))
    return number


def as_text(number: float) -> str:
    """Return a time limit as digits alone, rounded to the millisecond, which every program reads."""
    return ("%.3f" % number).rstrip("0").rstrip(".")
