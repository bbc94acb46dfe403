# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The closure of a program (E2): the files, directories and symbolic links of the host that it needs.

All of them keep their own paths. A path is followed one component at a time, and every link on the way becomes part of
the closure: `/bin/sh` is the link `/bin`, the link `/usr/bin/sh`, and a file. A program needs its libraries, its
interpreter (a script: that of its first line), for Python the interpreter's own library, and what the C library loads
at run time. `reach` decides what the content of a file may bring in.
"""

from __future__ import annotations

import collections
import os
import re
import stat
from typing import Callable, Iterable, Iterator

from ..launcher.errors import LauncherError
from ..launcher.host_files import HOST_FILES
from ..launcher.targets import MERGED, parents
from . import elf
from .libraries import CACHE, Loaded, Search, read_cache
from .programs import (
    PYTHON_LIBRARY,
    SWITCH,
    find_program,
    open_regular,
    python_libraries,
    read_home,
    switch_modules,
)
from .reach import Place, Reach, barred_text, refusal_of_content

SCRIPTS_LIMIT = 5  # a script whose interpreter is a script…, as in the kernel
WARNINGS_LIMIT = 20
BLANKS = re.compile(r"[ \t]+")  # what parts the words of a first line, in the kernel
_PYTHON = re.compile(r"(?:python|pypy)(\d+(?:\.\d+)?)?[a-z]?")
Requisites = Callable[["list[str]"], "list[str]"]


class Closure:
    """A set of paths of the host, grown by what programs need.

    Args:
        environment: the program's; `PATH`, `LD_LIBRARY_PATH` and `LD_PRELOAD` count.
        strict: whether a library that a program names and the host lacks is an error.
        items: a directory whose members are shared whole with all that they refer to (`/gnu/store`, `/nix/store`).
        deadline: when, by `time.monotonic`, it must be found: then LauncherError comes of every way to grow it.

    Attributes:
        links: symbolic links, by their paths.
        files: files.
        directories: directories, shared with all that is in them.
        requested: members of `items` that are needed.
        brought: the files and directories that nobody asked for: they are shared without an id map.
        warnings: what was left out.
    """

    def __init__(
        self,
        environment: dict[str, str],
        strict: bool = True,
        items: str | None = None,
        deadline: float | None = None,
    ) -> None:
        self.environment = environment
        self.strict = strict
        self.items = items
        self.links: dict[str, str] = {}
        self.files: set[str] = set()
        self.directories: set[str] = set()
        self.requested: set[str] = set()
        self.brought: set[str] = set()
        self.warnings: list[str] = []
        self._cache = read_cache()
        self._reach = Reach(deadline)
        preload = re.split(r"[ :]+", environment.get("LD_PRELOAD", "").strip())
        self._preload = [name for name in preload if name]
        self.name([name for name in self._preload if "/" in name] + ([items] if items else []))

    # What it is made of.

    def name(self, paths: Iterable[str]) -> None:
        """Mark paths, with all below them, as asked for: the content of other files may bring them in."""
        for path in paths:
            self._reach.name(path)

    def add(self, path: str) -> None:
        """Add a program, file or directory that was asked for, with what it needs.

        Raises:
            LauncherError: it, or something that it needs, is not there, is damaged, or is nothing that it may bring in.
        """
        self.name([path])
        self._add(path, self._follow(path))

    def add_if_present(self, paths: Iterable[str]) -> None:
        """Add those of the paths that exist; they are the host's own."""
        for path in paths:
            try:
                place = self._reach.follow(path)
            except OSError:
                continue
            self._include(place)
            self.brought.discard(place.real)

    def add_store(self, store: str) -> None:
        """Add the whole store; for `/usr` also what the software has outside of it."""
        self.name([store])
        try:
            place = self._reach.follow(store)
        except OSError as error:
            raise LauncherError("store: %s: %s" % (store, error.strerror)) from error
        if not place.may_come:
            raise refusal_of_content("store: %s" % store, "what it leads to", place)
        self._include(place)
        if store == "/usr":
            self.add_if_present("/" + name for name in MERGED)
            self.add_if_present(HOST_FILES)
            self.add_if_present([SWITCH])

    def add_requisites(self, requisites: Requisites) -> None:
        """Add what the needed members of `items` refer to, by the word of their package manager."""
        if self.requested:
            for item in requisites(sorted(self.requested)):
                place = self._follow(item)
                self.links.update(place.links)
                if place.named:  # what a link of the store names outside of it is not the store's
                    self._include(place)

    def prune(self, hidden: Iterable[str] = ()) -> None:
        """Leave out what lies in a shared directory anyway, or where the command sees something else."""
        elsewhere = set(hidden)
        every = elsewhere | self.directories
        asked = every - self.brought

        def is_free(path: str, covers: set[str]) -> bool:
            return path not in elsewhere and not any(parent in covers for parent in parents(path))

        def stay(paths: set[str]) -> set[str]:
            """Return the paths to mount. A directory that was brought in covers no path asked for: their ids differ."""
            return {path for path in paths if is_free(path, every if path in self.brought else asked)}

        self.links = {path: target for path, target in self.links.items() if is_free(path, every)}
        self.directories, self.files = stay(self.directories), stay(self.files)
        self.brought &= self.directories | self.files

    def paths(self) -> list[str]:
        """Return all paths of the closure, sorted."""
        return sorted(self.files | self.directories | set(self.links))

    # How it grows.

    def _follow(self, path: str) -> Place:
        """Return where a path leads. Raise LauncherError when it does not exist."""
        try:
            return self._reach.follow(path)
        except (OSError, ValueError) as error:
            raise LauncherError("%s: %s" % (path, getattr(error, "strerror", None) or error)) from error

    def _include(self, place: Place) -> None:
        """Make a file or directory part of the closure, and the links on the way."""
        self.links.update(place.links)
        (self.directories if stat.S_ISDIR(place.mode) else self.files).add(place.real)
        if not place.named:
            self.brought.add(place.real)

    def _add(self, path: str, place: Place) -> None:
        """Add what was asked for."""
        if not place.may_come:
            raise refusal_of_content(path, "what it leads to", place)
        self.links.update(place.links)
        if self._is_item(place.real):
            return
        if stat.S_ISDIR(place.mode):
            if place.real == "/":
                raise LauncherError("%s: is the root directory; name the files that are needed" % path)
            self._add_directory(place, None)
        elif not stat.S_ISREG(place.mode):
            raise LauncherError("%s: is neither a file nor a directory" % path)
        elif place.real not in self.files:
            self._include(place)
            self._add_needs(path, place.real, 0)

    def _bring(self, who: str, path: str, named: Iterable[str], scripts: int) -> None:
        """Add the interpreter that a file names.

        Args:
            who: the file, as the user knows it.
            named: what counts as asked for besides.
            scripts: how many interpreters led to this one.

        Raises:
            LauncherError: it is no program, or none that the file may bring in.
        """
        what = "its interpreter %s" % path
        try:
            place = self._reach.follow(path, named)
        except (OSError, ValueError) as error:
            raise LauncherError("%s: %s: %s" % (who, what, getattr(error, "strerror", None) or error)) from error
        if not place.may_come:
            raise refusal_of_content(who, what, place)
        executable = 0o111 if place.named else stat.S_IXOTH
        if not stat.S_ISREG(place.mode) or not place.mode & executable or not self._is_program(place.real):
            raise LauncherError("%s: %s is no program (%s)" % (who, what, place.real))
        self.links.update(place.links)
        if not self._is_item(place.real) and place.real not in self.files:
            self._include(place)
            self._add_needs(path, place.real, scripts)

    @staticmethod
    def _is_program(real: str) -> bool:
        try:
            with open(open_regular(real), "rb") as file:
                beginning = file.read(4)
        except OSError:
            return False
        return beginning == elf.MAGIC or beginning.startswith(b"#!")

    def _is_item(self, real: str) -> bool:
        if self.items is None or not real.startswith(self.items + "/"):
            return False
        self.requested.add("/".join(real.split("/")[: self.items.count("/") + 2]))
        return True

    def _add_needs(self, path: str, real: str, scripts: int) -> None:
        try:
            with open(open_regular(real), "rb") as file:
                line = file.read(256).split(b"\n")[0]
            program = elf.read(real) if line.startswith(elf.MAGIC) else None
        except OSError as error:
            raise LauncherError("%s: cannot be read: %s" % (path, error.strerror)) from error
        except elf.ElfError as error:
            raise LauncherError(str(error)) from error
        if line.startswith(b"#!"):
            self.add_script(path, os.fsdecode(line), scripts)
        elif program is not None:
            self._add_program(path, real, program, scripts)

    def add_script(self, path: str, line: str, scripts: int = 0) -> None:
        """Add what runs the script at `path`, whose first line is `line`."""
        if scripts >= SCRIPTS_LIMIT:
            raise LauncherError("%s: its interpreter is a script, whose interpreter is a script, and so on" % path)
        words = BLANKS.split(line[2:].strip(), maxsplit=1)
        if not words[0]:
            return
        self._bring(path, words[0], (), scripts + 1)
        if os.path.basename(words[0]) != "env" or len(words) == 1:
            return
        for word in BLANKS.split(words[1]):
            if word.startswith("-S"):
                word = word[2:]  # env -S: the rest of the line is several words
            if word and "=" not in word and not word.startswith("-"):
                try:
                    found = find_program(word, self.environment.get("PATH", ""))
                except LauncherError as error:
                    raise LauncherError("%s: its interpreter %s" % (path, error)) from error
                # Who sets PATH asks for what is found there.
                self._bring(path, found, () if "/" in word else [found], scripts + 1)
                return

    def _add_program(self, path: str, real: str, program: elf.Elf, scripts: int) -> None:
        if program.interpreter is not None and scripts <= SCRIPTS_LIMIT:  # a linker's own is not asked for
            self._bring(path, program.interpreter, (), SCRIPTS_LIMIT + 1)
        search = Search(program, self.environment, self._cache, self._reach)
        root = Loaded(real, program)
        names = self._add_libraries(search, root, self._preload + list(program.needed), self.strict)
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
        """Add libraries and what they need, breadth first as the linker does; return all names loaded."""
        known: set[str] = names if names is not None else set()
        queue = collections.deque((name, root, required) for name in wanted)
        while queue:
            name, needing, must = queue.popleft()
            if name in known:
                continue
            found = search.find(name, needing)
            if not found:
                self._miss(search, name, needing, must)
                continue
            known.add(name)
            for path, place, file in found:
                self._include(place)
                if file.soname:
                    known.add(file.soname)
                library = Loaded(path, file, needing)
                queue.extend((needed, library, must) for needed in file.needed)
                queue.extend((needed, library, False) for needed in file.optional)
        return known

    def _miss(self, search: Search, name: str, needing: Loaded, must: bool) -> None:
        """Report a library that was not found, if that matters: as an error or as a warning."""
        passed_over = search.barred.get(name)
        if passed_over is not None:
            text = "%s: needs a library, and %s" % (needing.path, barred_text(name, passed_over))
            if must:
                raise LauncherError(text)
            self._warn(text)
        elif must:
            raise LauncherError("%s: needs the library %s, which is not on this host" % (needing.path, name))

    def _warn(self, text: str) -> None:
        """Keep a warning, up to a limit: anybody may choose names on the host, in any number."""
        text = "".join(character if character.isprintable() else "?" for character in text)
        if len(self.warnings) == WARNINGS_LIMIT:
            text = "more is left out for the same reasons"
        if text not in self.warnings and len(self.warnings) <= WARNINGS_LIMIT:
            self.warnings.append(text)

    def _add_directory(self, shared: Place, program: tuple[Search, Loaded, set[str]] | None) -> None:
        """Share a directory, the files that links in it lead to, and what its extension modules need."""
        if shared.real in self.directories:
            return
        self._include(shared)
        for path in _files_below(shared.real):
            self._reach.hurry()
            if os.path.islink(path):
                self._add_target(path)
            elif ".so" in os.path.basename(path) and program is not None:
                search, root, loaded = program
                try:
                    module = elf.read(path)
                except (OSError, elf.ElfError):
                    continue
                if module is not None and module.kind == search.kind:
                    itself = Loaded(path, module, root)
                    self._add_libraries(search, itself, list(module.needed), False, set(loaded))

    def _add_target(self, link: str) -> None:
        """Add the file that a link in a shared directory leads to.

        A link to a directory is left out: it could lead to the whole host.
        """
        try:
            place = self._reach.follow(link)
        except OSError:
            return
        if not stat.S_ISREG(place.mode):
            return
        if place.may_come:
            self._include(place)
        else:
            self._warn(barred_text("%s: is left out: what it leads to" % link, place))

    def _add_python(self, path: str, real: str, version: str, program: tuple[Search, Loaded, set[str]]) -> None:
        """Add Python's own library, and that of the virtual environment whose `bin` has the interpreter."""
        environment = os.path.dirname(os.path.dirname(os.path.abspath(path)))
        configuration = os.path.join(environment, "pyvenv.cfg")
        prefixes = [os.path.dirname(os.path.dirname(real))]
        if os.path.isfile(configuration):
            place = self._follow(configuration)
            if not place.may_come:
                raise refusal_of_content(path, "its configuration %s" % configuration, place)
            self._include(place)
            prefixes.append(environment)
            home = read_home(place.real)
            if home and os.path.isdir(home):
                found = self._follow(home)
                if not found.may_come:
                    raise refusal_of_content(configuration, "the home %s" % home, found)
                self.links.update(found.links)
                prefixes.append(os.path.dirname(home))
        for directory in python_libraries(prefixes, version):
            place = self._follow(directory)
            if not place.may_come:
                raise refusal_of_content(path, "its library %s" % directory, place)
            if not place.named and not PYTHON_LIBRARY.fullmatch(os.path.basename(place.real)):
                raise LauncherError("%s: its library %s is none of Python's (%s)" % (path, directory, place.real))
            self._add_directory(place, program)


def _files_below(directory: str) -> Iterator[str]:
    """Yield the path of every file below a directory, at any depth.

    Links are not followed; a directory that cannot be read is left out.
    """
    pending = [directory]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    else:
                        yield entry.path
        except OSError:
            continue
