# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The store as a container will see it: whether a program is there, and can be run.

Paths are those inside the container. They are looked up on the host where the specification puts them: in the files of
the system, in what is bound from the host, and in the tree beside the store; links are followed as they will be inside,
so that `/etc/alternatives` of an unpacked tree leads into that tree and not into the host's. Whoever made the tree can
lead no look out of it, nor keep one waiting: each is below a descriptor, and opens nothing but directories.
"""

from __future__ import annotations

import fnmatch
import os
import posixpath
import stat
from pathlib import Path
from typing import Any, NamedTuple, Sequence

from ..launcher import linux, lookup, targets
from ..launcher.contract import Specification
from ..launcher.paths import STATE_DIRECTORY
from ..launcher.root_options import tree_of
from ..state import kept_layer
from ..state.target import TargetError
from . import looking

SEARCHED = ("bin", "sbin", "libexec", "games")
"""The directories below the store in which a program named without a directory is looked for."""

INSTALL = "install it, or map it into the container"

NAMES_READ = 100_000
"""The number of names that are compared with patterns, altogether; `/usr/bin` of a large host has 5,000."""


def open_bind_source(root: Path, path: str) -> int:
    """Return a descriptor (`O_PATH`) of what is to be bound from the host; the caller closes it.

    :param root: where the host's own tree is.
    :raises OSError: as open(2) says; `ELOOP` when the path passes through a link, which the launcher does not follow.
    """
    looking.note(path)
    top = lookup.open_root(str(root))
    try:
        resolve = linux.RESOLVE_IN_ROOT | linux.RESOLVE_NO_SYMLINKS
        return linux.openat2(top, path.lstrip("/") or ".", os.O_PATH, resolve)
    finally:
        os.close(top)


def _reopen(source: int, flags: int) -> int:
    """Return a descriptor of its own of what `source` names; reading is for directories."""
    return os.dup(source) if flags & os.O_PATH else lookup.open_below(source, ".", flags)


class Bind(NamedTuple):
    """A directory or file of the host that the container sees.

    :ivar source: its path on the host, or that of the directory which is the root of its links.
    :ivar below: the path below that directory, whose links mean the directory as `/`; empty for the source itself.
    """

    source: str
    below: str = ""

    def open(self, root: Path) -> int:
        """Return a descriptor (`O_PATH`) of it. Raise OSError when it does not exist."""
        source = open_bind_source(root, self.source)
        if not self.below:
            return source
        try:
            return lookup.open_below(source, self.below)
        finally:
            os.close(source)


class StoreView:
    """A container's paths, looked up on the host.

    :param specification: its store, its file systems bound from the host, and the files that it brings itself.
    :param root: where the host's own tree is; another than `/` in tests.
    :ivar changed_inside: whether root inside may have installed what the tree does not have, in a layer that is kept.
    """

    def __init__(self, specification: Specification, root: Path = Path("/")) -> None:
        self.root = root
        self.source = specification.store.source
        self.target = specification.store.target
        self.tree = specification.store.tree
        self.files = specification.files
        self.is_machine = specification.root.is_machine
        self.changed_inside = specification.root.is_kept and kept_layer.has_layer(
            str(root / STATE_DIRECTORY.lstrip("/") / "containers" / specification.name)
        )
        self.binds = {"/": Bind(tree_of(self.source))} if self.is_machine else {self.target: Bind(self.source)}
        beside = posixpath.dirname(self.source.rstrip("/")) or "/"
        for path in specification.host_files:
            self.binds[path] = Bind(beside, path[1:])
        self.binds.update(
            {mount.mount_point: Bind(mount.source) for mount in specification.file_systems if mount.is_bind}
        )
        self._names_left = NAMES_READ

    def reached(self, path: str) -> str | None:
        """Return the path of the container that `path` leads to, without links; None when links form a circle."""
        return self._follow(path)

    def is_program(self, path: str) -> bool:
        """Return whether the absolute path `path` leads to a regular file that may be executed."""
        reached = self._follow(path)
        return reached is not None and self._executable(reached)

    def mode(self, path: str) -> int:
        """Return the mode (stat(2)) of what an absolute path leads to; 0 when that is nothing, or not known."""
        reached = self._follow(path)
        if reached is None:
            return 0
        entry = self.files.get(reached)
        if entry is not None:
            return stat.S_IFREG | int(entry.mode, 8) if entry.link is None else 0
        try:
            descriptor = self._open(reached)
        except OSError:
            return 0
        try:
            return os.fstat(descriptor).st_mode
        finally:
            os.close(descriptor)

    def refusal(self, program: str, remedy: str = "") -> str:
        """Return why a program cannot be run, to follow its name, with what to do: the remedy for one not there."""
        mode = self.mode(program) if program.startswith("/") else 0
        if not mode:
            otherwise = "make the tree with it, or map it into the container" if self.tree else INSTALL
            return f"which is not there: {remedy or otherwise}"
        if not stat.S_ISREG(mode):
            return "which is no file: name the program itself"
        own = self._follow(program) in self.files
        way = 'declare it with the mode "0755"' if own else "make it executable on the host, or name another program"
        return f"which may not be executed (its mode is {stat.S_IMODE(mode):04o}): {way}"

    def open_file(self, path: str) -> int | None:
        """Return a descriptor of the regular file of the host that a path leads to, or None where there is none."""
        reached = self._follow(path)
        if reached is None or reached in self.files:
            return None
        try:
            descriptor = self._open(reached, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except OSError:
            return None
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor
        os.close(descriptor)
        return None

    def beginning(self, path: str, size: int) -> bytes:
        """Return the first bytes of a regular file of the host, at most `size`; none where there is no such file."""
        descriptor = self.open_file(path)
        if descriptor is None:
            return b""
        try:
            return os.pread(descriptor, size, 0)
        finally:
            os.close(descriptor)

    def names(self, path: str) -> list[str]:
        """Return the names in a directory, sorted; none when it is no directory."""
        return sorted(self._fitting(path, "*"))

    def find(self, program: str) -> bool:
        """Return whether `program` can be run.

        It is an absolute path, in which a part may be a pattern, or a name to search for.
        """
        if "/" in program:
            return program.startswith("/") and any(self.is_program(path) for path in self._expand(program))
        return any(self.is_program(posixpath.join(self.target, directory, program)) for directory in SEARCHED)

    def _follow(self, path: str) -> str | None:
        """Return the path of the container that `path` leads to, without links; None when links form a circle."""
        pending = [part for part in reversed(path.split("/")) if part]
        reached, links = "/", 0
        while pending:
            part = pending.pop()
            if part == "..":
                reached = posixpath.dirname(reached)
                continue
            reached = posixpath.join(reached, part) if part != "." else reached
            link = self._link(reached)
            if link is not None:
                links += 1
                if links > lookup.LINKS_LIMIT:
                    return None
                reached = "/" if link.startswith("/") else posixpath.dirname(reached)
                pending += [part for part in reversed(link.split("/")) if part]
        return reached

    def _expand(self, path: str) -> list[str]:
        """Return the paths that `path` may mean: itself, or all that match it (`/usr/lib/postgresql/*/bin/x`)."""
        before, star, after = path.partition("*")
        if not star:
            return [path]
        directory, beginning = before.rsplit("/", 1)
        rest, slash, remaining = after.partition("/")
        fitting = sorted(self._fitting(directory, beginning + star + rest))
        return [found for name in fitting for found in self._expand(f"{directory}/{name}{slash}{remaining}")]

    def _fitting(self, directory: str, pattern: str) -> list[str]:
        """Return the names in a directory that match a pattern, in no order.

        :raises TargetError: when more names would have to be read than software has.
        """
        reached = self._follow(directory)
        if reached is None:
            return []
        try:
            descriptor = self._open(reached, os.O_RDONLY | os.O_DIRECTORY)
        except OSError:
            return []
        found = []
        try:
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    self._names_left -= 1
                    if self._names_left < 0:
                        raise TargetError(
                            f"{directory}/{pattern} of the store {self.source}: more than {NAMES_READ} names would "
                            "have to be compared with the patterns of programs; name the programs themselves"
                        )
                    if fnmatch.fnmatchcase(entry.name, pattern):
                        found.append(entry.name)
        finally:
            os.close(descriptor)
        return found

    def _open(self, path: str, flags: int = os.O_PATH | os.O_NOFOLLOW) -> int:
        """Return a descriptor of a path of the container; links above its last part must have been followed.

        :raises OSError: when it is not there, or nothing is bound there.
        """
        above = path
        while above not in self.binds:
            if above in ("/", ""):
                raise FileNotFoundError(path)
            above = posixpath.dirname(above)
        source = self.binds[above].open(self.root)
        try:
            if above == path:
                return _reopen(source, flags)
            return lookup.open_below(source, posixpath.relpath(path, above), flags)
        finally:
            os.close(source)

    def _link(self, path: str) -> str | None:
        entry = self.files.get(path)
        if entry is not None:
            return entry.link
        if path[1:] in targets.MERGED and self.target == targets.STORE and not self.is_machine:
            return posixpath.join("usr", path[1:])
        if path in self.binds:
            return None  # a mount, whose source was followed when it was bound
        try:
            descriptor = self._open(path)
        except OSError:
            return None
        try:
            return os.readlink("", dir_fd=descriptor)
        except OSError:
            return None
        finally:
            os.close(descriptor)

    def _executable(self, path: str) -> bool:
        entry = self.files.get(path)
        if entry is not None:
            return entry.link is None and int(entry.mode, 8) & 0o111 != 0
        try:
            descriptor = self._open(path)
        except OSError:
            return False
        try:
            mode = os.fstat(descriptor).st_mode
        finally:
            os.close(descriptor)
        return stat.S_ISREG(mode) and mode & 0o111 != 0


def missing_programs(view: StoreView, programs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return those of `programs` (service, program, package) that the container could not run, in their order."""
    return [entry for entry in programs if not view.changed_inside and not view.find(str(entry["program"]))]


def check_programs(view: StoreView, programs: list[dict[str, Any]], more: Sequence[str] = ()) -> None:
    """Raise TargetError naming every service whose program is missing, the program, and its package if known.

    :param more: what else is missing, as sentences; of a program that is named already nothing more is said.
    """
    missing = missing_programs(view, programs)
    named = [f" starts {entry['program']}, " for entry in missing]
    more = [said for said in more if not any(name in said for name in named)]
    if not missing and not more:
        return
    lines = []
    for entry in missing:
        package = entry.get("package")
        remedy = f"{'make the tree with' if view.tree else 'install'} the package {package}" if package else ""
        why = view.refusal(str(entry["program"]), remedy)
        lines.append(f"service {entry['service']} runs {entry['program']}, {why}")
    store = f"the tree {view.tree!r}" if view.tree else f"the store {view.source}"
    hint = " (the role installs packages that it knows by itself with system_container_install_packages: true)"
    hinted = not view.tree and any(entry.get("package") for entry in missing)
    raise TargetError(f"{store} lacks programs; nothing was changed. {'; '.join([*lines, *more])}{hint * hinted}")
