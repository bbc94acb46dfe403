# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each block of the guides is one that works as it stands: its options exist, and what it declares is accepted.

`tests/followed.py` says which test runs each of them, and which are only checked here.
"""

from __future__ import annotations

import re
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.plugin_utils.container_record import DERIVING
from ansible_collections.unshare.container.tests import followed, guides
from ansible_collections.unshare.container.tests.quality import called, declared

BLOCKS = guides.all_blocks()

TREES = {"docs/architecture.md": "/var/lib/unshare/\n"}
"""Drawings that a test compares with what is there, by the page: how they begin."""


def is_other(block: guides.Block) -> bool:
    """Return whether a block is a drawing, or a template that stands alone."""
    begins = (TREES.get(block.page), "{{ ")
    return block.is_drawing or any(begin and block.text.startswith(begin) for begin in begins)


YAML = [b for b in BLOCKS if b.language == "yaml" or not (b.language or b.is_commands or is_other(b))]
COMMANDS = [(b, command) for b in BLOCKS if b.is_commands for command in b.commands()]


@pytest.mark.parametrize("block", YAML, ids=lambda block: block.place)
def test_what_a_page_declares_is_accepted(block: guides.Block) -> None:
    declared.accept_yaml(yaml.safe_load(block.text), block.file)


def test_a_template_that_stands_alone_can_be_resolved(tmp_path: Path) -> None:
    with followed.Page("docs/services.md", __file__) as page:
        alone = [step.text for step in page.rest()]
    assert alone == [block.text for block in BLOCKS if block.text.startswith("{{ ")]
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
    assert called.NOT_TRIED <= guides.PROGRAMS


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


@pytest.mark.parametrize(
    "place",
    ["options", "targets", "variables", "playbooks", "verbs", "units", "systems", "others", "plugins", "runner"],
)
def test_what_does_not_exist_is_noticed(place: str) -> None:
    wrong: dict[str, t.Callable[[], None]] = {
        "options": lambda: called.accept_script("enter-container", ["--usr=alice"]),
        "targets": lambda: called.accept_make(["deplooy"]),
        "variables": lambda: declared.accept_role(
            f"{declared.OWN}system_container", {"system_container_lgo": "persistent"}
        ),
        "verbs": lambda: called.accept_command("systemctl begin unshare-container@web"),
        "units": lambda: called.accept_command("systemctl start unshared-container@web"),
        "systems": lambda: called.accept_command("systemd-analyze verfy"),
        "others": lambda: called.accept_command("namei --longish /"),
        "plugins": lambda: called.accept_command("ansible-doc -t role unshare.container.system_containers"),
        "runner": lambda: called.accept_command("ansible-runner run /srv/site --playbok rollout.yml"),
        "playbooks": lambda: called.accept_ansible("ansible-playbook", ["unshare.container.roll_out"]),
    }
    with pytest.raises((AssertionError, LauncherError)):
        wrong[place]()


STEPS = [step for page in guides.PAGES for step in followed.steps(page)]


@pytest.mark.parametrize("step", STEPS, ids=[f"{step.block.place}-{number}" for number, step in enumerate(STEPS)])
def test_a_test_runs_each_step_of_a_page_or_a_reason_says_why_none_does(step: followed.Step) -> None:
    if step.only_checked:
        assert step.block.is_commands, "only the options of commands are checked here"
        return
    assert step.test, f"{step.block.place}: no test runs it, and followed.ONLY_CHECKED has no reason"
    assert f'followed.Page("{step.block.page}", __file__)' in (guides.REPOSITORY / step.test).read_text("utf-8")


def test_each_entry_of_the_lists_speaks_of_a_step() -> None:
    assert {key for step in STEPS for key in step.only_checked} == followed.ONLY_CHECKED.keys()
    places = {step.block.page for step in STEPS} | {f"{step.block.page}#{step.block.section}" for step in STEPS}
    assert followed.RUN_BY.keys() <= places
    drawn = [(block.page, block.text) for block in BLOCKS if block.is_drawing]
    assert len(drawn) == len(guides.DRAWINGS)


def test_each_block_is_of_a_known_kind() -> None:
    assert {block.language for block in BLOCKS} <= {"", "ini", "sh", "text", "yaml"}


def test_a_step_that_no_test_takes_is_noticed() -> None:
    page = followed.Page("docs/running.md", str(guides.REPOSITORY / "tests/integration/test_guides_running.py"))
    with pytest.raises(AssertionError, match=r"left out: .*enter-container"), page:
        page.section("Deploy")


@pytest.mark.parametrize(
    ("shown", "printed", "lacking"),
    [
        ("running as PID 12 (system …-web); shell", '"msg": "x"\n "running as PID 9 (system abc-web); shell"', []),
        ("booted in 0.4 s", '    "booted in 12 s",\n', []),
        ("first\nsecond", "second\nfirst", ["second"]),
        ("2 hosts: 2 switched", "2 hosts: 1 switched", ["2 hosts: 2 switched"]),
        ("web", "web@host1", ["web"]),
        ("web is up", "", ["web is up"]),
    ],
)
def test_what_a_page_shows_is_compared_with_what_is_printed(shown: str, printed: str, lacking: list[str]) -> None:
    assert followed.not_printed(shown, printed) == lacking
