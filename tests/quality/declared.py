# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What pages and examples declare, taken as the collection takes it, or refused with an error that says why."""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import sys
import typing as t
from pathlib import Path

import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play import Play
from ansible.playbook.task import Task
from ansible.template import Templar, trust_as_template
from ansible_collections.unshare.container.plugins.plugin_utils import declared_containers, specs
from ansible_collections.unshare.container.tests import guides

REPOSITORY = guides.REPOSITORY
BIN = Path(sys.executable).parent
OWN = "unshare.container."

MACHINE: dict[str, t.Any] = {"host_name": "web", "services": []}
ASSUMED = {
    "web_operating_system": MACHINE,
    "metrics_operating_system": {"host_name": "metrics"},
    "database_operating_system": {"host_name": "database"},
    "operating_system": MACHINE,
    "web_containers": {"web": {"operating_system": MACHINE}},
    "own_containers": {},
    "containers": {"web": {"operating_system": MACHINE}},
    "vaulted_token": "secret",
    "vaulted_password": "secret",
    "web": {"system": "/var/lib/unshare/systems/hash-web"},
    "derived": {},
}
"""Variables that a page takes for granted."""


def templated(value: t.Any, **variables: t.Any) -> t.Any:
    """Return a value with its templates resolved, as in a play that has ASSUMED and VARIABLES."""
    templar = Templar(loader=DataLoader(), variables={**ASSUMED, **variables})
    text = isinstance(value, str)

    def trusted(part: t.Any) -> t.Any:
        if isinstance(part, dict):
            return {key: trusted(item) for key, item in part.items()}
        if isinstance(part, list):
            return [trusted(item) for item in part]
        return trust_as_template(part) if isinstance(part, str) else part

    result = templar.template(trusted(value))
    return str(result) if text and isinstance(result, str) else json.loads(json.dumps(result))


def has_template(value: t.Any) -> bool:
    """Return whether anything in a value is for Ansible to resolve."""
    return "{{" in json.dumps(value)


def accept_containers(value: t.Any) -> None:
    """Derive all containers of a mapping as the module `containers` does."""
    for declared in declared_containers.declared_containers(value):
        if declared.derivation:
            declared_containers.derive(declared)


def accept_machine(value: t.Any) -> None:
    """Derive a container from a declared operating system."""
    accept_containers({"web": {"operating_system": value}})


def accept_options(options: dict[str, t.Any]) -> None:
    """Take options of a container, some of all, as the role does."""
    accept_containers({"web": {"operating_system": MACHINE, **options}})


@functools.cache
def documented_plugins(kind: str) -> dict[str, t.Any]:
    """Return what all plugins of a kind document that the guides or the examples name."""
    texts = [block.text for block in guides.all_blocks()]
    texts += [path.read_text("utf-8") for path in (REPOSITORY / "plugins").glob("*/*.py")]
    names = set(re.findall(r"\b(?:ansible\.builtin|unshare\.container)\.[a-z_]+\b", "\n".join(texts)))
    command = [str(BIN / "ansible-doc"), "--json", f"--type={kind}", *sorted(names)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return t.cast("dict[str, t.Any]", json.loads(done.stdout))


def documentation(name: str, kind: str = "module") -> dict[str, t.Any]:
    """Return what a plugin documents."""
    assert name in documented_plugins(kind), f"there is no {kind} {name}"
    return t.cast("dict[str, t.Any]", documented_plugins(kind)[name]["doc"])


def accept_module(name: str, options: dict[str, t.Any] | None) -> None:
    """Take the options of a task, as its module does before it runs; templated ones by their names alone."""
    options = dict(options or {})
    documented = documentation(name).get("options") or {}
    aliases = {alias: key for key, option in documented.items() for alias in option.get("aliases", [])}
    unknown = options.keys() - documented.keys() - aliases.keys()
    assert not unknown, f"{name} has no option {sorted(unknown)}"
    given = {aliases.get(key, key) for key in options}
    lacking = {key for key, option in documented.items() if option.get("required")} - given
    assert not lacking, f"{name} lacks {sorted(lacking)}"
    if name.startswith(OWN):
        simple = {
            key: option for key, option in documented.items() if key in given and not has_template(options.get(key))
        }
        specification = {
            key: {part: option[part] for part in ("type", "choices", "elements") if part in option}
            for key, option in simple.items()
        }
        validated = ArgumentSpecValidator(specification).validate(
            {key: options[key] for key in simple if key in options}
        )
        assert not validated.error_messages, validated.error_messages


def accept_role(entry: t.Any, variables: dict[str, t.Any]) -> None:
    """Take the variables of a role of the collection."""
    name = entry if isinstance(entry, str) else entry.get("role") or entry["name"]
    if not name.startswith(OWN):
        assert name in ("greeting", "website"), f"no role of the page: {name}"
        return
    role = REPOSITORY / "roles" / name.removeprefix(OWN)
    specification = yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    unknown = {key for key in variables if key.startswith(("system_container_", "containers_"))} - specification.keys()
    assert not unknown, f"{name} has no variable {sorted(unknown)}"
    prefix = "system_container_"
    options = {key.removeprefix(prefix): value for key, value in variables.items() if key.startswith(prefix)}
    for own in ("install_packages", "own_variables"):
        options.pop(own, None)
    if options:
        accept_options(templated(options, item="web", hostvars={"web": {"suite": "trixie"}}))


def accept_task(task: dict[str, t.Any]) -> None:
    """Take a task: one action, keywords that exist, options that its module has."""
    keywords = set(Task.fattributes) | {"loop_control"}
    actions = task.keys() - keywords - {"args"}
    assert len(actions) == 1, f"{sorted(actions)} in {task}"
    (action,) = actions
    assert "." in action, f"{action} is no full name"
    if action.endswith((".include_role", ".import_role")):
        accept_role(task[action], task.get("vars", {}))
    elif action.endswith((".include_tasks", ".import_tasks", ".set_fact")):
        pass
    else:
        accept_module(action, task[action])


def accept_rollout(variables: dict[str, t.Any]) -> None:
    """Take variables of the playbook for rollouts."""
    text = (REPOSITORY / "playbooks/rollout.yml").read_text()
    assert all(re.search(rf"\b{variable}\b", text) for variable in variables), variables


def accept_play(play: dict[str, t.Any]) -> None:
    """Take a play, or an import of a playbook."""
    if "ansible.builtin.import_playbook" in play:
        name = play["ansible.builtin.import_playbook"]
        assert name.startswith(OWN), name
        assert (REPOSITORY / "playbooks" / f"{name.removeprefix(OWN)}.yml").exists(), name
        assert name == f"{OWN}rollout"
        accept_rollout(play.get("vars", {}))
        return
    assert play.keys() <= set(Play.fattributes) | {"hosts"}, play.keys()
    for role in play.get("roles", []):
        accept_role(role, {**play.get("vars", {}), **(role.get("vars", {}) if isinstance(role, dict) else {})})
    for part in ("pre_tasks", "tasks", "post_tasks", "handlers"):
        for task in play.get(part, []):
            accept_task(task)


def accept_inventory_plugin(options: dict[str, t.Any]) -> None:
    """Take the options of the inventory plugin."""
    documented = documentation(options["plugin"], "inventory")["options"]
    assert options.keys() <= documented.keys() | {"plugin"}, options.keys() - documented.keys()


CONNECTION_VARIABLES = {
    "ansible_connection",
    "ansible_host",
    "ansible_python_interpreter",
    "ansible_user",
    "ansible_become_password",
}


def accept_hosts(variables: t.Any) -> None:
    """Take the variables of an inventory's hosts: those of connections exist."""
    if not isinstance(variables, dict):
        return
    own = {
        entry["name"]
        for option in documentation("unshare.container.nsenter", "connection")["options"].values()
        for entry in option.get("vars", [])
    }
    for key, value in variables.items():
        if key.startswith("ansible_"):
            assert key in CONNECTION_VARIABLES | own, key
        accept_hosts(value)


def accept_mapping(content: dict[str, t.Any]) -> None:
    """Take a mapping that stands alone in a page, by its keys."""
    rest = dict(content)
    if "plugin" in rest:
        accept_inventory_plugin(rest)
        return
    machines = {key: rest.pop(key) for key in list(rest) if key.endswith("operating_system")}
    for machine in machines.values():
        accept_machine(templated(machine))
    if "containers" in rest:
        containers = templated(rest.pop("containers"), **machines)
        for entry in containers.values():
            if entry.get("state") not in ("rolled_back", "absent"):
                entry.setdefault("operating_system", MACHINE)
        accept_containers(containers)
    machine = {key: rest.pop(key) for key in list(rest) if key in specs.OPERATING_SYSTEM}
    if machine:
        types = [{"type": item["name"]} for item in machine.get("service_types", ())]
        accept_machine({"host_name": "web", "services": types, **machine})
    accept_rollout({key: rest.pop(key) for key in list(rest) if key.startswith("rollout_")})
    options = {key: rest.pop(key) for key in list(rest) if key.startswith("system_container_")}
    if options:
        options.update({key: value for key, value in machines.items() if key.startswith("system_container_")})
    accept_role(f"{OWN}system_container", options)
    if rest:
        assert any("hosts" in str(key) or isinstance(value, dict) for key, value in rest.items()), rest
        accept_hosts(rest)


FOREIGN_FILES = {
    "molecule/default/molecule.yml": "Molecule's; test_molecule runs it",
    "website/molecule/default/molecule.yml": "Molecule's; test_molecule_packages runs it",
    "execution-environment.yml": "ansible-builder's; needs a registry of images",
    "defaults/main.yml": "variables of the reader's own role; test_molecule runs it",
}
"""Files that other programs read, with what checks them."""


def accept_yaml(content: t.Any, file: str | None) -> None:
    """Take the content of a block or file, whatever it is."""
    if file in FOREIGN_FILES:
        return
    if isinstance(content, dict):
        accept_mapping(content)
        return
    for entry in content:
        if "type" in entry:
            continue
        if "hosts" in entry or "ansible.builtin.import_playbook" in entry:
            accept_play(entry)
        else:
            accept_task(entry)
    services = [entry for entry in content if "type" in entry]
    if services:
        required = [{"type": "unit", "value": {"name": "web", "command": "/usr/bin/true"}}]
        accept_machine({"host_name": "web", "services": [*required, *services]})


def run_tasks(tasks: list[dict[str, t.Any]], directory: Path, variables: dict[str, t.Any]) -> None:
    """Run tasks in a play on this machine."""
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": variables, "tasks": tasks}
    playbook = directory / "play.yml"
    playbook.write_text(json.dumps([play]))
    environment = {**os.environ, "ANSIBLE_LOCALHOST_WARNING": "false"}
    command = [str(BIN / "ansible-playbook"), str(playbook)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
