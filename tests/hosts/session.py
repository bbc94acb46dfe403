# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A login that many commands share: with emulated processors each login of its own would take seconds."""

from __future__ import annotations

import contextlib
import select
import subprocess
import tempfile
import typing as t
import uuid
from pathlib import Path

from ansible_collections.unshare.container.tests.hosts.processes import Deadline


class LoginError(Exception):
    """There is no login."""


class Session:
    """A connection of ssh to a machine, which waits for other processes of ssh that send their commands over it.

    It ends with the connection. So it needs nobody who ends it when the tests are killed: QEMU is, too.

    Attributes:
        path: its socket, which ssh removes.
    """

    def __init__(self, options: t.Sequence[str], deadline: Deadline) -> None:
        self.path = Path(tempfile.gettempdir(), f"unshare-{uuid.uuid4().hex[:12]}")
        local = ("-o", "PermitLocalCommand=yes", "-o", "LocalCommand=echo ready")
        self._process = subprocess.Popen(
            ["ssh", "-M", "-N", "-S", str(self.path), *local, *options, "root@127.0.0.1"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            process_group=0,  # as QEMU
        )
        assert self._process.stdout is not None
        self._output = self._process.stdout
        said = self._output.readline() if select.select([self._output], [], [], deadline.left)[0] else "no answer"
        if said != "ready\n":
            self.close()
            raise LoginError(said.strip() or "ssh has ended")

    @property
    def lasts(self) -> bool:
        """Return whether commands can be sent over it."""
        return self._process.poll() is None

    def close(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()
        self._output.close()
        with contextlib.suppress(FileNotFoundError):
            self.path.unlink()
