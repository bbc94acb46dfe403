# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is told of the trees of a host. Nothing here changes one."""

from __future__ import annotations

from typing import Any

from ..state.target import Layout, TargetError
from ..state.trees import Trees


class Listing:
    """The trees of a host.

    :param packages: whether their packages are named.
    :ivar errors: what could not be learned, and why.
    """

    def __init__(self, layout: Layout, packages: bool = False) -> None:
        self.trees = Trees(layout)
        self.packages = packages
        self.errors: list[str] = []

    def named(self, names: list[str] | None = None) -> list[dict[str, Any]]:
        """Return what is told of the trees of some names, or of all; those that are missing are left out."""
        used, layers = self._used(), self.trees.layers()
        found = []
        for name in self.trees.names() if names is None else names:
            record = self.trees.record(name)
            if record is None:
                if name in self.trees.names():
                    self.errors.append(f"tree {name!r}: its record is damaged")
                continue
            found.append(
                {
                    "name": name,
                    "made": record.made,
                    "source": record.description,
                    **self._told(record.content, used, layers),
                }
            )
        return found

    def unnamed(self) -> list[dict[str, Any]]:
        """Return what is told of the trees that no name leads to, and that kept systems or layers need."""
        named = {record.content for record in map(self.trees.record, self.trees.names()) if record is not None}
        used, layers = self._used(), self.trees.layers()
        return [self._told(content, used, layers) for content in self.trees.contents() if content not in named]

    def _used(self) -> dict[str, list[str]]:
        try:
            return self.trees.users()
        except TargetError as error:
            if str(error) not in self.errors:
                self.errors.append(str(error))
            return {}

    def _told(self, content: str, used: dict[str, list[str]], layers: dict[str, list[str]]) -> dict[str, Any]:
        facts = self.trees.facts(content)
        told: dict[str, Any] = {
            "content": content,
            "root": str(self.trees.path(content)),
            "size": facts.size,
            "files": facts.files,
            "distribution": facts.distribution,
            "systems": sorted(used.get(content, [])),
            "layers": layers.get(content, []),
        }
        if self.packages:
            told["packages"] = facts.packages
        return told
