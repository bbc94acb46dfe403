# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The names of containers, trees and systems.

A system's directory is named by its digest and its container, `<digest>-<container>`.
"""

from __future__ import annotations

NAME_LIMIT = 63  # of a container
NO_NAME = "%r cannot name a %s; use 1 to 63 lower-case letters, digits and dashes, beginning with a letter or a digit"
_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")
DIGITS = 32  # of a digest, hexadecimal
_HEXADECIMAL = frozenset("0123456789abcdef")


def is_name(value: object) -> bool:
    """Return whether a value is the name of a container or of a tree, which can be part of a path."""
    return isinstance(value, str) and 0 < len(value) <= NAME_LIMIT and value[0] != "-" and _LETTERS.issuperset(value)


def is_digest(value: object) -> bool:
    """Return whether a value is a digest by which something is stored."""
    return isinstance(value, str) and len(value) == DIGITS and _HEXADECIMAL.issuperset(value)


def system_name(digest: str, container: str) -> str:
    """Return the name of the directory of a container's system."""
    return "%s-%s" % (digest, container)


def container_of(name: str) -> str | None:
    """Return the container of the system in a directory of this name, or None when it is no system's name."""
    digest, dash, container = name[:DIGITS], name[DIGITS : DIGITS + 1], name[DIGITS + 1 :]
    if is_digest(digest) and dash == "-" and is_name(container):
        return container
    return None
