# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Look at paths of the host within a time limit, whatever somebody in a container has made of these paths.

A path of a mapping may lie in what another container writes to. A link there can lead to an automount point, or to a
file system whose server does not answer, and the kernel may not even let a process that waits for it be killed. So a
child looks, which holds no lock, and which is left behind where it does not end.
"""

from __future__ import annotations

import json
import mmap
import struct
import time
from typing import Any, Callable

from ..launcher.excursion import in_child
from ..state.target import TargetError

SECONDS = 20.0
"""The time limit of all looks of one examination. They ask the kernel alone, and take a few milliseconds."""

LONG = 0.25
"""The part of that time which one look must have taken to be named as what kept the others waiting."""

LONGEST = 4096
"""Bytes of a path, with its NUL (PATH_MAX)."""

BEGAN = struct.Struct("d")  # when the look at the path that follows began (`time.monotonic`)
REFUSED = "refused"

_noted: mmap.mmap | None = None  # what the child looks at, which its parent sees


class Unanswered(TargetError):
    """A path of the host that could not be looked at in time."""


def note(path: str) -> None:
    """Note the path that is looked at now, for the message about a look that takes too long."""
    if _noted is not None:
        name = path.encode("utf-8", "surrogateescape")[: LONGEST - BEGAN.size - 1]
        _noted[: BEGAN.size + len(name) + 1] = BEGAN.pack(time.monotonic()) + name + b"\0"


def in_time(look: Callable[[], Any], seconds: float | None = None) -> Any:
    """Call `look` in a child process, and return its result, which has values of JSON alone.

    A look within a look is called at once.

    :param seconds: the time limit, by default SECONDS; the child is then left behind.
    :raises Unanswered: the look took longer; the message names the path that was noted last.
    :raises TargetError: as the look says.
    :raises LauncherError: for any other error of the look.
    """
    global _noted
    if _noted is not None:
        return look()  # this is the child
    seconds = SECONDS if seconds is None else seconds

    def work() -> str:
        try:
            return json.dumps(look())
        except TargetError as error:
            return json.dumps({REFUSED: str(error)})

    _noted = mmap.mmap(-1, LONGEST)
    end = time.monotonic() + seconds
    try:
        found = json.loads(in_child(work, seconds, keep=()))
    except TimeoutError:
        raise Unanswered(_reason(_noted[:], seconds, end)) from None
    finally:
        _noted.close()
        _noted = None
    if isinstance(found, dict) and REFUSED in found:
        raise TargetError(found[REFUSED])
    return found


def _reason(noted: bytes, seconds: float, end: float) -> str:
    """Return why looks have not ended in time, which was over at `end`: the path that kept them waiting, if any."""
    (began,) = BEGAN.unpack_from(noted)
    waited = end - began
    if not began or waited < seconds * LONG:
        return (
            f"this host was not examined within {seconds:g} s, and no path of it has kept that waiting: it is too busy"
            "; see what keeps its processors or its disks busy (/proc/pressure), and try again"
        )
    path = noted[BEGAN.size :].partition(b"\0")[0].decode("utf-8", "replace")
    return (
        f"{path} has not answered for {min(waited, seconds):.1f} s: a symbolic link on the way may lead to an "
        "automount point, or to a file system whose server does not run; see where it leads "
        "(namei --long), and remove the link"
    )
