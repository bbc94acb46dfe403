# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The store of a container: a directory of the host, or a tree by its name."""

from __future__ import annotations

import typing as t

from ..module_utils.launcher import targets
from ..module_utils.launcher.names import NO_NAME, is_name
from ..module_utils.launcher.store import Store
from . import checks
from .errors import DeclarationError
from .records import FileSystemMapping
from .validation import describe, plain


def store_record(value: t.Any) -> Store:
    """Return the store as the target gets it. Raise DeclarationError with the place."""
    tree = _tree(value)
    if tree:
        return Store.of_tree(tree)
    mapping = store_mapping(value)
    return Store(source=checks.absolute_path(mapping.source, "store.source"), target=mapping.place)


def _tree(value: t.Any) -> str:
    """Return the name of the tree that the store is of; empty where it is a directory of the host's."""
    value = plain(value, "store")
    if not isinstance(value, dict) or "tree" not in value:
        return ""
    beside = sorted(set(map(str, value)) - {"tree"})
    if beside:
        raise DeclarationError(
            f"store.{beside[0]}", "not beside 'tree': the tree says where it is, and is seen at /usr"
        )
    if not is_name(value["tree"]):
        raise DeclarationError("store.tree", NO_NAME % (value["tree"], "tree"))
    return str(value["tree"])


def store_mapping(value: t.Any) -> FileSystemMapping:
    """Return the mapping of the store.

    It is SOURCE=TARGET, both keys, or a path, of which one that ends with /usr is seen at /usr; or the key `tree`.
    """
    value = plain(value, "store")
    tree = _tree(value)
    if tree:
        value = {"source": Store.of_tree(tree).source, "target": targets.STORE}
    if isinstance(value, str) and "=" not in value and value.endswith(targets.STORE):
        value = {"source": value, "target": targets.STORE}
    if not isinstance(value, (str, dict)):
        raise DeclarationError("store", f"must be a path, SOURCE=TARGET or a mapping, not {describe(value)}")
    mapping = FileSystemMapping.from_mapping(value, "store")
    if mapping.writable:
        raise DeclarationError("store.writable", "the store is always read-only")
    return mapping
