# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the kernel reads of a program in the Executable and Linkable Format before it runs it (elf(5))."""

from __future__ import annotations

import os

HEADER = 64  # bytes of the longer of the two kinds of header
PT_INTERP = 3
PATH_LIMIT = 4096  # bytes of an interpreter's path, which the kernel takes (PATH_MAX)
TABLE_LIMIT = 65536  # bytes of a table of segments, which the kernel takes
# By the machine's name, the number that the format has for it (e_machine), as it stands in a file.
MACHINES = {"x86_64": b">\0", "aarch64": b"\xb7\0", "riscv64": b"\xf3\0", "ppc64le": b"\x15\0", "s390x": b"\0\x16"}
MAGIC = b"\x7fELF"

# Where things stand for 32 and for 64 bits, each as its first byte and its width: in the header, the place of the
# table of segments, the size of one entry and their number; in an entry, where a segment begins and how long it is.
_LAYOUTS = {
    1: (((28, 4), (42, 2), (44, 2)), ((4, 4), (16, 4))),
    2: (((32, 8), (54, 2), (56, 2)), ((8, 8), (32, 8))),
}


def is_foreign(header: bytes) -> bool:
    """Return whether the kernel itself does not run what begins with this: it is not ELF, or of another machine."""
    machine = MACHINES.get(os.uname().machine)
    return not header.startswith(MAGIC) or (len(header) > 20 and machine is not None and header[18:20] != machine)


def interpreter(descriptor: int, header: bytes) -> str | None:
    """Return the path of the program that the kernel loads together with this one, None for a static program.

    Args:
        descriptor: of the program.
        header: its first bytes, at least `HEADER` of them if there are as many.
    """
    if len(header) < HEADER or header[4] not in _LAYOUTS:
        return None
    order = "big" if header[5] == 2 else "little"

    def number(text: bytes, place: tuple[int, int]) -> int:
        return int.from_bytes(text[place[0] : sum(place)], order)  # type: ignore[arg-type]

    (table_place, size_place, count_place), (begin_place, length_place) = _LAYOUTS[header[4]]
    size = number(header, size_place)
    wanted = size * number(header, count_place)
    start = number(header, table_place)
    if not size or wanted > TABLE_LIMIT or start >> 63:
        return None
    table = os.pread(descriptor, wanted, start)
    for place in range(0, len(table), size):
        segment = table[place : place + size]
        if number(segment, (0, 4)) == PT_INTERP:
            begin, length = number(segment, begin_place), number(segment, length_place)
            if begin >> 63 or length > PATH_LIMIT:
                return None
            return os.fsdecode(os.pread(descriptor, length, begin).split(b"\0")[0])
    return None
