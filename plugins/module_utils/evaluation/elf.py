# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The files that an ELF file says it needs (elf(5)). The file is read and never run.

`ldd` runs the program's own interpreter, so a file that one only wants to look at could do anything. This reads the
program headers and the dynamic section, and nothing that a damaged or hostile file says makes it read more than a
bounded amount.
"""

from __future__ import annotations

import os
import struct
from typing import BinaryIO, NamedTuple

from ..launcher.elf import MAGIC
from .programs import open_regular

_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NULL, _DT_NEEDED, _DT_STRTAB, _DT_SONAME, _DT_RPATH, _DT_RUNPATH = 0, 1, 5, 14, 15, 29
_DT_FLAGS_1, _DT_AUXILIARY, _DT_FILTER = 0x6FFFFFFB, 0x7FFFFFFD, 0x7FFFFFFF
_DF_1_NODEFLIB = 0x800
_HEADERS_LIMIT = 4096  # program headers; real files have about a dozen
_DYNAMIC_LIMIT = 1 << 20  # bytes of the dynamic section
_TEXT_LIMIT = 4096  # bytes of a name or a search path, as of a path
_LOOKUPS_LIMIT = 1 << 15  # names of libraries, times the directories to look in; of real files, some thousand at most


class ElfError(Exception):
    """A file that begins as an ELF file and cannot be loaded; the message says why."""


class Elf(NamedTuple):
    """The dependencies of a program or a library.

    Attributes:
        kind: class, byte order and machine; only files of one kind can be loaded together.
        interpreter: the dynamic linker that the program names, if it names one.
        soname: the name by which other files need this one.
        needed: names of libraries, in order.
        optional: names of libraries it filters for, which may be missing.
        rpath: directories searched first, for it and for what it loads; ignored where there is a runpath.
        runpath: directories searched for what it needs itself.
        default_directories: whether the system's own directories are searched, too.
    """

    kind: tuple[int, int, int]
    interpreter: str | None = None
    soname: str | None = None
    needed: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    rpath: tuple[str, ...] = ()
    runpath: tuple[str, ...] = ()
    default_directories: bool = True

    @property
    def machine(self) -> int:
        """Return the machine's number in `e_machine`."""
        return self.kind[2]


def read(path: str) -> Elf | None:
    """Read a file; None when it does not begin as an ELF file.

    Raises:
        ElfError: it does, and is damaged.
        OSError: it cannot be read.
    """
    with open(open_regular(path), "rb") as file:
        try:
            return parse(file)
        except ElfError as error:
            raise ElfError("%s: %s" % (path, error)) from error


def parse(file: BinaryIO) -> Elf | None:
    """Read an open file; return and raise the same as `read`."""
    return _Reader(file).read() if file.read(4) == MAGIC else None


class _Segment(NamedTuple):
    kind: int
    offset: int
    address: int
    size: int


class _Reader:
    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.order = "<"
        self.wide = True

    def read(self) -> Elf:
        identification = self._bytes(0, 16)
        if identification[4] not in (1, 2) or identification[5] not in (1, 2):
            raise ElfError("is no ELF file of a known class and byte order")
        self.wide = identification[4] == 2
        self.order = "<" if identification[5] == 1 else ">"
        header = self._unpack("HHIQQQIHHH" if self.wide else "HHIIIIIHHH", 16)
        machine, table, entry_size, count = header[1], header[4], header[8], header[9]
        kind = (identification[4], identification[5], machine)
        segments = self._segments(table, entry_size, count)
        interpreter = None
        dynamic: list[tuple[int, int]] = []
        for segment in segments:
            if segment.kind == _PT_INTERP:
                interpreter = self._text(segment.offset)
            elif segment.kind == _PT_DYNAMIC:
                dynamic = self._dynamic(segment)
        return self._describe(kind, interpreter, segments, dynamic)

    def _segments(self, table: int, entry_size: int, count: int) -> list[_Segment]:
        form = "IIQQQQ" if self.wide else "IIIII"
        if count > _HEADERS_LIMIT:
            raise ElfError("has more program headers than a program can need (%d)" % count)
        if count and entry_size < struct.calcsize(self.order + form):
            raise ElfError("has program headers of %d bytes" % entry_size)
        segments = []
        for index in range(count):
            fields = self._unpack(form, table + index * entry_size)
            if self.wide:
                kind, _flags, offset, address, _physical, size = fields
            else:
                kind, offset, address, _physical, size = fields
            segments.append(_Segment(kind, offset, address, size))
        return segments

    def _dynamic(self, segment: _Segment) -> list[tuple[int, int]]:
        form = "QQ" if self.wide else "II"
        step = struct.calcsize(self.order + form)
        if segment.size > _DYNAMIC_LIMIT:
            raise ElfError("has a dynamic section of %d bytes" % segment.size)
        data = self._bytes(segment.offset, segment.size - segment.size % step)
        entries = []
        for tag, value in struct.iter_unpack(self.order + form, data):
            if tag == _DT_NULL:
                break
            entries.append((tag, value))
        return entries

    def _describe(
        self,
        kind: tuple[int, int, int],
        interpreter: str | None,
        segments: list[_Segment],
        dynamic: list[tuple[int, int]],
    ) -> Elf:
        values = dict(dynamic)
        if _DT_STRTAB not in values:
            return Elf(kind, interpreter)
        strings = self._offset(segments, values[_DT_STRTAB])

        def texts(*tags: int) -> tuple[str, ...]:
            return tuple(self._text(strings + value) for tag, value in dynamic if tag in tags)

        def last(tag: int) -> str | None:
            """Return the last entry of a tag: the linker takes that one."""
            return self._text(strings + values[tag]) if tag in values else None

        def directories(tag: int) -> tuple[str, ...]:
            return tuple(part for part in (last(tag) or "").split(":") if part)

        rpath, runpath = directories(_DT_RPATH), directories(_DT_RUNPATH)
        names = sum(tag in (_DT_NEEDED, _DT_AUXILIARY, _DT_FILTER) for tag, _value in dynamic)
        places = len(rpath) + len(runpath) + 1
        if names * places > _LOOKUPS_LIMIT:
            raise ElfError("names more than a program can need (%d libraries in %d places)" % (names, places))
        return Elf(
            kind,
            interpreter,
            soname=last(_DT_SONAME),
            needed=texts(_DT_NEEDED),
            optional=texts(_DT_AUXILIARY, _DT_FILTER),
            rpath=rpath,
            runpath=runpath,
            default_directories=not values.get(_DT_FLAGS_1, 0) & _DF_1_NODEFLIB,
        )

    @staticmethod
    def _offset(segments: list[_Segment], address: int) -> int:
        """Return the place in the file of an address of the loaded program."""
        for segment in segments:
            if segment.kind == _PT_LOAD and segment.address <= address < segment.address + segment.size:
                return address - segment.address + segment.offset
        raise ElfError("has its names at an address (%#x) that it does not load" % address)

    def _unpack(self, form: str, offset: int) -> tuple[int, ...]:
        size = struct.calcsize(self.order + form)
        return struct.unpack(self.order + form, self._bytes(offset, size))

    def _bytes(self, offset: int, size: int) -> bytes:
        try:
            self.file.seek(offset)
        except (OverflowError, ValueError, OSError):
            raise ElfError("is damaged: it refers to its byte %d" % offset) from None
        data = self.file.read(size)
        if len(data) != size:
            raise ElfError("is damaged: it ends before its byte %d" % (offset + size))
        return data

    def _text(self, offset: int) -> str:
        try:
            self.file.seek(offset)
        except (OverflowError, ValueError, OSError):
            raise ElfError("is damaged: it refers to its byte %d" % offset) from None
        text, end, _rest = self.file.read(_TEXT_LIMIT).partition(b"\0")
        if not end:
            raise ElfError("is damaged: a name at its byte %d does not end" % offset)
        return os.fsdecode(text)
