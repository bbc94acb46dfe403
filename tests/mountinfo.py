# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The mounts that a process sees. Other programs mount things, too, by names that need not be text."""

from __future__ import annotations

import os
from pathlib import Path


def lines(pid: str | int = "self") -> list[str]:
    """Return the lines of a process's mountinfo (proc_pid_mountinfo(5))."""
    return os.fsdecode(Path(f"/proc/{pid}/mountinfo").read_bytes()).splitlines()
