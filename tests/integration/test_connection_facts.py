# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A container whose root makes up facts does not decide how it is reached, nor what runs on the controller."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from .conftest import Machine, running_machine
from .connection_hosts import PLUGIN, ansible
from .test_connection_become import CORES

pytestmark = pytest.mark.root

NAME = "test-facts"
PLAY = [
    {"hosts": "liar", "gather_facts": False, "tasks": [{"ansible.builtin.setup": None}, {"ansible.builtin.raw": "id"}]},
]
DELEGATED = [
    {
        "hosts": "localhost",
        "gather_facts": False,
        "tasks": [
            {"ansible.builtin.setup": None, "delegate_to": "liar", "delegate_facts": True},
            {"ansible.builtin.raw": "id", "delegate_to": "liar"},
        ],
    },
]
HONEST = {"unshare": "a word", "port": 80, "transport": "train", "container": "box", "ansible_host_name": "x"}
LIES: dict[str, dict[str, t.Any]] = {
    "a program of the controller's": {
        "ansible_unshare_transport": "local",
        "ansible_unshare_host_become": "always",
        "ansible_unshare_host_become_exe": "sh",
        "ansible_unshare_host_become_flags": "-c 'touch {}/ran; exit 0'",
    },
    "another container": {"ansible_unshare_container": "test-another"},
    "another name of its own": {"inventory_hostname": "test-another"},
    "another user": {"ansible_unshare_user": "nobody"},
    "a password": {"ansible_unshare_host_become_password": "x"},
    "facts of its own about that": {"ansible_facts": {}, "ansible_unshare_transport": "ssh"},
    "a name without its prefix": {"unshare_transport": "ssh", "ansible_unshare_transport": "ssh"},
}


@pytest.fixture
def machine() -> t.Iterator[Machine]:
    """Yield a container that answers each module with what `/tmp/answer` holds."""
    with running_machine(NAME) as made:
        made.output(
            "sh", "-c", "printf '#!/bin/sh\\ncat >/dev/null\\ncat /tmp/answer\\n' >/tmp/python; chmod 755 /tmp/python"
        )
        yield made


def play(machine: Machine, directory: Path, core: str, plays: t.Any, facts: dict[str, t.Any]) -> t.Any:
    """Let the container answer with these facts; the result of a playbook that then runs a command there."""
    text = json.dumps({"changed": False, "ansible_facts": facts}).replace("{}/ran", f"{directory}/ran")
    machine.output("sh", "-c", "cat >/tmp/answer", input=text)
    variables = {"ansible_connection": PLUGIN, "ansible_unshare_container": NAME, "ansible_host": "localhost"}
    liar = {**variables, "ansible_python_interpreter": "/tmp/python"}
    hosts = {"liar": liar, "localhost": {"ansible_connection": "local"}}
    (directory / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))
    (directory / "play.json").write_text(json.dumps(plays))
    words = (CORES[core] / "ansible-playbook", "-v", "-i", directory / "hosts.json", directory / "play.json")
    return ansible(*words, directory=directory)


@pytest.mark.parametrize("core", CORES)
def test_facts_do_not_decide_how_a_container_is_reached(core: str, machine: Machine, tmp_path: Path) -> None:
    for plays in (PLAY, DELEGATED):
        done = play(machine, tmp_path, core, plays, HONEST)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "uid=0(root)" in done.stdout
        for lie, facts in LIES.items():
            done = play(machine, tmp_path, core, plays, facts)
            said = done.stdout + done.stderr
            assert done.returncode != 0, f"{lie}: {said}"
            assert "set by facts of the container" in said, f"{lie}: {said}"
            assert "uid=" not in done.stdout
            assert not (tmp_path / "ran").exists()
