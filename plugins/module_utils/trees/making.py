# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bringing a tree into the state that was asked for: present, latest or absent."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any, Callable, TypeVar

from ..launcher.errors import LauncherError
from ..launcher.paths import remove_tree
from ..state.target import Layout, TargetError, explain
from ..state.tree_records import Change, TreeFacts, TreeRecord, changed_packages, package_lines
from ..state.trees import ROOT_NAME, Trees
from .content import TreeContent, synchronise
from .entries import Budget
from .sources import Order, TreeSource

T = TypeVar("T")

SCRATCH = "scratch"
UNKNOWN = "unknown until it is made"
NOT_RUN = "tree {!r}: the command is not run in check mode, so whether it makes another tree is not known"


class TreeMaking:
    """A tree of this host, and what it is to be.

    :param source: what it is made from; None for a tree that is to be absent.
    :param size_limit: bytes that it may have.
    :param timeout: seconds that programs may take, and that another run which makes it is waited for.
    :param check: only find out what would change. The tree is made all the same where nothing else can tell, and
        removed again.
    :ivar warnings: what a person should know.
    """

    def __init__(
        self, layout: Layout, name: str, source: TreeSource | None, size_limit: int, timeout: float, check: bool = False
    ) -> None:
        self.layout = layout
        self.trees = Trees(layout)
        self.name = name
        self.source = source
        self.size_limit = size_limit
        self.timeout = timeout
        self.check = check
        self.warnings: list[str] = []

    def reach(self, state: str) -> dict[str, Any]:
        """Bring the tree into a state, and return the module's result.

        :raises TargetError, OSError: that cannot be done; nothing has changed then, and nothing is left.
        """
        former = self._stored()
        if state == "absent":
            return self._remove(former)
        source = self._wanted()
        if former is not None and self._is_made(state, former):  # also by another run, while a piece was on its way
            self._collect()
            return self._result(former, former)
        source.refuse()
        if source.content and self.trees.path(source.content).is_dir():
            led = self._lead(former)
            if led is not None:
                return led
        fixed = state == "present" or source.is_fixed
        if self.check and (former is None or source.KIND == "command" or fixed):
            if former is not None and source.KIND == "command":
                self.warnings.append(NOT_RUN.format(self.name))
            return self._foreseen(former)
        if not self.check:
            self._named(lambda source: source.take(self.layout.trees, self.timeout))
        self._collect()  # what runs that died have left may take the room that this one needs
        lacking = self._named(lambda source: source.lacking(self.layout.trees, self.size_limit))
        if lacking is not None:
            return {"changed": False, "name": self.name, "awaits": lacking}
        return self._make(state, former)

    def _stored(self) -> TreeRecord | None:
        """Return what the name leads to; None where there is nothing, or somebody has removed it."""
        record = self.trees.record(self.name)
        return record if record is not None and self.trees.path(record.content).is_dir() else None

    def _is_made(self, state: str, known: TreeRecord) -> bool:
        """Return whether what the name leads to need not be made anew."""
        source = self._wanted()
        is_of_it = known.source == source.digest() or source.content == known.content
        return (state == "present" or source.is_fixed) and is_of_it

    def _named(self, ask: Callable[[TreeSource], T]) -> T:
        """Return what a source answers. Raise TargetError, with the tree's name."""
        try:
            return ask(self._wanted())
        except TargetError as error:
            raise TargetError(f"tree {self.name!r}: {error}; nothing was changed") from error

    def _lead(self, former: TreeRecord | None) -> dict[str, Any] | None:
        """Let the name lead to a tree that is stored already, and return the module's result; None when it has gone."""
        record = self._record(self._wanted().content)
        if not self.check and not self.trees.lead(self.name, record):
            return None
        facts = self.trees.facts(record.content)
        packages = self.trees.facts(former.content).packages if former is not None else {}
        self._collect()
        return self._result(former, record, facts, changed_packages(packages, facts.packages))

    def _record(self, content: str) -> TreeRecord:
        """Return the record of what the name is to lead to, from now on."""
        source = self._wanted()
        return TreeRecord(content=content, source=source.digest(), description=source.describe(), made=int(time.time()))

    def _wanted(self) -> TreeSource:
        """Return what the tree is made from. Raise TargetError where nothing was given."""
        if self.source is None:
            raise TargetError(f"nothing says what the tree {self.name!r} is made from")
        return self.source

    def _remove(self, former: TreeRecord | None) -> dict[str, Any]:
        changed = former is not None or self.name in self.trees.names()
        if changed and not self.check:
            self.trees.forget(self.name)
        if former is not None:
            self._tell_of_users(former.content)
        self._collect()
        if not self.check:
            self.trees.remove_empty()
        result: dict[str, Any] = {"changed": changed, "name": self.name}
        if changed:
            facts = self.trees.facts(former.content) if former is not None else TreeFacts()
            result["diff"] = self._difference(former, None, changed_packages(facts.packages, {}))
        return result

    def _tell_of_users(self, content: str) -> None:
        said = f"tree {self.name!r}: its content stays as long as"
        layers = self.trees.layers().get(content, [])
        if layers:
            self.warnings.append(f"{said} these containers have kept layers over it: {', '.join(layers)}")
        try:
            systems = self.trees.users().get(content, [])
        except TargetError as error:
            if self.check:
                self.warnings.append(str(error))
            return  # the collection says so
        if systems:
            self.warnings.append(f"{said} systems are kept that are made for it: {', '.join(sorted(systems))}")

    def _foreseen(self, former: TreeRecord | None) -> dict[str, Any]:
        """Return the result of a run that would make the tree, for as much as can be said before."""
        source = self._wanted()
        if source.content:
            packages = self.trees.facts(former.content).packages if former is not None else {}
            changes = changed_packages(packages, source.facts.packages)
            return self._result(former, self._record(source.content), source.facts, changes)
        after = f"{UNKNOWN}, from {source.describe()}\n"
        before = f"{former.content}, from {former.description}\n" if former is not None else ""
        return {"changed": True, "name": self.name, "diff": self._entry(before, after)}

    def _make(self, state: str, former: TreeRecord | None) -> dict[str, Any]:
        try:
            with self.trees.making(self.name, self.timeout) as aside:
                known = self._stored()
                if known is not None and self._is_made(state, known):
                    return self._result(former, known)  # another run was faster
                made = self._fill(aside)
                record = self._record(made.digest)
                packages = self.trees.facts(former.content).packages if former is not None else {}
                changes = changed_packages(packages, made.facts.packages)
                if not self.check and (former is None or _differ(former, record)):
                    self.trees.adopt(self.name, aside, record, made.facts)
        except (OSError, LauncherError) as error:
            reason = explain(error) if isinstance(error, OSError) else str(error)
            raise TargetError(f"tree {self.name!r}: cannot be made: {reason}; nothing was changed") from error
        self._collect()
        return self._result(former, record, made.facts, changes)

    def _fill(self, aside: Path) -> TreeContent:
        """Make the tree in a directory aside. Return its content. Raise TargetError, OSError."""
        source = self._wanted()
        root, scratch = aside / ROOT_NAME, aside / SCRATCH
        for path in (root, scratch):
            path.mkdir()
            os.chown(path, os.geteuid(), os.getegid())
            path.chmod(0o755)
        try:
            source.make(Order(str(root), str(scratch), str(self.layout.trees), self.size_limit, self.timeout))
            if not root.is_dir() or root.is_symlink():
                raise TargetError(f"{source.KIND}: has removed the directory that it was to fill")
            content = TreeContent(str(root), Budget(self.size_limit))
            if source.content not in ("", content.digest):
                raise TargetError(
                    f"{source.describe()}: is said to have the content {source.content}, and has {content.digest}: "
                    "another version has written it, or its description is of another file; write it again"
                )
        except TargetError as error:
            raise TargetError(f"tree {self.name!r}: {error}; nothing was changed") from error
        remove_tree(str(scratch))
        if not self.check:
            synchronise(str(aside))
        return content

    def _collect(self) -> None:
        """Remove what nothing uses any more, and what runs that died have left."""
        if self.check:
            return
        try:
            self.trees.collect()
        except TargetError as error:
            self.warnings.append(str(error))

    def _result(
        self,
        former: TreeRecord | None,
        record: TreeRecord,
        facts: TreeFacts | None = None,
        changes: list[Change] | None = None,
    ) -> dict[str, Any]:
        facts = facts or self.trees.facts(record.content)
        changed = former is None or _differ(former, record)
        result: dict[str, Any] = {
            "changed": changed,
            "name": self.name,
            "content": record.content,
            "root": str(self.trees.path(record.content)),
            "size": facts.size,
            "files": facts.files,
            "distribution": facts.distribution,
            "package_changes": (changes or []) if changed else [],
        }
        if former is not None and former.content != record.content:
            result["former_content"] = former.content
        if changed:
            result["diff"] = self._difference(former, record, result["package_changes"])
        return result

    def _difference(
        self, former: TreeRecord | None, record: TreeRecord | None, changes: list[Change]
    ) -> dict[str, str]:
        before, after = (
            "" if each is None else f"{each.content}, from {each.description}\n" for each in (former, record)
        )
        return self._entry(before + package_lines(changes, "before"), after + package_lines(changes, "after"))

    def _entry(self, before: str, after: str) -> dict[str, str]:
        title = f"tree {self.name}"
        return {"before": before, "after": after, "before_header": title, "after_header": title}


def _differ(former: TreeRecord, record: TreeRecord) -> bool:
    """Return whether a tree has another content, or was declared in another way. When it was made does not count."""
    return (former.content, former.source) != (record.content, record.source)
