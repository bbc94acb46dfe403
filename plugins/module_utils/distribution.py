# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a host's distribution calls the packages that bring what its containers need, for messages.

What of a distribution decides a container's system is known on the controller (`plugin_utils/distribution.py`).
"""

from __future__ import annotations

from typing import NamedTuple


class HostPackages(NamedTuple):
    """Names of packages: what merges /usr, systemd, and the library that compiles the system-call filter."""

    merged_usr: str
    systemd: str
    libseccomp: str


DEBIAN_PACKAGES = HostPackages(merged_usr="usrmerge", systemd="systemd", libseccomp="libseccomp2")
