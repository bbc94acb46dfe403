# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The script that runs first inside a container, as the role's template makes it, is sound POSIX sh."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
ROLE = ROOT / "roles" / "system_container"
DECLARATIONS = sorted(path.parent for path in (ROOT / "examples").glob("*/hosts.yml"))


@pytest.mark.parametrize("inventory", DECLARATIONS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing_in_boot(inventory: Path, tmp_path: Path) -> None:
    boot = tmp_path / "boot"
    template = json.dumps(str(ROLE / "templates" / "boot.sh.j2"))
    content = f"{{{{ lookup('ansible.builtin.template', {template}) }}}}"
    copy = {"ansible.builtin.copy": {"content": content, "dest": str(boot), "mode": "0600"}, "delegate_to": "localhost"}
    variables = [str(ROLE / "vars" / "main.yml")]
    play = {"hosts": "all", "gather_facts": False, "vars_files": variables, "tasks": [copy]}
    playbook = tmp_path / "playbook.yml"
    playbook.write_text(yaml.safe_dump([play]), encoding="utf-8")
    # The role's defaults as variables of the group `all`, which the inventory's own override.
    (tmp_path / "defaults" / "group_vars").mkdir(parents=True)
    (tmp_path / "defaults" / "hosts.yml").write_text("all: {}\n", encoding="utf-8")
    shutil.copy(ROLE / "defaults" / "main.yml", tmp_path / "defaults" / "group_vars" / "all.yml")
    inventories = ["-i", str(tmp_path / "defaults"), "-i", str(inventory)]
    subprocess.run([BIN / "ansible-playbook", *inventories, str(playbook)], check=True, cwd=ROOT)
    subprocess.run([BIN / "shellcheck", "--shell=sh", "--severity=style", str(boot)], check=True)
