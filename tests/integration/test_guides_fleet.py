# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/rollout.md on two hosts behind SSH, and docs/connecting.md on one of them."""

from __future__ import annotations

import http.server
import json
import re
import threading
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.unshare.container.tests import followed
from ansible_collections.unshare.container.tests.integration.connection_hosts import HASH, PASSWORD
from ansible_collections.unshare.container.tests.integration.fleet_hosts import Fleet, FleetHost
from ansible_collections.unshare.container.tests.integration.reader import HostReader, Reader, furnish

pytestmark = [pytest.mark.root, pytest.mark.long, pytest.mark.timeout(300)]

HOSTS = ("one.example.org", "two.example.org")
WEB: dict[str, t.Any] = {
    "host_name": "web",
    "users": [{"name": "root", "password": HASH}, {"name": "alice", "password": HASH}],
    "sudoers": "root ALL=(ALL) ALL\nalice ALL=(ALL) ALL\n",
    "services": [{"type": "nginx", "value": {"servers": [{"listen": ["8080"], "root": "/srv/www"}]}}],
}


@pytest.fixture(scope="module")
def fleet() -> t.Iterator[Fleet]:
    """Yield two hosts, each with pages in a `/srv` of its own."""
    with Fleet(2) as made:
        for host in made.hosts:
            furnish(host, "mkdir /srv/www && echo well >/srv/www/health")
        yield made


SITE = [{"hosts": "web_hosts", "gather_facts": False, "roles": ["unshare.container.containers"]}]


class ContainersHost(HostReader):
    """A reader at a host that is its own `host1`, with a container that alice can log in to."""

    def __init__(self, host: FleetHost, directory: Path, fleet: Fleet) -> None:
        super().__init__(
            host, directory, {r"host1\.example\.org": host.address, "ansible_user: admin": "ansible_user: root"}
        )
        self.key = fleet.key
        (directory / "inventory/hosts.yml").write_text(json.dumps({"web_hosts": {"hosts": {HOSTS[0]: None}}}))
        options = {"operating_system": WEB, "mappings": ["/srv/www"]}
        (directory / "deploy.yml").write_text(json.dumps([{**SITE[0], "vars": {"containers": {"web": options}}}]))
        self.run("ansible-playbook -i inventory deploy.yml")

    def environment(self) -> dict[str, str]:
        """Return the environment of his shell, in which SSH reaches the host."""
        ssh = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ControlPath=none"
        return {**super().environment(), "ANSIBLE_PRIVATE_KEY_FILE": str(self.key), "ANSIBLE_SSH_COMMON_ARGS": ssh}


class Controller(Reader):
    """A reader at another machine than the hosts, with their inventory."""

    def __init__(self, directory: Path, fleet: Fleet, changes: dict[str, str]) -> None:
        hosts = zip(HOSTS, fleet.hosts, strict=True)
        reached = {name: {**fleet.variables(), "ansible_host": host.address} for name, host in hosts}
        super().__init__(directory, changes, reached)
        self.fleet = fleet
        (directory / "inventory/group_vars").mkdir()
        (directory / "inventory/hosts.yml").write_text(json.dumps({"web_hosts": {"hosts": dict.fromkeys(HOSTS)}}))
        self.declare()

    def environment(self) -> dict[str, str]:
        """Return the environment of his shell, in which SSH keeps its connections as long as the fleet lasts."""
        return {**self.fleet.environment(), **super().environment(), "HOME": str(self.fleet.directory)}

    def declare(self, **more: t.Any) -> None:
        """Declare the machine that the containers are made from."""
        variables = {"web_operating_system": {**WEB, **more}}
        (self.directory / "inventory/group_vars/all.yml").write_text(json.dumps(variables))


class Balancer(http.server.BaseHTTPRequestHandler):
    """A load balancer, which notes what it is asked."""

    asked: t.ClassVar[list[str]] = []

    def do_POST(self) -> None:
        """Note it, and agree."""
        self.asked.append(self.path)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_arguments: t.Any) -> None:
        """Say nothing."""


@pytest.fixture
def balancer() -> t.Iterator[str]:
    """Yield the address of a balancer that has been asked nothing."""
    Balancer.asked.clear()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Balancer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def generation(host: FleetHost) -> str:
    """Return the generation that is current."""
    return host.inside("readlink", "/var/lib/unshare/containers/web/current").stdout.strip()


def test_a_rollout_with_hooks_and_the_way_back(fleet: Fleet, tmp_path: Path, balancer: str) -> None:
    changes = {
        "/srv/(?:reports|site)/": f"{tmp_path}/",
        r"https://balancer\.example\.org": balancer,
        "generation: 7 ": "generation: 1 ",
    }
    reader = Controller(tmp_path, fleet, changes)
    with followed.Page("docs/rollout.md", __file__) as page:
        reader.write(page.take("inventory/group_vars/web_hosts.yml").block)
        *first, imported = page.section("Roll out")
        reader.follow(first)
        assert all(name in (tmp_path / "rollout.html").read_text() for name in HOSTS)

        (drain,) = page.section("Drain and undrain")
        reader.write(drain.block)
        (tmp_path / "undrain.yml").write_text((tmp_path / "drain.yml").read_text().replace("/drain/", "/undrain/"))
        (tmp_path / "release.yml").write_text(reader.own(imported.text))
        reader.declare(issue="another system\n")
        said = reader.run("ansible-playbook -i inventory release.yml")
        assert "2 hosts: 2 switched" in said
        assert Balancer.asked == [f"/{word}/{name}" for name in HOSTS for word in ("drain", "undrain")]
        assert {generation(host) for host in fleet.hosts} == {"generations/2"}

        (back,) = page.section("Generations")
        (tmp_path / "back.yml").write_text(reader.own(back.text))
        (tmp_path / "site.yml").write_text(json.dumps(SITE))
        reader.run("ansible-playbook -i inventory -e @back.yml site.yml")
        assert {generation(host) for host in fleet.hosts} == {"generations/1"}
    assert not reader.unused


def test_containers_as_hosts(fleet: Fleet, tmp_path: Path) -> None:
    host = fleet.hosts[0]
    reader = ContainersHost(host, tmp_path, fleet)
    with followed.Page("docs/connecting.md", __file__) as page:
        inventory, question = page.section("One container")
        reader.follow([inventory])
        said = reader.run(question.text.replace(" web ", " all "))
        for name in ("web", "web@host1"):
            assert re.search(rf"^{name} \| CHANGED \| rc=0 >>\nrunning$", said, re.MULTILINE), said

        (become,) = page.section("Become")
        own = yaml.safe_load(become.text)["web"]
        (tmp_path / "become.json").write_text(json.dumps({"all": {"hosts": {"web": own}}}))
        password = json.dumps({"vaulted_password": PASSWORD})
        ask = f"ansible -i become.json web -e '{password}' -m ansible.builtin.command -a whoami --become"
        assert reader.run(ask).splitlines()[-1] == "root"

        *first, limited, interpreter = page.section("All containers of a fleet")
        reader.follow(first)
        with (tmp_path / "containers.unshare.yml").open("a") as file:
            file.write(interpreter.text)
        said = reader.run(limited.text)
        assert re.search(r"^web@host1 +: ok=1 ", said, re.MULTILINE), said
        assert "discovered" not in said

        (look,) = page.section("Looking at them")
        tasks = [*yaml.safe_load(look.text), {"ansible.builtin.debug": {"var": "result.containers[0].log"}}]
        play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}
        (tmp_path / "look.yml").write_text(json.dumps([play]))
        assert "Reached target" in reader.run("ansible-playbook look.yml")

        shell, as_alice, journal = page.section("A shell")
        assert reader.run(f"echo whoami | {shell.text}") == "root\n"
        assert reader.run(f"echo whoami | {as_alice.text}") == "alice\n"
        with reader.start(journal.text) as process:
            assert process.stdout is not None
            assert process.stdout.readline()
            process.terminate()
