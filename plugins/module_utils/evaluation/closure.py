# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The closure of what a program needs (E2): the files, directories and symbolic links of the host, at their own paths.

A path is followed one component at a time, and every link on the way becomes part of the closure: `/bin/sh` is the
link `/bin`, the link `/usr/bin/sh`, and a file. What a program needs is its libraries, its interpreter (for a script:
the one of its first line), for Python the interpreter's own library, and what the C library loads while it runs.
"""

from __future__ import annotations

import collections
import os
import re
import stat
from typing import Callable, Iterable, Iterator

from ..host_files import HOST_FILES
from ..launcher.errors import LauncherError
from . import elf
from .libraries import CACHE, Loaded, Search, read_cache
from .programs import SWITCH, find_program, parents, python_libraries, read_home, switch_modules

LINKS_LIMIT = 40  # of one path, as in the kernel
SCRIPTS_LIMIT = 5  # a script whose interpreter is a script…, as in the kernel
MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_PYTHON = re.compile(r"(?:python|pypy)(\d+(?:\.\d+)?)?[a-z]?")
Requisites = Callable[["list[str]"], "list[str]"]


class Closure:
    """A set of paths of the host, grown by what programs need.

    Args:
        environment: the program's; `PATH`, `LD_LIBRARY_PATH` and `LD_PRELOAD` count.
        strict: whether a library that a program names and the host lacks is an error.
        items: a directory whose members are shared whole with all that they refer to (`/gnu/store`, `/nix/store`).

    Attributes:
        links: symbolic links, by their paths.
        files: files.
        directories: directories, shared with all that is in them.
        requested: members of `items` that are needed.
    """

    def __init__(self, environment: dict[str, str], strict: bool = True, items: str | None = None) -> None:
        self.environment = environment
        self.strict = strict
        self.items = items
        self.links: dict[str, str] = {}
        self.files: set[str] = set()
        self.directories: set[str] = set()
        self.requested: set[str] = set()
        self._cache = read_cache()

    # What it is made of.

    def add(self, path: str) -> None:
        """Add a program, file or directory with what it needs.

        Raises:
            LauncherError: it, or something that it needs, is not there or is damaged.
        """
        self._add(path, 0)

    def add_if_present(self, paths: Iterable[str]) -> None:
        """Add those of the paths that exist."""
        for path in paths:
            try:
                real = self._follow(path)
            except OSError:
                continue
            (self.directories if os.path.isdir(real) else self.files).add(real)

    def add_store(self, store: str) -> None:
        """Add the whole store; for `/usr` also what the software has outside of it."""
        try:
            self.directories.add(self._follow(store))
        except OSError as error:
            raise LauncherError("store: %s: %s" % (store, error.strerror)) from error
        if store == "/usr":
            self.add_if_present("/" + name for name in MERGED)
            self.add_if_present(HOST_FILES)
            self.add_if_present([SWITCH])

    def add_requisites(self, requisites: Requisites) -> None:
        """Add what the needed members of `items` refer to, as their package manager knows."""
        if self.requested:
            for item in requisites(sorted(self.requested)):
                (self.directories if os.path.isdir(item) else self.files).add(item)

    def prune(self, hidden: Iterable[str] = ()) -> None:
        """Leave out what is in a shared directory anyway, or at a place where something else will be."""
        covers = set(hidden)

        def covered(path: str, by: set[str]) -> bool:
            return path in by or any(parent in by for parent in parents(path))

        self.directories = {
            path
            for path in self.directories
            if not covered(path, covers) and not any(parent in self.directories for parent in parents(path))
        }
        covers |= self.directories
        self.files = {path for path in self.files if not covered(path, covers)}
        self.links = {path: target for path, target in self.links.items() if not covered(path, covers)}

    def paths(self) -> list[str]:
        """All of it, sorted."""
        return sorted(self.files | self.directories | set(self.links))

    # How it grows.

    def _follow(self, path: str) -> str:
        """The path without links; the links on the way become part of the closure.

        Raises:
            OSError: it does not exist, or its links go in a circle.
        """
        waiting = list(reversed(path.split("/")))
        current, followed = "", 0
        while waiting:
            part = waiting.pop()
            if part in (".", ""):
                continue
            if part == "..":
                current = os.path.dirname(current).rstrip("/")
                continue
            step = current + "/" + part
            mode = os.lstat(step).st_mode
            if not stat.S_ISLNK(mode):
                if waiting and not stat.S_ISDIR(mode):
                    raise NotADirectoryError(20, os.strerror(20), step)
                current = step
                continue
            followed += 1
            if followed > LINKS_LIMIT:
                raise OSError(40, os.strerror(40), path)
            target = os.readlink(step)
            self.links[step] = target
            waiting.extend(reversed(target.split("/")))
            if target.startswith("/"):
                current = ""
        return current or "/"

    def _add(self, path: str, scripts: int) -> None:
        try:
            real = self._follow(path)
            kind = os.stat(real).st_mode
        except (OSError, ValueError) as error:
            raise LauncherError("%s: %s" % (path, getattr(error, "strerror", None) or error)) from error
        if self._is_item(real):
            return
        if stat.S_ISDIR(kind):
            if real == "/":
                raise LauncherError("%s: is the root directory; name what is needed of it" % path)
            self._add_directory(real, None)
        elif not stat.S_ISREG(kind):
            raise LauncherError("%s: is neither a file nor a directory" % path)
        elif real not in self.files:
            self.files.add(real)
            self._add_needs(path, real, scripts)

    def _is_item(self, real: str) -> bool:
        if self.items is None or not real.startswith(self.items + "/"):
            return False
        self.requested.add("/".join(real.split("/")[: self.items.count("/") + 2]))
        return True

    def _add_needs(self, path: str, real: str, scripts: int) -> None:
        try:
            with open(real, "rb") as file:
                line = file.read(256).split(b"\n")[0]
            program = elf.read(real) if line.startswith(elf.MAGIC) else None
        except OSError as error:
            raise LauncherError("%s: cannot be read: %s" % (path, error.strerror)) from error
        except elf.ElfError as error:
            raise LauncherError(str(error)) from error
        if line.startswith(b"#!"):
            self.add_script(path, os.fsdecode(line), scripts)
        elif program is not None:
            self._add_program(path, real, program)

    def add_script(self, path: str, line: str, scripts: int = 0) -> None:
        """Add what runs the script at `path`, whose first line is `line`."""
        if scripts >= SCRIPTS_LIMIT:
            raise LauncherError("%s: its interpreter is a script, and that one's too, and so on" % path)
        words = line[2:].strip().split(None, 1)
        if not words:
            return
        self._add(words[0], scripts + 1)
        if os.path.basename(words[0]) != "env" or len(words) == 1:
            return
        for word in words[1].split():
            if word.startswith("-S"):
                word = word[2:]  # env -S: the rest of the line is several words
            if word and "=" not in word and not word.startswith("-"):
                self._add(find_program(word, self.environment.get("PATH", "")), scripts + 1)
                return

    def _add_program(self, path: str, real: str, program: elf.Elf) -> None:
        if program.interpreter is not None:
            self._add(program.interpreter, 0)
        search = Search(program, self.environment, self._cache)
        preload = tuple(re.split(r"[ :]+", self.environment.get("LD_PRELOAD", "").strip()))
        root = Loaded(real, program)
        wanted = [name for name in preload if name]
        names = self._add_libraries(search, root, wanted + list(program.needed), self.strict)
        self._add_libraries(search, root, list(program.optional), False, names)
        if "libc.so.6" in names:
            self.add_if_present([CACHE, SWITCH])
            self._add_libraries(search, root, switch_modules() + ["libgcc_s.so.1"], False, names)
        match = _PYTHON.fullmatch(os.path.basename(real))
        if match:
            self._add_python(path, real, match.group(1) or "", (search, root, names))

    def _add_libraries(
        self, search: Search, root: Loaded, wanted: list[str], required: bool, names: set[str] | None = None
    ) -> set[str]:
        """Add libraries and what they need, breadth first as the linker does; the names that are then loaded."""
        known: set[str] = names if names is not None else set()
        queue = collections.deque((name, root, required) for name in wanted)
        while queue:
            name, needing, must = queue.popleft()
            if name in known:
                continue
            found = search.find(name, needing)
            if not found:
                if must:
                    raise LauncherError("%s: needs the library %s, which is not on this host" % (needing.path, name))
                continue
            known.add(name)
            for path in found:
                self.files.add(self._follow(path))
                file = elf.read(path)
                if file is None:
                    continue
                if file.soname:
                    known.add(file.soname)
                library = Loaded(path, file, needing)
                queue.extend((needed, library, must) for needed in file.needed)
                queue.extend((needed, library, False) for needed in file.optional)
        return known

    def _add_directory(self, real: str, program: tuple[Search, Loaded, set[str]] | None) -> None:
        """Share a directory: with the files that links in it lead to, and with what its extension modules need."""
        if real in self.directories:
            return
        self.directories.add(real)
        for path in _files_below(real):
            if os.path.islink(path):
                # A link to a directory could lead to all of the host.
                if os.path.isfile(path):
                    self.files.add(self._follow(path))
            elif ".so" in os.path.basename(path) and program is not None:
                search, root, loaded = program
                try:
                    module = elf.read(path)
                except (OSError, elf.ElfError):
                    continue
                if module is not None and module.kind == search.kind:
                    itself = Loaded(path, module, root)
                    self._add_libraries(search, itself, list(module.needed), False, set(loaded))

    def _add_python(self, path: str, real: str, version: str, program: tuple[Search, Loaded, set[str]]) -> None:
        """Add Python's own library, and that of the virtual environment in whose `bin` the interpreter is."""
        environment = os.path.dirname(os.path.dirname(os.path.abspath(path)))
        configuration = os.path.join(environment, "pyvenv.cfg")
        prefixes = [os.path.dirname(os.path.dirname(real))]
        if os.path.isfile(configuration):
            self.files.add(self._follow(configuration))
            prefixes.append(environment)
            home = read_home(configuration)
            if home and os.path.isdir(home):
                self._follow(home)
                prefixes.append(os.path.dirname(home))
        for directory in python_libraries(prefixes, version):
            self._add_directory(self._follow(directory), program)


def _files_below(directory: str) -> Iterator[str]:
    """The paths of all below a directory, however deep; links are not followed, what cannot be read is left out."""
    pending = [directory]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                found = [(entry.path, entry.is_dir(follow_symlinks=False)) for entry in entries]
        except OSError:
            continue
        pending += [path for path, is_directory in found if is_directory]
        yield from (path for path, is_directory in found if not is_directory)
