# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The names that a host's distribution gives to the packages that messages recommend.

The controller knows what a distribution means for a container's system (`plugin_utils/distribution.py`).
"""

from __future__ import annotations

from typing import NamedTuple


class HostPackages(NamedTuple):
    """The packages that merge /usr, contain systemd, and contain the library that compiles the system-call filter.

    `packet_filter`: the one with the program that makes the rules for containers with a network of their own.
    """

    merged_usr: str
    systemd: str
    libseccomp: str
    packet_filter: str


DEBIAN_PACKAGES = HostPackages(
    merged_usr="usrmerge", systemd="systemd", libseccomp="libseccomp2", packet_filter="nftables"
)
