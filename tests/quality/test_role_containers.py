# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role `containers` runs what is declared, whichever variable of Ansible's declares it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(sys.executable).parent / "ansible-playbook"
ROLE = "unshare.container.containers"
DECLARED = {"containers": {"web": {"state": "nonsense"}}}
"""What is refused before anything is asked of the host."""

SITES: dict[str, dict[str, t.Any]] = {
    "dependency": {"roles": ["site"]},
    "included": {"tasks": [{"include_role": {"name": "site"}}]},
    "sibling": {"roles": ["site", ROLE]},
    "play": {"vars": DECLARED, "roles": [ROLE]},
    "host": {"roles": [ROLE]},
}


@pytest.mark.parametrize("site", SITES)
def test_it_is_found_wherever_it_stands(tmp_path: Path, site: str) -> None:
    """A default of the role itself would hide those of a role that runs it."""
    role = tmp_path / "roles/site"
    for part in ("defaults", "meta", "tasks"):
        (role / part).mkdir(parents=True)
    (role / "defaults/main.yml").write_text(json.dumps(DECLARED))
    (role / "meta/main.yml").write_text(json.dumps({"dependencies": [ROLE] if site == "dependency" else []}))
    (role / "tasks/main.yml").write_text(json.dumps([{"include_role": {"name": ROLE}}] if site == "included" else []))
    host = {"ansible_connection": "local", "containers_purge": True, **(DECLARED if site == "host" else {})}
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": {"one": host}}}))
    (tmp_path / "play.json").write_text(json.dumps([{"hosts": "all", "gather_facts": False, **SITES[site]}]))
    words = [str(PROGRAM), "-i", str(tmp_path / "hosts.json"), "--check", str(tmp_path / "play.json")]
    environment = {**os.environ, "ANSIBLE_ROLES_PATH": str(tmp_path / "roles")}
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, cwd=ROOT, env=environment)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "containers.web.state: " in done.stdout + done.stderr
