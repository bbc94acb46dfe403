# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""No run prints a value of the vault: not where it is refused, with no verbosity, with no version of ansible-core."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible.parsing.vault import VaultLib, VaultSecret

from .playbooks import REPOSITORY

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]
NAME = "test-vaulted"
VERBOSE = ("-vvv", "--diff")
CORES = {"2.18": ".cache/ansible-2.18/bin", "2.19": ".venv/bin"}
WORD, PHRASE, PIN = "s3cret-of-redis", "open sesame 'now'", 97531246
HOLDS = "holds the control character"
# What is declared, and what is said of it.
REFUSED: dict[str, tuple[dict[str, t.Any], str]] = {
    "settings": ({"type": "redis", "value": {"settings": {"requirepass": "{{ vaulted }}"}}}, HOLDS),
    "command": (
        {"type": "cron", "value": {"jobs": [{"name": "j", "schedule": "@daily", "command": "curl {{ vaulted }}x"}]}},
        HOLDS,
    ),
    "sections": (
        {"type": "unit", "value": {"name": "u", "sections": {"Service": {"ExecStart": "/bin/a {{ vaulted }}x"}}}},
        "",
    ),
    "other settings": (
        {"type": "postgresql", "value": {"settings": {"x": "{{ phrase }}\nx"}}},
        HOLDS,
    ),
    "choice": ({"type": "unit", "value": {"name": "a", "command": "/bin/a", "wanted_by": ["{{ phrase }}"]}}, ""),
    "part": (
        {"type": "cron", "value": {"jobs": [{"name": "j", "schedule": "{{ phrase }}", "command": "/bin/a"}]}},
        "",
    ),
    "number": (
        {"type": "redis", "value": {"settings": {"requirepass": "{{ numbers.pin }}\nx"}}},
        HOLDS,
    ),
}


def task(name: str, module: str, options: dict[str, t.Any], variables: dict[str, t.Any]) -> dict[str, t.Any]:
    return {"name": name, module: options, "vars": variables}


def tasks() -> list[dict[str, t.Any]]:
    """Return tasks with each refused declaration, and with one that is taken and has secrets everywhere."""
    found: list[dict[str, t.Any]] = []
    for case, (service, _said) in REFUSED.items():
        system = {"host_name": NAME, "services": [service]}
        role = task(
            f"role {case}",
            "ansible.builtin.include_role",
            {"name": "unshare.container.system_container"},
            {"system_container_operating_system": system},
        )
        module = task(
            f"all {case}", "unshare.container.containers", {"containers": {NAME: {"operating_system": system}}}, {}
        )
        for each in (role, module) if case in ("settings", "choice") else (module,):
            found.append({"block": [each], "rescue": [{"ansible.builtin.debug": {"msg": f"refused: {each['name']}"}}]})
    taken = {
        "operating_system": {
            "host_name": NAME,
            "services": [
                {
                    "type": "simple",
                    "value": {"target": "activation", "value": ["echo {{ vaulted | trim }} >/dev/null"]},
                },
                {"type": "unit", "value": {"name": "a", "command": ["/bin/true", "{{ phrase }}"]}},
            ],
        },
        "init": {"argv": ["/bin/sh", "-c", "sleep 9 # {{ phrase }}"], "environment": {"TOKEN": "{{ vaulted | trim }}"}},
        "health": {"commands": [{"argv": ["/bin/true", "{{ vaulted | trim }}"]}]},
    }
    variables = {f"system_container_{key}": value for key, value in taken.items()}
    found.append(
        task("taken", "ansible.builtin.include_role", {"name": "unshare.container.system_container"}, variables)
    )
    found.append(task("taken by all", "unshare.container.containers", {"containers": {NAME: taken}}, {}))
    return found


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a directory with an inventory, variables of the vault, and a playbook of `tasks`."""
    vault = VaultLib([("default", VaultSecret(b"password"))])
    (tmp_path / "password").write_text("password")
    (tmp_path / "group_vars").mkdir()
    one = "\n".join(f"  {line}" for line in vault.encrypt(WORD + "\n").decode().splitlines())
    (tmp_path / "group_vars/all").mkdir()
    (tmp_path / "group_vars/all/one.yml").write_text(f"vaulted: !vault |\n{one}\n")
    (tmp_path / "group_vars/all/all.yml").write_bytes(vault.encrypt(f'phrase: "{PHRASE}"\nnumbers:\n  pin: {PIN}\n'))
    host = {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}
    refused = {"containers": {NAME: {"operating_system": {"host_name": NAME, "services": [REFUSED["settings"][0]]}}}}
    inventory = {"all": {"hosts": {"one": {**host, **refused}, "localhost": host}}}
    (tmp_path / "hosts.json").write_text(json.dumps(inventory))
    play = {"hosts": "one", "gather_facts": False, "tasks": tasks()}
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    return tmp_path


def run(project: Path, core: str, playbook: str | Path, *arguments: str) -> str:
    """Run a playbook in check mode with a version of ansible-core. Return all that is printed."""
    program = REPOSITORY / CORES[core] / "ansible-playbook"
    if core == "2.19":
        found = shutil.which("ansible-playbook", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        program = Path(found or program)
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(REPOSITORY / ".collections"),
        "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"),
        "ANSIBLE_LOG_PATH": str(project / "log"),
        "ANSIBLE_NOCOLOR": "1",
        "LC_ALL": "C.UTF-8",
    }
    command = [str(program), f"--inventory={project / 'hosts.json'}", f"--vault-password-file={project / 'password'}"]
    done = subprocess.run(
        [*command, "--check", *arguments, str(playbook)],
        capture_output=True,
        text=True,
        timeout=200,
        env=environment,
        cwd=project,
        check=False,
    )
    return done.stdout + done.stderr


def revealed(text: str) -> list[str]:
    """Return the lines that hold a secret, or the part of one that has been declared."""
    words = (WORD, "sesame", str(PIN))
    return [line[:400] for line in text.splitlines() if any(word in line for word in words)]


@pytest.mark.parametrize(("core", "arguments"), [("2.18", VERBOSE), ("2.19", ()), ("2.19", VERBOSE)])
def test_a_run_prints_no_value_of_the_vault(project: Path, core: str, arguments: tuple[str, ...]) -> None:
    output = run(project, core, project / "play.yml", *arguments)
    assert "refused: role settings" in output, output
    for case, (_service, said) in REFUSED.items():
        assert f"refused: all {case}" in output, output
        assert said in output
    assert "failed=0" in output, output
    assert "********" in output
    assert revealed(output) == []
    assert revealed((project / "log").read_text()) == []


@pytest.mark.parametrize("core", CORES)
def test_a_rollout_notes_no_value_of_the_vault(project: Path, core: str) -> None:
    page = project / "page.html"
    output = run(
        project,
        core,
        REPOSITORY / "playbooks/rollout.yml",
        "-vvv",
        "--diff",
        "-e",
        "target=one",
        "-e",
        f"rollout_page={page}",
    )
    assert "not staged" in output, output
    assert HOLDS in page.read_text()
    assert revealed(output + page.read_text()) == []
