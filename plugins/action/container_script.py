# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Takes the content of secret files out of the system before it leaves the controller.

A module's parameters are written to the host's log and, with `-vvv`, to the output, unless they are marked as not to be
logged as a whole. To hide the whole system would hide every word in it (`web`, `0644`, `/usr`) wherever it appears, so
the secret contents travel in a parameter of their own.
"""

from __future__ import annotations

from typing import Any

from ansible.plugins.action import ActionBase


def split_secrets(system: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return `system` without the content of its secret files, and those contents by path.

    :param system: what the filter `system_files` makes; it is not changed.
    """
    files: dict[str, Any] = {}
    secrets: dict[str, str] = {}
    for path, entry in system["files"].items():
        if isinstance(entry, dict) and entry.get("secret") and "content" in entry:
            secrets[path] = entry["content"]
            entry = {key: value for key, value in entry.items() if key != "content"}
        files[path] = entry
    return {**system, "files": files}, secrets


class ActionModule(ActionBase):
    """Runs the module of the same name with secrets apart from the rest."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_diff = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """Run the module, and return its result."""
        result = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        system = arguments.get("system")
        if isinstance(system, dict) and isinstance(system.get("files"), dict):
            arguments["system"], secrets = split_secrets(system)
            if secrets:
                arguments["secrets"] = {**(arguments.get("secrets") or {}), **secrets}
        result.update(
            self._execute_module("unshare.container.container_script", module_args=arguments, task_vars=task_vars)
        )
        return result
