# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What docs/at-scale.md tells: hosts that pull, and the execution environment."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.unshare.container.tests import followed
from ansible_collections.unshare.container.tests.integration.conftest import Machine
from ansible_collections.unshare.container.tests.integration.playbooks import REPOSITORY, Run

NAME = "test-pulled"
PROGRAMS = Path(sys.executable).parent
IDENTITY = ["-c", "user.name=test", "-c", "user.email=test@example.org"]


def files() -> dict[str, str]:
    """Return the files of the page by their names; the tests here run each of them."""
    with followed.Page("docs/at-scale.md", __file__) as page:
        return {str(step.block.file): step.text for step in page.rest()}


FILES = files()


def run(*command: str, directory: Path, **environment: str) -> Run:
    """Run a program of the controller's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    path = f"{PROGRAMS}:{os.environ['PATH']}"
    options: dict[str, t.Any] = {"capture_output": True, "text": True, "timeout": 120, "check": False}
    result = subprocess.run(
        command, cwd=directory, env={**kept, "PATH": path, "LC_ALL": "C.UTF-8", **environment}, **options
    )
    return Run(result.returncode, result.stdout + result.stderr)


class Origin:
    """A repository with a site's playbook and inventory, that hosts pull from."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        run("git", "init", "--quiet", "--initial-branch=main", str(directory), directory=directory.parent).succeeded()
        (directory / "pull.yml").write_text(FILES["pull.yml"])
        (directory / "inventory").write_text(f"[all]\nelsewhere\n{socket.gethostname()}\n")

    def commit(self, text: str, state: str = "started") -> None:
        """Declare a container that serves a text, for every host."""
        site = {"type": "simple", "value": {"name": "site", "target": "etc", "value": {"site/index.html": text}}}
        declared = {"host_name": "pulled", "services": [site]}
        variables = {
            "ansible_python_interpreter": "/usr/bin/python3",
            "containers": {NAME: {"operating_system": declared, "state": state}},
        }
        (self.directory / "group_vars").mkdir(exist_ok=True)
        (self.directory / "group_vars/all.yml").write_text(yaml.safe_dump(variables))
        run("git", "add", ".", directory=self.directory).succeeded()
        run("git", *IDENTITY, "commit", "--quiet", "--message=Change", directory=self.directory).succeeded()


def test_the_tests_here_run_each_file_of_the_page() -> None:
    assert set(FILES) == {"pull.yml", "containers.service", "containers.timer", "execution-environment.yml"}


def test_systemd_takes_the_units_of_the_page(tmp_path: Path) -> None:
    for name in ("containers.service", "containers.timer"):
        (tmp_path / name).write_text(FILES[name].replace("/opt/ansible/bin/ansible-pull", "/usr/bin/true"))
    units = [str(path) for path in sorted(tmp_path.iterdir())]
    assert run("systemd-analyze", "verify", "--man=no", *units, directory=tmp_path).succeeded().output == ""
    (when,) = re.findall("^OnCalendar=(.+)$", FILES["containers.timer"], re.MULTILINE)
    assert "*:00/30:00" in run("systemd-analyze", "calendar", when, directory=tmp_path).succeeded().output


@pytest.mark.long
@pytest.mark.root
def test_a_host_pulls_its_containers(host_unchanged: None, tmp_path: Path) -> None:
    origin = Origin(tmp_path / "origin")
    words = re.search(r"^ExecStart=\S*/(ansible-pull (?:.*\\\n)*.*)$", FILES["containers.service"], re.MULTILINE)
    assert words
    command = words[1].replace("\\\n", " ").replace("https://git.example.org/site.git", f"file://{origin.directory}")
    command = command.replace("/var/lib/site", str(tmp_path / "checkout"))
    environment = {"ANSIBLE_COLLECTIONS_PATH": str(REPOSITORY / ".collections"), "ANSIBLE_HOME": str(tmp_path)}

    def pull() -> Run:
        return run(*command.split(), directory=tmp_path, **environment).succeeded()

    try:
        for text in ("first\n", "second\n"):
            origin.commit(text)
            assert re.search(r"changed=[1-9]", pull().output)
            machine = Machine(NAME, Path("/var/lib/unshare/containers", NAME, "current").resolve())
            assert machine.output("cat", "/etc/site/index.html") == text
    finally:
        origin.commit("", state="absent")
        pull()


def test_the_execution_environment_has_what_the_controller_imports_and_nothing_else(tmp_path: Path) -> None:
    said = run("ansible-builder", "introspect", str(REPOSITORY / ".collections"), directory=tmp_path).succeeded()
    needed = yaml.safe_load(said.output)
    assert [text.split("#")[0].strip() for text in needed["python"]] == ["jmespath>=1.0.0"]
    assert needed["system"] == []


def test_the_pages_execution_environment_can_be_built(tmp_path: Path) -> None:
    (tmp_path / "execution-environment.yml").write_text(FILES["execution-environment.yml"])
    made = run("ansible-builder", "create", "--output-filename=Containerfile", directory=tmp_path).succeeded()
    assert "Complete" in made.output
    galaxy = yaml.safe_load((tmp_path / "context/_build/requirements.yml").read_text())
    assert {"name": "unshare.container"} in galaxy["collections"]
