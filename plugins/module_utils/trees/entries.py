# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What goes into a tree: one record for each file, directory, link and the like; and the bounds of all of them.

An entry may come from somebody hostile. Its path is checked where it becomes one (`path_in_tree`); that nothing on the
way to it is a link is for the writer to see, who has the tree.
"""

from __future__ import annotations

import os
from typing import Callable

from ..state.plain_files import is_kept_attribute
from ..state.target import TargetError

NAME_LIMIT, PATH_LIMIT = 255, 4095  # bytes, of Linux
DEPTH_LIMIT = 200  # directories in each other; those of a distribution are 15
ENTRIES = 2_000_000
"""The number of files, directories and links that a tree may have; a large distribution's desktop has 500,000."""

SHOWN = 120  # characters of a name in a message
DIRECTORY, FILE, SYMBOLIC_LINK, HARD_LINK, FIFO, DEVICE, WHITEOUT_DEVICE = (
    "directory",
    "file",
    "link",
    "hard link",
    "fifo",
    "device",
    "whiteout device",
)
OVERLAY = "user.overlay."

Read = Callable[[int], bytes]


class Refused(TargetError):
    """What cannot be in a tree, or not there."""


def shown_name(name: str) -> str:
    """Return a name for a message: it may be anything, and of any length."""
    text = name if len(name) <= SHOWN else name[: SHOWN // 2] + "[...]" + name[-SHOWN // 2 :]
    return ascii(text)


def path_in_tree(name: str, what: str = "") -> str:
    """Return the path, relative to a tree's root, that a name in an archive stands for; empty for the root itself.

    :param what: what names it, for the error, when it is not the name of an entry itself.
    :raises Refused: it would lie outside, or no file can have that name.
    """
    said = f"{shown_name(name)}{what}"
    if name.startswith("/"):
        raise Refused(f"{said} is an absolute name, which would lead out of the tree")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Refused(f"{said} leads upward, out of the tree")
    if "\0" in name:
        raise Refused(f"{said} holds a NUL")
    path = "/".join(parts)
    try:
        is_long = any(len(os.fsencode(part)) > NAME_LIMIT for part in parts) or len(os.fsencode(path)) > PATH_LIMIT
    except UnicodeEncodeError:  # as a document of JSON can have it
        raise Refused(f"{said} is no text, and no file can have that name") from None
    if is_long:
        raise Refused(f"{said} is longer than a path can be")
    if len(parts) > DEPTH_LIMIT:
        raise Refused(f"{said} lies in more than {DEPTH_LIMIT} directories")
    return path


def is_attribute_kept(attribute: str) -> bool:
    """Return whether an extended attribute is part of a tree: one that a volume has, too (`plain_files`).

    Labels of a security module are this host's to give, and what overlayfs notes for itself would lead a container's
    overlay out of the tree.
    """
    return is_kept_attribute(attribute) and not attribute.startswith(OVERLAY)


class TreeEntry:
    """One file, directory, link or the like.

    Attributes:
        path: below the tree's root, as `path_in_tree` returns it.
        kind: one of the kinds above.
        mode: its permissions, with set-user-ID and the like.
        mtime: in seconds since 1970; Python's compiled files name that of their source.
        size: bytes of a file.
        target: the text of a link; of a hard link the path, in the tree, of the file that it names.
        attributes: the extended ones, by name; only those that `is_attribute_kept` are written.
        read: returns up to so many bytes of a file, in order, and nothing at its end.
        descriptor: of a file on this host, whose content the kernel can copy; else -1.
    """

    __slots__ = ("attributes", "descriptor", "gid", "kind", "mode", "mtime", "path", "read", "size", "target", "uid")

    def __init__(
        self,
        path: str,
        kind: str,
        mode: int = 0o755,
        uid: int = 0,
        gid: int = 0,
        mtime: float = 0.0,
        size: int = 0,
        target: str = "",
        attributes: dict[str, bytes] | None = None,
        read: Read | None = None,
        descriptor: int = -1,
    ) -> None:
        self.path = path
        self.kind = kind
        self.mode = mode & 0o7777
        self.uid = uid
        self.gid = gid
        self.mtime = mtime
        self.size = size
        self.target = target
        self.attributes = attributes or {}
        self.read = read
        self.descriptor = descriptor


class Budget:
    """How much a tree may hold. A small archive can promise to be a vast one.

    :param size: bytes of all files together.
    :param entries: files, directories and links.
    """

    def __init__(self, size: int, entries: int = ENTRIES) -> None:
        self.size = size
        self.entries = entries
        self._bytes = self._count = 0

    def spend(self, path: str, size: int) -> None:
        """Count one more entry. Raise Refused when it is too much."""
        self._count += 1
        self._bytes += max(0, size)
        if self._bytes > self.size:
            raise Refused(
                f"{shown_name(path)} would make the tree larger than {self.size} bytes: set size_limit to more if it "
                "is meant to be"
            )
        if self._count > self.entries:
            raise Refused(f"{shown_name(path)} is one of more than {self.entries} files, which no tree may have")
