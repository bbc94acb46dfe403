# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection's places on the host; replacing small files whole, and removing what is the collection's own."""

from __future__ import annotations

import os

from . import data, trees
from .errors import LauncherError
from .targets import plain_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

STATE_DIRECTORY = "/var/lib/unshare"
RUN_DIRECTORY = "/run/unshare"
NAMES_DIRECTORY = "/run/unshare.names"  # of the containers of zones
CONFIGS_FILE = "/run/unshare.configs"  # what the containers of this host keep for life, as it was read last
CODE_DIRECTORY = "/run/unshare.code"  # of the collection's modules, which are run from there
# Of a container with a network of its own: what is kept of that in its directory, and noted in its runtime directory.
NETWORK_FILE = "network.json"
# What is kept of a container that moves to another host, or from one, in its directory.
HOLD_FILE = "move.json"
UNIT_DIRECTORY = "/etc/systemd/system"
RUNTIME_UNIT_DIRECTORY = "/run/systemd/system"  # of a host whose /etc is an image
AT_ONCE = 1 << 14  # bytes; for more the C library asks the kernel, which clears all of it
NEW = ".new"  # ends the name under which a file is written aside


def refusal_of_root(source: str) -> str | None:
    """Return why a path cannot be shared when it is `/`; else None."""
    if plain_path(os.path.normpath(source)) != "/":
        return None
    return (
        "'/' is the whole host, with the secrets of all of its users and the kernel's own file systems: "
        "name the directories that the container needs"
    )


def make_directory(path: str, mode: int = 0o755) -> None:
    """Make a directory of the host's root and its parents, unless it exists."""
    while True:
        try:
            os.mkdir(path, mode)
            return
        except FileExistsError:
            if os.path.isdir(path):
                return
            if os.path.lexists(path):
                raise
        except FileNotFoundError:
            # Never made, or just removed by another container's end, which left it empty.
            make_directory(os.path.dirname(path))


def read_text(path: str, limit: int = 1 << 20, directory: int | None = None) -> str:
    """Return the text of a small file, at most `limit` bytes of it, or "" when it is missing.

    Args:
        directory: a descriptor to start from.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return ""
    try:
        text = part = os.read(descriptor, min(limit, AT_ONCE))
        while part and len(text) < limit:  # the kernel gives a page of a list in /proc or /sys at once, and no more
            part = os.read(descriptor, min(limit - len(text), AT_ONCE))
            text += part
        return text.decode("utf-8", "replace")
    finally:
        os.close(descriptor)


def read_kept(path: str, remedy: str) -> dict[str, Any]:
    """Return the mapping in a JSON file that is kept for a container; an empty one where there is no file.

    Raises:
        LauncherError: the file is damaged; the message ends with the remedy.
    """
    text = read_text(path)
    try:
        return data.parse(text, path) if text else {}
    except ValueError as error:
        raise LauncherError("%s; %s" % (error, remedy)) from error


def write_atomically(path: str, text: str, mode: int = 0o600, durable: bool = False, aside: str | None = None) -> None:
    """Replace a file so that a reader, or a crash, sees the old text or the new, never a part.

    What a killed writer left aside is written anew. Two that write the same file at once hold a lock, or name different
    files aside.

    Args:
        mode: its permissions, whatever the umask.
        durable: whether it and its directory are synced to the disk.
        aside: where it is written before it gets its name, on the same file system; by default beside it.
    """
    aside = aside or path + NEW
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(aside, flags, mode)
    except FileExistsError:
        remove_file(aside)
        descriptor = os.open(aside, flags, mode)
    try:
        try:
            data = text.encode()
            while data:
                data = data[os.write(descriptor, data) :]
            if os.fstat(descriptor).st_mode & 0o777 != mode:
                os.fchmod(descriptor, mode)
            if durable:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(aside, path)
    except OSError:
        remove_file(aside)
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


def remove_file(path: str) -> None:
    """Remove a file, if it is there."""
    try:
        os.unlink(path)
    except OSError:
        if os.path.lexists(path):  # a read-only file system refuses even what is not there
            raise


def remove_tree(path: str) -> None:
    """Remove a file, or a directory with all in it, if it exists, but nothing that is mounted there.

    Raises:
        LauncherError: something is mounted on it or below it; that, and what leads to it, stays.
    """
    parent, name = os.path.split(path)
    remove_entries(parent, (name,))


def remove_entries(directory: str, names: tuple[str, ...]) -> None:
    """Remove these names from a directory, in order, each as `remove_tree` does. A missing directory is no error."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        present = os.listdir(descriptor)
        for name in names:
            if name in present:
                trees.remove(descriptor, name, os.path.join(directory, name))
    finally:
        os.close(descriptor)
