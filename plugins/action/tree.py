# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action plugin of tree: it sends an archive of the controller's to the host, in pieces."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.unshare.container.plugins.plugin_utils.hiding_action import HidingAction
from ansible_collections.unshare.container.plugins.plugin_utils.shipping import Shipping
from ansible_collections.unshare.container.plugins.plugin_utils.vaulted import occurring, shown


class ActionModule(HidingAction):
    """The plugin that runs the module of the same name."""

    MODULE = "unshare.container.tree"

    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any] | None, texts: frozenset[str]) -> dict[str, Any]:
        """Run the module, and send what it lacks. Return its result.

        :raises DeclarationError: the archive cannot be sent.
        """
        if self.is_detached:
            if arguments.get("controller") is not None:
                raise AnsibleActionFail("async: nobody would send the archive of 'controller'; leave out 'async'")
            return super().act(arguments, task_vars, texts)
        return shown(Shipping(self, arguments, task_vars).bring(), occurring(texts, arguments))
