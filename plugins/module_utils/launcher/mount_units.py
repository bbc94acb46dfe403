# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Units that keep a container's systemd from unmounting what it cannot: the launcher's mounts, which are locked (S13).

systemd has a unit for each mount that it finds, and stops it when the container ends. For that it runs umount(8), and
the kernel refuses. A unit without default dependencies is not stopped (systemd.mount(5)).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable

DIRECTORY = "/etc/systemd/system"
LOCKED = DIRECTORY + "/locked-mounts.d"
FILE = LOCKED + "/locked.conf"
TEXT = b"# The launcher has mounted it, and nobody in the container can unmount it.\n[Unit]\nDefaultDependencies=no\n"
# Where systemd itself takes no mount for its own to stop.
LEFT_ALONE = ("/dev", "/proc", "/run", "/sys", "/usr")
PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_.")


def drop_ins(points: Iterable[str]) -> list[str]:
    """Return the paths of the drop-in directories for mounts, each to be a link to `LOCKED`.

    Args:
        points: the mount points, absolute and plain.
    """
    return [
        "%s/%s.d" % (DIRECTORY, unit_name(point))
        for point in sorted(set(points))
        if point != "/" and not any((point + "/").startswith(above + "/") for above in LEFT_ALONE)
    ]


def unit_name(point: str) -> str:
    """Return the name of the unit of the mount at a path (systemd.unit(5), "string escaping")."""
    path = point.strip("/")
    escaped = ["\\x2e"] if path.startswith(".") else []
    for byte in path[len(escaped) :].encode("utf-8", "surrogateescape"):
        character = chr(byte)
        escaped.append("-" if character == "/" else character if character in PLAIN else "\\x%02x" % byte)
    return "".join(escaped) + ".mount"
