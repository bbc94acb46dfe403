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
from .foreseen_trees import foreseen_trees
from .kept_code import RUNNER, KeptCode
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
    _supports_async = True
    _supports_check_mode = True
    _supports_diff = True

    MODULE = ""
    """The module's name, with that of the collection."""

    def run(self, tmp: str | None = None, task_vars: dict[str, t.Any] | None = None) -> dict[str, t.Any]:
        """Run the module, and return its result."""
        result: dict[str, t.Any] = super().run(tmp, task_vars)
        texts = vaulted_texts(self._task.args, task_vars)
        if self.is_detached:
            self._refuse_to_show(texts)
        result.update(guarded(lambda: self.act(dict(self._task.args), task_vars, texts), texts))
        if isinstance(result.get("diff"), (dict, list)):
            result["diff"] = self._differences(result, task_vars, texts)
        return result

    @property
    def is_detached(self) -> bool:
        """Return whether the module goes on by itself on the host, and its result comes without this plugin."""
        return bool(self._task.async_val) and not self._connection.has_native_async

    def _refuse_to_show(self, texts: frozenset[str]) -> None:
        """Refuse a task whose result, which nobody looks through, might show one of TEXTS. Leave out its differences.

        :raises AnsibleActionFail: naming the key.
        """
        if occurring(texts, dict(self._task.args)) and not self._task.no_log:
            raise AnsibleActionFail(
                "async: the task uses a value of the vault, which the result of a task with 'async' might show: "
                "set 'no_log: true', for 'async_status' too, or leave out 'async'"
            )
        if texts:
            self._task.diff = False

    def send(self, arguments: dict[str, t.Any], task_vars: dict[str, t.Any] | None) -> dict[str, t.Any]:
        """Run the module with ARGUMENTS on the host, and return its result; of one that goes on, that of its start."""
        return self.run_module(self.MODULE, arguments, task_vars)

    def run_module(
        self, name: str, arguments: dict[str, t.Any], task_vars: dict[str, t.Any] | None
    ) -> dict[str, t.Any]:
        """Run a module of this collection on the host, with the code that the host keeps, and return its result."""
        code = KeptCode(str(constants.DEFAULT_LOCAL_TMP))  # type: ignore[attr-defined]
        sent = {"module": name.rpartition(".")[2], "arguments": arguments, "digest": code.digest}
        # Nobody is there to answer a host that lacks the code, in the result of a task with `async`.
        unasked = self.is_detached or code.is_lacked()
        done = self._run_kept({**sent, "archive": code.archive} if unasked else sent, task_vars)
        if not unasked:
            code.note(bool(done.get("lacks_code")))
        if done.get("lacks_code"):
            done = self._run_kept({**sent, "archive": code.archive}, task_vars)
        return done

    def _run_kept(self, sent: dict[str, t.Any], task_vars: dict[str, t.Any] | None) -> dict[str, t.Any]:
        done: dict[str, t.Any] = self._execute_module(
            RUNNER, module_args=sent, task_vars=task_vars, wrap_async=self.is_detached
        )
        return done

    def foreseen_trees(self, task_vars: dict[str, t.Any] | None) -> dict[str, str]:
        """Return the trees that earlier tasks of a run in check mode would make on the host."""
        if not self._task.check_mode:
            return {}
        target = str(self._task.delegate_to or (task_vars or {}).get("inventory_hostname", ""))
        return foreseen_trees(str(constants.DEFAULT_LOCAL_TMP), target)  # type: ignore[attr-defined]

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
        return shown(self.send(arguments, task_vars), occurring(texts, arguments))
