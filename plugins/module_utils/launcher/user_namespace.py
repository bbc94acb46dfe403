# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""User namespaces: the id maps that are written to one, and one that is there for its id maps alone."""

from __future__ import annotations

import os

from . import linux


def make_user_namespace(lines: tuple[str, str]) -> int:
    """Make a user namespace with a uid map and a gid map; return its descriptor."""
    read, write = os.pipe()
    child = linux.clone3(linux.CLONE_NEWUSER, linux.SIGCHLD)
    if child == 0:
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    try:
        write_id_maps(child, lines, False)
        return os.open("/proc/%d/ns/user" % child, os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(read)
        os.close(write)
        os.waitpid(child, 0)


def write_id_maps(pid: int, lines: tuple[str, str], sole_user: bool) -> None:
    """Write the id maps of a new user namespace.

    An ordinary user must give up setgroups(2) first (user_namespaces(7)).
    """
    texts = [("uid_map", lines[0]), ("gid_map", lines[1])]
    for name, text in ([("setgroups", "deny")] if sole_user else []) + texts:
        descriptor = os.open("/proc/%d/%s" % (pid, name), os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
