# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reading files that are like most as members of an archive: small, with one name, no holes and no attributes.

A volume may have a million of them, and each is some steps of Python. So all of a directory are read in one loop, which
leaves out whatever is not like most: for that the caller does all steps. It opens what root inside has written, as
`packing` does.
"""

from __future__ import annotations

import os
from typing import Sequence

from .helper import PART_ROOM
from .increments import stamp
from .tar_members import padding, plain_head

KEPT_ATTRIBUTES_OF = "user."
KEPT_ATTRIBUTES = ("security.capability", "system.posix_acl_access", "system.posix_acl_default")
"""The attributes that are a volume's. The others are the host's own, or properties of its file system (btrfs)."""

SMALL = 1 << 15  # bytes of a file that is read at once
ROOM_OF_ANSWER = PART_ROOM - 2 * SMALL  # bytes of members; the rest is for the last one, and for what is said of all
_KIND_BITS, _REGULAR = 0o170000, 0o100000  # of what stat(2) calls the mode

# An open that does not block fails where somebody has a lease on the file, instead of waiting for who stands still.
READING = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOATIME | os.O_NOCTTY | os.O_CLOEXEC


def plain_members(descriptors: Sequence[int], request: tuple[bytes, list[bytes], bool]) -> tuple[list[int], int, bytes]:
    """Return the members of files that are like most: how long each is, how large all files are, and the members.

    A file that is another, or cannot be read, has none, which is of no length; nor have those for which there is no
    room.

    :param descriptors: one, of the directory.
    :param request: its path with a slash, the names, and whether files are to be known again.
    """
    directory = descriptors[0]
    above, names, stamped = request
    parts: list[bytes] = []
    lengths: list[int] = []
    size = room = 0
    for name in names:
        length = 0
        if room <= ROOM_OF_ANSWER:
            try:
                descriptor = os.open(name, READING, dir_fd=directory)
                try:
                    status = os.fstat(descriptor)
                    if _is_plain(status) and not any(map(is_kept_attribute, os.listxattr(descriptor))):
                        content = os.pread(descriptor, status.st_size, 0)
                        head = plain_head(above + name, status, stamp(status) if stamped else b"")
                        if head and len(content) == status.st_size:
                            fill = padding(len(content))
                            parts += head, content, fill
                            length = len(head) + len(content) + len(fill)
                            size += len(content)
                            room += length
                finally:
                    os.close(descriptor)
            except OSError:
                pass  # the caller finds out why
        lengths.append(length)
    return lengths, size, b"".join(parts)


def is_kept_attribute(name: str) -> bool:
    """Return whether an extended attribute is a volume's, so that an archive has it, and an import takes it."""
    return name.startswith(KEPT_ATTRIBUTES_OF) or name in KEPT_ATTRIBUTES


def _is_plain(status: os.stat_result) -> bool:
    size = status.st_size
    if size > SMALL or status.st_mode & _KIND_BITS != _REGULAR:
        return False
    return status.st_nlink == 1 and status.st_blocks * 512 >= size
