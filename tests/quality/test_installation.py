# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The commands of the README install the collection, in a clone and outside, from the sources and from an archive."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.unshare.container.tests import followed, guides

BIN = Path(sys.executable).parent
MADE = (".git", ".venv", ".cache", ".collections", ".build", ".ansible", ".hypothesis", "*_cache", "__pycache__")
"""What is in a clone that somebody has worked in, and not in a new one."""
LINK = ".collections/ansible_collections/unshare/container"
with followed.Page("README.md", __file__) as page:
    COMMANDS = [step.text for step in page.rest()]


class User:
    """Somebody with a home directory and a clone, and no configuration of Ansible."""

    def __init__(self, directory: Path) -> None:
        self.home = directory / "home"
        self.home.mkdir()
        self.clone = directory / "clone"
        shutil.copytree(guides.REPOSITORY, self.clone, symlinks=True, ignore=shutil.ignore_patterns(*MADE))
        self.installed = self.home / ".ansible/collections/ansible_collections/unshare/container"

    def run(self, *command: str, directory: Path) -> str:
        """Run a program of Ansible, and return what it printed."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("ANSIBLE_") and k != "PYTHONPATH"}
        done = subprocess.run(
            command,
            cwd=directory,
            env={**kept, "HOME": str(self.home), "PATH": f"{BIN}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def deploy_link(self) -> Path:
        """Make the link that `make` makes, through which the clone's own tools see the collection."""
        link = self.clone / LINK
        link.parent.mkdir(parents=True)
        link.symlink_to("../../..")
        return link


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> User:
    """Return a user with a clone."""
    return User(tmp_path_factory.mktemp("installation"))


def test_the_readme_has_both_ways_without_a_server() -> None:
    assert [command.endswith(".tar.gz") for command in COMMANDS] == [False, True]


@pytest.mark.parametrize("deployed", [False, True], ids=["in a new clone", "after make deploy"])
@pytest.mark.parametrize("command", COMMANDS, ids=["sources", "archive"])
def test_cases_u4_installs_in_a_clone(user: User, command: str, deployed: bool) -> None:
    shutil.rmtree(user.installed, ignore_errors=True)
    shutil.rmtree(user.clone / ".collections", ignore_errors=True)
    link = user.deploy_link() if deployed else None
    if ".tar.gz" in command:
        user.run("ansible-galaxy", "collection", "build", "--force", "--output-path", ".build", directory=user.clone)
    user.run(*command.split(), directory=user.clone)
    user.run(*command.split(), directory=user.clone)
    assert (user.installed / "plugins/modules/system_container.py").is_file()
    assert not (user.installed / "tests").exists()
    if link:
        assert link.is_symlink()
        assert (link / "galaxy.yml").exists()
    else:
        assert not (user.clone / ".collections").exists()


def test_cases_u4_installs_outside_of_a_clone_and_is_found_there(user: User, tmp_path: Path) -> None:
    shutil.rmtree(user.installed, ignore_errors=True)
    user.run("ansible-galaxy", "collection", "install", str(user.clone), directory=tmp_path)
    assert "system_container" in user.run("ansible-doc", "--list", "unshare.container", directory=tmp_path)
    filtered = "{{ '/srv/data' | unshare.container.bind_mount }}"
    said = user.run(
        "ansible", "localhost", "-m", "ansible.builtin.debug", "-a", f'msg="{filtered}"', directory=tmp_path
    )
    assert "/srv/data" in said


def test_cases_u4_the_clones_configuration_names_no_place_to_install_to() -> None:
    text = (guides.REPOSITORY / "ansible.cfg").read_text()
    assert "collections_path" not in text
