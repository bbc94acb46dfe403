# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The signals by which an init can be asked to stop."""

from __future__ import annotations

from . import kinds
from .kinds import ContractError

# The C library keeps the first two real-time signals for itself.
REAL_TIME_MINIMUM, REAL_TIME_MAXIMUM = 34, 64
SIGNALS = {
    "SIGHUP": 1,
    "SIGINT": 2,
    "SIGQUIT": 3,
    "SIGKILL": 9,
    "SIGUSR1": 10,
    "SIGUSR2": 12,
    "SIGTERM": 15,
    "SIGCONT": 18,
    "SIGWINCH": 28,
    "SIGPWR": 30,
}


def signal_number(name: str) -> int:
    """Return the number of a signal by which an init can be asked to stop.

    Args:
        name: as `kill -l` has it, with SIG; `SIGRTMIN+n` and `SIGRTMAX-n` included.

    Raises:
        ContractError: it is none.
    """
    kind, number = name[:9], name[9:]
    if kind in ("SIGRTMIN+", "SIGRTMAX-") and number.isascii() and number.isdigit():
        found = REAL_TIME_MINIMUM + int(number) if kind == "SIGRTMIN+" else REAL_TIME_MAXIMUM - int(number)
        if REAL_TIME_MINIMUM <= found <= REAL_TIME_MAXIMUM:
            return found
    elif name in SIGNALS:
        return SIGNALS[name]
    known = ", ".join(SIGNALS)
    raise ContractError("%r is no signal that can stop an init: use one of %s, SIGRTMIN+n, SIGRTMAX-n" % (name, known))


def signal_name(value: object) -> str:
    """Return the name of a signal that can stop an init: the kind of a field."""
    signal_number(kinds.text(value))
    return kinds.text(value)
