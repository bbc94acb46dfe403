# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The check for a host that is itself a container, of a kind that can have none inside."""

from __future__ import annotations

import errno
import os

from ..launcher import linux
from ..launcher.paths import read_text

MANAGER = "/run/host/container-manager"
"""Says inside a container what runs it (https://systemd.io/CONTAINER_INTERFACE)."""


def refusal(root: str = "/") -> str | None:
    """Return why no container can be made on this host, where openat2(2) is refused; else None.

    A container without `nesting` lacks this call, for a system-call filter cannot see what it opens.

    :param root: the directory where the host's own tree is.
    """
    try:
        os.close(linux.openat2(-1, "/", os.O_PATH, 0))
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EPERM):
            raise
    else:
        return None
    if read_text(root.rstrip("/") + MANAGER).strip() == "unshare":
        return (
            "this host is itself a container, without 'nesting', and so can have none inside: declare "
            "security: {nesting: true} for it, and deploy it again"
        )
    return (
        "openat2(2) is refused on this host: its kernel is older than 5.6, or it is itself a container whose "
        "system-call filter does not let this call pass; let whatever runs that container permit it"
    )
