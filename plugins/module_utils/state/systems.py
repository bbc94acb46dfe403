# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Systems on the disk of a target: each whole or missing, named by its content, never changed.

A system is written in a directory aside, synchronised, and given its name by one rename, all while the directory of
systems is locked. A damaged one is written anew in the same way, and exchanged for the damaged one. A directory aside
that is found with the lock held is left from a run that died: it is removed.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import marshal
import os
import shutil
import tempfile
from pathlib import Path
from types import CodeType

from ..launcher import confine
from ..launcher.errors import LauncherError
from ..launcher.names import container_of
from ..launcher.paths import remove_tree, sync_directory
from . import library
from .renaming import put_in_place
from .system_content import SystemContent, scripts
from .system_damage import MANIFEST, MANIFEST_MODE, damages, manifest
from .target import Layout, TargetError, exclusive, explain

ASIDE = ".aside-"
"""Prefix of the names of directories that are being written or removed."""

UNCHECKED_HASH = (1).to_bytes(4, "little")
"""The flags of a compiled file that Python uses without a look at its source (PEP 552)."""


class Systems:
    """The systems below a layout's directory of systems."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout

    def path(self, content: SystemContent, seccomp_filter: bytes | None) -> Path:
        """Return the place of the system with this content and this filter, whether or not it exists."""
        return self.layout.systems / content.directory_name(seccomp_filter)

    @staticmethod
    def is_whole(path: Path) -> bool:
        """Return whether the system `path` is on the disk, just as it was written."""
        return os.path.lexists(path) and not damages(path)

    def write(self, content: SystemContent, seccomp_filter: bytes | None) -> Path:
        """Put the system of this content on the disk, whole, and return its directory.

        :param seccomp_filter: the compiled system-call filter, or None to leave it out.
        :raises TargetError: when it cannot be written; nothing of it is left then, or the damaged one.
        """
        path = self.path(content, seccomp_filter)
        try:
            with exclusive(self.layout.systems):
                with contextlib.suppress(LauncherError, OSError):  # what stays is a worry of the next removal
                    self._remove_leftovers()
                self._refuse_lost_tree(content)
                if self.is_whole(path):
                    os.utime(path)  # asked for just now: later than the systems that a switch to it may remove
                else:
                    self._write_new(path, content, seccomp_filter)
        except OSError as error:
            raise TargetError(
                f"cannot write the system {path}: {explain(error)}; nothing was changed. The directory needs to be "
                "writable by root, on a file system with free space"
            ) from error
        return path

    def _refuse_lost_tree(self, content: SystemContent) -> None:
        """Refuse a system for a tree that was collected since its name was looked up.

        While the directory of systems is held, and from then on, none that a system is made for is.
        """
        if content.tree and not (self.layout.trees / content.tree).is_dir():
            name = content.specification.store.tree
            raise TargetError(f"the tree {name!r} was made anew meanwhile; run again")

    def touch(self, path: Path) -> None:
        """Mark a system as used just now, so that it is newer than those that a switch may remove.

        :raises TargetError: when it is not there any more.
        """
        try:
            os.utime(path)
        except OSError as error:
            raise TargetError(f"the system {path} cannot be used: {explain(error)}; run again") from error

    def remove(self, paths: list[Path]) -> None:
        """Remove systems, each with one rename first, so that no system is ever seen in part.

        :raises TargetError: when one cannot be removed.
        """
        if not paths:
            return
        try:
            with exclusive(self.layout.systems):
                for path in paths:
                    if os.path.lexists(path):
                        aside = path.with_name(ASIDE + path.name)
                        path.rename(aside)
                self._remove_leftovers()
        except (OSError, LauncherError) as error:
            reason = explain(error) if isinstance(error, OSError) else str(error)
            raise TargetError(f"cannot remove a system: {reason}") from error

    def of_container(self, name: str) -> list[Path]:
        """Return the systems written for the container called `name`, oldest first."""
        try:
            names = os.listdir(self.layout.systems)
        except FileNotFoundError:
            return []
        found = [self.layout.systems / each for each in names if container_of(each) == name]
        return sorted(found, key=lambda path: (path.lstat().st_mtime_ns, path.name))

    def _remove_leftovers(self) -> None:
        for entry in self.layout.systems.iterdir():
            if entry.name.startswith(ASIDE):
                remove_tree(str(entry))

    def _write_new(self, path: Path, content: SystemContent, seccomp_filter: bytes | None) -> None:
        aside = Path(tempfile.mkdtemp(prefix=ASIDE, dir=self.layout.systems))  # mode 0700
        try:
            _fill(aside, content, seccomp_filter)
            _compile_launcher(aside, path)
            _write(aside / MANIFEST, manifest(aside, path.name).encode("ascii"), MANIFEST_MODE)
            _synchronise(aside)
            put_in_place(aside, path)
            sync_directory(str(self.layout.systems))
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        with contextlib.suppress(LauncherError, OSError):
            remove_tree(str(aside))  # what was damaged


def _fill(directory: Path, content: SystemContent, seccomp_filter: bytes | None) -> None:
    for name, text in content.launcher.items():
        _write(directory / library.NAME / name, text.encode("utf-8"), 0o644)
    for script, text in scripts(content.python).items():
        _write(directory / script, text.encode("utf-8"), 0o755)
    _write(directory / "boot", content.boot.encode("utf-8"), 0o755)
    for file in content.files.values():
        place = directory / "root" / file.path[1:]
        if file.link is None:
            _write(place, file.content, 0o600 if file.secret else 0o644)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(file.link)
    digest = "" if seccomp_filter is None else confine.digest_of(seccomp_filter)
    specification = content.specification.replacing(filter_digest=digest).write()
    _write(directory / "spec.json", (json.dumps(specification, indent=1, sort_keys=True) + "\n").encode("ascii"), 0o644)
    if seccomp_filter is not None:
        _write(directory / confine.FILTER, seccomp_filter, 0o644)


def _write(path: Path, content: bytes, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "wb") as stream:
        stream.write(content)
        os.fchmod(descriptor, mode)


def _compile_launcher(directory: Path, final: Path) -> None:
    """Compile the launcher in `directory` for this interpreter; the files name `final` as their place.

    Python uses the compiled files without a look at the sources (PEP 552, unchecked hash): neither ever changes.
    """
    for source in sorted((directory / library.NAME).rglob("*.py")):
        text, name = source.read_bytes(), str(source.relative_to(directory))
        code = marshal.dumps(_placed(_compiled(text, name), str(final / name)))
        head = importlib.util.MAGIC_NUMBER + UNCHECKED_HASH + importlib.util.source_hash(text)
        _write(Path(importlib.util.cache_from_source(str(source))), head + code, 0o644)


@functools.lru_cache(maxsize=None)
def _compiled(text: bytes, name: str) -> CodeType:
    """Return the code of a file of the launcher. All systems that a process writes have the same files."""
    try:
        return compile(text, name, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        raise TargetError(f"the launcher cannot be compiled by this Python: {error}") from error


def _placed(code: CodeType, place: str) -> CodeType:
    """Return code that says it is from the file `place`, so that Python has nothing to correct when it loads it."""
    inner = tuple(_placed(each, place) if isinstance(each, CodeType) else each for each in code.co_consts)
    return code.replace(co_filename=place, co_consts=inner)


def _synchronise(directory: Path) -> None:
    """Synchronise the whole tree to the disk, before the system gets its name. Raise OSError."""
    for parent, _directories, files in os.walk(directory, topdown=False):
        for name in files:
            path = os.path.join(parent, name)
            if not os.path.islink(path):
                descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
        sync_directory(parent)
