# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Molecule scenarios, run as a developer runs them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.unshare.container.tests import followed
from ansible_collections.unshare.container.tests.integration.playbooks import REPOSITORY

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("host_unchanged")]

SECONDS = 280


def molecule(*arguments: str, directory: Path, state: Path, fails: bool = False) -> str:
    """Run Molecule; what it printed.

    Args:
        arguments: its arguments.
        directory: where it is run.
        state: where it keeps its files.
        fails: whether it must fail, instead of succeed.
    """
    command = [str(Path(sys.executable).with_name("molecule")), *arguments]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MOLECULE_"))},
        "ANSIBLE_COLLECTIONS_PATH": str(REPOSITORY / ".collections"),
        "ANSIBLE_HOME": str(state / "ansible"),
        "LC_ALL": "C.UTF-8",
        "MOLECULE_EPHEMERAL_DIRECTORY": str(state / "molecule"),
        "NO_COLOR": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    options: dict[str, t.Any] = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL, "timeout": SECONDS}
    result = subprocess.run(command, cwd=directory, env=environment, check=False, **options)
    assert (result.returncode != 0) == fails, f"{result.stdout}\n{result.stderr}"
    return result.stdout + result.stderr


def test_default_one_host_from_check_mode_to_destroy(tmp_path: Path) -> None:
    said = molecule("test", "--scenario-name=default", directory=REPOSITORY, state=tmp_path)
    assert "1 successful" in said


def test_default_leaves_nothing_when_it_fails(tmp_path: Path) -> None:
    broken = {
        "type": "unit",
        "value": {"name": "broken", "command": ["/usr/bin/false"], "service": {"Type": "oneshot", "Restart": "no"}},
    }
    variables = {"molecule_operating_system": {"host_name": "molecule", "services": [broken]}}
    arguments = ("--scenario-name=default", "--", f"--extra-vars={json.dumps(variables)}")
    said = molecule("test", *arguments, directory=REPOSITORY, state=tmp_path, fails=True)
    assert "converge: Executed: Failed" in said
    assert "broken.service" in said
    assert "destroy: Executed: Successful" in said.partition("converge: Executed: Failed")[2]


def test_fleet_five_hosts_that_are_containers_and_a_rollout_onto_them(tmp_path: Path) -> None:
    said = molecule("test", "--scenario-name=fleet", directory=REPOSITORY, state=tmp_path)
    assert "1 successful" in said
    assert "side_effect: Executed: Successful" in said


def test_a_users_own_role_as_the_documentation_tells(tmp_path: Path) -> None:
    role = tmp_path / "greeting"
    with followed.Page("docs/testing-your-roles.md", __file__) as page:
        test = page.take("molecule test")
        install = page.take("- name: Install what the service runs on")
        prepare = page.take("- name: Show systemd the package's unit")
        for step in page.rest():
            path = role / str(step.block.file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(step.text)
    # What the section about packages says: a variable of the role, and what is done before.
    with (role / "tasks/main.yml").open("a") as tasks:
        tasks.write(f"\n{install.text}")
    with (role / "defaults/main.yml").open("a") as defaults:
        defaults.write("greeting_update_cache: false\n")
    play = [{"hosts": "containers", "gather_facts": False, "tasks": yaml.safe_load(prepare.text)}]
    (role / "molecule/default/prepare.yml").write_text(json.dumps(play))
    scenario = role / "molecule/default/molecule.yml"
    scenario.write_text(scenario.read_text().replace("create, converge", "create, prepare, converge"))
    said = molecule(*test.text.split()[1:], directory=role, state=tmp_path)
    assert "1 successful" in said
    assert "prepare: Executed: Successful" in said
