# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Settings of the network namespace that this process is in (sysctl(8), net.*), by their paths below /proc/sys/net."""

from __future__ import annotations

import os

SETTINGS = "/proc/sys/net"


def has_ipv6(device: str = "default") -> bool:
    """Return whether a device of this process's network namespace has IPv6; without a name, one that is made now.

    None has where the kernel has none, and none with an mtu that is too small for it.
    """
    return setting("ipv6/conf/%s/disable_ipv6" % device) == "0"


def kernel_has_ipv6() -> bool:
    """Return whether any network of this kernel can have IPv6."""
    return os.path.isdir(SETTINGS + "/ipv6")


def has_interface(name: str) -> bool:
    """Return whether there is an interface of this name.

    Unlike a question by netlink(7), this one does not wait while somebody changes any interface of the machine.
    """
    return os.path.isdir(os.path.join(SETTINGS, "ipv4/conf", name))


def interfaces() -> set[str]:
    """Return the names of all interfaces, and `all` and `default`, as `has_interface` asks; empty without IPv4."""
    try:
        return set(os.listdir(os.path.join(SETTINGS, "ipv4/conf")))
    except OSError:
        return set()


def setting(name: str) -> str:
    """Return a setting of this process's network namespace (sysctl(8), with slashes); empty where there is none."""
    try:
        with open(os.path.join(SETTINGS, name), encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def set_setting(name: str, value: str) -> bool:
    """Set a setting of this process's network namespace, unless it is set so. Return whether it is."""
    if setting(name) == value:
        return True
    try:
        descriptor = os.open(os.path.join(SETTINGS, name), os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        os.write(descriptor, value.encode())
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)


def can_set(name: str) -> bool:
    """Return whether this process can set a setting of its network namespace."""
    return os.access(os.path.join(SETTINGS, name), os.W_OK)


def distrust(device: str) -> None:
    """Have the host take no routes from who is at a device."""
    for name in ("ipv6/conf/%s/accept_ra", "ipv6/conf/%s/accept_redirects", "ipv4/conf/%s/accept_redirects"):
        set_setting(name % device, "0")
