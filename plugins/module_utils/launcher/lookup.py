# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Paths that lie in a tree whose links nobody on the host vouches for: a container's root, or the tree of a store.

They are resolved below a descriptor of the tree's root, by the kernel (openat2(2)): a link that is absolute, or leads
upward, stays in the tree, and a magic link of procfs (`/proc/self/fd/3`, `/proc/1/root`) is an error (`ELOOP`).
"""

from __future__ import annotations

import os

from . import syscalls as sys

RESOLVE = sys.RESOLVE_IN_ROOT | sys.RESOLVE_NO_MAGICLINKS


def open_root(path: str) -> int:
    """Return a descriptor (`O_PATH`) of a directory that is to be the root of look-ups; the caller closes it."""
    return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def open_below(root: int, path: str, flags: int = os.O_PATH, mode: int = 0) -> int:
    """Open a path in the tree whose root a descriptor names, with the flags of open(2); always close-on-exec.

    Args:
        root: a descriptor from `open_root`, or of a mount.
        path: absolute or relative, which means the same here.
        mode: of a file that is made.

    Raises:
        OSError: as open(2) says; `ELOOP` for a magic link.
    """
    return sys.openat2(root, path.lstrip("/") or ".", flags, RESOLVE, mode)
