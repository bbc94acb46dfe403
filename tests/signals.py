# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Signals that a caller ignores (`nohup`, a job in the background), which what it executes ignores, too."""

from __future__ import annotations

import ctypes
import signal
import sys
from pathlib import Path

from ansible_collections.unshare.container.plugins.module_utils.launcher import linux

RESERVED = (32, 33)
"""Those that the C library keeps for itself; a program that has it not may ignore them all the same."""

OF_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
"""Those that Python itself ignores."""

ALL = (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE, signal.SIGCHLD, *RESERVED)


def ignored() -> set[int]:
    """Return the signals that this process ignores (proc_pid_status(5))."""
    text = Path("/proc/self/status").read_text()
    mask = int(text.partition("\nSigIgn:")[2].split()[0], 16)
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}


def ignore(*numbers: int) -> None:
    """Ignore signals in this process, those of the C library, too (rt_sigaction(2))."""
    for number in numbers:
        if number in RESERVED:
            action = (ctypes.c_uint64 * 4)(1)  # SIG_IGN
            call = linux.number_here(linux._SIGACTION, "rt_sigaction")
            assert ctypes.CDLL(None).syscall(call, number, action, None, ctypes.c_ulong(8)) == 0
        else:
            signal.signal(number, signal.SIG_IGN)


def let_programs_heed() -> None:
    """Have the programs that this process executes find default actions, whatever its own caller ignores.

    This process itself still takes no notice of such a signal, so that a run under `nohup` outlives its terminal.
    """
    for number in ignored().difference(OF_PYTHON):
        if number in (*RESERVED, signal.SIGCHLD):
            linux.default_signals(number)
        else:
            signal.signal(number, lambda *_arguments: None)


def ignoring(*command: str) -> list[str]:
    """Return the words of a command that is executed by a caller who ignores `ALL`."""
    return [sys.executable, __file__, *command]


if __name__ == "__main__":
    import os

    ignore(*ALL)
    os.execvp(sys.argv[1], sys.argv[1:])
