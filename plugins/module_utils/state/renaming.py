# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Replacing a directory by another one, which Python's standard library cannot do in one step."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_NOT_POSSIBLE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EXDEV)
"""The errors of a file system that cannot exchange names (some network ones, overlays), or of a system-call filter."""


def put_in_place(new: Path, path: Path) -> None:
    """Put `new` in the place of `path`, on one file system; what `path` was, if anything, is called `new` then.

    Where the file system can exchange names, `path` is one or the other at any moment. Elsewhere it is missing for a
    moment, and stays missing when the process is killed in that moment.

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
    """Exchange two names (renameat2(2), RENAME_EXCHANGE). Raise OSError, ENOSYS when the C library lacks the call."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), str(other)) from None
    if call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), ctypes.c_uint(_RENAME_EXCHANGE)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), str(other))
