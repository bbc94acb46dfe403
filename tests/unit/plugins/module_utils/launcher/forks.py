# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a test does in a process of its own."""

from __future__ import annotations

import os
import typing as t


def in_fork(work: t.Callable[[], None]) -> int:
    """Do work in a child, and return its exit status."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
