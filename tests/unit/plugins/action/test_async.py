# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A module that has an action plugin goes on by itself with `async`, as any other module does."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.unshare.container.plugins import action
from ansible_collections.unshare.container.plugins.action import containers
from ansible_collections.unshare.container.plugins.action.container_script import ActionModule as ContainerScript
from ansible_collections.unshare.container.plugins.action.containers import ActionModule as Containers
from ansible_collections.unshare.container.plugins.action.rollout_step import ActionModule as RolloutStep
from ansible_collections.unshare.container.plugins.action.system_container import ActionModule as SystemContainer
from ansible_collections.unshare.container.plugins.action.tree import ActionModule as Tree

from .conftest import Run
from .test_vaulted import VARIABLES, server

STARTED = {"started": 1, "finished": 0, "ansible_job_id": "7"}
PLAIN = {"host_name": "web", "services": [{"type": "unit", "value": {"name": "a", "command": ["/bin/a"]}}]}
TASKS: dict[str, tuple[type[ActionBase], dict[str, t.Any]]] = {
    "container_script": (ContainerScript, {"name": "web", "system": {"name": "web"}}),
    "containers": (Containers, {"containers": {"web": {"operating_system": PLAIN}}}),
    "system_container": (SystemContainer, {"name": "web", "state": "absent"}),
    "tree": (Tree, {"name": "web", "state": "absent"}),
}
WITHOUT = {"rollout_step", "tree_archive"}
"""Those that say at once that they cannot go on by themselves."""


def test_each_action_plugin_is_among_the_tests() -> None:
    found = {path.stem for path in Path(next(iter(action.__path__))).glob("*.py")} - {"__init__"}
    assert found == {*TASKS, *WITHOUT}


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("detached", [False, True])
def test_a_module_goes_on_by_itself(run: Run, name: str, detached: bool) -> None:
    kind, arguments = TASKS[name]
    run.answers = [{**STARTED}]
    result = run(kind, arguments, async_val=60 * detached)
    assert result["ansible_job_id"] == "7"
    assert run.detached == [detached]


def test_all_systems_are_sent_to_a_host_that_cannot_ask(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "UNASKED", 0)
    run(Containers, TASKS["containers"][1])
    run(Containers, TASKS["containers"][1], async_val=60)
    assert [list(sent["systems"]) for _name, sent in run.sent] == [[], ["web"]]


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (Containers, {"containers": {"web": {"operating_system": server()}}}),
        (SystemContainer, {"name": "web", "health": {"command": "x-topsecret99"}}),
        (ContainerScript, {"name": "topsecret99", "system": {}}),
    ],
)
def test_a_value_of_the_vault_needs_no_log(run: Run, kind: type[ActionBase], arguments: dict[str, t.Any]) -> None:
    with pytest.raises(AnsibleActionFail, match="^async: .*: set 'no_log: true', for 'async_status' too"):
        run(kind, arguments, variables=VARIABLES, async_val=60)
    assert not run.sent
    run(kind, arguments, variables=VARIABLES, async_val=60, no_log=True)
    assert run.detached == [True]


def test_a_rollout_waits_for_its_steps(run: Run) -> None:
    with pytest.raises(AnsibleActionFail, match="does not support async|async is not supported"):
        run(RolloutStep, {"step": "begin"}, async_val=60)
