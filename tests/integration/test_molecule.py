# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Molecule scenarios, run as a developer runs them."""

from __future__ import annotations

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


def molecule(*arguments: str, directory: Path, state: Path) -> str:
    """Run Molecule, which must succeed; what it printed.

    Args:
        arguments: its arguments.
        directory: where it is run.
        state: where it keeps its files.
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
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    return result.stdout + result.stderr


def test_default_one_host_from_check_mode_to_destroy(tmp_path: Path) -> None:
    said = molecule("test", "--scenario-name=default", directory=REPOSITORY, state=tmp_path)
    assert "1 successful" in said


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
