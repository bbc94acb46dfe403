# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ending the file systems in user space (FUSE) of a container whose killed processes do not end.

A process that has asked such a file system waits for its server, and no signal ends the wait once the server has read
the question. A server that waits for itself, or two for each other, can be killed only when their connection is
aborted. The kernel shows each connection as a directory of the file system `fusectl`, by its device number. The
directory belongs to the mount's `user_id`, an id of the mounter's user namespace, so a container's lie in its range.

Two kinds of containers have no connections that can be told apart: one with `private_users: identity`, which has the
host's own ids, and one inside another container. Nothing is aborted there.
"""

from __future__ import annotations

import errno
import os

from ..launcher import mounts
from ..launcher.paths import read_text

KIND = "fusectl"


def abort(base: int, count: int) -> None:
    """Abort the connections that belong to `count` host ids from `base` on; none if `base` is 0.

    Raises:
        OSError: the kernel has connections, and does not let them be seen or aborted.
    """
    if base <= 0 or "\t%s\n" % KIND not in read_text("/proc/filesystems"):
        return
    mount = mounts.filesystem(KIND, [])
    try:
        directory = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=mount)
    finally:
        os.close(mount)
    try:
        for name in os.listdir(directory):
            try:
                if base <= os.stat(name, dir_fd=directory, follow_symlinks=False).st_uid < base + count:
                    _write(directory, name + "/abort")
            except OSError as error:
                if error.errno not in (errno.ENOENT, errno.ENODEV):  # has ended meanwhile
                    raise
    finally:
        os.close(directory)


def _write(directory: int, path: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    try:
        os.write(descriptor, b"1")
    finally:
        os.close(descriptor)
