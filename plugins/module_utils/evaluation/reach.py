# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The paths that the content of a file may bring into a closure.

Whoever asks for a command names paths: the program, inputs, mappings, the store. That person may share these. Further
paths come from what those files hold: the first line of a script, what an ELF file says of its interpreter and
libraries, `pyvenv.cfg`, the targets of symbolic links. Somebody else may have written that, so such a path brings in
only what everybody on the host can reach and read. It is shared without an id map, so that the kernel enforces the
same. The rule holds for an ordinary user's command, too, which runs with that user's rights.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from typing import Iterable, NamedTuple

from ..launcher.errors import LauncherError
from ..launcher.lookup import LINKS_LIMIT
from ..launcher.targets import is_below, parents

KERNEL_DIRECTORIES = ("/proc", "/sys", "/dev")
_CONFIGURATION = "pyvenv.cfg"


class Place(NamedTuple):
    """The place that a path leads to.

    Attributes:
        real: the path without links.
        mode: of what is there (`st_mode`).
        links: the links on the way: their paths and targets.
        named: whether it is what somebody asked for, or lies in that.
        barred: what on the way not everybody can reach or read; None if everybody can.
    """

    real: str
    mode: int
    links: dict[str, str]
    named: bool
    barred: str | None

    @property
    def may_come(self) -> bool:
        """Return whether the content of a file may bring it in."""
        return self.barred is None


class Reach:
    """The paths that were asked for, and how others are followed.

    Args:
        deadline: when, by `time.monotonic`, no more may be looked at.
    """

    def __init__(self, deadline: float | None = None) -> None:
        self._deadline = deadline
        self._named: set[str] = set()
        self._passable: dict[str, bool] = {}

    def name(self, path: str) -> None:
        """Mark a path, with all below it, as asked for; a program of a virtual environment stands for all of that."""
        path = "/" + "/".join(part for part in path.split("/") if part not in ("", "."))
        self._named.add(path)
        environment = os.path.dirname(os.path.dirname(path))
        if os.path.basename(os.path.dirname(path)) == "bin" and _is_virtual_environment(environment):
            self._named.add(environment)

    def hurry(self) -> None:
        """Raise LauncherError when the time is over: other people's files decide how much there is to look at."""
        if self._deadline is not None and time.monotonic() >= self._deadline:
            raise LauncherError("timeout: it was over before all that the command needs was found")

    def follow(self, path: str, named: Iterable[str] = ()) -> Place:
        """Return where a path leads; a relative one is taken from the root.

        Args:
            named: what counts as asked for besides.

        Raises:
            OSError: it does not exist, or its links go in a circle.
            LauncherError: the time is over.
        """
        self.hurry()
        asked = self._named | set(named)
        links: dict[str, str] = {}
        barred = None
        waiting = list(reversed(path.split("/")))
        current, followed = "", 0
        while waiting:
            part = waiting.pop()
            if part in (".", ""):
                continue
            if part == "..":
                current = os.path.dirname(current).rstrip("/")
                continue
            step = current + "/" + part
            mode = os.lstat(step).st_mode
            if not stat.S_ISLNK(mode):
                if waiting and not stat.S_ISDIR(mode):
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), step)
                current = step
                continue
            followed += 1
            if followed > LINKS_LIMIT:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            target = os.readlink(step)
            links[step] = target
            # Who asks for a path asks for the links that it names.
            if not any(is_below(step, place) or is_below(place, step) for place in asked):
                barred = barred or self._bar(step)
            waiting.extend(reversed(target.split("/")))
            if target.startswith("/"):
                current = ""
        real = current or "/"
        mode = os.lstat(real).st_mode
        is_named = any(is_below(real, place) for place in asked)
        if not is_named:
            barred = barred or self._bar(real)
            needed = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(mode) else 0)
            if mode & needed != needed:
                barred = barred or real
        return Place(real, mode, links, is_named, barred)

    def _bar(self, path: str) -> str | None:
        """Return the highest directory above a path that not everybody may pass, or None.

        What the kernel shows at a path is another thing to each process: there the path itself bars the way.
        """
        if any(is_below(path, place) for place in KERNEL_DIRECTORIES):
            return path
        for directory in reversed(parents(path)):
            if directory not in self._passable:
                self._passable[directory] = bool(os.stat(directory).st_mode & stat.S_IXOTH)
            if not self._passable[directory]:
                return directory
        return None


def refusal_of_content(who: str, what: str, place: Place) -> LauncherError:
    """Return the error for a place that the content of a file may not bring in.

    Args:
        who: the file, as the user knows it.
        what: what the place is to it.
    """
    return LauncherError("%s: %s" % (who, barred_text(what, place)))


def barred_text(what: str, place: Place) -> str:
    """Return the message about a place that the content of a file may not bring in."""
    why = "%s is not for everybody on this host" % place.barred
    return "%s is %s, and %s; to share it, name it in 'inputs'" % (what, place.real, why)


def _is_virtual_environment(directory: str) -> bool:
    """Return whether the directory's owner has made it a virtual environment.

    An entry that another user made, in a directory open to others, does not count.
    """
    try:
        marked, owner = os.lstat(os.path.join(directory, _CONFIGURATION)), os.lstat(directory)
    except OSError:
        return False
    return stat.S_ISREG(marked.st_mode) and stat.S_ISDIR(owner.st_mode) and marked.st_uid == owner.st_uid
