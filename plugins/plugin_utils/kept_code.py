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
import io
import os
import tarfile
import typing as t
from pathlib import Path

from ..module_utils.launcher.paths import write_atomically
from ..modules.kept_code import code_digest, code_in
from .errors import DeclarationError

RUNNER = "unshare.container.kept_code"
PLUGINS = Path(__file__).parent.parent
CHANGED = "the files of the collection unshare.container have changed while this run used them: run it again"


class KeptCode:
    """The code as this run sends it, made once for all of its hosts.

    :param directory: of this run on the controller, which has what is made for others of the run.
    """

    def __init__(self, directory: str) -> None:
        self.directory = Path(directory) / "unshare-code"

    @property
    def digest(self) -> str:
        """Return the digest that names the code, in hexadecimal."""
        return self._made("digest", lambda: code_digest(code_in(PLUGINS)))

    @property
    def archive(self) -> str:
        """Return the code: a tar file, compressed by gzip, in base64.

        :raises DeclarationError: it is not the code that the digest names.
        """
        return self._made("archive", self._archived)

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

    def _archived(self) -> str:
        code = list(code_in(PLUGINS))
        if code_digest(code) != self.digest:
            raise DeclarationError("", CHANGED)
        made = io.BytesIO()
        with tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for path, content in code:
                member = tarfile.TarInfo(path)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
        return base64.b64encode(gzip.compress(made.getvalue(), mtime=0)).decode()
