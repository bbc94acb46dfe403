# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading and checking a system's `spec.json`, so that every field of it is present and of the right kind.

`container_script` wrote it, from a declaration that the controller had checked. A file that was damaged or edited since
must still be an error that says so. It must never become a container with another meaning, or a write outside of it.
"""

from __future__ import annotations

import os

from . import contract, data
from .errors import LauncherError
from .kinds import ContractError
from .paths import read_text

SIZE_LIMIT = 1 << 26  # bytes of a spec.json


def read_spec(system: str) -> contract.Specification:
    """Return the specification in a system's directory.

    Raises:
        LauncherError: there is none, or it is not one.
    """
    path = os.path.join(system, "spec.json")
    try:
        text = read_text(path, limit=SIZE_LIMIT)
    except OSError as error:
        raise LauncherError("%s: cannot be read: %s; stage the system again" % (path, error.strerror)) from error
    if not text:
        raise LauncherError("%s: holds no spec.json; stage the system again with container_script" % system)
    try:
        written = data.parse(text, path)
    except ValueError as error:
        raise LauncherError("%s; stage the system again" % error) from error
    known = written.get("format")
    if not data.is_integer(known) or known not in (1, contract.FORMAT):
        raise LauncherError("%s: is not of format %d; stage the system again" % (path, contract.FORMAT))
    try:
        return contract.Specification.read(contract.upgrade(written))
    except ContractError as error:
        form = "%s: %s; declare it otherwise, and stage the system again"
        if not error.refused:
            form = "%s: is damaged: %s; stage the system again"
        message = form % (path, error)
        raise LauncherError(message.encode("utf-8", "backslashreplace").decode()) from error
