# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A container that moves between two hosts, and in it a writer that tells the outside of each write that is durable.

The outside is a directory that both hosts have. The writer holds a lock there for as long as it runs, so that a second
one, on the other host, notices at its start that there are two.
"""

from __future__ import annotations

import contextlib
import json
import operator
import os
import select
import time
import typing as t
from pathlib import Path

from .fleet_hosts import Fleet, FleetHost
from .playbooks import PLAYBOOK, Run

NAME = "test-moved"
DEPLOY = [{"hosts": "all", "gather_facts": False, "roles": ["unshare.container.containers"]}]

WRITER = """\
import fcntl, os, sqlite3
os.nice(19)  # it writes without pause, and others work here
os.chdir("/outside")
def say(file, text):
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(descriptor, text.encode())
    return descriptor
lock = os.open("runs", os.O_RDWR | os.O_CREAT)
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    say("wrong", "two run at the same time\\n")
    raise SystemExit("another one runs")
database = sqlite3.connect("/srv/data/numbers", isolation_level=None)
database.execute("pragma synchronous=extra")
database.execute("create table if not exists numbers (number integer primary key)")
database.execute("insert or ignore into numbers values (0)")
(number,) = database.execute("select max(number) from numbers").fetchone()
said = say("acknowledged", "")
last = int((open("acknowledged").read().split() or ["0"])[-1])
if last > number:
    say("wrong", "%d was acknowledged, and %d is the last that is there\\n" % (last, number))
while True:
    number += 1
    database.execute("insert into numbers values (?)", (number,))
    database.execute("delete from numbers where number < ?", (number - 1000,))
    os.write(said, b"%d\\n" % number)
"""


def declared(outside: Path, **more: t.Any) -> dict[str, t.Any]:
    """Return the declaration of the container."""
    command = ["/usr/bin/python3", "-c", WRITER]
    unit = {"type": "unit", "value": {"name": "writer", "command": command}}
    return {
        "operating_system": {"host_name": "moved", "services": [unit]},
        "volumes": [{"name": "data", "path": "/srv/data"}],
        "mappings": [{"source": str(outside), "target": "/outside", "writable": True}],
        "health": {"units": ["writer.service"], "timeout": 20, "steady": 0.1},
        **more,
    }


def of_host(host: FleetHost, *words: str) -> list[int]:
    """Return the processes of a host, but not of its containers, in whose command line one of these words is."""
    found = []
    for pid in map(int, (host.cgroup / "cgroup.procs").read_text().split()):
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
            if any(word in command for word in words):
                found.append(pid)
    return found


class Mover:
    """Two hosts, of which one has the container."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.outside = fleet.directory / "outside"
        self.outside.mkdir()
        self.declaration = declared(self.outside)
        self.extra: dict[str, dict[str, t.Any]] = {}

    def host(self, index: int) -> FleetHost:
        """Return one of the hosts."""
        return self.fleet.hosts[index]

    def inventory(self, *owners: int) -> Path:
        """Write the inventory, in which these hosts declare the container."""
        path = self.fleet.inventory({})
        inventory = json.loads(path.read_text())
        for index, host in enumerate(self.fleet.hosts):
            own = {NAME: self.declaration} if index in owners else {}
            inventory["all"]["hosts"][host.name].update({"containers": own, **self.extra.get(host.name, {})})
        path.write_text(json.dumps(inventory))
        return path

    def site(self) -> Path:
        """Write the playbook that deploys what is declared."""
        playbook = self.fleet.directory / "deploy.yml"
        playbook.write_text(json.dumps(DEPLOY))
        return playbook

    def deploy(self, index: int) -> None:
        """Deploy it on a host."""
        inventory = self.inventory(index)
        self.fleet.playbook("-i", str(inventory), "--limit", self.host(index).name, str(self.site())).succeeded()

    def words(self, old: int, new: int, *more: str) -> list[str]:
        """Return the words of a move for ansible-playbook."""
        extra = {"move_container": NAME, "move_from": self.host(old).name, "move_to": self.host(new).name}
        return ["-i", str(self.inventory(new)), "-e", json.dumps(extra), *more, "unshare.container.move_container"]

    def move(self, old: int, new: int, *more: str) -> Run:
        """Move it from a host to the other one."""
        return self.fleet.playbook(*self.words(old, new, *more))

    def command(self, old: int, new: int) -> list[str]:
        """Return the command that moves it."""
        return [PLAYBOOK, *self.words(old, new)]

    def write(self, index: int, name: str, size: int) -> None:
        """Write a file of so many bytes into the volume that a host has."""
        path = f"/var/lib/unshare/containers/{NAME}/volumes/data/{name}"
        done = self.host(index).inside("sh", "-c", f"head -c {size} /dev/urandom > {path}")
        assert done.returncode == 0, done.stderr

    def left(self, index: int) -> str:
        """Return what a host has of the container, and of moves."""
        look = f"cd /var/lib/unshare && find . -mindepth 1 -maxdepth 2 -path '*{NAME}*'; ls -A /run/unshare"
        return self.host(index).inside("sh", "-c", look).stdout

    def runs(self, index: int) -> bool:
        """Return whether it runs on a host."""
        note = self.host(index).inside("cat", f"/run/unshare/{NAME}/state.json").stdout
        pid = str(json.loads(note)["pid"]) if note else "0"
        return self.host(index).inside("test", "-d", f"/proc/{pid}/fd").returncode == 0

    def pid(self, index: int) -> int:
        """Return the PID of the container on a host."""
        return int(json.loads(self.host(index).inside("cat", f"/run/unshare/{NAME}/state.json").stdout)["pid"])

    def state(self, index: int) -> str:
        """Return what is noted on a host of a move; empty for nothing."""
        note = self.host(index).inside("cat", f"/var/lib/unshare/containers/{NAME}/move.json").stdout
        return str(json.loads(note)["state"]) if note else ""

    def acknowledged(self) -> int:
        """Return the last number that was acknowledged, and fail if anything went wrong before."""
        wrong = self.outside / "wrong"
        assert not wrong.exists(), wrong.read_text()
        numbers = [int(line) for line in (self.outside / "acknowledged").read_text().split()]
        assert all(map(operator.lt, numbers, numbers[1:])), "a write was lost, and done again"
        return numbers[-1]

    def there(self, index: int) -> int:
        """Return the last number that the database of a host has, as the container sees it."""
        connected = "sqlite3.connect('/srv/data/numbers', 40)"  # seconds to wait for the writer's lock
        count = f"import sqlite3; print(*{connected}.execute('select max(number) from numbers'))"
        enter = f"/var/lib/unshare/containers/{NAME}/current/enter-container"
        done = self.host(index).inside(enter, "/usr/bin/python3", "-c", count)
        return int(done.stdout.strip(" (),\n") or f"nothing: {done.stderr}")

    def is_at(self, index: int) -> None:
        """Fail unless it runs on this host alone, writes there, has lost nothing, and has left nothing elsewhere."""
        other = 1 - index
        assert self.runs(index), f"{self.left(index)}\n{self.left(other)}"
        assert self.left(other) == "", self.left(other)
        assert f".moving-{NAME}" not in self.left(index)
        assert self.state(index) == ""
        before = self.acknowledged()
        assert self.there(index) >= before
        self.await_write()
        assert list((self.fleet.directory / ".ansible").glob("unshare-move*")) == []

    def await_write(self) -> None:
        """Wait until the writer has acknowledged another number."""
        before = self.acknowledged()
        watch = os.open(self.outside / "acknowledged", os.O_RDONLY)
        try:
            os.lseek(watch, 0, os.SEEK_END)
            deadline = time.monotonic() + 20
            while not os.read(watch, 1):
                assert time.monotonic() < deadline, f"nothing was written after {before}"
                select.select([], [], [], 0.01)  # a file of a disk cannot be polled
        finally:
            os.close(watch)
