# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secret contents, apart from the rest of a system.

A module's parameters are written to the host's log and, with `-vvv`, to the output, unless they are marked as not to be
logged as a whole. To hide the whole system would hide every word in it (`web`, `0644`, `/usr`) wherever it appears, so
the secret contents travel in a parameter of their own.
"""

from __future__ import annotations

import typing as t


def split_secrets(system: dict[str, t.Any]) -> tuple[dict[str, t.Any], dict[str, str]]:
    """Return `system` without the content of its secret files, and those contents by path.

    :param system: the result of the filter `system_files`; it is not changed.
    """
    files: dict[str, t.Any] = {}
    secrets: dict[str, str] = {}
    for path, entry in system["files"].items():
        if isinstance(entry, dict) and entry.get("secret") and "content" in entry:
            secrets[path] = entry["content"]
            entry = {key: value for key, value in entry.items() if key != "content"}
        files[path] = entry
    return {**system, "files": files}, secrets
