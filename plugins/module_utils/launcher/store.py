# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The store of a container, in the contract between controller and launcher."""

from __future__ import annotations

from . import kinds, targets
from .kinds import ContractError, ContractRecord
from .names import is_digest, is_name
from .paths import STATE_DIRECTORY


def _tree_name(value: object) -> str:
    if not is_name(value):
        raise ContractError("is no tree's name")
    return str(value)


def content_in(path: str) -> str:
    """Return the content of the stored tree that a path of the host lies in; empty where it lies in none."""
    start = "%s/trees/" % STATE_DIRECTORY
    name = path[len(start) :].split("/")[0] if path.startswith(start) else ""
    return name if is_digest(name) else ""


class Store(ContractRecord):
    """The software that a container runs, shared by the host.

    Attributes:
        source: directory of the host.
        target: where the container has it.
        tree: name of the tree that the source is of; empty for a directory that the collection does not manage. The
            controller knows no more than this name, and names the source by it; the target puts the tree's content,
            by which it is stored, in the name's place.
    """

    source: str
    target: str
    tree: str = ""

    KINDS = {"source": kinds.source, "target": kinds.path, "tree": _tree_name}

    @classmethod
    def of_tree(cls, name: str, content: str | None = None) -> Store:
        """Return the store that is in the tree of a name; with its content, as a start needs it."""
        source = "%s/trees/%s/root%s" % (STATE_DIRECTORY, content or name, targets.STORE)
        return Store(source=source, target=targets.STORE, tree=name)

    @property
    def content(self) -> str:
        """Return the content of the tree, or nothing where there is no tree, or the host has yet to say."""
        return content_in(self.source) if self.tree else ""

    def check(self) -> None:
        self.refuse("target", targets.refusal_of_place(self.target))
        known = (self.of_tree(self.tree).source, self.of_tree(self.tree, self.content).source)
        if self.tree and (self.source not in known or self.target != targets.STORE):
            raise ContractError("is not the directory of the tree %r" % self.tree).within("source")
