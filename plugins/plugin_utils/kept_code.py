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
import tarfile
from pathlib import Path

from ..modules.kept_code import code_digest, code_in
from .errors import DeclarationError
from .run_files import RunFiles

RUNNER = "unshare.container.kept_code"
PLUGINS = Path(__file__).parent.parent
CHANGED = "the files of the collection unshare.container have changed while this run used them: run it again"


class KeptCode:
    """The code as this run sends it, made once for all of its hosts.

    :param directory: of this run on the controller, which has what is made for others of the run.
    """

    def __init__(self, directory: str) -> None:
        self._files = RunFiles(directory, "unshare-code")

    @property
    def digest(self) -> str:
        """Return the digest that names the code, in hexadecimal."""
        return self._files.made("digest", lambda: code_digest(code_in(PLUGINS)))

    @property
    def archive(self) -> str:
        """Return the code: a tar file, compressed by gzip, in base64.

        :raises DeclarationError: it is not the code that the digest names.
        """
        return self._files.made("archive", self._archived)

    def is_lacked(self) -> bool:
        """Return whether hosts of this run have lacked the code, and none has had it: the others get it unasked."""
        return self._files.has("lacked") and not self._files.has("had")

    def note(self, lacked: bool) -> None:
        """Note what a host has said."""
        name = "lacked" if lacked else "had"
        if not self._files.has(name):
            self._files.write(name, "")

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
