# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The facts of a host that preflight asks for."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path


class HostFacts:
    """The facts of the host that are asked for, read below `root` so that tests can bring their own."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root
        self.user_id = os.geteuid()
        self.system = platform.system()
        self.release = platform.release()
        self.python = sys.version_info[:2]
        self.interpreter = sys.executable

    def path(self, path: str) -> Path:
        """Return where `path` of the host is, below its root."""
        return self.root / path.lstrip("/")

    def read(self, path: str) -> str:
        """The text of the file `path`, empty when it cannot be read."""
        try:
            return self.path(path).read_text("utf-8", "replace")
        except OSError:
            return ""

    def exists(self, path: str) -> bool:
        """Whether `path` of the kernel's own file systems is there."""
        return self.path(path).exists()
