# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action plugin of container_script.

It takes the content of secret files out of a system before it leaves the controller, and makes the script `boot` of the
system, where the task has none.
"""

from __future__ import annotations

from typing import Any

from ansible import constants
from ansible.errors import AnsibleActionFail
from ansible_collections.unshare.container.plugins.plugin_utils.boot_script import boot_script
from ansible_collections.unshare.container.plugins.plugin_utils.hiding_action import HidingAction
from ansible_collections.unshare.container.plugins.plugin_utils.namesakes import namesake_in_run
from ansible_collections.unshare.container.plugins.plugin_utils.secrets import split_secrets
from ansible_collections.unshare.container.plugins.plugin_utils.vaulted import occurring, shown, with_secrets


def _is_derived(name: Any) -> bool:
    """Return whether the name of the role's container is its default, which is made of the host name.

    Variables come as they are written, and not with their values.
    """
    return isinstance(name, str) and "{{" in name and "unshare.container.container_name" in name


class ActionModule(HidingAction):
    """The plugin that runs the module of the same name, with secrets apart from the rest."""

    MODULE = "unshare.container.container_script"

    def act(self, arguments: dict[str, Any], task_vars: dict[str, Any] | None, texts: frozenset[str]) -> dict[str, Any]:
        """Run the module with the arguments that the task lacks, and return its result."""
        if _is_derived((task_vars or {}).get("system_container_name")):
            arguments.setdefault("named_after_host_name", True)
        system = arguments.get("system")
        # What is no system is the module's to refuse.
        if "boot" not in arguments and isinstance(system, dict) and {"activation", "spec"} <= system.keys():
            arguments["boot"] = boot_script(system)
        if isinstance(system, dict) and isinstance(system.get("spec"), dict):
            target = self._task.delegate_to or (task_vars or {}).get("inventory_hostname", "")
            name, host_name = arguments.get("name") or system.get("name"), system["spec"].get("host_name")
            said = namesake_in_run(str(constants.DEFAULT_LOCAL_TMP), str(target), name, host_name)  # type: ignore[attr-defined]
            if said:
                raise AnsibleActionFail(said)
        if "foreseen_trees" in arguments:
            raise AnsibleActionFail("foreseen_trees: is filled in by the action plugin, and cannot be given")
        foreseen = self.foreseen_trees(task_vars)
        if foreseen:
            arguments["foreseen_trees"] = foreseen
        used = occurring(texts, arguments)
        if isinstance(system, dict) and isinstance(system.get("files"), dict):
            arguments["system"], secrets = split_secrets(with_secrets(system, used))
            if secrets:
                arguments["secrets"] = {**(arguments.get("secrets") or {}), **secrets}
        return shown(self.send(arguments, task_vars), used)
