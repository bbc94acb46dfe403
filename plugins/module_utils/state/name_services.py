# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where a container's users and groups come from: its own passwd(5) and group(5) alone, or somewhere else, too."""

from __future__ import annotations

import re

from ..launcher import targets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable

PASSWD, GROUP, NAME_SERVICES = "/etc/passwd", "/etc/group", "/etc/nsswitch.conf"
MADE_AT_BOOT = ("/etc/sysusers.d", "/etc/userdb")
"""Directories whose files bring accounts of their own (sysusers.d(5), userdbctl(1))."""

LOCAL = ("files", "compat", "systemd", "myhostname")
"""Sources of nsswitch.conf(5) that need no server."""


def has_others(files: Iterable[str], points: Iterable[str], text: str | None) -> bool:
    """Return whether a container may have users and groups that its own passwd(5) and group(5) do not name.

    :param files: the paths of the files that its system brings.
    :param points: where something of the host is mounted in it.
    :param text: its nsswitch.conf(5); None when that is not known, and empty when it has none.
    """
    if text is None or any(targets.is_below(path, directory) for path in files for directory in MADE_AT_BOOT):
        return True
    for point in points:
        of_files = any(targets.is_below(path, point) for path in (PASSWD, GROUP, NAME_SERVICES, *MADE_AT_BOOT))
        if point != "/" and (of_files or any(targets.is_below(point, directory) for directory in MADE_AT_BOOT)):
            return True
    lines = re.findall(r"^\s*(?:passwd|group)\s*:([^#\n]*)", text, re.MULTILINE)
    return any(word not in LOCAL for line in lines for word in re.sub(r"\[[^]]*\]", " ", line).split())
