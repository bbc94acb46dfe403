# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The places of the collection on a target, and the one error of its target side."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path
from typing import Iterator

from ..launcher.paths import sync_directory
from .locks import holder, is_same, open_to_lock

EMPTY_TIMEOUT = 1.0
"""Seconds; whoever holds a directory for longer is about to need it."""


class TargetError(Exception):
    """An obstacle on the target; the message says what, where, and what to do."""


NEEDS_ROOT = "this needs root, to mount and to make namespaces: set become: true"


def require_root() -> None:
    """Raise TargetError unless this process is root: nobody else may see or change a container."""
    if os.geteuid() != 0:
        raise TargetError(NEEDS_ROOT)


class Layout:
    """The directories of the collection below `root`, the host's `/` except in tests.

    All are made on demand, mode 0700: what a system holds (password hashes, keys) is for the host's root alone.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root
        self.state = root / "var/lib/unshare"
        self.systems = self.state / "systems"
        self.containers = self.state / "containers"
        self.trees = self.state / "trees"

    def container(self, name: str) -> Path:
        """Return the directory of the container called `name`."""
        return self.containers / name

    def generations(self, name: str) -> Path:
        """Return the directory with one link for each generation of the container called `name`."""
        return self.container(name) / "generations"

    def current(self, name: str) -> Path:
        """Return the link to the generation that a start of the container called `name` runs."""
        return self.container(name) / "current"

    def former(self, name: str) -> Path:
        """Return the link to the generation that a switch on trial goes back to."""
        return self.container(name) / "former"

    def current_system(self, name: str) -> Path | None:
        """Return the system that `current` leads to, or None when it was never made, or is gone."""
        link = self.current(name)
        if not link.is_dir():
            return None
        return self.systems / os.path.basename(os.path.realpath(link))


def explain(error: OSError) -> str:
    """Return the system's words for an error, with the file it concerns when that is known."""
    reason = error.strerror or str(error)
    return f"{reason}: {error.filename}" if error.filename else reason


def message_of(error: Exception, name: str) -> str:
    """Return the message about an error for a person. An unexplained OSError is said of the container."""
    return message_about(error, f"container {name!r}")


def message_about(error: Exception, what: str) -> str:
    """Return the message about an error for a person. An unexplained OSError is said of `what`."""
    return f"{what}: {explain(error)}" if isinstance(error, OSError) else str(error)


def make_private_directory(path: Path) -> None:
    """Make `path` and the missing directories above it, mode 0700. Raise OSError when that cannot be done."""
    while not path.is_dir():
        make_private_directory(path.parent)
        try:
            path.mkdir(mode=0o700)
            sync_directory(str(path.parent))
        except FileExistsError:
            if os.path.lexists(path) and not path.is_dir():
                raise  # something else is in the way
        except FileNotFoundError:
            pass  # what is above was empty, and has just been removed


@contextlib.contextmanager
def exclusive(directory: Path, timeout: float = 60.0) -> Iterator[None]:
    """Make `directory`, and hold it for this process alone. The kernel releases it when the process ends.

    :param timeout: seconds to wait for another run.
    :raises TargetError: when another run still holds it after `timeout`.
    """
    deadline = time.monotonic() + timeout
    descriptor = _hold_made(directory, timeout, deadline)
    while not is_same(descriptor, str(directory)):  # the last container has been removed meanwhile
        os.close(descriptor)
        descriptor = _hold_made(directory, timeout, deadline)
    try:
        yield
    finally:
        os.close(descriptor)


def _hold_made(directory: Path, timeout: float, deadline: float) -> int:
    """Return the descriptor of a directory that is made when it is missing, and then held."""
    while True:
        make_private_directory(directory)
        with contextlib.suppress(FileNotFoundError):
            descriptor = open_to_lock(str(directory))
            break
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            if time.monotonic() >= deadline:
                said = f"{directory}: {holder(descriptor)} has held it for {timeout:g} s; wait for that, or end it"
                os.close(descriptor)
                raise TargetError(said) from None
            time.sleep(0.02)


def remove_empty(layout: Layout) -> None:
    """Remove the directories of all systems and of all containers where there is none any more.

    Each is held meanwhile, since runs take turns by that. Whoever has waited for it makes it again.
    """
    for directory in (layout.systems, layout.containers):
        with contextlib.suppress(OSError, TargetError):
            if not os.listdir(directory):
                with exclusive(directory, EMPTY_TIMEOUT):
                    directory.rmdir()
    with contextlib.suppress(OSError):
        layout.state.rmdir()
