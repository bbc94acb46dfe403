# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The dynamic linker's search for a library, step by step (ld.so(8))."""

from __future__ import annotations

import os
import struct
from typing import Iterable, NamedTuple

from . import elf
from .reach import Place, Reach

CACHE = "/etc/ld.so.cache"
_CACHE_MAGIC = b"glibc-ld.so.cache1.1"
_CACHE_HEADER = "20sIIB3xI12x"
_CACHE_ENTRY = "iIIIQ"
_CACHE_LIMIT = 64 << 20
# Debian's directory for each machine (e_machine); others have lib64 or lib.
_TRIPLETS = {
    3: "i386-linux-gnu",
    21: "powerpc64le-linux-gnu",
    22: "s390x-linux-gnu",
    40: "arm-linux-gnueabihf",
    62: "x86_64-linux-gnu",
    183: "aarch64-linux-gnu",
    243: "riscv64-linux-gnu",
    258: "loongarch64-linux-gnu",
}


class Loaded(NamedTuple):
    """A program or library that needs others.

    Attributes:
        path: where it was found, as the dynamic linker would name it.
        file: what it says.
        loader: what needed it, up to the program.
    """

    path: str
    file: elf.Elf
    loader: Loaded | None = None


class Library(NamedTuple):
    """A library that was found.

    Attributes:
        path: as the dynamic linker would name it.
        place: where that leads.
        file: what it says.
    """

    path: str
    place: Place
    file: elf.Elf


def read_cache(path: str = CACHE) -> dict[str, list[str]]:
    """Return the linker's cache: the paths of each library by its name.

    The result is empty when there is no cache, or none in a known format.

    Both forms of glibc's cache are read: the one since 2.32, and the one before with the old format in front.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(_CACHE_LIMIT)
    except OSError:
        return {}
    start = data.find(_CACHE_MAGIC)
    paths: dict[str, list[str]] = {}
    if start < 0:
        return paths
    data = data[start:]
    header = struct.calcsize("=" + _CACHE_HEADER)
    size = struct.calcsize("=" + _CACHE_ENTRY)
    if len(data) < header:
        return paths
    count = struct.unpack_from("=" + _CACHE_HEADER, data)[1]
    for index in range(min(count, (len(data) - header) // size)):
        _flags, name, value, _version, _capability = struct.unpack_from("=" + _CACHE_ENTRY, data, header + index * size)
        found = paths.setdefault(_text(data, name), [])
        found.append(_text(data, value))
    return paths


def _text(data: bytes, offset: int) -> str:
    end = data.find(b"\0", offset)
    return os.fsdecode(data[offset:end]) if 0 <= offset <= end else ""


class Search:
    """The search for libraries of one program.

    Args:
        program: what the kernel loads first.
        environment: the program's; `LD_LIBRARY_PATH` counts, and what it names was asked for.
        cache: what `read_cache` gave.
        reach: says which files the program may bring in; others are passed over, as if they could not be read.

    Attributes:
        barred: the first of those, for each library's name.
    """

    def __init__(
        self, program: elf.Elf, environment: dict[str, str], cache: dict[str, list[str]], reach: Reach
    ) -> None:
        self.kind = program.kind
        self.musl = os.path.basename(program.interpreter or "").startswith("ld-musl-")
        self.cache = {} if self.musl else cache
        self.library_path = [
            part.rstrip("/") for part in environment.get("LD_LIBRARY_PATH", "").replace(";", ":").split(":") if part
        ]
        self.triplet = _TRIPLETS.get(program.machine)
        self.reach = reach
        self.barred: dict[str, Place] = {}

    def find(self, name: str, needing: Loaded) -> list[Library]:
        """Return the library `name` that `needing` needs, the one to load first; an empty list when there is none.

        There are several when the cache knows builds for other processors: which one is taken is decided when the
        program is loaded.
        """
        if "/" in name:
            return self._fitting(name, self._expand(name, needing.path), True)
        found = self._fitting(name, (os.path.join(directory, name) for directory in self._directories(needing)), True)
        if found:
            return found
        standard = self._standard()
        cached = self.cache.get(name, [])
        if not needing.file.default_directories:
            cached = [path for path in cached if os.path.dirname(path) not in standard]
            standard = []
        return self._fitting(name, cached) or self._fitting(
            name, (os.path.join(directory, name) for directory in standard), True
        )

    def _directories(self, needing: Loaded) -> list[str]:
        """Return the directories to search before the cache.

        These are the inherited run paths, those of the environment, and the file's own.
        """
        found: list[str] = []
        if self.musl or not needing.file.runpath:
            ancestor: Loaded | None = needing
            while ancestor is not None:
                for directory in ancestor.file.rpath if not ancestor.file.runpath else ():
                    found += self._expand(directory, ancestor.path)
                if self.musl:
                    for directory in ancestor.file.runpath:
                        found += self._expand(directory, ancestor.path)
                ancestor = ancestor.loader
        for directory in self.library_path:
            found += self._expand(directory, needing.path)
        for directory in needing.file.runpath:
            found += self._expand(directory, needing.path)
        return found

    def _expand(self, path: str, origin: str) -> list[str]:
        """Replace $ORIGIN, $LIB and $PLATFORM.

        A path that is relative after that would depend on the working directory: it is left out.
        """
        machine = os.uname().machine
        libraries = ["lib/" + self.triplet] if self.triplet else []
        found = []
        for library in libraries + ["lib64", "lib"]:
            expanded = path
            for name, value in (("ORIGIN", os.path.dirname(origin)), ("LIB", library), ("PLATFORM", machine)):
                expanded = expanded.replace("${%s}" % name, value).replace("$" + name, value)
            if expanded.startswith("/") and expanded not in found:
                found.append(expanded)
        return found

    def _standard(self) -> list[str]:
        """Return the directories that the linker searches without being told."""
        if self.musl:
            return ["/lib", "/usr/local/lib", "/usr/lib"]
        names = ["/lib64", "/usr/lib64", "/lib", "/usr/lib"]
        if self.triplet:
            names = ["/lib/" + self.triplet, "/usr/lib/" + self.triplet] + names
        return names

    def _fitting(self, name: str, paths: Iterable[str], first: bool = False) -> list[Library]:
        """Return the paths that can be loaded into this program, or the first only; the linker skips others."""
        fitting: list[Library] = []
        for path in paths:
            try:
                place = self.reach.follow(path, self._asked(path))
                if not place.may_come:
                    self.barred.setdefault(name, place)
                    continue
                file = elf.read(place.real)
            except (OSError, ValueError, elf.ElfError):
                continue
            if file is not None and file.kind == self.kind:
                fitting.append(Library(path, place, file))
                if first:
                    break
        return fitting

    def _asked(self, path: str) -> list[str]:
        """Return the directory of `LD_LIBRARY_PATH` that the library at `path` lies in, as a list of one or none."""
        directory = os.path.dirname(path)
        return [directory] if directory in self.library_path else []
