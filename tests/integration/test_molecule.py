# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Molecule scenarios, run as a developer runs them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.tests.integration.playbooks import REPOSITORY

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("host_unchanged")]

SECONDS = 280
FILE = re.compile(r"^`(?P<path>[^`\n]+)`\n\n```\w+\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
"""A file in a page of the documentation."""


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
    page = (REPOSITORY / "docs/testing-your-roles.md").read_text()
    role = tmp_path / "greeting"
    for found in FILE.finditer(page):
        path = role / found["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(found["text"])
    assert "1 successful" in molecule("test", directory=role, state=tmp_path)
