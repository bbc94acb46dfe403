# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""T3: trees come to a fleet over real SSH: once, in pieces, whole or not at all, before a rollout's first switch."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import time
import typing as t
from pathlib import Path

import pytest
import yaml
from ansible_collections.unshare.container.tests import followed

from .bootable_trees import WAITING, make_bootable
from .fleet_hosts import Fleet, FleetHost
from .playbooks import PLAYBOOK

pytestmark = [pytest.mark.root, pytest.mark.long, pytest.mark.timeout(420)]

TREE, ARCHIVE = "unshare.container.tree", "unshare.container.tree_archive"
NAME, BOX = "test-shipped", "test-box"
TREES = "/var/lib/unshare/trees"
MIB = 1 << 20


class Plays:
    """Runs plays on a fleet, and keeps what they return."""

    def __init__(self, fleet: Fleet, **variables: t.Any) -> None:
        self.fleet = fleet
        self.inventory = fleet.inventory(variables)
        self.output = ""
        self.code = 0

    def command(self, tasks: list[dict[str, t.Any]], hosts: str = "all", *words: str) -> list[str]:
        """Return the command that runs tasks, each of which registers its result by its name."""
        results = self.fleet.directory / "results"
        results.mkdir(exist_ok=True)
        named = [{"register": f"r{index}", "ignore_errors": True, **task} for index, task in enumerate(tasks)]
        content = "{{ [%s] | to_json }}" % ", ".join(f"r{index}" for index in range(len(tasks)))
        keep = {
            "ansible.builtin.copy": {"dest": f"{results}/{{{{ inventory_hostname }}}}", "content": content},
            "delegate_to": "localhost",
            "vars": {"ansible_connection": "local", "ansible_remote_tmp": f"{self.fleet.directory}/tmp"},
            "check_mode": False,
        }
        playbook = self.fleet.directory / "play.json"
        playbook.write_text(json.dumps([{"hosts": hosts, "gather_facts": False, "tasks": [*named, keep]}]))
        return [PLAYBOOK, "-i", str(self.inventory), *words, str(playbook)]

    def run(self, tasks: list[dict[str, t.Any]], hosts: str = "all", *words: str) -> dict[str, list[dict[str, t.Any]]]:
        """Run tasks. Return their results by hosts."""
        self.play(*self.command(tasks, hosts, *words)[1:])
        results = self.fleet.directory / "results"
        found = {path.name: json.loads(path.read_text()) for path in results.iterdir()}
        assert found, self.output
        for path in results.iterdir():
            path.unlink()
        return found

    def play(self, *words: str) -> None:
        done = self.fleet.playbook(*words)
        self.code, self.output = done.code, done.output

    def rollout(self, *words: str, **variables: t.Any) -> None:
        """Run the playbook `rollout`."""
        self.play("-i", str(self.inventory), *words, "-e", json.dumps(variables), "unshare.container.rollout")


def make_archive(path: Path, version: str, large: int, seed: int = 1) -> Path:
    """Make an archive of a tree that boots, with a file of so many bytes that nothing compresses. Return it."""
    source = path.parent / f"source-{path.name}"
    make_bootable(source, version)
    (source / "usr/share/large").write_bytes(random.Random(seed).randbytes(large))
    subprocess.run(["tar", "--create", f"--file={path}", f"--directory={source}", "."], check=True, timeout=60)
    return path


def kill_all(controller: subprocess.Popen[t.Any]) -> None:
    """Kill a run of ansible-playbook at once: its workers, each of which leads a session of its own, as well."""
    workers = Path(f"/proc/{controller.pid}/task/{controller.pid}/children").read_text().split()
    os.kill(controller.pid, signal.SIGKILL)
    for worker in map(int, workers):
        if os.getpgid(worker) == worker:
            os.killpg(worker, signal.SIGKILL)
        os.kill(worker, signal.SIGKILL)
    controller.wait(60)


def left(host: FleetHost) -> list[str]:
    """Return what lies where a host keeps trees, but stored trees and their names."""
    found = host.inside("ls", "-A", TREES).stdout.split()
    return [name for name in found if name.startswith(".")]


def arrived(host: FleetHost) -> int:
    """Return how many bytes of an archive lie on a host."""
    said = host.inside("sh", "-c", f"cat {TREES}/.received-*/file | wc -c").stdout
    return int(said or 0)


def tree(path: Path, **more: t.Any) -> dict[str, t.Any]:
    return {TREE: {"name": NAME, "controller": str(path), **more}}


def box(**more: t.Any) -> dict[str, t.Any]:
    """Return a container that runs on the tree."""
    return {BOX: {"operating_system": {"host_name": BOX}, "store": {"tree": NAME}, "init": WAITING, **more}}


def version(host: FleetHost) -> str:
    """Return which version of the tree's text the container sees."""
    script = f"/var/lib/unshare/containers/{BOX}/current/enter-container"
    return host.inside(script, "--", "cat", "/usr/share/hello/text").stdout.strip()


def test_t3_a_tree_is_built_once_and_brought_to_all(tmp_path: Path) -> None:
    """On one host, to the controller, to the others; a second run moves nothing; containers run on it."""
    with Fleet(3) as fleet:
        plays = Plays(fleet)
        source = tmp_path / "source"
        make_bootable(source, "1")
        (source / "usr/share/large").write_bytes(os.urandom(20 * MIB))
        archive = tmp_path / "shipped.tar.zst"
        with followed.Page("docs/trees.md", __file__) as page:
            build = yaml.safe_load(page.take("- name: Make the tree on the host").text)
            trees = yaml.safe_load(page.take("containers_trees:").text)["containers_trees"]
        assert [task.pop("delegate_to") for task in build] == ["builder.example.org"] * 2
        assert trees["debian13"]["controller"] == build[1][ARCHIVE]["path"]
        build[0][TREE] = {"name": NAME, "directory": str(source)}
        build[1][ARCHIVE] = {"name": NAME, "path": str(archive)}
        ((built, taken),) = plays.run(build, "host01").values()
        assert built["changed"], built
        assert taken["changed"], taken
        assert "host01: archive of the tree test-shipped: " in plays.output
        ((_built, again),) = plays.run(build, "host01").values()
        assert (again["changed"], again["checksum"]) == (False, taken["checksum"])
        assert sorted(path.name for path in tmp_path.iterdir()) == [archive.name, f"{archive.name}.json", "source"]

        declared = {"containers": box(), "trees": {NAME: {"controller": str(archive)}}}
        bring = [tree(archive, state="latest"), {"unshare.container.containers": declared}]
        done = plays.run(bring)
        assert {name: results[0]["changed"] for name, results in done.items()} == {
            "host01": False,  # which has the content
            "host02": True,
            "host03": True,
        }
        assert {results[0]["content"] for results in done.values()} == {built["content"]}
        assert all(results[1]["changed"] for results in done.values()), done
        assert len(re.findall(r"^host0[23]: tree test-shipped: \d+\.\d MiB in", plays.output, re.MULTILINE)) == 2
        assert {version(host) for host in fleet.hosts} == {"version 1"}
        again_all = plays.run(bring)
        assert not any(result["changed"] for results in again_all.values() for result in results), again_all
        assert "MiB" not in plays.output
        assert [left(host) for host in fleet.hosts] == [[], [], []]
        assert [host.inside("ls", "-A", "/run/ansible").stdout for host in fleet.hosts] == ["", "", ""]


def test_t3_killed_in_the_middle_the_next_run_goes_on(tmp_path: Path) -> None:
    """The controller, by SIGKILL, while pieces are under way."""
    archive = make_archive(tmp_path / "a.tar", "1", 48 * MIB)
    with Fleet(1) as fleet:
        plays, host = Plays(fleet), fleet.hosts[0]
        slow = {**fleet.environment(), "ANSIBLE_SFTP_EXTRA_ARGS": f"-l {64 * 1024}"}  # Kbit/s: 8 MiB/s
        controller = subprocess.Popen(
            plays.command([tree(archive)]),
            env=slow,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 120
        while not arrived(host):
            assert controller.poll() is None, "it has ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.05)  # the host tells nobody that a piece has come
        kill_all(controller)
        there = arrived(host)
        assert 0 < there < archive.stat().st_size
        ((done,),) = plays.run([tree(archive)]).values()
        assert done["changed"], done
        goes_on = re.search(r"goes on at (\d+) %", plays.output)
        # The piece that was under way may have come whole, for the module on the host was not killed.
        assert goes_on is not None, plays.output
        assert int(goes_on[1]) >= 100 * there // archive.stat().st_size
        assert left(host) == []


def test_t3_a_host_that_dies_while_it_unpacks_needs_nothing_again(tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "a.tar", "1", 4 * MIB)
    with Fleet(1) as fleet:
        plays, host = Plays(fleet), fleet.hosts[0]
        # A module of an earlier run, which was killed as soon as all had come.
        ((refused,),) = plays.run([tree(archive, size_limit="4M")]).values()
        assert "set size_limit to more" in refused["msg"]
        digest = subprocess.run(["sha256sum", str(archive)], capture_output=True, text=True, check=True).stdout[:32]
        place = f"{TREES}/.received-{digest}"
        copy = f"mkdir -p {place} && cp {archive} {place}/file && mkdir -p {TREES}/.aside-{NAME}/root/usr"
        assert host.inside("sh", "-c", copy).returncode == 0
        ((done,),) = plays.run([tree(archive)]).values()
        assert done["changed"], done
        assert "MiB" not in plays.output
        assert left(host) == []


def test_t3_what_is_damaged_on_the_host_is_refused_and_sent_anew(tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "a.tar", "1", 4 * MIB)
    with Fleet(1) as fleet:
        plays, host = Plays(fleet), fleet.hosts[0]
        digest = subprocess.run(["sha256sum", str(archive)], capture_output=True, text=True, check=True).stdout[:32]
        place = f"{TREES}/.received-{digest}"
        host.inside("sh", "-c", f"mkdir -p {place} && head -c {2 * MIB} /dev/zero > {place}/file")
        first, second = next(iter(plays.run([tree(archive), tree(archive)]).values()))
        assert "has the checksum sha256:" in first["msg"]
        assert "nothing was changed" in first["msg"]
        assert second["changed"], second
        assert left(host) == []


def test_t3_a_full_disk_is_told_before_anything_is_sent_and_leaves_nothing(tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "a.tar", "1", 24 * MIB)
    with Fleet(1) as fleet:
        plays, host = Plays(fleet), fleet.hosts[0]
        host.inside("sh", "-c", f"mkdir -p {TREES} && mount -t tmpfs -o size=20m tmpfs {TREES}")
        ((refused,),) = plays.run([tree(archive)]).values()
        assert "make room there; nothing was changed" in refused["msg"]
        assert left(host) == []
        # Room for the archive, and not for the tree in it, of which nothing is known before.
        host.inside("mount", "-o", "remount,size=44m", TREES)
        ((refused,),) = plays.run([tree(archive)]).values()
        assert "No space left on device" in refused["msg"]
        assert left(host) == []
        host.inside("mount", "-o", "remount,size=100m", TREES)
        ((done,),) = plays.run([tree(archive)]).values()
        assert done["changed"], done


def test_t3_two_runs_at_once_make_one_tree(tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "a.tar", "1", 40 * MIB)
    with Fleet(1) as fleet:
        plays, host = Plays(fleet), fleet.hosts[0]
        command = plays.command([tree(archive)])
        environment = fleet.environment()
        both = [
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            for _index in range(2)
        ]
        said = [process.communicate(timeout=200)[0] for process in both]
        assert [process.returncode for process in both] == [0, 0], said
        assert all("failed=0" in text and "ignored=0" in text for text in said), said
        ((done,),) = plays.run([tree(archive)]).values()
        assert not done["changed"]
        assert left(host) == []


def test_t3_a_rollout_brings_trees_before_it_changes_anything(tmp_path: Path) -> None:
    """A host that cannot get its tree stops the rollout while all others still run what they ran."""
    first = make_archive(tmp_path / "first.tar", "1", MIB)
    second = make_archive(tmp_path / "second.tar", "2", 24 * MIB)
    with Fleet(3) as fleet:
        given = {"containers": box(), "containers_trees": {NAME: {"controller": "{{ archive }}"}}}
        plays = Plays(fleet, **given, archive=str(first))
        plays.rollout("--check")
        assert plays.code == 0, plays.output
        assert "would be made by an earlier task of this run" in " ".join(plays.output.split())
        assert [left(host) for host in fleet.hosts] == [[], [], []]
        plays.rollout()
        assert plays.code == 0, plays.output
        assert {version(host) for host in fleet.hosts} == {"version 1"}

        plays = Plays(fleet, **given, archive=str(second))
        state = "/var/lib/unshare"
        used = f"$(df --output=used --block-size=1 {state} | tail -n 1)"
        narrow = f"mount -o remount,size=$(({used} + {30 * MIB})) {state}"
        assert fleet.hosts[2].inside("sh", "-c", narrow).returncode == 0
        plays.rollout()
        assert plays.code != 0
        assert "host03 (wave 3): not staged" in plays.output, plays.output
        assert "trees.test-shipped: tree 'test-shipped': controller: " in plays.output
        assert "make room there" in plays.output
        assert {version(host) for host in fleet.hosts} == {"version 1"}
        assert fleet.hosts[2].inside("mount", "-o", "remount,size=1g", state).returncode == 0
        plays.rollout()
        assert plays.code == 0, plays.output
        assert {version(host) for host in fleet.hosts} == {"version 2"}
        plays.rollout()
        assert "3 unchanged" in plays.output, plays.output
        assert [left(host) for host in fleet.hosts] == [[], [], []]
