# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each block of the guides is one that works as it stands: its options exist, and what it declares is accepted.

`tests/integration/test_guides.py` and `test_molecule.py` run those that need no other machine.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.parsing.dataloader import DataLoader
from ansible.playbook.play import Play
from ansible.playbook.task import Task
from ansible.template import Templar, trust_as_template
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.life import main as scripts
from ansible_collections.unshare.container.plugins.plugin_utils import declared_containers
from ansible_collections.unshare.container.tests import guides

REPOSITORY = guides.REPOSITORY
BIN = Path(sys.executable).parent
OWN = "unshare.container."
BLOCKS = guides.all_blocks()

DRAWINGS = {
    "README.md": "operating_system ──derive──▶",
    "docs/architecture.md": "controller                                            target host",
    "docs/at-scale.md": "n × c / p",
}
TREES = {"docs/architecture.md": "/var/lib/unshare/\n"}
"""Blocks that are neither commands nor files, by the page: how they begin."""

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
    texts = [block.text for block in BLOCKS]
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
        assert name in ("greeting",), f"no role of the page: {name}"
        return
    role = REPOSITORY / "roles" / name.removeprefix(OWN)
    specification = yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    unknown = {key for key in variables if key.startswith(("system_container_", "containers_"))} - specification.keys()
    assert not unknown, f"{name} has no variable {sorted(unknown)}"
    prefix = "system_container_"
    options = {key.removeprefix(prefix): value for key, value in variables.items() if key.startswith(prefix)}
    options.pop("install_packages", None)
    if options:
        accept_options(templated(options, item="web"))


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


def accept_play(play: dict[str, t.Any]) -> None:
    """Take a play, or an import of a playbook."""
    if "ansible.builtin.import_playbook" in play:
        name = play["ansible.builtin.import_playbook"]
        assert name.startswith(OWN), name
        assert (REPOSITORY / "playbooks" / f"{name.removeprefix(OWN)}.yml").exists(), name
        text = (REPOSITORY / "playbooks" / f"{name.removeprefix(OWN)}.yml").read_text()
        assert all(re.search(rf"\b{variable}\b", text) for variable in play.get("vars", {})), play["vars"]
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
    if "services" in rest:
        accept_machine({"host_name": "web", "services": rest.pop("services")})
    options = {key: rest.pop(key) for key in list(rest) if key.startswith("system_container_")}
    accept_role(f"{OWN}system_container", options)
    if rest:
        assert any("hosts" in str(key) or isinstance(value, dict) for key, value in rest.items()), rest
        accept_hosts(rest)


FOREIGN_FILES = {
    "molecule/default/molecule.yml": "Molecule's; test_molecule runs it",
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


def is_other(block: guides.Block) -> bool:
    """Return whether a block is a drawing, or a template that stands alone."""
    begins = (DRAWINGS.get(block.page), TREES.get(block.page), "{{ ")
    return any(begin and block.text.startswith(begin) for begin in begins)


YAML = [b for b in BLOCKS if b.language == "yaml" or not (b.language or b.is_commands or is_other(b))]
COMMANDS = [(b, command) for b in BLOCKS if b.is_commands for command in b.commands()]


@pytest.mark.parametrize("block", YAML, ids=lambda block: block.place)
def test_what_a_page_declares_is_accepted(block: guides.Block) -> None:
    accept_yaml(yaml.safe_load(block.text), block.file)


def run_tasks(tasks: list[dict[str, t.Any]], directory: Path, variables: dict[str, t.Any]) -> None:
    """Run tasks in a play on this machine."""
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "vars": variables, "tasks": tasks}
    playbook = directory / "play.yml"
    playbook.write_text(json.dumps([play]))
    environment = {**os.environ, "ANSIBLE_LOCALHOST_WARNING": "false"}
    command = [str(BIN / "ansible-playbook"), str(playbook)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_template_that_stands_alone_can_be_resolved(tmp_path: Path) -> None:
    alone = [block.text for block in BLOCKS if block.text.startswith("{{ ")]
    assert len(alone) == 1
    services = [{"type": "nginx"}, {"type": "unit", "value": {"name": "web", "command": "/usr/bin/true"}}]
    variables = {"operating_system": {"host_name": "web", "services": services}, "services": alone[0].strip()}
    expected = "services == [{'type': 'nginx', 'value': {'worker_processes': 2}}]"
    run_tasks([{"ansible.builtin.assert": {"that": expected}}], tmp_path, variables)


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "ini"], ids=lambda block: block.place)
def test_units_of_a_page_have_sections_and_directives(block: guides.Block) -> None:
    lines = [line for line in block.text.replace("\\\n", "").splitlines() if line]
    assert all(re.fullmatch(r"\[[A-Z][a-z]+\]|[A-Z][A-Za-z]+=.+", line) for line in lines), lines
    assert lines[0] == "[Unit]"


# Commands: what each program that the pages call understands.


def ansible_options(program: str) -> str:
    """Return what a program of Ansible says about its options."""
    done = subprocess.run([BIN / program, "--help"], capture_output=True, text=True, check=True)
    return done.stdout


def accept_ansible(program: str, words: list[str]) -> None:
    """Find each option in the program's help, and each playbook, module and variable where they are said to be."""
    known = ansible_options(*([program] if program != "ansible-galaxy" else ["ansible-galaxy"]))
    if program == "ansible-galaxy":
        done = subprocess.run([BIN / program, *words[:2], "--help"], capture_output=True, text=True, check=True)
        known = done.stdout
    for word in words:
        if word.startswith("-"):
            option = word.partition("=")[0]
            assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", known), f"{program} has no {option}"
    if program == "ansible-playbook":
        for word in words:
            if word.startswith(OWN):
                assert (REPOSITORY / "playbooks" / f"{word.removeprefix(OWN)}.yml").exists(), word
            if word.startswith("playbooks/"):
                assert (REPOSITORY / word).exists(), word
            if word.startswith("{"):
                json.loads(word)
    if program == "ansible":
        module = words[words.index("-m") + 1]
        options = words[words.index("-a") + 1] if "-a" in words else ""
        if module.startswith(OWN):
            accept_module(module, dict(pair.split("=", 1) for pair in shlex.split(options)))
        else:
            assert documentation(module)


def accept_make(words: list[str]) -> None:
    """Find each target and variable in the Makefile, and benchmarks' own options in their programs."""
    text = (REPOSITORY / "Makefile").read_text()
    for word in words:
        name, is_variable, value = word.partition("=")
        if is_variable:
            assert re.search(rf"^{name} \?=", text, re.MULTILINE), name
        else:
            assert re.search(rf"^{re.escape(name)}:", text, re.MULTILINE), name
        if name in ("BENCHMARK_ARGS", "MUTATION_ARGS"):
            programs = {"benchmark": "benchmarks/benchmark", "mutation": "mutation/main"}
            source = programs.get(words[0], f"benchmarks/{words[0].removeprefix('benchmark-')}")
            known = (REPOSITORY / "tests" / f"{source}.py").read_text()
            for option in re.findall(r"--[\w-]+", value):
                assert f'"{option}"' in known, option


def accept_script(name: str, words: list[str]) -> None:
    """Read the options of run-container and enter-container as these do, by their usage."""
    usage = scripts.RUN_USAGE if name == "run-container" else scripts.ENTER_USAGE
    valued = tuple(re.findall(r"^  --([\w-]+)=", usage, re.MULTILINE))
    flags = tuple(re.findall(r"^  --([\w-]+) ", usage, re.MULTILINE))
    assert valued
    assert flags
    rest = scripts.Arguments(words, valued, flags, usage).rest
    assert name == "enter-container" or not rest, rest


NOT_TRIED = {
    "ansible-builder": "is not installed here, and needs a registry of images",
    "ansible-runner": "is not installed here, and needs an image",
    "apt-get": "changes the machine that runs the tests",
    "molecule": "test_molecule runs it",
    "curl": "test_guides of tests/integration runs it",
    "for": "test_guides of tests/integration runs it",
    "journalctl": "test_guides of tests/integration runs it",
    "ls": "test_guides of tests/integration runs it",
    "mv": "test_guides of tests/integration runs it",
    "tar": "test_guides of tests/integration runs it",
}
"""Programs whose options are not read here, with the reason."""


@pytest.mark.parametrize(
    ("block", "command"), COMMANDS, ids=[f"{block.place}-{number}" for number, (block, _) in enumerate(COMMANDS)]
)
def test_a_command_of_a_page_has_options_that_exist(block: guides.Block, command: str) -> None:
    name = guides.program(command)
    if name in NOT_TRIED:
        return
    words = shlex.split(command, comments=True)[1:]
    if name.startswith("ansible"):
        accept_ansible(name, words)
    elif name == "make":
        accept_make(words)
    else:
        accept_script(name, words)


@pytest.mark.parametrize(("page", "command"), guides.spans(), ids=lambda text: text)
def test_a_command_within_a_sentence_has_options_that_exist(page: str, command: str) -> None:
    words = shlex.split(command)
    name = guides.program(command)
    if name == "make":
        accept_make(words[1:])
    elif name in ("run-container", "enter-container"):
        accept_script(name, words[1:])
    elif name.startswith("ansible") and name not in NOT_TRIED:
        accept_ansible(name, words[1:])


def test_each_reason_not_to_try_a_program_is_needed() -> None:
    assert {guides.program(command) for _block, command in COMMANDS} == guides.PROGRAMS
    assert NOT_TRIED.keys() <= guides.PROGRAMS


@pytest.mark.parametrize("place", ["options", "targets", "variables", "playbooks"])
def test_what_does_not_exist_is_noticed(place: str) -> None:
    wrong: dict[str, t.Callable[[], None]] = {
        "options": lambda: accept_script("enter-container", ["--usr=alice"]),
        "targets": lambda: accept_make(["deplooy"]),
        "variables": lambda: accept_role(f"{OWN}system_container", {"system_container_lgo": "persistent"}),
        "playbooks": lambda: accept_ansible("ansible-playbook", ["unshare.container.roll_out"]),
    }
    with pytest.raises((AssertionError, LauncherError)):
        wrong[place]()


# EXAMPLES of plugins.

MODULES = sorted(path.stem for path in (REPOSITORY / "plugins/modules").glob("*.py"))
FILTERS = sorted(path.stem for path in (REPOSITORY / "plugins/filter").glob("*.py"))


def examples(kind: str, name: str) -> t.Any:
    """Return the EXAMPLES of a plugin, parsed."""
    namespace: dict[str, t.Any] = {}
    text = (REPOSITORY / "plugins" / kind / f"{name}.py").read_text("utf-8")
    found = re.search(r'^EXAMPLES = r"""\n(.*?)^"""', text, re.MULTILINE | re.DOTALL)
    assert found, namespace
    return yaml.safe_load(found[1])


@pytest.mark.parametrize("name", MODULES)
def test_examples_of_a_module_are_tasks_that_it_takes(name: str) -> None:
    tasks = examples("modules", name)
    assert any(f"{OWN}{name}" in task for task in tasks)
    for task in tasks:
        accept_task(task)
        if f"{OWN}{name}" in task and name == "containers":
            accept_containers(templated(task[f"{OWN}{name}"]["containers"]))


def test_examples_of_the_inventory_plugin_are_options_of_it() -> None:
    accept_inventory_plugin(examples("inventory", "system_containers"))


def test_examples_of_all_filters_run(tmp_path: Path) -> None:
    tasks = [task for name in FILTERS for task in examples("filter", name)]
    assert len(tasks) >= len(FILTERS)
    for task in tasks:
        accept_task(task)
    run_tasks(tasks, tmp_path, {})
