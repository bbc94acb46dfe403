# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Directories that are not one test's: what runs beside it uses them, and they stay, empty or not.

To remove one, even an empty one, takes away what is mounted there in other mount namespaces (rmdir(2)): the state of
the hosts of a fleet, which another run of the tests has made.
"""

from __future__ import annotations

import os
import sys
import types
import typing as t
from pathlib import Path

SHARED = frozenset(
    ("/run/unshare", "/run/sshd", "/var/lib/unshare", "/var/lib/unshare/containers", "/var/lib/unshare/systems")
)
_HERE = Path(__file__).resolve().parents[2]


class SharedDirectory(BaseException):
    """A test is about to remove a directory that is not its own; nothing that expects an error takes this for one."""


def guard() -> None:
    """From now on let no code of a test in this process, or one forked from it, remove a shared directory.

    The collection itself may: it removes `/run/unshare` with the last container.
    """
    sys.addaudithook(_look)


def _look(event: str, arguments: tuple[t.Any, ...]) -> None:
    if event != "os.rmdir":
        return
    path, directory = arguments
    above, name = os.path.split(os.fsdecode(path).rstrip("/"))
    if name not in {os.path.basename(shared) for shared in SHARED}:
        return  # without a look at file systems, one of which may give no answer
    at = f"/proc/self/fd/{directory}" if directory >= 0 else "."
    place = os.path.join(os.path.realpath(os.path.join(at, above)), name)
    if place in SHARED and _is_of_a_test():
        raise SharedDirectory(f"{place} is not this test's to remove, empty or not: another run may use it")


def _is_of_a_test() -> bool:
    """Whether the first function of the collection that called is one of the tests'."""
    frame: types.FrameType | None = sys._getframe(2)
    while frame is not None:
        file = Path(frame.f_code.co_filename).resolve()
        if file.is_relative_to(_HERE / "tests"):
            return True
        if file.is_relative_to(_HERE / "plugins"):
            return False
        frame = frame.f_back
    return False
