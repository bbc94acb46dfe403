# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The code of this collection's modules, which a host keeps by its digest, as it keeps systems.

Ansible would send a module with all that it imports at each task, after it has parsed every file of that, and the host
would compile all of it again. So a module is run by the small module `kept_code`, which imports it from what the host
keeps. A host that lacks the code says so, and gets it with a second round trip.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import os
import tarfile
import typing as t
from pathlib import Path

from ..module_utils.launcher.paths import write_atomically

RUNNER = "unshare.container.kept_code"
PLUGINS = Path(__file__).parent.parent
ROOMS = ("modules", "module_utils")
"""The directories of PLUGINS whose files are the code."""


class KeptCode:
    """The code as this run sends it, made once for all of its hosts.

    :param directory: of this run on the controller, which has what is made for others of the run.
    """

    def __init__(self, directory: str) -> None:
        self.directory = Path(directory) / "unshare-code"

    @property
    def digest(self) -> str:
        """Return the digest that names the code, in hexadecimal."""
        return self._made("digest", lambda: hashlib.sha256(self._tar()).hexdigest()[:32])

    @property
    def archive(self) -> str:
        """Return the code: a tar file, compressed by gzip, in base64."""
        return self._made("archive", lambda: base64.b64encode(gzip.compress(self._tar(), mtime=0)).decode())

    def is_lacked(self) -> bool:
        """Return whether hosts of this run have lacked the code, and none has had it: the others get it unasked."""
        return self._mark("lacked").exists() and not self._mark("had").exists()

    def note(self, lacked: bool) -> None:
        """Note what a host has said."""
        self._write(self._mark("lacked" if lacked else "had"), "")

    def _mark(self, name: str) -> Path:
        return self.directory / name

    def _made(self, name: str, make: t.Callable[[], str]) -> str:
        path = self.directory / name
        try:
            return path.read_text("ascii")
        except FileNotFoundError:
            text = make()
            self._write(path, text)
            return text

    def _write(self, path: Path, text: str) -> None:
        """Write a file in one step: another worker sees all of it or none."""
        if not path.exists():
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(str(path), text, aside=str(self.directory / f".{os.getpid()}"))

    @staticmethod
    def _tar() -> bytes:
        """Return the code as a tar file, which is the same for the same files."""
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for room in ROOMS:
                for path in sorted((PLUGINS / room).rglob("*.py")):
                    content = path.read_bytes()
                    member = tarfile.TarInfo(str(path.relative_to(PLUGINS)))
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
        return made.getvalue()
