# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The part that all action plugins share: what they return and raise names no value of the vault."""

from __future__ import annotations

import typing as t
from collections.abc import Callable

from ansible import constants
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

from .differences import shown_once
from .errors import DeclarationError
from .vaulted import hidden, message_without, occurring, reveals, shown, vaulted_texts

R = t.TypeVar("R")


def guarded(function: Callable[[], R], texts: t.Iterable[str]) -> R:
    """Return the result of FUNCTION. An error of it is raised without TEXTS.

    ansible-core shows what an error was caused by, so one that takes another's place has neither a cause nor a context.

    :raises AnsibleActionFail: a DeclarationError, or any other error that names one of TEXTS.
    :raises AnsibleConnectionFailure: one that names one of TEXTS.
    """
    texts = list(texts)
    try:
        return function()
    except Exception as error:
        if not isinstance(error, DeclarationError) and not reveals(error, texts):
            raise
        kind = AnsibleConnectionFailure if isinstance(error, AnsibleConnectionFailure) else AnsibleActionFail
        message = message_without(error, texts)
    raise kind(message)


class HidingAction(ActionBase):
    """A plugin that runs a module on the host, and shows no value of the vault that is in the task's arguments."""

    TRANSFERS_FILES = False
    _supports_check_mode = True
    _supports_diff = True

    MODULE = ""
    """The module's name, with that of the collection."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run the module, and return its result."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        texts = vaulted_texts(self._task.args, task_vars)
        result.update(guarded(lambda: self.act(dict(self._task.args), task_vars, texts), texts))
        if isinstance(result.get("diff"), (dict, list)):
            result["diff"] = self._differences(result, task_vars, texts)
        return result

    def _differences(
        self, result: dict[str, t.Any], task_vars: dict[str, t.Any] | None, texts: frozenset[str]
    ) -> list[t.Any] | dict[str, t.Any]:
        """Return the differences of a result, without those that this run has shown and without any of TEXTS.

        A system of the host may hold a value of the vault that is not among the task's arguments.
        """
        found = hidden(result["diff"], texts)
        if isinstance(found, dict):
            return found
        target = str(self._task.delegate_to or (task_vars or {}).get("inventory_hostname", ""))
        noted = bool(result.get("changed")) and not self._task.no_log  # or Ansible shows nothing
        return shown_once(str(constants.DEFAULT_LOCAL_TMP), target, found, noted)  # type: ignore[attr-defined]

    def act(
        self, arguments: dict[str, t.Any], task_vars: dict[str, t.Any] | None, texts: frozenset[str]
    ) -> dict[str, t.Any]:
        """Run the module with ARGUMENTS, and return its result without those of TEXTS that are in them.

        :param texts: those of the vault that are in any variable.
        """
        done = self._execute_module(self.MODULE, module_args=arguments, task_vars=task_vars)
        return shown(done, occurring(texts, arguments))
