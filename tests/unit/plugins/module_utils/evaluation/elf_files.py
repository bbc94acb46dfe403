# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Small ELF files that say what they need, and can be loaded by nobody."""

from __future__ import annotations

import struct
import typing as t
from pathlib import Path

MACHINE = 62
LOAD, DYNAMIC, INTERPRETER = 1, 2, 3
NEEDED, STRINGS, SONAME, RPATH, RUNPATH = 1, 5, 14, 15, 29
FLAGS_1, AUXILIARY, FILTER = 0x6FFFFFFB, 0x7FFFFFFD, 0x7FFFFFFF
BASE = 0x400000


def elf(
    needed: t.Sequence[str] = (),
    *,
    interpreter: str | None = None,
    soname: str | None = None,
    rpath: str | None = None,
    runpath: str | None = None,
    filtered: str | None = None,
    more: t.Sequence[tuple[int, str]] = (),
    flags: int = 0,
    bits: int = 64,
    order: str = "<",
    machine: int = MACHINE,
) -> bytes:
    """Return the bytes of a file with these entries."""
    strings = b"\0"
    dynamic: list[tuple[int, int]] = []

    def entry(tag: int, text: str | None) -> None:
        nonlocal strings
        if text is not None:
            dynamic.append((tag, len(strings)))
            strings += text.encode() + b"\0"

    for name in needed:
        entry(NEEDED, name)
    entry(SONAME, soname)
    entry(RPATH, rpath)
    entry(RUNPATH, runpath)
    entry(FILTER, filtered)
    for tag, text in more:
        entry(tag, text)
    wide = bits == 64
    header, program_header, dynamic_entry = (64, 56, "QQ") if wide else (52, 32, "II")
    kinds = [LOAD, DYNAMIC] + ([INTERPRETER] if interpreter is not None else [])
    strings_at = header + program_header * len(kinds)
    dynamic += [(FLAGS_1, flags), (STRINGS, BASE + strings_at), (0, 0)]
    dynamic_at = strings_at + len(strings)
    table = b"".join(struct.pack(order + dynamic_entry, *pair) for pair in dynamic)
    interpreter_at = dynamic_at + len(table)
    path = (interpreter or "").encode() + b"\0"
    size = interpreter_at + len(path)
    places = {LOAD: (0, size), DYNAMIC: (dynamic_at, len(table)), INTERPRETER: (interpreter_at, len(path))}
    segments = b""
    for kind in kinds:
        offset, length = places[kind]
        if wide:
            segments += struct.pack(order + "IIQQQQQQ", kind, 4, offset, BASE + offset, 0, length, length, 8)
        else:
            segments += struct.pack(order + "IIIIIIII", kind, offset, BASE + offset, 0, length, length, 4, 4)
    identification = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2, 1]) + bytes(9)
    form = "HHIQQQIHHHHHH" if wide else "HHIIIIIHHHHHH"
    fields = (3, machine, 1, 0, header, 0, 0, header, program_header, len(kinds), 0, 0, 0)
    return identification + struct.pack(order + form, *fields) + segments + strings + table + path


def write(path: Path, *arguments: t.Any, **keywords: t.Any) -> Path:
    """Write such a file, with the directories above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(elf(*arguments, **keywords))
    path.chmod(0o755)
    return path
