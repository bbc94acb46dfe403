# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The trees of a host: immutable, stored by their content, found by names, and collected when nothing uses them.

A tree is made in a directory aside, which its maker holds, and gets its place by one rename. So what lies aside and is
held by nobody is left from a run that died. A tree goes when no name leads to it, no system on the disk is made for it,
and no kept layer belongs over it: while a generation is kept, or a container runs, its software is.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import time
from pathlib import Path
from typing import Iterator

from ..launcher.errors import LauncherError
from ..launcher.kinds import ContractError
from ..launcher.names import container_of, is_digest, is_name
from ..launcher.paths import read_text, remove_file, remove_tree, sync_directory, write_atomically
from ..launcher.specification import read_store
from ..launcher.store import content_in
from . import kept_layer
from .locks import open_to_lock
from .target import Layout, TargetError, exclusive, explain, make_private_directory
from .tree_records import TreeFacts, TreeRecord, parsed, record_text

ROOT_NAME = "root"
"""The tree itself, in the directory of its content."""

FACTS = "facts.json"
ASIDE = ".aside-"
GONE = ".gone-"
RECEIVED = ".received-"
"""What the directory of a file is called that comes to this host in pieces (`trees/arriving`)."""

ARCHIVED = ".archived-"
"""What the directory of an archive is called that is made of a stored tree, to be taken away (`trees/archiving`)."""

PARTIAL = (RECEIVED, ARCHIVED)
KEPT_FOR = 3 * 86400.0
"""Seconds for which a file that has arrived, or was taken away, in part is kept for a run that goes on with it."""

RECORD_SUFFIX = ".json"
LIMIT = 1 << 24
"""Bytes of a record's file."""


class Trees:
    """The trees below a layout's directory of trees."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.names_directory = layout.trees / "names"

    def path(self, content: str) -> Path:
        """Return the root directory of the tree of this content, whether or not there is one."""
        return self.layout.trees / content / ROOT_NAME

    def aside(self, name: str) -> Path:
        """Return the directory in which the tree of a name is made."""
        return self.layout.trees / (ASIDE + name)

    def names(self) -> list[str]:
        """Return the names that lead to trees, sorted."""
        found = _listed(self.names_directory)
        names = [name[: -len(RECORD_SUFFIX)] for name in found if name.endswith(RECORD_SUFFIX)]
        return sorted(name for name in names if is_name(name))

    def contents(self) -> list[str]:
        """Return the contents that are stored, sorted."""
        return sorted(name for name in _listed(self.layout.trees) if is_digest(name))

    def record(self, name: str) -> TreeRecord | None:
        """Return what a name leads to, or None when there is no such tree, or its record is damaged."""
        try:
            return self._record(name)
        except ContractError:
            return None

    def content(self, name: str) -> str:
        """Return the content that a name leads to.

        :raises TargetError: there is none, in words that follow the option's key.
        """
        try:
            record = self._record(name)
        except ContractError as error:
            raise TargetError(f"the record of the tree {name!r} {error}: make it again ({MODULE})") from None
        if record is None:
            known = self.names()
            others = f" (it has {', '.join(known)})" if known else ""
            raise TargetError(f"this host has no tree {name!r}{others}: make it first, with a task of {MODULE}")
        if not self.path(record.content).is_dir():
            missing = self.path(record.content)
            raise TargetError(f"the tree {name!r} is damaged, {missing} is missing: make it again ({MODULE})")
        return record.content

    def facts(self, content: str) -> TreeFacts:
        """Return the facts of a stored tree; those of an empty one when they cannot be read."""
        return facts_in(self.layout.trees, content)

    def _record(self, name: str) -> TreeRecord | None:
        text = read_text(str(self._place(name)), LIMIT)
        return TreeRecord.read(parsed(text)) if text else None

    def _place(self, name: str) -> Path:
        return self.names_directory / (name + RECORD_SUFFIX)

    @contextlib.contextmanager
    def making(self, name: str, timeout: float) -> Iterator[Path]:
        """Hold, and yield, an empty directory in which the tree of a name is made. What is left there then is removed.

        :param timeout: seconds to wait for another run that makes it.
        :raises TargetError: another run has it for longer.
        """
        aside = self.aside(name)
        with exclusive(aside, timeout):
            _empty(aside)  # of what a run has left that died
            inode = os.stat(aside).st_ino
            try:
                yield aside
            finally:
                with contextlib.suppress(OSError, LauncherError):
                    if os.stat(aside).st_ino == inode:
                        remove_tree(str(aside))

    def adopt(self, name: str, aside: Path, record: TreeRecord, facts: TreeFacts) -> bool:
        """Store the tree that was made in `aside`, unless it is there already, and let the name lead to it.

        :return: whether its content was not there yet.
        :raises OSError: it cannot be written; the name leads to what it led to then.
        """
        place = self.layout.trees / record.content
        make_private_directory(self.names_directory)
        with exclusive(self.layout.trees):
            is_new = not self.path(record.content).is_dir()
            if is_new:
                if os.path.lexists(place):  # damaged: somebody has removed its root
                    place.rename(self._gone(record.content))
                write_atomically(str(aside / FACTS), record_text(facts), durable=True)
                os.chown(aside, os.geteuid(), os.getegid())
                os.chmod(aside, 0o700)
                sync_directory(str(aside))
                aside.rename(place)
                sync_directory(str(self.layout.trees))
            self.point(name, record)
        return is_new

    def point(self, name: str, record: TreeRecord) -> None:
        """Let a name lead to a content. Raise OSError."""
        make_private_directory(self.names_directory)
        write_atomically(str(self._place(name)), record_text(record), durable=True)

    def lead(self, name: str, record: TreeRecord) -> bool:
        """Let a name lead to a content, if that is stored. Return whether it is. Raise OSError, TargetError."""
        with exclusive(self.layout.trees):
            if not self.path(record.content).is_dir():
                return False
            self.point(name, record)
            return True

    def forget(self, name: str) -> None:
        """Let a name lead to nothing. Raise OSError, TargetError."""
        with exclusive(self.layout.trees):
            remove_file(str(self._place(name)))
            if self.names_directory.is_dir():
                sync_directory(str(self.names_directory))

    def users(self) -> dict[str, list[str]]:
        """Return the names of the systems on the disk that are made for trees, by the contents of these.

        A system that names a stored tree by its path counts as well.

        :raises TargetError: a system cannot be read.
        """
        found: dict[str, list[str]] = {}
        for name in _listed(self.layout.systems):
            if container_of(name) is None:
                continue
            try:
                content = content_in(read_store(str(self.layout.systems / name)).source)
            except LauncherError as error:
                raise TargetError(f"which trees are used cannot be known: {error}") from error
            if content:
                found.setdefault(content, []).append(name)
        return found

    def layers(self) -> dict[str, list[str]]:
        """Return the names of the containers whose kept layers belong over trees, by the contents of these."""
        found: dict[str, list[str]] = {}
        for name in _listed(self.layout.containers):
            directory = str(self.layout.container(name))
            content = content_in(kept_layer.tree_below(directory)) if kept_layer.has_layer(directory) else ""
            if content:
                found.setdefault(content, []).append(name)
        return found

    def unused(self) -> list[str]:
        """Return the contents that no name, system or layer uses. Raise TargetError when that cannot be known."""
        records = {name: self.record(name) for name in self.names()}
        unnamed = set(self.contents()) - {record.content for record in records.values() if record is not None}
        if not unnamed:
            return []
        damaged = [name for name, record in records.items() if record is None]
        if damaged:
            said = f"the record of the tree {damaged[0]!r} is damaged: make it again, or remove it ({MODULE})"
            raise TargetError(f"which trees are used cannot be known: {said}")
        return sorted(unnamed - self.users().keys() - self.layers().keys())

    def collect(self) -> list[str]:
        """Remove the trees that nothing uses, and what runs that died have left. Return the former.

        :raises TargetError: when that cannot be done.
        """
        if not self._may_hold_unused():
            return []
        try:
            with exclusive(self.layout.trees), self._no_new_systems():
                removed = self.unused()
                for content in removed:
                    (self.layout.trees / content).rename(self._gone(content))
            self._remove_leftovers()
        except (OSError, LauncherError) as error:
            reason = explain(error) if isinstance(error, OSError) else str(error)
            raise TargetError(f"cannot remove a tree that nothing uses: {reason}") from error
        return removed

    def _gone(self, content: str) -> Path:
        """Return a path for a tree that is to be removed; another run may be removing one of the same content."""
        return self.layout.trees / f"{GONE}{content}-{secrets.token_hex(4)}"

    def _may_hold_unused(self) -> bool:
        """Return whether there is anything that no name leads to; most runs find nothing, and hold nobody up."""
        named = {record.content for record in map(self.record, self.names()) if record is not None}
        return bool(set(_listed(self.layout.trees)) - named - {self.names_directory.name})

    @contextlib.contextmanager
    def _no_new_systems(self) -> Iterator[None]:
        """Let no system be written meanwhile, which may be made for a tree that has just lost its name."""
        if not self.layout.systems.is_dir():
            yield
            return
        with exclusive(self.layout.systems):
            yield

    def _remove_leftovers(self) -> None:
        for name in _listed(self.layout.trees):
            path = str(self.layout.trees / name)
            is_old = name.startswith(PARTIAL) and _last_change(path) < time.time() - KEPT_FOR
            if name.startswith((GONE, ASIDE)) or is_old:
                _remove_unheld(path)

    def remove_empty(self) -> None:
        """Remove the directories of trees where there is none any more."""
        with contextlib.suppress(OSError, TargetError):
            if not self.names() and not set(_listed(self.layout.trees)) - {self.names_directory.name}:
                with exclusive(self.layout.trees, 1.0):
                    with contextlib.suppress(FileNotFoundError):
                        self.names_directory.rmdir()
                    self.layout.trees.rmdir()


MODULE = "unshare.container.tree"


def facts_in(directory: Path, content: str) -> TreeFacts:
    """Return the facts of the tree of a content in a directory of trees; those of an empty one when there are none."""
    with contextlib.suppress(OSError, ContractError):
        text = read_text(str(directory / content / FACTS), LIMIT)
        return TreeFacts.read(parsed(text)) if text else TreeFacts()
    return TreeFacts()


def _listed(directory: Path) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except FileNotFoundError:
        return []


def _empty(directory: Path) -> None:
    for name in os.listdir(directory):
        remove_tree(str(directory / name))


def _last_change(directory: str) -> float:
    """Return when something in a directory was last written, in seconds since 1970."""
    found = [0.0]
    with contextlib.suppress(FileNotFoundError):
        found = [os.stat(directory).st_mtime]
        found += [os.stat(os.path.join(directory, name)).st_mtime for name in os.listdir(directory)]
    return max(found)


def _remove_unheld(directory: str) -> None:
    with contextlib.suppress(FileNotFoundError), _held_by_nobody(directory) as free:
        if free:
            remove_tree(directory)


@contextlib.contextmanager
def _held_by_nobody(path: str) -> Iterator[bool]:
    """Hold a directory, if nobody else does. Yield whether it is held."""
    descriptor = open_to_lock(path)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)
