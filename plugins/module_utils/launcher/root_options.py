# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of a container's `/`, as `spec.json` says them."""

from __future__ import annotations

import os

from . import kinds
from .kinds import ContractRecord
from .targets import plain_path

DECLARED_KIND, MACHINE_KIND = "declared", "machine"
ROOT_KINDS = (DECLARED_KIND, MACHINE_KIND)
EPHEMERAL_LAYER, KEPT_LAYER = "ephemeral", "kept"
LAYERS = (EPHEMERAL_LAYER, KEPT_LAYER)


class Root(ContractRecord):
    """The kind of a container's `/`, and the layer over it.

    Attributes:
        kind: `declared` for a root of the declaration alone, in memory, with the store read-only; `machine` for the
            whole tree that the store is in, under a layer that takes what is written.
        layer: of a machine: `ephemeral` for one in memory, which goes with the container, `kept` for one on disk.
        users: those of a machine that the declaration itself has, each with whether it says the id. Their entries take
            the place of the tree's own; of others the tree's own stay.
        groups: the same of groups.
    """

    kind: str = DECLARED_KIND
    layer: str = EPHEMERAL_LAYER
    users: dict[str, bool] = {}
    groups: dict[str, bool] = {}

    KINDS = {
        "kind": kinds.choice(*ROOT_KINDS),
        "layer": kinds.choice(*LAYERS),
        "users": kinds.mapping_of(kinds.text, kinds.boolean),
        "groups": kinds.mapping_of(kinds.text, kinds.boolean),
    }

    @property
    def is_machine(self) -> bool:
        """Return whether it is a whole tree."""
        return self.kind == MACHINE_KIND

    @property
    def is_kept(self) -> bool:
        """Return whether what is written to it lasts."""
        return self.is_machine and self.layer == KEPT_LAYER

    def check(self) -> None:
        if not self.is_machine and (self.layer != EPHEMERAL_LAYER or self.users or self.groups):
            self.refuse("layer", "is for the kind 'machine': a declared root is made anew at each start")


def tree_of(store: str) -> str:
    """Return the tree that a store is in: the directory beside which the store's links lead."""
    return os.path.dirname(plain_path(store)) or "/"
