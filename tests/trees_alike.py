# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A description of a directory tree to be compared: all that a copy of it must have, in few words."""

from __future__ import annotations

import hashlib
import os
import stat
import typing as t
from pathlib import Path

Description = dict[bytes, tuple[t.Any, ...]]


def described(top: Path) -> Description:
    """Return what each file of a tree is, by its path: kind, ids, mode, time, attributes, content, and its names."""
    found: Description = {}
    names: dict[int, list[bytes]] = {}
    for directory, directories, files in os.walk(os.fsencode(top)):
        for name in [b".", *files, *(each for each in directories if os.path.islink(os.path.join(directory, each)))]:
            path = os.path.join(directory, name)
            key = os.path.normpath(os.path.relpath(path, os.fsencode(top)))
            status = os.lstat(path)
            kind = stat.S_IFMT(status.st_mode)
            attributes = {
                attribute: os.getxattr(path, attribute, follow_symlinks=False)
                for attribute in os.listxattr(path, follow_symlinks=False)
            }
            content = {stat.S_IFREG: _digest, stat.S_IFLNK: os.readlink}.get(kind, lambda path: b"")(path)
            size = 0 if kind == stat.S_IFDIR else status.st_size
            found[key] = (
                stat.filemode(status.st_mode),
                status.st_uid,
                status.st_gid,
                status.st_mtime_ns,
                status.st_rdev,
                size,
                sorted(attributes.items()),
                content,
            )
            if kind != stat.S_IFDIR and status.st_nlink > 1:
                names.setdefault(status.st_ino, []).append(key)
    together = {name: sorted(others) for others in names.values() for name in others}
    return {name: (*what, together.get(name)) for name, what in found.items()}


def _digest(path: bytes) -> bytes:
    """Return the digest of a file's data and of where they are; what is a hole is not read."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        end, size = 0, os.fstat(file.fileno()).st_size
        while end < size:
            try:
                first = os.lseek(file.fileno(), end, os.SEEK_DATA)
            except OSError:
                break  # all the rest is a hole
            end = os.lseek(file.fileno(), first, os.SEEK_HOLE)
            for offset in range(first, end, 1 << 20):
                part = os.pread(file.fileno(), min(1 << 20, end - offset), offset)
                if part.strip(b"\0"):
                    digest.update(b"%d:" % offset + part.rstrip(b"\0"))
    return digest.digest()
