# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs a module as Ansible does, as root, in this process, with what it says on its standard output."""

from __future__ import annotations

import contextlib
import io
import json
import typing as t

import pytest
from ansible.module_utils import basic
from ansible_collections.unshare.container.plugins import modules

RunModule = t.Callable[..., dict[str, t.Any]]

LOOKERS = {
    "containers": "HostContainers",
    "eval_container": "Request",
    "system_container": "Container",
    "system_container_info": "Container",
}
"""What looks at a container, or at a command's closure, in each module."""


@pytest.fixture
def untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any look at a container, or at a command's closure, fails the test."""

    def touched(*_arguments: t.Any, **_options: t.Any) -> t.Any:
        raise AssertionError("something was touched")

    for module, name in LOOKERS.items():
        monkeypatch.setattr(f"{modules.__name__}.{module}.{name}", touched)


@pytest.fixture
def run_module(monkeypatch: pytest.MonkeyPatch) -> RunModule:
    """Return a function of a module's `main` and its arguments; it returns the result, also that of a failure."""

    def run(
        main: t.Callable[[], t.Any], check: bool = False, diff: bool = True, user_id: int = 0, **arguments: t.Any
    ) -> dict[str, t.Any]:
        parameters = {**arguments, "_ansible_check_mode": check, "_ansible_diff": diff}
        monkeypatch.setattr("os.geteuid", lambda: user_id)
        monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": parameters}).encode())
        monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
        monkeypatch.setattr(basic.AnsibleModule, "_log_invocation", lambda self: None)
        warnings: list[str] = []
        monkeypatch.setattr(basic.AnsibleModule, "warn", lambda self, warning: warnings.append(warning))
        output = io.StringIO()
        with contextlib.redirect_stdout(output), pytest.raises(SystemExit):
            main()
        result: dict[str, t.Any] = json.loads(output.getvalue().splitlines()[-1])
        return {**result, "warnings": warnings}

    return run
