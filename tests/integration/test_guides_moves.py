# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The section of docs/storage.md about moves, followed on two hosts behind SSH."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.unshare.container.tests import followed, guides
from ansible_collections.unshare.container.tests.integration.fleet_hosts import Fleet, FleetHost
from ansible_collections.unshare.container.tests.integration.reader import Reader, furnish

pytestmark = [pytest.mark.root, pytest.mark.long, pytest.mark.timeout(300)]

HOSTS = ("one.example.org", "two.example.org")
SHOP = "/run/unshare/shop/system/enter-container"


class Controller(Reader):
    """A reader at another machine than the hosts, of which the first has the shop."""

    def __init__(self, directory: Path, fleet: Fleet) -> None:
        hosts = zip(HOSTS, fleet.hosts, strict=True)
        super().__init__(
            directory, {}, {name: {**fleet.variables(), "ansible_host": host.address} for name, host in hosts}
        )
        self.fleet = fleet
        files = [block for block in guides.blocks("docs/storage.md") if block.section == "Volumes" and block.file]
        for block in files[:3]:
            self.write(block)

    def environment(self) -> dict[str, str]:
        """Return the environment of his shell, in which SSH keeps its connections as long as the fleet lasts."""
        return {**self.fleet.environment(), **super().environment(), "HOME": str(self.fleet.directory)}


def query(host: FleetHost, sql: str) -> str:
    """Return what the shop's database on a host answers."""
    done = host.inside(SHOP, "--user=postgres", "psql", "--tuples-only", f"--command={sql}", "postgres")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_v5_a_shop_moves(tmp_path: Path) -> None:
    with Fleet(2, ranges=4) as fleet, followed.Page("docs/storage.md", __file__) as page:
        one, two = fleet.hosts
        for host in fleet.hosts:
            furnish(host)
        reader = Controller(tmp_path, fleet)
        reader.run("ansible-playbook -i inventory site.yml")
        query(one, "create table orders (number int); insert into orders values (17)")
        declared, move = page.section("Move to another host")
        reader.follow([declared])
        reader.follow([move])
        assert query(two, "select number from orders") == "17"
        assert one.inside("ls", "-A", "/var/lib/unshare").stdout == ""
        reader.run("ansible-playbook -i inventory site.yml")
        assert query(two, "select number from orders") == "17"
