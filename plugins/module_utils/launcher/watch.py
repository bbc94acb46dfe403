# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Waiting for changes of files of the host, by name: one that is written, replaced, removed, or reached by other links.

What is watched are the directories in which a step of the way to a file lies, each for that one name (inotify(7)).
"""

from __future__ import annotations

import os
import struct

from . import linux

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Sequence

MOST_STEPS = 128  # of a way with its links, which may lead in a circle
_CHANGES = 0x8 | 0x40 | 0x80 | 0x100 | 0x200  # IN_CLOSE_WRITE, IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE
_OF_ITSELF = 0x400 | 0x800  # IN_DELETE_SELF, IN_MOVE_SELF
_ONLY_DIRECTORIES = 0x01000000  # IN_ONLYDIR
_LOST = 0x4000  # IN_Q_OVERFLOW: there were more events than the kernel keeps
_HEAD = struct.Struct("iIII")  # `struct inotify_event`


def steps_to(path: str) -> list[tuple[str, str]]:
    """Return the steps of the way to a file, links followed: each a directory, and the name in it."""
    found: list[tuple[str, str]] = []
    directory, names = "/", _names(path)
    while names and len(found) < MOST_STEPS:
        name = names.pop(0)
        if name == "..":
            directory = os.path.dirname(directory)
            continue
        found.append((directory, name))
        place = os.path.join(directory, name)
        try:
            target = os.readlink(place)
        except OSError:
            directory = place  # no link, or nothing
            continue
        names = _names(target) + names
        directory = "/" if target.startswith("/") else directory
    return found


def _names(path: str) -> list[str]:
    return [name for name in path.split("/") if name not in ("", ".")]


class Watch:
    """A watch for changes of some files from now on. Whoever makes it closes it.

    Raises:
        OSError: there are too many open files, or too many watches of others (inotify(7)).
    """

    def __init__(self, paths: Sequence[str]) -> None:
        self.descriptor = linux.inotify_open()
        self.names: dict[int, set[str]] = {}
        try:
            for path in paths:
                for directory, name in steps_to(path):
                    self._add(directory, name)
        except BaseException:
            self.close()
            raise

    def _add(self, directory: str, name: str) -> None:
        try:
            number = linux.inotify_add(self.descriptor, directory, _CHANGES | _OF_ITSELF | _ONLY_DIRECTORIES)
        except (FileNotFoundError, NotADirectoryError):
            return  # the step before is watched
        self.names.setdefault(number, set()).add(name)

    def wait(self) -> None:
        """Wait until something has changed on the way to one of the files."""
        while not self._is_change(os.read(self.descriptor, 1 << 16)):
            pass

    def _is_change(self, events: bytes) -> bool:
        while events:
            number, mask, _cookie, length = _HEAD.unpack_from(events)
            name = os.fsdecode(events[_HEAD.size : _HEAD.size + length].rstrip(b"\0"))
            if mask & (_OF_ITSELF | _LOST) or name in self.names.get(number, ()):
                return True
            events = events[_HEAD.size + length :]
        return False

    def close(self) -> None:
        """Watch no longer."""
        os.close(self.descriptor)
