# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action plugin of tree_archive: it takes the archive of a tree from the host to the controller, in pieces."""

from __future__ import annotations

from typing import Any

from ansible_collections.unshare.container.plugins.plugin_utils.hiding_action import HidingAction
from ansible_collections.unshare.container.plugins.plugin_utils.taking import Taking
from ansible_collections.unshare.container.plugins.plugin_utils.vaulted import occurring, shown


class ActionModule(HidingAction):
    """The plugin that asks the module of the same name. Nobody would take what a detached one answers."""

    MODULE = "unshare.container.tree_archive"
    _supports_async = False

    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any] | None, texts: frozenset[str]) -> dict[str, Any]:
        """Bring the archive to the controller, and return the module's result.

        :raises DeclarationError: there is no place for it.
        """
        return shown(Taking(self, arguments, task_vars).take(), occurring(texts, arguments))
