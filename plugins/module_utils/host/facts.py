# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The facts of a host that preflight reads."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path


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
        return self.root / path.lstrip("/")

    def read(self, path: str) -> str:
        """Return the text of the file `path`, or "" when it cannot be read."""
        try:
            return self.path(path).read_text("utf-8", "replace")
        except OSError:
            return ""

    def exists(self, path: str) -> bool:
        """Return whether `path` of the kernel's own file systems exists."""
        return self.path(path).exists()
