# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The EXAMPLES of the modules that run containers, in one play on a host that has no other containers."""

from __future__ import annotations

import json
import shutil
import tempfile
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.unshare.container.plugins.modules import (
    container_script,
    containers,
    rollout_step,
    system_container,
    system_container_info,
)

from .connection_hosts import SshHost, ansible

pytestmark = [pytest.mark.root, pytest.mark.long]

WEB = {
    "host_name": "web",
    "services": [{"type": "nginx", "value": {"servers": [{"listen": ["8080"], "root": "/srv/www"}]}}],
}
DATABASE = {"host_name": "database", "services": [{"type": "postgresql"}]}
RUNNING = "result.containers | map(attribute='state') | unique == ['running']"
"""What is true after the examples that start containers."""


REMOVAL = [
    {
        "hosts": "host",
        "gather_facts": False,
        "tasks": [{"unshare.container.containers": {"containers": {}, "purge": True}}],
    }
]
"""Takes away what the examples have left, after a failure or an interruption too: their zones are this machine's."""


def tasks() -> list[dict[str, t.Any]]:
    """Return the tasks of all examples, in an order in which each finds what it speaks of.

    The one that publishes a port is left out, for the host of this test has this machine's own network.
    """
    several = yaml.safe_load(containers.EXAMPLES)
    text = container_script.EXAMPLES + system_container.EXAMPLES
    text = text.replace("{{ operating_system", "{{ web_operating_system")
    text = text.replace(".containerized_operating_system", ".containerized_operating_system(mappings=['/srv/www'])")
    one = [task for task in yaml.safe_load(text) if not any("ports" in options for options in task.values())]
    info = yaml.safe_load(system_container_info.EXAMPLES)
    shown = {"ansible.builtin.assert": {"that": ["result.containers | length == 2", RUNNING]}}
    return [*several[1:], *one, several[0], *info[:1], shown, *info[1:], *yaml.safe_load(rollout_step.EXAMPLES)]


@pytest.fixture
def srv() -> t.Iterator[Path]:
    """Yield a directory for what the examples keep in /srv: not a temporary one, of which a service has its own."""
    path = Path(tempfile.mkdtemp(prefix="test-examples-", dir="/srv"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def forwarding() -> t.Iterator[None]:
    """Have this machine forward packets afterwards as it did before: the zones of the examples are its own."""
    conf = Path("/proc/sys/net/ipv6/conf")
    settings = [Path("/proc/sys/net/ipv4/ip_forward"), conf / "all/forwarding", *conf.glob("*/accept_ra")]
    before = {path: path.read_text() for path in settings if path.exists()}
    yield
    for path, value in before.items():
        if path.exists() and path.read_text() != value:
            path.write_text(value)


@pytest.mark.usefixtures("forwarding")
def test_examples_of_the_modules_that_run_containers(tmp_path: Path, srv: Path) -> None:
    for name in ("www", "database", "reports"):
        (srv / name).mkdir()
    (srv / "www/index.html").write_text("Hello\n")
    declared = {
        "web": {"operating_system": WEB, "mappings": ["/srv/www"]},
        "database": {"operating_system": DATABASE},
    }
    variables = {"web_operating_system": WEB, "database_operating_system": DATABASE, "containers": declared}
    play = [{"hosts": "host", "gather_facts": False, "vars": variables, "tasks": tasks()}]
    text = json.dumps(play).replace("/srv/", f"{srv}/")
    (tmp_path / "examples.yml").write_text(text)
    host = SshHost("test-examples", separate=True)
    try:
        (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": {"host": host.variables()}}}))
        done = ansible("ansible-playbook", "-i", tmp_path / "hosts.json", tmp_path / "examples.yml", directory=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "web" in (srv / "reports/rollout.html").read_text()
    finally:
        (tmp_path / "removal.yml").write_text(json.dumps(REMOVAL))
        try:
            removed = ansible(
                "ansible-playbook", "-i", tmp_path / "hosts.json", tmp_path / "removal.yml", directory=tmp_path
            )
        finally:
            host.close()
    assert removed.returncode == 0, removed.stdout + removed.stderr
