# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A container whose root makes up facts does not decide how it is reached, nor what runs on the controller."""

from __future__ import annotations

import json
import re
import typing as t
from pathlib import Path

import pytest

from .conftest import Machine, running_machine
from .connection_hosts import PLUGIN, ansible
from .playbooks import Run
from .test_connection_become import CORES

pytestmark = pytest.mark.root

NAME = "test-facts"
ASKED_ITSELF = {
    "hosts": "liars",
    "gather_facts": False,
    "tasks": [{"ansible.builtin.setup": None}, {"ansible.builtin.raw": "id"}],
}
ASKED_FOR_ANOTHER = {
    "hosts": "askers",
    "gather_facts": False,
    "tasks": [
        {"ansible.builtin.setup": None, "delegate_to": "{{ liar }}", "delegate_facts": True},
        {"ansible.builtin.raw": "id", "delegate_to": "{{ liar }}"},
    ],
}
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


LIARS = {f"liar{number}": facts for number, facts in enumerate([HONEST, *LIES.values()])}
"""The hosts of a play, each of which is the container with answers of its own; the first one tells no lie."""

SCRIPT = """
cat >/tmp/{name}.json
printf '#!/bin/sh\\ncat >/dev/null\\ncat /tmp/{name}.json\\n' >/tmp/{name}
chmod 755 /tmp/{name}
"""
"""What makes a "Python" inside that answers each module with the same."""


@pytest.fixture(scope="module")
def machine() -> t.Iterator[Machine]:
    """Yield a container that runs."""
    with running_machine(NAME) as made:
        yield made


def play(machine: Machine, directory: Path, core: str, asked: t.Any) -> Run:
    """Let the container answer with the facts of each host; a play in which each then runs a command there."""
    reached = {"ansible_connection": PLUGIN, "ansible_unshare_container": NAME, "ansible_host": "localhost"}
    liars, askers = {}, {}
    for name, facts in LIARS.items():
        text = json.dumps({"changed": False, "ansible_facts": facts}).replace("{}/ran", f"{directory}/ran")
        machine.output("sh", "-c", SCRIPT.format(name=name), input=text)
        liars[name] = {**reached, "ansible_python_interpreter": f"/tmp/{name}"}
        askers[f"asks-{name}"] = {"ansible_connection": "local", "liar": name}
    (directory / "hosts.json").write_text(json.dumps({"liars": {"hosts": liars}, "askers": {"hosts": askers}}))
    (directory / "play.json").write_text(json.dumps([asked]))
    words = (CORES[core] / "ansible-playbook", "-v", "-i", directory / "hosts.json", directory / "play.json")
    done = ansible(*words, directory=directory)
    return Run(done.returncode, done.stdout + done.stderr)


def of(run: Run, name: str) -> str:
    """Return the results of a host, a line each."""
    its = re.compile(rf"\w+: \[{name}(?: -> [^]]*)?\]")
    return "\n".join(filter(its.match, run.output.splitlines()))


@pytest.mark.parametrize("asked", [ASKED_ITSELF, ASKED_FOR_ANOTHER], ids=["itself", "for another"])
@pytest.mark.parametrize("core", CORES)
def test_facts_do_not_decide_how_a_container_is_reached(
    core: str, asked: dict[str, t.Any], machine: Machine, tmp_path: Path
) -> None:
    run = play(machine, tmp_path, core, asked)
    honest, *lies = (name if asked is ASKED_ITSELF else f"asks-{name}" for name in LIARS)
    assert run.counts(honest)["ok"] == 2, run.output
    assert run.output.count("uid=0(root)") == run.output.count("uid=") > 0, run.output
    for lie, name in zip(LIES, lies, strict=True):
        counts = run.counts(name)
        assert counts["failed"] + counts["unreachable"] == 1, f"{lie}: {run.output}"
        assert "set by facts of the container" in of(run, name), f"{lie}: {of(run, name)}"
        assert "uid=" not in of(run, name), lie
    assert "uid=0(root)" in of(run, honest)
    assert not (tmp_path / "ran").exists()
