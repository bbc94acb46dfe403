# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files on the controller that last as long as a run: its workers, one for each task of a host, share work by them."""

from __future__ import annotations

import os
from pathlib import Path

from ..module_utils.launcher.paths import write_atomically


class RunFiles:
    """The files of one kind. Their directory is made with the first one.

    :param directory: of the run on the controller.
    :param kind: names the directory in it.
    """

    def __init__(self, directory: str, kind: str) -> None:
        self.directory = Path(directory) / kind

    def has(self, name: str) -> bool:
        """Return whether there is a file of this name."""
        return (self.directory / name).exists()

    def read(self, name: str) -> str | None:
        """Return the text of a file; None where there is none."""
        try:
            return (self.directory / name).read_text("utf-8")
        except FileNotFoundError:
            return None

    def write(self, name: str, text: str) -> None:
        """Write a file in one step: another worker sees all of it or none."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(str(self.directory / name), text, aside=str(self.directory / f".{os.getpid()}"))
