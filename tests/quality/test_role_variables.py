# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A variable of a role that does not exist is an error, and one of a person's own is none."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.unshare.container.plugins.plugin_utils.container_record import RECORD, ROLE

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(sys.executable).parent / "ansible-playbook"
PREFIX = "system_container_"


def test_the_variables_of_the_role_are_the_known_ones() -> None:
    role = ROOT / "roles/system_container"
    specified = yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    (result,) = re.findall(r"register: (system_container_\w+)", (role / "tasks/main.yml").read_text())
    assert {*specified, result} == {PREFIX + name for name in (*RECORD, *ROLE)}


def test_the_variables_of_the_other_role_are_the_known_ones() -> None:
    role = ROOT / "roles/containers"
    specified = yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    source = (ROOT / "plugins/action/containers.py").read_text()
    (known,) = re.findall(r"^VARIABLES = \((.*)\)$", source, re.MULTILINE)
    assert {*specified, "containers_result"} - {"containers"} == {f"containers_{n}" for n in re.findall(r"\w+", known)}


OWN_WAY_OUT = f"or to be named in {PREFIX}own_variables"
CASES: list[tuple[dict[str, t.Any], str]] = [
    ({"system_container_maping": []}, "system_container_maping: the role has no variable of this name; did you mean "),
    ({"system_container_maping": []}, "'system_container_mappings'?"),
    ({"system_container_maping": []}, OWN_WAY_OUT),
    ({"system_container_lgo": "persistent"}, "system_container_lgo: the role has no variable of this name; did you "),
    ({"system_container_operating_sytem": {}}, "did you mean 'system_container_operating_system'"),
    ({"system_container_share_network": True}, "did you mean 'system_container_shared_network', or "),
    ({"system_container_require": ["a"]}, "did you mean 'system_container_requires'?"),
    ({"system_container_name_of_mine": 1}, "system_container_name_of_mine: the role has no variable of this name"),
    ({"system_container_zzz": 1}, "system_container_zzz: the role has no variable of this name. A variable of your"),
    ({"system_container_own_variables": "x"}, "system_container_own_variables: must be a list, not a string"),
    ({"system_container_a": 1, "system_container_own_variables": ["system_container_b"]}, "system_container_a: the"),
    ({}, "taken"),
    ({"system_containers": 1, "my_system_container_x": 1, "system_container": 1}, "taken"),
    ({"system_container_result": {"pid": 1}, "system_container_log": "volatile"}, "taken"),
    ({"system_container_mine": 1, "system_container_own_variables": ["system_container_mine"]}, "taken"),
]


def test_what_the_role_says_of_variables(tmp_path: Path) -> None:
    """Each case is a host of one play; nothing is done to it."""
    hosts = {f"case{number:02}": variables for number, (variables, _said) in enumerate(CASES)}
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))
    given = {"system_container_name": "web", "system_container_state": "absent"}
    defaults = yaml.safe_load((ROOT / "roles/system_container/defaults/main.yml").read_text())
    (tmp_path / "group_vars").mkdir()  # of low precedence, like the defaults of a role
    (tmp_path / "group_vars/all.json").write_text(json.dumps({**defaults, **given}))
    play = {
        "hosts": "all",
        "connection": "local",
        "gather_facts": False,
        "vars_files": [str(ROOT / "roles/system_container/vars/main.yml")],
        "tasks": [{"ansible.builtin.debug": {"msg": "{{ 'taken' if __system_container_record is mapping }}"}}],
    }
    (tmp_path / "play.json").write_text(json.dumps([play]))
    words = ["-i", str(tmp_path / "hosts.json"), str(tmp_path / "play.json")]
    done = subprocess.run([str(PROGRAM), *words], capture_output=True, text=True, timeout=60, cwd=ROOT)
    parts = re.split(r"(?m)^(?:ok|fatal): \[(case\d\d)\]", done.stdout)
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    for number, (variables, expected) in enumerate(CASES):
        answer = " ".join(found[f"case{number:02}"].replace("\\n", " ").split())
        assert expected in answer, (variables, answer)


@pytest.mark.parametrize(
    ("role", "variables", "expected"),
    [
        ("system_container", {"system_container_maping": ["/srv"]}, "did you mean 'system_container_mappings'?"),
        ("containers", {"containers_rollback": True}, "did you mean 'containers_roll_back'?"),
    ],
)
def test_a_role_reaches_no_host_with_an_unknown_variable(
    tmp_path: Path, role: str, variables: dict[str, t.Any], expected: str
) -> None:
    reached = tmp_path / "reached"
    interpreter = tmp_path / "python3"
    interpreter.write_text(f'#!/bin/sh\ntouch {reached}\nexec {sys.executable} "$@"\n')
    interpreter.chmod(0o755)
    state = {"system_container_name": "test-m71-none", "system_container_state": "absent"}
    here = {"ansible_python_interpreter": str(interpreter)}
    play = {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "roles": [{"role": f"unshare.container.{role}", "vars": {**state, **here, **variables}}],
    }
    (tmp_path / "play.json").write_text(json.dumps([play]))
    words = ["--check", "-i", "localhost,", str(tmp_path / "play.json")]
    done = subprocess.run([str(PROGRAM), *words], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode != 0
    assert expected in " ".join((done.stdout + done.stderr).split())
    assert not reached.exists()
