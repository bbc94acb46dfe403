# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Check that the declared users and groups of a machine can be added to those of its tree.

A start finds the same, and then the container runs no more. What root inside has changed in a kept layer is known to
the start alone.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from ..launcher import lookup, merged_accounts
from ..launcher.errors import LauncherError
from ..launcher.root_options import tree_of
from .store import open_bind_source

if TYPE_CHECKING:
    from pathlib import Path

    from ..launcher.contract import Specification
    from ..state.system_content import SystemFile
    from .store import StoreView

SIZE_LIMIT = 1 << 22  # bytes of a file of accounts
ALL_IDS = 1 << 32
"""The number of ids that is assumed here. The start knows how many the container has."""


def contradictions(view: StoreView, specification: Specification, files: dict[str, SystemFile]) -> list[str]:
    """Return why the accounts of a machine cannot be had on its tree, with what to do.

    :param files: the system's, by their paths.
    """
    if not specification.root.is_machine or view.changed_inside:
        return []
    declared = {
        path: files[path].content.decode("utf-8", "surrogateescape") for path in merged_accounts.FILES if path in files
    }
    try:
        own = _texts(view.root, tree_of(specification.store.source))
        merged_accounts.merge(own, declared, specification.root.users, specification.root.groups, ALL_IDS)
    except LauncherError as error:
        return [f"operating_system: {error}"]
    return []


def _texts(root: Path, path: str) -> dict[str, str]:
    """Return the files of accounts of a tree, by their paths; nothing of a tree that is not there."""
    try:
        tree = open_bind_source(root, path)
    except OSError:
        return {}  # another check says so
    try:
        return {name: _text(tree, name) for name in merged_accounts.FILES}
    finally:
        os.close(tree)


def _text(tree: int, path: str) -> str:
    try:
        descriptor = lookup.open_below(tree, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_NOFOLLOW)
    except OSError:
        return ""
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return ""
        return file.read(SIZE_LIMIT).decode("utf-8", "surrogateescape")
