# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Molecule scenarios, run as a developer runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from ansible_collections.unshare.container.tests import followed
from ansible_collections.unshare.container.tests.integration.playbooks import REPOSITORY

from .scenarios import molecule, write

pytestmark = [pytest.mark.root, pytest.mark.long, pytest.mark.usefixtures("host_unchanged")]


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
        write(page.rest(), role)
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
