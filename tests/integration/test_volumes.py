# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Volumes: what of a container lasts, whose it is inside, and who removes it (V1, V6)."""

from __future__ import annotations

import os
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import volumes as launcher_volumes
from ansible_collections.unshare.container.plugins.module_utils.life.container import Container
from ansible_collections.unshare.container.plugins.module_utils.life.life_cycle import LifeCycle
from ansible_collections.unshare.container.plugins.module_utils.state import configs
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout

from .conftest import Host, Machine, MakeMachine, write_system

pytestmark = [pytest.mark.root, pytest.mark.timeout(240)]

NAME = "test-volumes"
SERVICES: list[dict[str, t.Any]] = [
    {"type": "postgresql", "value": {"settings": {"fsync": False}}},
    {"type": "redis"},
    {"type": "openssh", "value": {"port": 2222}},
    {"type": "cron"},
]
OWN = {"name": "data", "path": "/srv/my data", "owner": "alice", "mode": "2750"}
PLACES = {
    "postgresql": ("/var/lib/postgresql/data", "postgres:postgres 700"),
    "redis": ("/var/lib/redis", "redis:redis 750"),
    "openssh": ("/var/lib/sshd", "root:root 755"),
    "cron": ("/var/spool/cron/crontabs", "root:root 1730"),
    "data": ("/srv/my data", "alice:users 2750"),
}
RANGE = 0x60000000
"""The first of other ids on the host than the launcher would choose."""


def write(*further: dict[str, t.Any], **options: t.Any) -> Path:
    declared = {"host_name": NAME, "users": [{"name": "alice"}], "services": [*SERVICES, *further]}
    names = [*(name for name in PLACES if name != "data"), OWN]
    return write_system(declared, NAME, **{"volumes": names, **options})


def reach(container: Container, state: str = "started", **options: t.Any) -> LifeCycle:
    cycle = LifeCycle(Layout(), NAME, container, timeout=60, **options)
    cycle.reach(state)
    return cycle


class Data:
    """What is written to the volumes of a container, and read again."""

    def __init__(self, container: Container) -> None:
        self.container = container

    def output(self, *command: str, user: str = "root") -> str:
        machine = Machine(NAME, Path(self.container.status().system or ""))
        return machine.output(*command, user=user)

    def sql(self, text: str) -> str:
        return self.output("psql", "-XAtqc", text, "postgres", user="postgres").strip()

    def write(self) -> None:
        self.sql("create table said (word text); insert into said values ('durable')")
        self.output("redis-cli", "set", "word", "durable")
        self.output("redis-cli", "save")
        self.output("sh", "-c", "echo '0 0 1 1 * true' | crontab -u alice -")
        self.output("sh", "-c", "echo durable > '/srv/my data/file'", user="alice")
        self.key = self.output("cat", "/var/lib/sshd/ssh_host_ed25519_key.pub")

    def verify(self) -> None:
        assert self.sql("select word from said") == "durable"
        assert self.output("redis-cli", "get", "word").strip() == "durable"
        assert "0 0 1 1 * true" in self.output("crontab", "-u", "alice", "-l")
        assert self.output("cat", "/srv/my data/file", user="alice") == "durable\n"
        assert self.output("stat", "-c", "%U:%G", "/srv/my data/file") == "alice:users\n"
        assert self.output("cat", "/var/lib/sshd/ssh_host_ed25519_key.pub") == self.key
        assert {name: (path, self.shown(path)) for name, (path, _shown) in PLACES.items()} == PLACES

    def shown(self, path: str) -> str:
        return self.output("stat", "-c", "%U:%G %a", path).strip()


def test_v1_v6_data_last_through_all_that_happens_to_a_container(container: Container) -> None:
    data = Data(container)
    first = write()
    cycle = reach(container, system=first)
    data.write()
    data.verify()
    assert reach(container, system=first).changed is False

    reach(container, "restarted")
    data.verify()
    reach(container, system=write({"type": "simple", "value": {"target": "etc", "value": {"new": "new"}}}))
    data.verify()
    reach(container, "rolled_back")
    data.verify()

    gone = reach(container, "absent")
    assert [said for said in gone.warnings if "volumes are kept" in said and "cron, data, openssh" in said]
    assert cycle.volumes() == sorted(PLACES)
    assert reach(container, "absent").changed is False

    # Another host would give the container other ids; what is on the disk has those of the inside.
    reach(container, system=write(private_users=RANGE))
    assert container.status().uid_base == RANGE
    data.verify()
    owners = {name: os.stat(launcher_volumes.volume_directory(NAME, name)).st_uid for name in PLACES}
    inside = {name: int(data.output("stat", "-c", "%u", path)) for name, (path, _shown) in PLACES.items()}
    assert owners == inside

    assert reach(container, "absent", remove_volumes=True).warnings == []
    assert not os.path.exists(container.directory)
    assert reach(container, "absent", remove_volumes=True).changed is False


def test_v6_volumes_are_removed_after_the_container(container: Container) -> None:
    """Whoever asks for it later gets it, and nobody else removes what was kept."""
    reach(container, system=write_system({"host_name": NAME}, NAME, volumes=[{"name": "data", "path": "/srv/data"}]))
    reach(container, "absent")
    assert os.listdir(container.directory) == [launcher_volumes.VOLUMES]
    cycle = LifeCycle(Layout(), NAME, container, remove_volumes=True)
    assert cycle.would_change("absent")
    cycle.reach("absent")
    assert cycle.changed
    assert not os.path.exists(container.directory)


@pytest.mark.parametrize("ids", ["auto", "identity"])
def test_v1_a_volume_is_reached_by_nobody_else(make_machine: MakeMachine, ids: str) -> None:
    """Nor does a set-user-ID program in it run as such, inside or on the host."""
    volume = {"name": "data", "path": "/srv/data", "mode": "0777"}
    machine = make_machine({}, NAME, volumes=[volume], private_users=ids)
    machine.start()
    machine.output("cp", "/usr/bin/id", "/srv/data/id")
    assert machine.shell("chmod 4755 /srv/data/id").returncode != 0
    program = f"{launcher_volumes.volume_directory(NAME, 'data')}/id"
    os.chmod(program, 0o4755)
    assert machine.output("/srv/data/id", "-u", user="nobody").strip() == "65534"
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            os.stat(program)
        except PermissionError:
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    for mode in ("b 8 0", "c 1 1"):
        assert machine.shell(f"mknod /srv/data/node {mode}").returncode != 0
    assert "nosuid" in machine.output("findmnt", "-no", "OPTIONS", "/srv/data")


def test_v1_what_root_inside_leaves_leads_the_host_nowhere(container: Container, tmp_path: Path) -> None:
    """Links to what is the host's, a tree that is very deep, and odd names: a start and a removal follow none."""
    (tmp_path / "precious").write_text("stays")
    (tmp_path / "precious").chmod(0o600)
    system = write_system({"host_name": NAME}, NAME, volumes=[{"name": "data", "path": "/srv/data"}])
    reach(container, system=system)
    machine = Machine(NAME, system)
    deep = (
        "import os; os.chdir('/srv/data')\n"
        f"os.symlink('{tmp_path}', 'link'); os.symlink('{tmp_path}/precious', b'new\\nline \\xff')\n"
        "for _ in range(5000): os.mkdir('d'); os.chdir('d')\n"
    )
    machine.output("/usr/bin/python3", "-c", deep)
    machine.output("sh", "-c", "chown 1234:4321 /srv/data; chmod 0111 /srv/data")
    assert machine.shell("mv /srv/data /srv/other").returncode != 0
    assert machine.shell("chown 70000 /srv/data").returncode != 0
    cycle = reach(container, "restarted")
    assert [said for said in cycle.warnings if said.startswith("volume data: is of 1234:4321 inside")]
    assert machine.output("stat", "-c", "%u:%g %a", "/srv/data").strip() == "1234:4321 111"
    reach(container, "absent", remove_volumes=True)
    assert not os.path.exists(container.directory)
    assert (tmp_path / "precious").read_text() == "stays"


def test_v1_a_start_that_fails_leaves_an_empty_volume_that_the_next_one_gives_its_owner(container: Container) -> None:
    """A volume that was made, and not given to anybody before its start was killed."""
    path = Path(launcher_volumes.volume_directory(NAME, "data"))
    Host.claim(NAME)
    path.mkdir(parents=True, mode=0o700)
    system = write_system(
        {"host_name": NAME, "users": [{"name": "alice", "uid": 1234}]},
        NAME,
        volumes=[{"name": "data", "path": "/srv/data", "owner": "alice"}],
    )
    reach(container, system=system)
    assert Machine(NAME, system).output("stat", "-c", "%U:%G %a", "/srv/data").strip() == "alice:users 755"
    assert (path.stat().st_uid, path.stat().st_mode & 0o7777) == (1234, 0o755)
    assert configs.read_config(container.directory)
