# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a fleet's containers are compared with: the same by hand, with Ansible and with pyinfra, and Mitogen's strategy.

By hand, a host gets a directory, a page, the configuration of nginx, and two scripts, of which the one starts the other
in namespaces of its own when a file has changed. That is less than a container of this collection: there are no ids of
its own, no system-call filter, no systemd inside, no account, no limits, and no way back.
"""

from __future__ import annotations

import json
import subprocess
import typing as t
from pathlib import Path

from ansible_collections.unshare.container.tests.integration.fleet_hosts import Fleet

INSTALLED = Path(__file__).parents[2] / ".cache/fleet-peers"
"""The virtual environment that `make benchmark-fleet` installs the peers into."""

NGINX = """\
daemon off;
user nobody nogroup;
pid {directory}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    server {{
        listen 8080;
        root {directory}/site;
    }}
}}
"""
INSIDE = """\
hostname web.example.org
ip link set lo up
sleep infinity &
exec nginx -c {directory}/nginx.conf
"""
START = """\
set -e
cd {directory}
[ ! -e pid ] || kill -KILL "$(cat pid)"
rm -f nginx.pid
setsid unshare --mount --pid --uts --ipc --net --fork --kill-child --mount-proc -- sh inside </dev/null >log 2>&1 &
echo $! >pid
until [ -s nginx.pid ]; do
    kill -0 "$(cat pid)"
    sleep 0.01
done
"""
REMOVE = "[ ! -e {directory}/pid ] || kill -KILL $(cat {directory}/pid); rm -rf {directory}"

PYINFRA_INVENTORY = """\
hosts = [(name, {{"ssh_hostname": address}}) for name, address in {hosts!r}], {{
    "ssh_user": "root",
    "ssh_key": {key!r},
    "ssh_strict_host_key_checking": "off",
    "ssh_known_hosts_file": "/dev/null",
}}
"""
PYINFRA_DEPLOY = """\
from pyinfra.operations import files, server

files.directory(path={directory!r}, mode="755")
files.directory(path={directory!r} + "/site", mode="755")
put = [
    files.put(src=source, dest={directory!r} + "/" + name, mode="644", create_remote_dir=False)
    for name, source in {files!r}
]
server.shell(commands=["sh {directory}/start"], _if=lambda: any(one.did_change() for one in put))
"""


def contents(directory: str, text: str) -> dict[str, str]:
    """Return the files that the container by hand consists of, by their paths below a directory of the host.

    Args:
        directory: absolute.
        text: that of the page.
    """
    made = {name: text.format(directory=directory) for name, text in _TEMPLATES.items()}
    return {"site/index.html": text, **made}


_TEMPLATES = {"nginx.conf": NGINX, "inside": INSIDE, "start": START}


def plain_play(directory: str, text: str) -> list[dict[str, t.Any]]:
    """Return a play of ansible.builtin alone: a task for the directories, one a file, and one that starts it."""
    tasks: list[dict[str, t.Any]] = [
        {"ansible.builtin.file": {"path": f"{directory}/site", "state": "directory", "mode": "0755"}}
    ]
    for name, content in contents(directory, text).items():
        copied = {"content": content, "dest": f"{directory}/{name}", "mode": "0644"}
        tasks.append({"ansible.builtin.copy": copied, "notify": "Start it"})
    start = {"name": "Start it", "ansible.builtin.command": {"cmd": f"sh {directory}/start"}}
    return [{"hosts": "all", "gather_facts": False, "tasks": tasks, "handlers": [start]}]


def remove(fleet: Fleet, directory: str) -> None:
    """Take away what was made by hand on each host."""
    for host in fleet.hosts:
        done = host.inside("sh", "-c", REMOVE.format(directory=directory))
        assert done.returncode == 0, f"{host.name}: {done.stderr}"


def pyinfra_command(fleet: Fleet, directory: str, text: str, program: Path) -> list[str]:
    """Write what pyinfra reads, the same files as by hand. Return its command."""
    sources = fleet.directory / "pyinfra"
    pairs = []
    for name, content in contents(directory, text).items():
        source = sources / name
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_text(content)
        pairs.append((name, str(source)))
    hosts = [(host.name, host.address) for host in fleet.hosts]
    (sources / "inventory.py").write_text(PYINFRA_INVENTORY.format(hosts=hosts, key=str(fleet.key)))
    (sources / "deploy.py").write_text(PYINFRA_DEPLOY.format(directory=directory, files=pairs))
    return [str(program), "-y", str(sources / "inventory.py"), str(sources / "deploy.py")]


def pyinfra_program(installed: Path = INSTALLED) -> Path | None:
    """Return pyinfra's program, or None where it is not installed."""
    program = installed / "bin/pyinfra"
    return program if program.exists() else None


def mitogen_environment(installed: Path = INSTALLED) -> dict[str, str] | None:
    """Return the variables with which `ansible-playbook` has Mitogen's strategy, or None where it is not installed.

    Mitogen reads no `StrictHostKeyChecking` among the arguments of SSH.
    """
    for found in installed.glob("lib/python*/site-packages/ansible_mitogen/plugins/strategy"):
        return {
            "ANSIBLE_STRATEGY": "mitogen_linear",
            "ANSIBLE_STRATEGY_PLUGINS": str(found),
            "ANSIBLE_HOST_KEY_CHECKING": "False",
            "ANSIBLE_DEPRECATION_WARNINGS": "False",
        }
    return None


def versions(installed: Path = INSTALLED) -> dict[str, str]:
    """Return the version of each peer that is installed."""
    pip = installed / "bin/pip"
    if not pip.exists():
        return {}
    done = subprocess.run([pip, "list", "--format=json"], capture_output=True, text=True, check=True, timeout=60)
    packages = {item["name"].lower(): item["version"] for item in json.loads(done.stdout)}
    return {name: packages[name] for name in ("pyinfra", "mitogen") if name in packages}
