# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The layer that a machine keeps on its host: where it lies, and which tree it belongs over.

Only the host's root can enter its directory, so a set-user-ID program in it is for nobody of the host to run. What is
in it is root's inside, and hostile: no path leads through it but below a descriptor (`launcher/machine_root`).
"""

from __future__ import annotations

import os

from ..launcher.errors import LauncherError
from ..launcher.paths import make_directory, read_text, write_atomically
from ..launcher.root_options import tree_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..launcher.contract import Specification

NAME = "layer"  # in the container's directory
TREE = "tree"  # in the layer's: the path of the tree below it
OTHER_TREE = (
    "the kept layer of container %s belongs over the tree %s, whose packages its package database knows, and cannot be "
    "over %s: name the former tree (store: %s/usr, where its name leads to another one now), and install in the "
    "container what is to change; or remove the container with its layer (state: absent) first"
)


def prepare(directory: str, specification: Specification) -> str | None:
    """Return the path of the layer of a container that keeps one; make it where there is none yet.

    Args:
        directory: the container's on the host.

    Raises:
        LauncherError: the layer belongs over another tree.
    """
    if not specification.root.is_kept:
        return None
    reason = refusal(directory, specification)
    if reason:
        raise LauncherError(reason)
    path = os.path.join(directory, NAME)
    make_directory(path, 0o700)
    if not tree_below(directory):
        write_atomically(os.path.join(path, TREE), tree_of(specification.store.source) + "\n", durable=True)
    return path


def has_layer(directory: str) -> bool:
    """Return whether a container has a layer, by its directory on the host."""
    return os.path.lexists(os.path.join(directory, NAME))


def tree_below(directory: str) -> str:
    """Return the path of the tree that the layer of a container belongs over; empty where it has no layer."""
    return read_text(os.path.join(directory, NAME, TREE)).rstrip("\n")


def refusal(directory: str, specification: Specification) -> str | None:
    """Return why the layer that a container has cannot be over the tree of a specification, or None."""
    if not specification.root.is_kept:
        return None
    former = tree_below(directory)
    tree = tree_of(specification.store.source)
    return OTHER_TREE % (specification.name, former, tree, former) if former and former != tree else None
