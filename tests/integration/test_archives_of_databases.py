# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A database that is written to without pause, exported, and imported on a second host: it recovers there (V5)."""

from __future__ import annotations

import json
import subprocess
import time
import typing as t
from pathlib import Path

import pytest

from .fleet_hosts import Fleet, FleetHost
from .moves import DEPLOY

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

NAME = "test-exported"
DIRECTORY = f"/var/lib/unshare/containers/{NAME}"
ARCHIVE = "/var/lib/unshare/exported.tar"
# An archive with a log of 1 GiB, which PostgreSQL keeps otherwise, says nothing that one of 64 MiB does not.
SETTINGS = {"fsync": True, "max_wal_size": "64MB", "min_wal_size": "32MB"}
CONTAINER = {
    "operating_system": {
        "host_name": "exported",
        "services": [{"type": "postgresql", "value": {"settings": SETTINGS}}],
    },
    "volumes": True,
}
INSERT = "insert into numbers select coalesce(max(number), 0) + 1 from numbers;"
WRITER = f"setsid sh -c 'yes \"{INSERT}\" | exec nice psql -Xq postgres' </dev/null >/dev/null 2>&1 &"
LIST = r"""
find . -mindepth 1 ! -type f -printf '%P %y %m %U:%G %l\n' -o -printf '%P %y %m %U:%G %s %n %T@\n' | sort
find . -type f -print0 | sort --zero-terminated | xargs --null sha256sum
"""


class Databases:
    """Two hosts that have the container, whose ids are others on the second one.

    Attributes:
        there: the host that is exported.
        here: the one on which that is imported.
    """

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.there, self.here = fleet.hosts
        self.inventory = str(fleet.inventory({"containers": {NAME: CONTAINER}}))
        self.play(DEPLOY)
        self.run(self.here, "run-container", "--stop")

    def play(self, plays: list[dict[str, t.Any]]) -> None:
        path = self.fleet.directory / "play.yml"
        path.write_text(json.dumps(plays))
        self.fleet.playbook("-i", self.inventory, str(path)).succeeded()

    def run(self, host: FleetHost, script: str, *words: str) -> str:
        done = host.inside(f"{DIRECTORY}/current/{script}", *words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def sql(self, host: FleetHost, text: str) -> int:
        said = self.run(host, "enter-container", "--user=postgres", "--", "psql", "-XAtqc", text, "postgres")
        return int(said or 0)

    def first_id(self, host: FleetHost) -> int:
        return int(json.loads(host.inside("cat", f"{DIRECTORY}/config.json").stdout)["uid_base"])

    def write(self) -> None:
        """Begin to write without pause."""
        self.sql(self.there, "create table numbers (number bigint primary key)")
        self.run(self.there, "enter-container", "--user=postgres", "--", "sh", "-c", WRITER)

    def written_after(self, number: int) -> int:
        """Wait until a greater number has been acknowledged, and return the last one."""
        deadline = time.monotonic() + 60
        while (found := self.sql(self.there, "select coalesce(max(number), 0) from numbers")) <= number:
            assert time.monotonic() < deadline, found
        return found

    def export_and_import(self) -> tuple[dict[str, t.Any], dict[str, t.Any]]:
        """Export it on the first host, and import it on the second one, where it does not run. Return both results."""
        directory = f"{self.fleet.directory}/"

        def archived(register: str, **options: t.Any) -> list[dict[str, t.Any]]:
            kept = {"content": "{{ %s | to_json }}" % register, "dest": f"{directory}{register}"}
            module = {"name": NAME, "path": ARCHIVE, **options}
            return [
                {"unshare.container.container_archive": module, "register": register},
                {"ansible.builtin.copy": kept, "delegate_to": "localhost"},
            ]

        fetched = {"src": ARCHIVE, "dest": directory, "flat": True}
        sent = {"src": f"{directory}exported.tar", "dest": ARCHIVE, "mode": "0600"}
        tasks = {
            self.there.name: [*archived("exported"), {"ansible.builtin.fetch": fetched}],
            self.here.name: [
                {"ansible.builtin.copy": sent},
                *archived("imported", state="imported", replace=True),
            ],
        }
        self.play([{"hosts": host, "gather_facts": False, "tasks": each} for host, each in tasks.items()])
        exported, imported = (json.loads(Path(directory, name).read_text()) for name in ("exported", "imported"))
        return exported, imported

    def unpacked(self) -> str:
        """Return what a tool of others finds in the archive."""
        directory = self.fleet.directory / "unpacked"
        directory.mkdir()
        options = ["--numeric-owner", "--same-permissions", f"--directory={directory}", "postgresql"]
        subprocess.run(["tar", "-xf", self.fleet.directory / "exported.tar", *options], check=True)
        done = subprocess.run(["sh", "-c", LIST], cwd=directory, capture_output=True, text=True, check=True)
        subprocess.run(["rm", "-r", directory], check=True)
        return done.stdout

    def files(self) -> str:
        """Return what is in the volumes of the second host."""
        return self.here.inside("sh", "-c", f"cd {DIRECTORY}/volumes && {LIST}").stdout

    def check(self, before: int) -> None:
        """Import what the database is now, and see that it recovers with all that had been acknowledged before."""
        exported, imported = self.export_and_import()
        assert exported["consistent"] == "frozen"
        assert imported["checksum"] == exported["checksum"]
        assert imported["volumes"] == exported["volumes"]
        files = self.unpacked()
        assert files.count("\n") > 1000
        assert self.files() == files
        most = self.written_after(before)
        self.run(self.here, "run-container", "--detach")
        found = self.sql(self.here, "select max(number) from numbers")
        assert before <= found <= most
        assert self.sql(self.here, "select count(*) from numbers") == found
        assert self.sql(self.here, f"{INSERT} select max(number) from numbers") == found + 1
        self.run(self.here, "run-container", "--stop")


def databases(rounds: int) -> None:
    with Fleet(2) as fleet:
        both = Databases(fleet)
        assert both.first_id(both.there) != both.first_id(both.here)
        both.write()
        last = 0
        for _ in range(rounds):
            last = both.written_after(last)
            both.check(last)


@pytest.mark.long
def test_v5_a_database_that_is_written_to_recovers_on_another_host() -> None:
    databases(2)


@pytest.mark.long
@pytest.mark.timeout(1500)
def test_v5_a_database_that_is_written_to_recovers_on_another_host_from_each_of_ten() -> None:
    databases(10)
