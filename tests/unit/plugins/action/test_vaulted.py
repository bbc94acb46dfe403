# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A value of the vault among a task's variables is sent apart from the rest, and shown by neither action."""

from __future__ import annotations

import re
import typing as t

import pytest
from ansible import constants
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure
from ansible_collections.unshare.container.plugins.action.container_script import ActionModule as ContainerScript
from ansible_collections.unshare.container.plugins.action.containers import ActionModule as Containers
from ansible_collections.unshare.container.plugins.action.rollout_step import ActionModule as RolloutStep
from ansible_collections.unshare.container.plugins.action.system_container import ActionModule as SystemContainer
from ansible_collections.unshare.container.plugins.plugin_utils.boot_script import boot_script
from ansible_collections.unshare.container.plugins.plugin_utils.containerized import containerized_operating_system
from ansible_collections.unshare.container.plugins.plugin_utils.rollout import Journal
from ansible_collections.unshare.container.plugins.plugin_utils.system_files import system_files

from .conftest import Run

SECRET = "topsecret99"


class AnsibleVaultEncryptedUnicode:
    """As a value of the vault is in ansible-core 2.18."""

    def __str__(self) -> str:
        return SECRET


VARIABLES = {"password": AnsibleVaultEncryptedUnicode(), "made": f"x-{SECRET}"}


def server(environment: str = f"x-{SECRET}") -> dict[str, t.Any]:
    unit = {"name": "a", "command": ["/bin/a"], "environment": {"A": environment}}
    return {
        "host_name": "web",
        "services": [
            {"type": "unit", "value": unit},
            {"type": "simple", "value": {"target": "activation", "value": [f"echo {SECRET}"]}},
        ],
    }


def answer(sent: dict[str, t.Any]) -> dict[str, t.Any]:
    """Return what Ansible makes of a module's answer: its arguments are shown with `-vvv`, and its difference."""
    shown = {key: value for key, value in sent.items() if key != "secrets"}
    return {"changed": True, "invocation": {"module_args": shown}, "diff": [{"before": "", "after": str(shown)}]}


def test_containers_shows_no_value_of_the_vault(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    execute = run._execute

    def missing_first(
        name: str, module_args: dict[str, t.Any], task_vars: dict[str, t.Any], wrap_async: bool
    ) -> dict[str, t.Any]:
        execute(name, module_args, task_vars)
        return answer(module_args) if module_args["systems"] else {"missing": ["web"]}

    monkeypatch.setattr(run, "_execute", missing_first)
    result = run(Containers, {"containers": {"web": {"operating_system": server()}}}, diff=True, variables=VARIABLES)
    assert SECRET not in str(result)
    assert "echo ********" in str(result["diff"])
    sent = run.sent[-1][1]
    assert SECRET in sent["secrets"]["web"]["/etc/systemd/system/a.service"]
    assert SECRET in sent["systems"]["web"]["boot"]  # which the host needs


def test_containers_names_no_value_of_the_vault_in_an_error(run: Run) -> None:
    containers = {"web": {"operating_system": server(f"{SECRET}\r")}}
    with pytest.raises(AnsibleActionFail, match=r"environment\.A: '\*{8}\\r' holds the control character"):
        run(Containers, {"containers": containers}, variables=VARIABLES)


REFUSED = {"containers": {"web": {"operating_system": server(f"{SECRET}\r")}}}


@pytest.mark.parametrize(
    ("plugin", "arguments"),
    [
        (Containers, REFUSED),
        (ContainerScript, {"system": {"files": {}}, "boot": f"echo {SECRET}"}),
        (SystemContainer, {"name": "web", "health": {"commands": [{"argv": [SECRET]}]}}),
    ],
)
def test_an_error_has_nothing_behind_it(run: Run, plugin: t.Any, arguments: dict[str, t.Any]) -> None:
    """Ansible shows what an error was caused by, and the traceback of what it came in the way of."""
    run.answers = [KeyError(f"x {SECRET}")]
    with pytest.raises(AnsibleActionFail, match=r"\*{8}") as raised:
        run(plugin, arguments, variables=VARIABLES)
    assert SECRET not in str(raised.value)
    assert (raised.value.__cause__, raised.value.__context__) == (None, None)


def test_what_a_rollout_could_not_stage_names_no_value_of_the_vault(run: Run) -> None:
    run(RolloutStep, {"step": "begin"})
    result = run(RolloutStep, {"step": "stage", **REFUSED}, variables=VARIABLES)
    assert SECRET not in str(result)
    assert "'********\\r' holds the control character" in result["msg"]
    noted = Journal(str(constants.DEFAULT_LOCAL_TMP)).record("web1")  # type: ignore[attr-defined]
    assert noted["message"] == result["msg"]


def test_a_lost_connection_is_one_still(run: Run) -> None:
    for said, kept in ((f"no {SECRET}", "no ********"), ("no answer", "no answer")):
        run.answers = [AnsibleConnectionFailure(said)]
        with pytest.raises(AnsibleConnectionFailure, match=re.escape(kept)):
            run(SystemContainer, {"name": "web"}, variables=VARIABLES)


def test_a_rollout_notes_no_value_of_the_vault(run: Run) -> None:
    run(RolloutStep, {"step": "begin"})
    run(RolloutStep, {"step": "note", "message": f"hook: {SECRET} refused"}, variables=VARIABLES)
    result = run(RolloutStep, {"step": "report"}, variables=VARIABLES)
    assert result["hosts"][0]["message"] == "hook: ******** refused"
    assert SECRET not in "".join(run.shown)


def test_system_container_shows_no_value_of_the_vault(run: Run) -> None:
    arguments = {"name": "web", "health": {"commands": [{"argv": ["curl", f"x-{SECRET}"]}]}}
    run.answers = [{**answer(arguments), "failed": True, "msg": f"curl x-{SECRET}: 1", "system": "/x"}]
    result = run(SystemContainer, arguments, variables=VARIABLES)
    assert SECRET not in str(result)
    assert (result["msg"], result["system"]) == ("curl x-********: 1", "/x")
    assert run.sent == [("unshare.container.system_container", arguments)]


def test_container_script_shows_no_value_of_the_vault(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    system = system_files(containerized_operating_system(server()))
    execute = run._execute

    def answered(
        name: str, module_args: dict[str, t.Any], task_vars: dict[str, t.Any], wrap_async: bool
    ) -> dict[str, t.Any]:
        execute(name, module_args, task_vars)
        return answer(module_args)

    monkeypatch.setattr(run, "_execute", answered)
    result = run(ContainerScript, {"system": system, "boot": boot_script(system)}, variables=VARIABLES)
    assert SECRET not in str(result)
    assert "echo ********" in str(result["invocation"])
    sent = run.sent[0][1]
    assert SECRET in sent["secrets"]["/etc/systemd/system/a.service"]
    assert "content" not in sent["system"]["files"]["/etc/systemd/system/a.service"]
