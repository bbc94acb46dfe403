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
from .locks import holder, open_to_lock


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
    return f"container {name!r}: {explain(error)}" if isinstance(error, OSError) else str(error)


def make_private_directory(path: Path) -> None:
    """Make `path` and the missing directories above it, mode 0700. Raise OSError.

    Raises OSError when that cannot be done.
    """
    if path.is_dir():
        return
    make_private_directory(path.parent)
    with contextlib.suppress(FileExistsError):
        path.mkdir(mode=0o700)
        sync_directory(str(path.parent))


@contextlib.contextmanager
def exclusive(directory: Path, timeout: float = 60.0) -> Iterator[None]:
    """Hold `directory` for this process alone. The kernel releases it when the process ends, however it ends.

    :param timeout: seconds to wait for another run.
    :raises TargetError: when another run still holds it after `timeout`.
    """
    descriptor = open_to_lock(str(directory))
    try:
        deadline = time.monotonic() + timeout
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise TargetError(
                        f"{directory}: {holder(descriptor)} has held it for {timeout:g} s; wait for that, or end it"
                    ) from None
                time.sleep(0.02)
        yield
    finally:
        os.close(descriptor)
