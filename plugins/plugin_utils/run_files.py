# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files on the controller that last as long as a run: its workers, one for each task of a host, share work by them."""

from __future__ import annotations

import contextlib
import fcntl
import os
import typing as t
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

    def made(self, name: str, make: t.Callable[[], str]) -> str:
        """Return the text of a file. Where there is none, one worker makes the text, and the others wait for it.

        :param make: returns the text. What it raises is raised, and the next worker tries.
        """
        text = self.read(name)
        if text is None:
            with self._locked(name):
                text = self.read(name)
                if text is None:
                    text = make()
                    self.write(name, text)
        return text

    @contextlib.contextmanager
    def _locked(self, name: str) -> t.Iterator[None]:
        """Hold the lock of a file's name, which the kernel takes from a worker that ends."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self.directory / f".{name}.lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)
