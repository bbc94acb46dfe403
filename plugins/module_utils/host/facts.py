# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The facts of a host that preflight reads."""

from __future__ import annotations

import errno
import os
import platform
import sys
from pathlib import Path

from ..launcher import linux, lookup
from . import looking


class HostFacts:
    """The facts of the host, read below `root` so that tests can bring their own."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root
        self.user_id = os.geteuid()
        self.system = platform.system()
        self.release = platform.release()
        self.python = sys.version_info[:2]
        self.interpreter = sys.executable

    def path(self, path: str) -> Path:
        """Return the place of the host's `path` below the root."""
        looking.note(path)
        return self.root / path.lstrip("/")

    def read(self, path: str) -> str:
        """Return the text of the file `path`, or "" when it cannot be read."""
        try:
            return self.path(path).read_text("utf-8", "replace")
        except OSError:
            return ""

    def exists(self, path: str) -> bool:
        """Return whether something is at `path`, or may be: a link of /proc is not followed."""
        try:
            self.status(path)
        except OSError as error:
            return error.errno not in (errno.ENOENT, errno.ENOTDIR)
        return True

    def open(self, path: str, links: bool = True) -> int:
        """Return a descriptor (`O_PATH`) of `path`; the caller closes it.

        Somebody in a container may have put links on the way. They lead below the root, and none of /proc is followed:
        what a container has mounted is reached by these alone.

        :param links: whether other links are followed.
        :raises OSError: as open(2) says; `ELOOP` for a link that is not followed.
        """
        looking.note(path)
        top = lookup.open_root(str(self.root))
        try:
            resolve = lookup.RESOLVE if links else lookup.RESOLVE | linux.RESOLVE_NO_SYMLINKS
            return linux.openat2(top, path.lstrip("/") or ".", os.O_PATH, resolve)
        finally:
            os.close(top)

    def status(self, path: str) -> os.stat_result:
        """Return the status (stat(2)) of what is at `path`; errors are those of `open`."""
        descriptor = self.open(path)
        try:
            return os.fstat(descriptor)
        finally:
            os.close(descriptor)
