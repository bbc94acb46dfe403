# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The rollout's own variables are checked before a host is asked anything."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(sys.executable).parent / "ansible-playbook"


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"target": "web_host"}, "target: the inventory has no host by 'web_host'"),
        ({"target": "all:!one"}, "target: the inventory has no host by 'all:!one'"),
        ({"rollout_on_stop": "rollback"}, "rollout_on_stop: 'rollback' is not possible here; use keep or roll_back"),
        ({"rollout_on_stop": True}, "rollout_on_stop: 'true' is not possible here"),
        ({"rollout_waves": ["ten"]}, "rollout_waves[0]: 'ten' is no size of a wave"),
        ({"rollout_waves": [1, 0]}, "rollout_waves[1]: '0' is no size of a wave"),
        ({"rollout_waves": []}, "rollout_waves: '[]' names no wave"),
        ({"rollout_waves": None}, "rollout_waves: 'null' names no wave"),
        ({"rollout_waves": "1,10%"}, "rollout_waves: '1,10%' is no size of a wave; use a number of hosts from 1 on, "),
        ({"rollout_max_fail_percentage": "ten"}, "rollout_max_fail_percentage: 'ten' is no percentage from 0 to 100"),
        ({"rollout_page": "/nosuch/page.html"}, "rollout_page: '/nosuch/page.html' cannot be written: there is no dir"),
        ({"rollout_page": str(ROOT)}, f"rollout_page: '{ROOT}' is a directory"),
        ({"containers_purge": "perhaps"}, "containers_purge: must be a boolean, not a string"),
        (
            {"rollout_wave": [1]},
            "rollout_wave: the playbook rollout has no variable of this name; did you mean 'rollout",
        ),
        ({"rollout_max_fail_percent": 5}, "did you mean 'rollout_max_fail_percentage'?"),
        ({"rollout_onstop": "roll_back"}, "did you mean 'rollout_on_stop'?"),
        (
            {"rollout_before": "drain.yml"},
            "rollout_before: 'drain.yml' is no file on the controller by an absolute path",
        ),
        ({"rollout_after": "/nosuch/x.yml"}, "rollout_after: '/nosuch/x.yml' is no file on the controller"),
        ({"rollout_after": str(ROOT)}, f"rollout_after: '{ROOT}' is no file on the controller"),
    ],
)
def test_a_wrong_variable_is_refused_before_a_host_is_reached(
    tmp_path: Path, variables: dict[str, object], said: str
) -> None:
    reached = tmp_path / "reached"
    host = {"ansible_connection": "local", "containers": f"{{{{ lookup('pipe', 'touch {reached}') or {{}} }}}}"}
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": {"one": host}}}))
    words = ["-i", str(tmp_path / "hosts.json"), "-e", json.dumps(variables), str(ROOT / "playbooks/rollout.yml")]
    done = subprocess.run([str(PROGRAM), *words], capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode != 0
    assert said in " ".join((done.stdout + done.stderr).split())
    assert not reached.exists()
