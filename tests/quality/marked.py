# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Parts of pages between two lines that mark them, each made from what the code says."""

from __future__ import annotations

import re
from pathlib import Path


def replaced(page: str, path: Path, begin: str, end: str, made: str) -> str:
    """Return PAGE with MADE between the lines BEGIN and END; ValueError, which names PATH, without these marks."""
    result, count = re.subn(
        f"{re.escape(begin)}\n.*{re.escape(end)}", lambda _: f"{begin}\n\n{made}\n{end}", page, flags=re.DOTALL
    )
    if count != 1:
        raise ValueError(f"{path} must have the line {begin!r}, then {end!r}, once")
    return result
