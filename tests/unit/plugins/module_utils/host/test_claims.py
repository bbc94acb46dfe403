# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What another container has, and the same is asked for again: a directory, a port."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import types
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host import claims, ports
from ansible_collections.unshare.container.plugins.module_utils.host.facts import HostFacts
from ansible_collections.unshare.container.plugins.module_utils.host.systemd_units import WANTS, unit_of
from ansible_collections.unshare.container.plugins.module_utils.launcher import guarded, mapped, mount_table
from ansible_collections.unshare.container.plugins.module_utils.launcher.paths import UNIT_DIRECTORY
from ansible_collections.unshare.container.plugins.module_utils.state import generations, mounted_sources, writers
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout

from ..specifications import SMALL, specification
from ..state.test_writers import Counted, note_of

Mount = dict[str, t.Any]


def bind(source: str | Path, *flags: str, point: str = "/data") -> Mount:
    return {"device": str(source), "mount_point": point, "type": "none", "flags": ["bind-mount", *flags]}


class Hosted:
    """A host with containers of which only the records are there."""

    def __init__(self, root: Path) -> None:
        self.layout = Layout(root)
        self.running: dict[str, tuple[str, int]] = {}
        self.run = root.parent / "run"
        self.pid = os.getpid()

    def add(self, name: str, *mounts: Mount, runs: bool = True, base: int = 10 * 65536, **more: t.Any) -> None:
        system = self.layout.systems / f"{'0' * 32}-{name}"
        system.mkdir(parents=True)
        (system / "spec.json").write_text(json.dumps({**SMALL, "name": name, "file_systems": list(mounts), **more}))
        generations.switch(self.layout, name, system)
        if runs:
            self.running[name] = (str(system), base)
            (self.run / name).mkdir(parents=True, exist_ok=True)
            (self.run / name / mapped.FILE).write_text(note_of(specification(file_systems=list(mounts)).file_systems))

    def record(self, name: str) -> t.Any:
        system, base = self.running.get(name, (None, None))
        state = "running" if system else "stopped"
        status = types.SimpleNamespace(state=state, system=system, uid_base=base, uid_count=65536, pid=self.pid)
        return types.SimpleNamespace(status=lambda: status, run_directory=str(self.run / name))

    def conflicts(self, *mounts: Mount, without: t.Sequence[str] = (), **more: t.Any) -> list[str]:
        wanted = specification(file_systems=list(mounts), **more)
        return claims.conflicts(HostFacts(), self.layout, "web", wanted, without, recorded=self.record)


@pytest.fixture
def hosted(tmp_path: Path) -> Hosted:
    return Hosted(tmp_path / "host")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data/below").mkdir(parents=True)
    (tmp_path / "link").symlink_to("data")
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("theirs", "ours", "relation"),
    [("", "", "is"), ("", "below", "contains"), ("below", "", "lies in"), ("/../link", "below", "contains")],
    ids=["cases_U9", "below", "above", "by_a_link"],
)
def test_two_write_one_directory(hosted: Hosted, data: Path, theirs: str, ours: str, relation: str) -> None:
    known, path = f"{data}/{theirs}".replace("/data//..", ""), f"{data}/{ours}".rstrip("/")
    hosted.add("old", bind(known.rstrip("/"), point="/old"))
    (said,) = hosted.conflicts(bind(path))
    assert said.startswith(
        f"container 'old', which runs, writes to {known.rstrip('/')} (at /old), and that {relation} "
    )
    assert f"{relation} {path} (here at /data)" in said
    assert "stop or remove that container first" in said


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [(["read-only"], []), ([], ["read-only"]), (["read-only"], ["read-only"])],
)
def test_one_that_reads_is_no_matter(hosted: Hosted, data: Path, theirs: list[str], ours: list[str]) -> None:
    hosted.add("old", bind(data, *theirs))
    assert hosted.conflicts(bind(data, *ours)) == []


def test_who_counts(hosted: Hosted, data: Path) -> None:
    """One that is stopped may be the former name of this one; one that the boot starts would meet it."""
    hosted.add("stopped", bind(data), runs=False)
    hosted.add("web", bind(data))
    hosted.add("going", bind(data))
    hosted.add("other", bind("/srv/elsewhere"))
    assert hosted.conflicts(bind(data), without=["going"]) == []
    (said,) = hosted.conflicts(bind(data))
    assert "'going'" in said
    wanted = hosted.layout.root / UNIT_DIRECTORY[1:] / WANTS / unit_of("stopped")
    wanted.parent.mkdir(parents=True)
    wanted.symlink_to("../unshare-container@.service")
    host = HostFacts(hosted.layout.root)
    found = claims.conflicts(
        host, hosted.layout, "web", specification(file_systems=[bind(data)]), ["going"], recorded=hosted.record
    )
    assert ["container 'stopped', which the host's boot starts, writes" in text for text in found] == [True]


def test_sockets_and_pipes_are_for_everybody(hosted: Hosted, data: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(data / "socket"))
    os.mkfifo(data / "pipe")
    hosted.add("old", bind(data / "socket", point="/s"), bind(data / "pipe", point="/p"))
    assert hosted.conflicts(bind(data / "socket", point="/s"), bind(data / "pipe", point="/p")) == []
    (data / "file").touch()
    hosted.add("older", bind(data / "file"))
    assert len(hosted.conflicts(bind(data / "file"))) == 1


DISK = {"device": "/dev/nosuch", "mount_point": "/data", "type": "ext4", "flags": []}


@pytest.mark.parametrize(
    ("mount", "count"),
    [
        (DISK, 1),
        ({**DISK, "flags": ["read-only"]}, 0),
        ({**DISK, "type": "tmpfs", "device": "tmpfs"}, 0),
        ({**DISK, "type": "nfs", "device": "nas:/x"}, 0),
        ({**DISK, "type": "overlay", "device": "x", "options": "lowerdir=/usr,upperdir=/srv/u,workdir=/srv/w"}, 2),
    ],
)
def test_other_file_systems(hosted: Hosted, mount: Mount, count: int) -> None:
    hosted.add("old", mount)
    assert len(hosted.conflicts(mount)) == count


PORT = {"number": 8080, "place": "operating_system.services[0].value.port"}


def test_ports_of_other_containers(hosted: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "listening", lambda host: [])
    hosted.add("old", shared_network=True, ports=[PORT])
    (said,) = hosted.conflicts(ports=[{**PORT, "place": "here", "address": "127.0.0.1"}])
    assert said.startswith(
        "here: port 127.0.0.1:8080 (tcp) of the host's network is that of container 'old' (operating_"
    )
    assert hosted.conflicts(ports=[{**PORT, "number": 8081}]) == []
    assert hosted.conflicts(ports=[PORT], without=["old"]) == []


def test_ports_of_the_host(hosted: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        wanted = {**PORT, "number": server.getsockname()[1]}
        (said,) = hosted.conflicts(ports=[wanted])
        assert f"is taken by {HostFacts().read('/proc/self/comm').strip()} (PID {os.getpid()})" in said
        for name, base, whose in (("web", os.getuid(), None), ("old", os.getuid(), "container 'old'")):
            hosted.running.clear()
            hosted.add(name, base=base)
            found = hosted.conflicts(ports=[wanted])
            assert [f"is taken by {whose}" in text for text in found] == ([True] if whose else [])
            assert hosted.conflicts(ports=[wanted], without=["old"]) == [] if whose else True


@pytest.mark.parametrize("name", ["web", "going", "staying"])
@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1"])
def test_with_the_hosts_own_ids_only_processes_tell(hosted: Hosted, name: str, address: str) -> None:
    """With `private_users: identity` every user of the host has an id that the container has as well."""
    hosted.add(name, base=0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        wanted = {**PORT, "number": server.getsockname()[1], "address": address}
        with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as other:
            hosted.pid = other.pid
            (said,) = hosted.conflicts(ports=[wanted], without=["going"])
            assert f"is taken by {HostFacts().read('/proc/self/comm').strip()} (PID {os.getpid()})" in said
            other.kill()
        hosted.pid = os.getppid()  # one that made the process which has the socket
        found = hosted.conflicts(ports=[wanted], without=["going"])
        assert ["is taken by container 'staying'" in said for said in found] == [True] * (name == "staying")


def test_nothing_is_asked_for_nothing(hosted: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "others", lambda *arguments: pytest.fail("containers were looked at"))
    monkeypatch.setattr(ports, "listening", lambda *arguments: pytest.fail("ports were looked at"))
    assert hosted.conflicts(bind("/srv/x", "read-only")) == []


def test_a_damaged_neighbour_is_left_out(hosted: Hosted, data: Path) -> None:
    hosted.add("old", bind(data))
    (Path(hosted.running["old"][0]) / "spec.json").write_text("{")
    assert hosted.conflicts(bind(data)) == []


def _link(path: Path, target: str | Path) -> None:
    """Do what root inside can: put a link in the place of a directory of its mapping."""
    path.rename(path.with_name("moved"))
    path.symlink_to(target)


@pytest.mark.parametrize("target", ["/", "..", "victim", "/proc/self/root", "/proc/self/cwd"])
def test_a_link_inside_claims_nothing(hosted: Hosted, data: Path, target: str) -> None:
    """What a container that runs writes to is what was mounted when it started."""
    (data / "victim").mkdir()
    hosted.add("old", bind(data / "below", point="/www"))
    _link(data / "below", target)
    assert hosted.conflicts(bind(data / "victim")) == []
    assert len(hosted.conflicts(bind(data / "moved"))) == 1, "what is mounted is found where it is now"
    assert len(hosted.conflicts(bind(data / "below"))) == 1, "a path that was declared is that container's"


@pytest.mark.parametrize("there", ["is_mounted", "is_another", "is_a_link", "is_gone"])
def test_what_counts_of_a_path(data: Path, there: str) -> None:
    """The place of a path is compared as long as what was mounted at the start is there."""
    path = str(data / "below")
    at = (data / "below").stat()
    if there != "is_mounted":
        (data / "below").rename(data / "moved")
    if there == "is_another":
        (data / "below").mkdir()
    if there == "is_a_link":
        (data / "below").symlink_to("moved")
    for known, counts in (({path: f"{at.st_dev}:{at.st_ino}"}, {"is_mounted"}), ({}, {"is_mounted", "is_another"})):
        guard = guarded.GuardedHost({}, ())
        assert bool(mounted_sources.places_of(guard, path, path, known)) is (there in counts)


def test_a_link_on_the_own_way_is_the_starts_business(hosted: Hosted, data: Path, tmp_path: Path) -> None:
    hosted.add("old", bind(data, point="/old"))
    assert hosted.conflicts(bind(tmp_path / "link")) == []


def test_a_link_is_not_followed_for_who_starts_at_boot(hosted: Hosted, data: Path) -> None:
    hosted.add("stopped", bind(data / "below"), runs=False)
    wanted = hosted.layout.root / UNIT_DIRECTORY[1:] / WANTS / unit_of("stopped")
    wanted.parent.mkdir(parents=True)
    wanted.symlink_to("../unshare-container@.service")
    (data / "victim").mkdir()
    _link(data / "below", data / "victim")
    host = HostFacts(hosted.layout.root)
    found = claims.conflicts(
        host, hosted.layout, "web", specification(file_systems=[bind(data / "victim")]), recorded=hosted.record
    )
    assert found == []


def test_many_others_cost_little(hosted: Hosted, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One mount table for all, no look at a path that cannot meet this one, and one at each record."""
    for number in range(100):
        (data.parent / f"others/{number}").mkdir(parents=True)
        hosted.add(f"c{number}", bind(data.parent / f"others/{number}"))
    counted = Counted(monkeypatch)
    asked: list[str] = []
    record = hosted.record

    def ask(name: str) -> t.Any:
        asked.append(name)
        return record(name)

    monkeypatch.setattr(hosted, "record", ask)
    assert hosted.conflicts(bind(data)) == []
    assert counted.tables == 1
    assert counted.opened <= 2 * len(data.parts) + 2
    assert len(asked) == len(set(asked)) == 101


BOUND = """1 0 8:1 / / rw - ext4 /dev/x rw
2 1 8:2 /vol /srv/a rw - ext4 /dev/y rw
3 1 8:2 /vol/www /srv/b rw - ext4 /dev/y rw
4 1 0:9 / /over rw - overlay none rw,upperdir=/srv/a/up
"""
PLACES = {
    "/srv/a/www/x": ("8:2", "/vol/www/x"),
    "/srv/b": ("8:2", "/vol/www"),
    "/srv/bc": ("8:1", "/srv/bc"),
    "/srv/./b/../b/y": ("8:2", "/vol/www/y"),
    "/": ("8:1", "/"),
    "/over/x": None,
    "/dev/sda": None,
    "/var/lib/unshare/x": None,
}


@pytest.mark.parametrize(("path", "place"), PLACES.items())
def test_where_a_path_lies_by_its_words(
    monkeypatch: pytest.MonkeyPatch, path: str, place: tuple[str, str] | None
) -> None:
    monkeypatch.setattr(mount_table, "read", lambda: mount_table.parse(BOUND.encode()))
    assert writers.SearchedHost().by_words(path) == place
