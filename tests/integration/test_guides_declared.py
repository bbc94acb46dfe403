# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the pages about declarations declare, in containers of one host, all deployed by one run of the role."""

from __future__ import annotations

import json
import re
import typing as t

import pytest
import yaml
from ansible_collections.unshare.container.tests import followed
from ansible_collections.unshare.container.tests.integration.fleet_hosts import Fleet
from ansible_collections.unshare.container.tests.integration.reader import HOST, HostReader, furnish

pytestmark = [pytest.mark.root, pytest.mark.long, pytest.mark.timeout(300)]

Mapping = dict[str, t.Any]

SERVE = "#!/bin/sh\necho version {version}\nexec sleep infinity\n"
INSTEAD = {
    "/usr/bin/memcached -p ${port} -m ${megabytes} -l 127.0.0.1": "/usr/bin/python3 -m http.server ${port}",
    "programs: [/usr/bin/memcached]": "programs: [/usr/bin/python3]",
    "/usr/bin/api-server --port 8081": "/usr/bin/python3 -m http.server 8081",
    "source: /opt/": "source: /srv/opt/",
}
"""What stands for the programs that no machine of a test has, and for a directory that is this machine's."""


class Declarations:
    """The blocks of the pages, as containers.

    Attributes:
        containers: by their names.
        variables: those that the containers speak of.
        printed: by the run that has deployed them.
    """

    printed = ""

    def __init__(self) -> None:
        self.unused = set(INSTEAD)
        self.containers: Mapping = {}
        self.variables: Mapping = {"vaulted_token": "the token"}
        self.of_services()
        self.of_machines()
        self.of_day_two()
        self.of_the_roles()
        assert not self.unused

    def read(self, step: followed.Step) -> t.Any:
        """Return what a block declares."""
        text = step.text
        for former, other in INSTEAD.items():
            if former in text:
                text = text.replace(former, other)
                self.unused.discard(former)
        return yaml.safe_load(text)

    def of_services(self) -> None:
        with followed.Page("docs/services.md", __file__) as page:
            services = self.read(page.take("services:"))["services"]
            services += self.read(page.take("- type: unit"))
            services += self.read(page.take("- type: simple"))
            self.containers["services"] = {
                "operating_system": {"host_name": "services", "services": services},
                "mappings": ["/srv/www"],
            }
            own = self.read(page.take("operating_system:"))["operating_system"]
            own["host_name"] = "memcached"
            self.containers["memcached"] = {"operating_system": own}
            kept = self.read(page.take("service_types:"))
            self.containers["kept"] = {
                "operating_system": {"host_name": "kept", **kept, "services": [{"type": "cache"}]},
                "mappings": [{"source": "/srv/kept", "target": "/var/lib/cache", "writable": True}],
            }

    def of_machines(self) -> None:
        with followed.Page("docs/operating_system.md", __file__) as page:
            machine = self.read(page.take("operating_system:"))["operating_system"]
            machine["host_name"] = "machine"
            machine["file_systems"] += self.read(page.take("file_systems:"))["file_systems"]
            self.containers["machine"] = {"operating_system": machine, "mappings": ["/srv/www"]}
            self.containers.update(self.read(page.take("containers:"))["containers"])
            accounts = self.read(page.take("users:"))
            self.containers["database"] = {
                "operating_system": {"host_name": "database", **accounts, "services": [{"type": "postgresql"}]},
                "mappings": [{"source": "/srv/postgres", "target": "/var/lib/postgresql", "writable": True}],
            }

    def of_day_two(self) -> None:
        with followed.Page("docs/day-2.md", __file__) as page:
            versions = self.read(page.take("app_operating_system:"))
            self.containers.update(versions.pop("containers"))
            self.variables.update(versions)
            secrets = self.read(page.take("cache_operating_system:"))["cache_operating_system"]
            self.containers["secrets"] = {"operating_system": secrets}

    def of_the_roles(self) -> None:
        """Take the files of the role's page, and its combination of containers, of which the others are one part."""
        server = {"type": "nginx", "value": {"servers": [{"listen": ["8080"], "root": "/srv/www"}]}}
        for name in ("web", "metrics"):
            services = [server] if name == "web" else []
            self.variables[f"{name}_operating_system"] = {"host_name": name, "services": services}
        with followed.Page("roles/containers/README.md", __file__) as page:
            web = self.read(page.take("inventory/group_vars/web_hosts.yml"))["containers"]
            self.variables.update(web_containers=web, own_containers=self.containers)
            self.variables.update(self.read(page.take("containers:")))
            self.play = page.take("site.yml").block
        self.containers = {**self.containers, **web}


@pytest.fixture(scope="module")
def declared() -> Declarations:
    """Return what the pages declare."""
    return Declarations()


@pytest.fixture(scope="module")
def reader(declared: Declarations, tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[HostReader]:
    """Yield a reader at a host on which all of that runs."""
    with Fleet(1, ranges=16) as fleet:
        host = fleet.hosts[0]
        furnish(host)
        made = HostReader(host, tmp_path_factory.mktemp("declared"))
        made.run("mkdir -p /srv/www /srv/kept /srv/postgres && echo Hello >/srv/www/index.html")
        made.run("chown 101:104 /srv/postgres && chmod 0700 /srv/postgres /srv/kept")
        made.run("mkdir --mode=0700 /srv/pg && chown 107:112 /srv/pg")
        for version in ("1.0", "2.0"):
            made.run(f"mkdir -p /srv/opt/app-{version}/bin")
            made.run(f"cat >/srv/opt/app-{version}/bin/serve <<'END'\n{SERVE.format(version=version)}END")
            made.run(f"chmod 0755 /srv/opt/app-{version}/bin/serve")
        (made.directory / "inventory/hosts.yml").write_text(json.dumps({"web_hosts": {"hosts": {HOST: None}}}))
        (made.directory / "inventory/group_vars").mkdir()
        (made.directory / "inventory/group_vars/web_hosts.yml").write_text(json.dumps(declared.variables))
        made.write(declared.play)
        declared.printed = made.run("ansible-playbook -i inventory site.yml")
        yield made


def inside(reader: HostReader, name: str, command: str) -> str:
    """Run a command in a container, and return what it printed."""
    return reader.run(f"/run/unshare/{name}/system/enter-container sh -c '{command}'").strip()


def test_all_that_the_pages_declare_runs(declared: Declarations, reader: HostReader) -> None:
    assert set(reader.run("ls /run/unshare").split()) == set(declared.containers)
    assert len(declared.containers) == 11
    assert "token" not in declared.printed


def test_services_of_the_page(reader: HostReader) -> None:
    units = inside(reader, "services", "systemctl is-active cron web api hello.timer")
    assert units.split() == ["active"] * 4
    logged = "journalctl --sync && journalctl --output=cat --unit=hello | grep -x hello"
    assert inside(reader, "services", f"systemctl start hello && {logged}")
    assert inside(reader, "services", "cat /etc/motd") == "Welcome."
    environment = inside(reader, "services", "systemctl show --property=Environment --property=After api")
    assert "Environment=A=1 B=2" in environment
    assert "web.service" in environment


def test_types_of_the_page(reader: HostReader) -> None:
    shown = inside(reader, "memcached", "systemctl show --property=ExecStart --property=User memcached")
    assert "http.server 11211 ;" in shown
    assert "User=memcache" in shown
    assert inside(reader, "kept", "stat --format=%U:%G:%a /var/lib/cache") == "memcache:memcache:750"


def test_machines_of_the_page(reader: HostReader) -> None:
    assert inside(reader, "machine", "id -Gn alice") == "users adm"
    assert inside(reader, "machine", "date +%Z") in ("CET", "CEST")
    sizes = inside(reader, "machine", "df --output=size,target --block-size=1M /dev/shm /tmp /var/cache")
    assert re.findall(r"^ *(\d+) (/dev/shm|/tmp)$", sizes, re.MULTILINE) == [("1024", "/dev/shm"), ("2048", "/tmp")]
    assert inside(reader, "machine", "findmnt --noheadings --output=FSTYPE /var/cache") == "tmpfs"
    assert inside(reader, "database", "id postgres").startswith("uid=101(postgres) gid=104(postgres)")
    assert reader.run("stat --format=%u:%g /srv/postgres/*").split()[0] == "101:104"
    assert set(reader.run("stat --format=%u:%g /srv/pg/*").split()) == {"107:112"}
    assert inside(reader, "db", "stat --format=%U:%G /var/lib/postgresql/data") == "postgres:postgres"


def test_two_versions_and_a_secret_of_day_two(reader: HostReader) -> None:
    for name, version in (("app-blue", "1.0"), ("app-green", "2.0")):
        assert f"version {version}" in inside(reader, name, "journalctl --output=cat --unit=app")
    assert inside(reader, "secrets", "stat --format=%a /etc/report.env; cat /etc/report.env") == "400\nTOKEN=the token"
    assert inside(reader, "secrets", "systemctl show --property=Result report") == "Result=success"


def test_the_play_of_the_other_role(reader: HostReader) -> None:
    with followed.Page("roles/system_container/README.md", __file__) as page:
        (play,) = page.rest()
    (reader.directory / "web.yml").write_text(play.text)
    said = reader.run("ansible-playbook -i inventory web.yml")
    assert re.search(r"ok=4 +changed=0 ", said), "both roles make the same system of the same declaration"
    assert inside(reader, "web", "systemctl is-active nginx") == "active"
