# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each block of the guides is one that works as it stands: its options exist, and what it declares is accepted.

`tests/integration/test_guides.py` and `test_molecule.py` run those that need no other machine.
"""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.plugin_utils.container_record import DERIVING
from ansible_collections.unshare.container.tests import guides
from ansible_collections.unshare.container.tests.quality import called, declared

BLOCKS = guides.all_blocks()

DRAWINGS = {
    "README.md": "operating_system ──derive──▶",
    "docs/architecture.md": "controller                                            target host",
    "docs/at-scale.md": "n × c / p",
}
TREES = {"docs/architecture.md": "/var/lib/unshare/\n"}
"""Blocks that are neither commands nor files, by the page: how they begin."""


def is_other(block: guides.Block) -> bool:
    """Return whether a block is a drawing, or a template that stands alone."""
    begins = (DRAWINGS.get(block.page), TREES.get(block.page), "{{ ")
    return any(begin and block.text.startswith(begin) for begin in begins)


YAML = [b for b in BLOCKS if b.language == "yaml" or not (b.language or b.is_commands or is_other(b))]
COMMANDS = [(b, command) for b in BLOCKS if b.is_commands for command in b.commands()]


@pytest.mark.parametrize("block", YAML, ids=lambda block: block.place)
def test_what_a_page_declares_is_accepted(block: guides.Block) -> None:
    declared.accept_yaml(yaml.safe_load(block.text), block.file)


def test_a_template_that_stands_alone_can_be_resolved(tmp_path: Path) -> None:
    alone = [block.text for block in BLOCKS if block.text.startswith("{{ ")]
    assert len(alone) == 1
    services = [{"type": "nginx"}, {"type": "unit", "value": {"name": "web", "command": "/usr/bin/true"}}]
    variables = {"operating_system": {"host_name": "web", "services": services}, "services": alone[0].strip()}
    expected = "services == [{'type': 'nginx', 'value': {'worker_processes': 2}}]"
    declared.run_tasks([{"ansible.builtin.assert": {"that": expected}}], tmp_path, variables)


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.language == "ini"], ids=lambda block: block.place)
def test_units_of_a_page_have_sections_and_directives(block: guides.Block) -> None:
    lines = [line for line in block.text.replace("\\\n", "").splitlines() if line]
    assert all(re.fullmatch(r"\[[A-Z][a-z]+\]|[A-Z][A-Za-z]+=.+", line) for line in lines), lines
    assert lines[0] == "[Unit]"


@pytest.mark.parametrize(
    ("block", "command"), COMMANDS, ids=[f"{block.place}-{number}" for number, (block, _) in enumerate(COMMANDS)]
)
def test_a_command_of_a_page_has_options_that_exist(block: guides.Block, command: str) -> None:
    called.accept_command(command)


@pytest.mark.parametrize(("page", "command"), guides.spans(), ids=lambda text: text)
def test_a_command_within_a_sentence_has_options_that_exist(page: str, command: str) -> None:
    called.accept_command(command)


def test_each_reason_not_to_try_a_program_is_needed() -> None:
    assert {guides.program(command) for _block, command in COMMANDS} == guides.PROGRAMS
    assert called.NOT_TRIED.keys() <= guides.PROGRAMS


def readme(file: str) -> t.Any:
    """Return the content of the README's block of a file."""
    (text,) = [block.text for block in BLOCKS if block.page == "README.md" and block.file == file and not block.added]
    return yaml.safe_load(text)


def test_the_report_of_the_readme_is_that_of_its_container(tmp_path: Path) -> None:
    """By the role, and by the fleet that comes after it; whatever else the machine has."""
    machine = readme("inventory/group_vars/web_hosts.yml")["web_operating_system"]
    (task,) = readme("report.yml")[0]["tasks"]
    (role,) = readme("web.yml")[0]["roles"]
    (added,) = [block.text for block in BLOCKS if block.page == "README.md" and block.added]
    told = {key.removeprefix("system_container_"): value for key, value in role["vars"].items()}
    tasks = []
    for service in ("mingetty", "static-networking", "dhcpcd", "network-manager", "udev"):
        grown = {**machine, "services": [*machine["services"], {"type": service}]}
        for options in (told, yaml.safe_load(added)["containers"]["web"]):
            arguments = {key: options[key] for key in DERIVING if key in options}
            expected = "said == web_operating_system | unshare.container.containerization_report(**arguments)"
            variables = {
                "web_operating_system": grown,
                "arguments": arguments,
                "said": task["ansible.builtin.debug"]["msg"],
            }
            tasks.append({"ansible.builtin.assert": {"that": expected}, "vars": variables})
    declared.run_tasks(tasks, tmp_path, {})


@pytest.mark.parametrize("place", ["options", "targets", "variables", "playbooks"])
def test_what_does_not_exist_is_noticed(place: str) -> None:
    wrong: dict[str, t.Callable[[], None]] = {
        "options": lambda: called.accept_script("enter-container", ["--usr=alice"]),
        "targets": lambda: called.accept_make(["deplooy"]),
        "variables": lambda: declared.accept_role(
            f"{declared.OWN}system_container", {"system_container_lgo": "persistent"}
        ),
        "playbooks": lambda: called.accept_ansible("ansible-playbook", ["unshare.container.roll_out"]),
    }
    with pytest.raises((AssertionError, LauncherError)):
        wrong[place]()
