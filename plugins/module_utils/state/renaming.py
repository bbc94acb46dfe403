# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Putting a directory in the place of another one, which Python's standard library cannot do in one step."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_NOT_POSSIBLE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EXDEV)
"""What a file system says that cannot exchange names (some of the network's, overlays), or a kernel's filter."""


def put_in_place(new: Path, path: Path) -> None:
    """Have `path` be what `new` is, both of one file system; what it was is called `new` then, when it was anything.

    At any moment `path` is one or the other, where the file system can exchange names. Elsewhere it is nothing for a
    moment, and a process that is killed in that moment leaves nothing there.

    :raises OSError: the names cannot be changed; `path` is what it was then.
    """
    if not os.path.lexists(path):
        new.rename(path)
        return
    try:
        _exchange(new, path)
        return
    except OSError as error:
        if error.errno not in _NOT_POSSIBLE:
            raise
    former = new.with_name(new.name + "-former")
    path.rename(former)
    try:
        new.rename(path)
    except OSError:
        former.rename(path)
        raise
    former.rename(new)


def _exchange(one: Path, other: Path) -> None:
    """renameat2(2) with RENAME_EXCHANGE. Raises OSError, with ENOSYS where the C library does not have it."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), str(other)) from None
    if call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), ctypes.c_uint(_RENAME_EXCHANGE)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(other))
