# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/running.md from top to bottom, and what other pages say about one container, on a host that has none."""

from __future__ import annotations

import json
import os
import re
import signal
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.unshare.container.tests import followed, guides
from ansible_collections.unshare.container.tests.integration.fleet_hosts import Fleet
from ansible_collections.unshare.container.tests.integration.reader import HERE, HOST, HostReader, furnish

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

CURRENT = "/var/lib/unshare/containers/web/current"
HOSTS = {"web_hosts": {"hosts": {HOST: None}}}


@pytest.fixture(scope="module")
def fleet() -> t.Iterator[Fleet]:
    """Yield a fleet of one host with a `/srv` of its own."""
    with Fleet(1) as made:
        furnish(made.hosts[0])
        yield made


@pytest.fixture
def reader(fleet: Fleet, tmp_path: Path) -> HostReader:
    """Return a reader at the host, whose inventory has no variables yet."""
    (tmp_path / "inventory").mkdir()
    (tmp_path / "inventory/hosts.yml").write_text(json.dumps(HOSTS))
    return HostReader(fleet.hosts[0], tmp_path)


def run_tasks(reader: HostReader, tasks: list[dict[str, t.Any]], **variables: t.Any) -> str:
    """Run tasks on the host, and return what Ansible printed."""
    play = {"hosts": HOST, "gather_facts": False, "vars": variables, "tasks": tasks}
    (reader.directory / "tasks.yml").write_text(json.dumps([play]))
    return reader.run("ansible-playbook -i inventory tasks.yml")


def in_the_foreground(reader: HostReader, command: str) -> None:
    """Run a container in the foreground until it has booted, and end it as Ctrl-C does."""
    with reader.start(command) as process:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if "running as PID" in line:
                # `nsenter` waits for the process that it has made in the host.
                os.kill(int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()), signal.SIGINT)
        assert "running as PID" in said, said
        process.wait(30)


def table(page: str, section: str) -> list[str]:
    """Return the commands that the second column of a section's table names."""
    text = (guides.REPOSITORY / page).read_text("utf-8").partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| [^|]+ \| `([^`]+)`", text, re.MULTILINE)


def test_running_from_deployment_to_removal(reader: HostReader) -> None:
    with followed.Page("docs/running.md", __file__) as page:
        said = reader.follow(page.section("Deploy"))
        assert re.findall(r"changed=(\d)", said) == ["2", "3", "0"], said
        assert "Nothing would change" not in said

        looked = [reader.run(command) for command in table("docs/running.md", "Look")]
        assert len(looked) == 5
        assert json.loads(looked[0])["pid"]
        assert looked[1].strip() in json.loads(looked[0])["system"] + "\n"

        for step, expected in zip(page.section("A shell, and one command"), ["", "root\n", "total 0\n"], strict=True):
            assert reader.run(step.text) == expected
        (log,) = page.section("Logs")
        assert "Reached target" in reader.run(log.text)
        (refresh,) = page.section("When the host changes")
        reader.run(refresh.text)
        the_tree_on_the_host(reader)

        stopped, destroyed = page.section("Stop, start, remove")
        (stop,) = yaml.safe_load(stopped.text)
        said = run_tasks(reader, [{**stop, "register": "result"}, {"ansible.builtin.debug": {"var": "result"}}])
        reader.run("test ! -e /run/unshare/web")
        started_by_the_boot(reader, said)

        (by_hand,) = page.section("By hand")
        reader.run("mkdir /srv/data")
        reader.run(f"{CURRENT}/run-container --stop")
        reader.changes = {"<hash>-web": reader.run(f"basename $(readlink -f {CURRENT})").strip()}
        in_the_foreground(reader, by_hand.text)

        reader.run(destroyed.text)
        assert reader.run("ls /srv").split() == ["data", "www"]
        reader.run('test ! -e /run/unshare/web && test -z "$(ls /var/lib/unshare/systems)"')


SOMETIMES = {
    *("former", "limits.json", "sizes.json", "move.json", "journal", "layer"),
    *("volumes", "volumes.sizing", "volumes.importing", "snapshots"),
    *("cgroup", "network", "starting", "frozen", ".web", "network.json", "names"),
    *("unshare.ids", "unshare.network", "unshare.configs", "unshare.names", "unshare.code"),
    *("trees", "*", "web.json", ".received-*", ".archived-*"),
}
"""What the drawing itself calls conditional, by its last part."""


def drawn_paths(drawing: str) -> list[str]:
    """Return the paths of a drawing of directories, as patterns of a shell."""
    above: list[tuple[int, str]] = []
    found = []
    for line in drawing.splitlines():
        indent = len(line) - len(line.lstrip())
        if indent >= EXPLANATIONS:
            continue
        while above and above[-1][0] >= indent:
            above.pop()
        name = re.sub(r"<hash>|<n>", "*", line.split()[0].replace("<name>", "web")).rstrip("/,")
        above.append((indent, os.path.join(above[-1][1] if above else "", name)))
        found.append(above[-1][1])
    return found


EXPLANATIONS = 30
"""The column of a drawing from which on explanations stand."""


def the_tree_on_the_host(reader: HostReader) -> None:
    """Compare the drawing of docs/architecture.md with what a container has on the host."""
    with followed.Page("docs/architecture.md", __file__) as page:
        paths = drawn_paths(page.take("/var/lib/unshare/").text)
    assert "/var/lib/unshare/systems/*-web/library" in paths
    assert "/var/lib/unshare/containers/web/generations/*.well" in paths
    assert len(paths) > 20
    lacking = reader.run(f"for path in {' '.join(paths)}; do test -e $path || echo $path; done").split()
    assert {path.rpartition("/")[2] for path in lacking} <= SOMETIMES


def started_by_the_boot(reader: HostReader, told: str) -> None:
    """Start a stopped container with the command that the module tells, on a host without systemd, and the page."""
    with followed.Page("docs/at-boot.md", __file__) as page:
        (start,) = page.rest()
    assert f'"boot_command": "{start.text.strip()}"' in told
    reader.run(start.text)
    assert reader.run(f"{CURRENT}/enter-container systemctl is-system-running --wait") == "running\n"


def test_the_readmes_first_try(reader: HostReader) -> None:
    with followed.Page("README.md", __file__) as page:
        (deploy,) = page.section("Try it")
        kept = yaml.safe_load(page.section("What a restart takes away")[0].text)
    make = f"make --directory={guides.REPOSITORY} --no-print-directory --old-file=.venv/deploy"
    said = reader.run(deploy.text.replace("make", make))
    assert re.search(r"container web is running as PID \d+ .* for a shell in it, as root: \S+/enter-container", said)

    # What is kept: a key in the database, and the log of the former start.
    declared = {"system_container_operating_system": {"host_name": "redis", "services": [{"type": "redis"}]}}
    (reader.directory / "variables.json").write_text(json.dumps({**declared, **kept}))
    deploy_redis = "ansible-playbook -i inventory -e @variables.json unshare.container.deploy_container"
    enter = "/run/unshare/redis/system/enter-container"
    assert "[WARNING]: " not in re.sub(r"\[WARNING\]: [^\[]*resource limits: ", "", reader.run(deploy_redis))
    reader.run(f"{enter} redis-cli set key kept")
    reader.run("cd /var/lib/unshare/containers/redis/current && ./run-container --stop && ./run-container --detach")
    assert reader.run(f"{enter} redis-cli get key").strip() == "kept"
    assert len(re.findall(r"^ *-?\d+ [0-9a-f]{32}", reader.run(f"{enter} journalctl --list-boots"), re.M)) == 2


def test_one_command_in_a_container(reader: HostReader) -> None:
    with followed.Page("docs/eval.md", __file__) as page:
        tasks = yaml.safe_load(page.rest()[0].text)
    reader.run("mkdir -p /srv/uploads /srv/result && printf '\\244\\n' >/srv/uploads/today.txt")
    assert re.search(r"changed=1 ", run_tasks(reader, tasks))
    assert reader.run("cat /srv/result/today.txt") == "€\n"


def test_the_host_is_reached_as_the_pages_say() -> None:
    """The pages name the variables with which a machine is its own host."""
    for page in ("README.md", "docs/running.md"):
        text = " ".join((guides.REPOSITORY / page).read_text("utf-8").split())
        assert all(f"`{name}: {value}`" in text for name, value in HERE.items()), page
