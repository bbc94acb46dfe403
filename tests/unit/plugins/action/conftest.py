# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs an action plugin without a host: what it would send there is kept, and answered by the test."""

from __future__ import annotations

import copy
import os
import shutil
import types
import typing as t
from pathlib import Path

import pytest
from ansible import constants
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.action import ActionBase

Answer = dict[str, t.Any] | Exception


class Run:
    """Runs tasks of an action plugin.

    Attributes:
        sent: the module's name and arguments, of each time that it was sent to the host.
        codes: for each of them, what it was sent with of the code: `digest`, and `archive` or not.
        detached: for each of them, whether it goes on by itself there.
        answers: what the host says to it, in this order; then that nothing has changed.
    """

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, t.Any]]] = []
        self.codes: list[dict[str, str]] = []
        self.detached: list[bool] = []
        self.answers: list[Answer] = []
        self.shown: list[str] = []
        self.remote = "/there"

    def put(self, local: str, remote: str) -> None:
        """Put a file on the host."""
        shutil.copyfile(local, remote)

    def __call__(
        self,
        kind: type[ActionBase],
        arguments: dict[str, t.Any],
        host: str = "web1",
        check: bool = False,
        diff: bool = False,
        variables: dict[str, t.Any] | None = None,
        **keywords: t.Any,
    ) -> dict[str, t.Any]:
        """Run a task of the plugin KIND with ARGUMENTS and further KEYWORDS on HOST, and return its result."""
        others = {"async_val": 0, "action": "x", "environment": None, "no_log": False, "delegate_to": None}
        others["get_search_path"] = lambda: ["/"]
        task: t.Any = types.SimpleNamespace(args=arguments, check_mode=check, diff=diff, **{**others, **keywords})
        nothing: t.Any = None
        shell = types.SimpleNamespace(tmpdir=self.remote, join_path=os.path.join)
        connection: t.Any = types.SimpleNamespace(_shell=shell, has_native_async=False, put_file=self.put)
        action: t.Any = kind(task, connection, nothing, DataLoader(), nothing, None)
        action._execute_module = self._execute_kept
        action._display = types.SimpleNamespace(display=self.shown.append)
        before = copy.deepcopy(arguments)
        result: dict[str, t.Any] = action.run(task_vars={"inventory_hostname": host, **(variables or {})})
        assert task.args == before
        return result

    def _execute_kept(self, name: str, module_args: dict[str, t.Any], **keywords: t.Any) -> dict[str, t.Any]:
        assert name == "unshare.container.kept_code"
        code = dict(module_args)
        module, arguments = code.pop("module"), code.pop("arguments")
        self.codes.append(code)
        return self._execute("unshare.container." + module, arguments, **keywords)

    def _execute(
        self, name: str, module_args: dict[str, t.Any], task_vars: dict[str, t.Any], wrap_async: bool = False
    ) -> dict[str, t.Any]:
        assert task_vars["inventory_hostname"]
        self.sent.append((name, copy.deepcopy(module_args)))
        self.detached.append(wrap_async)
        answer = self.answers.pop(0) if self.answers else {"changed": False}
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a runner for which a play keeps its files on the controller in a directory of the test's own."""
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))
    return Run()
