# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The signals by which an init, or a launcher, can be asked to stop."""

from __future__ import annotations

import _signal

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

SYSTEMD_STOP = "SIGRTMIN+4"
"""The signal by which systemd as PID 1 is asked to power off (systemd(1))."""

# What each process of a scope of the host's systemd gets when that is stopped. All but the launcher ignore this one,
# unless they ask for it: so the launcher has the container shut down in order, and nobody inside is told to end before.
SCOPE_STOP = _signal.SIGURG

# What the main process of a unit gets: the container's PID 1, or the launcher that has not yet started it.
UNIT_STOP = REAL_TIME_MINIMUM + 4

HEEDED = (_signal.SIGHUP, _signal.SIGINT, _signal.SIGTERM, SCOPE_STOP, UNIT_STOP)
"""The signals that ask a launcher to end, or to stop its container."""


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
