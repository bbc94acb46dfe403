# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The software of containers whose store is a tree: which tree a name means, what to say of it, when it goes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..launcher.errors import LauncherError
from ..launcher.names import is_digest
from ..launcher.specification import read_store
from ..state.target import Layout, TargetError
from ..state.trees import Trees

if TYPE_CHECKING:
    from ..state.system_content import SystemContent

TREE = "store.tree: "


def content_of_tree(layout: Layout, name: str, check: bool, foreseen: dict[str, str] | None = None) -> str:
    """Return the content that the name of a tree leads to on this host.

    :param check: only find out what would be done: an earlier task may be about to make the tree, and so nothing is
        returned for one that is missing.
    :param foreseen: the trees that earlier tasks would make; of each the content, empty where it is not known. What
        the name leads to now is not what it would lead to then.
    :raises TargetError: there is no such tree.
    """
    if check and foreseen and name in foreseen:
        content = foreseen[name]
        return content if is_digest(content) and Trees(layout).path(content).is_dir() else ""
    try:
        return Trees(layout).content(name)
    except TargetError as error:
        if check:
            return ""
        raise TargetError(f"{TREE}{error}; nothing was changed") from None


def lacks_tree(layout: Layout, content: SystemContent, foreseen: dict[str, str] | None = None) -> str | None:
    """Return a warning about a system that is looked at for a tree which this host does not have yet, or None.

    :param foreseen: the trees that earlier tasks would make, as `content_of_tree` takes them.
    """
    name = content.specification.store.tree
    if not name or content.tree:
        return None
    if foreseen and name in foreseen:
        said = f"the tree {name!r} would be made by an earlier task of this run"
        return f"{TREE}{said}; nothing else can be said of container {content.name!r} before it is"
    try:
        Trees(layout).content(name)
    except TargetError as error:
        return f"{TREE}{error}. Until then nothing else can be said of container {content.name!r}, and a run refuses it"
    return f"{TREE}the tree {name!r} was made just now; run again"


def store_of(system: Path | None) -> dict[str, Any] | None:
    """Return the store of a system on the disk: `source`, and of a tree `tree` and `content`; None where none is known.

    `tree` is the name that was declared, which may lead to another content by now.
    """
    if system is None:
        return None
    try:
        store = read_store(str(system))
    except (LauncherError, OSError):
        return None
    if not store.tree:
        return {"source": store.source}
    return {"source": store.source, "tree": store.tree, "content": store.content}


def collect(layout: Layout) -> list[str]:
    """Remove the trees that nothing uses any more. Return warnings."""
    try:
        Trees(layout).collect()
        Trees(layout).remove_empty()
    except TargetError as error:
        return [str(error)]
    return []
