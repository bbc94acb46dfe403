# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where things are on the host, and how small files are replaced whole."""

from __future__ import annotations

import os

STATE_DIRECTORY = "/var/lib/unshare"
RUN_DIRECTORY = "/run/unshare"


def make_directory(path: str, mode: int = 0o755) -> None:
    """Make a directory of the host's root and its parents, unless it exists."""
    if not os.path.isdir(path):
        os.makedirs(path, mode, exist_ok=True)


def read_text(path: str, limit: int = 1 << 20, directory: int | None = None) -> str:
    """The text of a small file, or an empty string where there is none; relative to a directory's descriptor."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return ""
    try:
        return os.read(descriptor, limit).decode("utf-8", "replace")
    finally:
        os.close(descriptor)


def write_atomically(path: str, text: str, mode: int = 0o600, durable: bool = False) -> None:
    """Replace a file so that a reader, or a crash, sees the old text or the new, never a part.

    `durable` also syncs it and its directory to the disk.
    """
    aside = "%s.%d.new" % (path, os.getpid())
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        try:
            data = text.encode()
            while data:
                data = data[os.write(descriptor, data) :]
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(aside, path)
    except OSError:
        os.unlink(aside)
        raise
    if durable:
        sync_directory(os.path.dirname(path))


def sync_directory(path: str) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
