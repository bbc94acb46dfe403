# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part of an ELF program that the kernel reads before it runs the program (elf(5)).

The kernel looks neither at the class nor at the byte order that a file claims for itself: it knows both by the machine
and by the size of an entry of the table of segments. So does this.
"""

from __future__ import annotations

import os
import sys

HEADER = 64  # bytes of the longer of the two kinds of header
PT_INTERP = 3
PATH_LIMIT = 4096  # bytes of an interpreter's path, which the kernel takes (PATH_MAX)
TABLE_LIMIT = 65536  # bytes of a table of segments, which the kernel takes
MAGIC = b"\x7fELF"
# By the machine's name, the numbers of the machines whose programs its kernel runs (e_machine): its own, and that of
# its programs of 32 bits.
MACHINES = {"x86_64": (62, 3), "aarch64": (183, 40), "riscv64": (243,), "ppc64le": (21, 20), "s390x": (22,)}


class ElfLayout:
    """The places of the fields, each as its first byte and its width.

    Attributes:
        table, size, count: in the header: where the table of segments begins, the size of an entry, their number.
        begin, length: in an entry: where the segment begins, and how long it is.
        entry: the size of an entry.
    """

    def __init__(self, table: int, size: int, count: int, begin: int, length: int, width: int, entry: int) -> None:
        self.table, self.size, self.count = (table, width), (size, 2), (count, 2)
        self.begin, self.length = (begin, width), (length, width)
        self.entry = entry


LAYOUTS = (ElfLayout(32, 54, 56, 8, 32, 8, 56), ElfLayout(28, 42, 44, 4, 16, 4, 32))  # of 64, and of 32 bits


def _number(text: bytes, place: tuple[int, int]) -> int:
    return int.from_bytes(text[place[0] : sum(place)], sys.byteorder)


def is_native(header: bytes) -> bool:
    """Return whether the kernel itself runs a file that begins with these bytes, without binfmt_misc."""
    return header.startswith(MAGIC) and _number(header, (18, 2)) in MACHINES.get(os.uname().machine, ())


def interpreters(descriptor: int, header: bytes) -> list[str]:
    """Return the paths of the programs that the kernel may load with this one; none for a static program.

    Args:
        descriptor: of the program.
        header: its first bytes, at least `HEADER` of them if there are as many.
    """
    found = []
    for layout in LAYOUTS:
        table, count = _number(header, layout.table), _number(header, layout.count)
        if _number(header, layout.size) != layout.entry or count * layout.entry > TABLE_LIMIT or table >> 63:
            continue
        text = os.pread(descriptor, count * layout.entry, table)
        for place in range(0, len(text), layout.entry):
            segment = text[place : place + layout.entry]
            begin, length = _number(segment, layout.begin), _number(segment, layout.length)
            if _number(segment, (0, 4)) == PT_INTERP and length <= PATH_LIMIT and not begin >> 63:
                found.append(os.fsdecode(os.pread(descriptor, length, begin).split(b"\0")[0]))
                break
    return found
