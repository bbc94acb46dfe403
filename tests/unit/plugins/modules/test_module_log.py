# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host's log says that a module runs, and holds neither its arguments nor its warnings."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible.module_utils import basic
from ansible_collections.unshare.container.plugins.modules import (
    container_script,
    containers,
    eval_container,
    system_container,
)

SECRET = "hunter2-vaulted"
SYSTEM = {"name": "x", "files": {}, "spec": {"init": {"argv": ["/bin/sh"], "environment": {"TOKEN": SECRET}}}}


@pytest.mark.parametrize(
    ("specification", "made", "arguments"),
    [
        (
            container_script.ARGUMENT_SPEC,
            container_script.ContainerScriptModule,
            {"system": SYSTEM, "boot": f"echo {SECRET}", "secrets": {"/etc/x": SECRET}},
        ),
        (
            containers.ARGUMENT_SPEC,
            containers.ContainersModule,
            {"containers": {"x": {"health": {"commands": [{"argv": [SECRET]}]}}}},
        ),
        (
            containers.ARGUMENT_SPEC,
            containers.ContainersModule,
            {"containers": {}, "systems": {"x": {"system": SYSTEM, "boot": SECRET}}},
        ),
        (
            system_container.ARGUMENT_SPEC,
            system_container.SystemContainerModule,
            {"name": "x", "health": {"commands": [{"argv": [SECRET]}]}},
        ),
        (
            eval_container.ARGUMENT_SPEC,
            eval_container.EvalContainerModule,
            {"argv": ["/bin/true"], "environment": {"TOKEN": SECRET}, "stdin": SECRET},
        ),
    ],
)
def test_the_log_holds_no_argument(
    monkeypatch: pytest.MonkeyPatch, specification: t.Any, made: t.Any, arguments: dict[str, t.Any]
) -> None:
    logged: list[str] = []
    monkeypatch.setattr(basic, "has_journal", False)
    monkeypatch.setattr(basic.AnsibleModule, "_log_to_syslog", lambda self, message: logged.append(message))
    monkeypatch.setattr(basic, "_ANSIBLE_ARGS", json.dumps({"ANSIBLE_MODULE_ARGS": arguments}).encode())
    monkeypatch.setattr(basic, "_ANSIBLE_PROFILE", "legacy", raising=False)
    module = made(argument_spec=specification, supports_check_mode=True)
    module.warn(f"{SECRET} is old")
    assert logged == ["Invoked; the arguments are not logged, for they may hold secrets"]
