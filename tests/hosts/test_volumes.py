# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Volumes on hosts with systemd: their sizes, and what stops and starts a container for them through its unit.

Sizes (V3) are kept by project quotas of ext4 and xfs, which the kernels of these hosts have. The file system is made by
the test, on a loop device, and mounted where the directory of the container lies.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import typing as t

import pytest
from ansible_collections.unshare.container.tests.hosts.conftest import HOST
from ansible_collections.unshare.container.tests.hosts.controller import START_SECONDS, Controller
from ansible_collections.unshare.container.tests.hosts.fleet import SITE, declared, unit
from ansible_collections.unshare.container.tests.hosts.machine import Machine
from ansible_collections.unshare.container.tests.integration.playbooks import Run
from ansible_collections.unshare.container.tests.integration.size_attempts import ATTEMPTS, EMPTY_FILES, FILL

pytestmark = [pytest.mark.root, pytest.mark.on("debian13")]

NAME = "sized"
DIRECTORY = f"/var/lib/unshare/containers/{NAME}"
M = 1 << 20
ENOSPC, EDQUOT = "28", "122"
MAKING = {
    "ext4": ("mke2fs -q -t ext4 -O project,quota {image}", EDQUOT),
    "xfs": ("mkfs.xfs -q {image}", ENOSPC),
}
"""How a file system is made, and what one says inside when a volume is full."""

CONTENT = """
import os
os.chdir('/srv/data')
open('file', 'wb').write(b'content' * 100000); os.link('file', 'other'); os.symlink('nowhere', 'link')
os.mkdir('deep'); open('deep/file', 'w').write('deep'); os.chown('deep/file', 1234, 4321); os.mkfifo('fifo')
"""
RENAME = "cd /srv/data && mkdir new && for name in file link fifo deep; do mv --no-copy $name new/ || exit 1; done"
LOOK = "cd /srv/data && find . -printf '%p %y %m %U:%G %n %l\\n' | sort && sha256sum file deep/file"


class Sized:
    """A container on a machine, with the file system that its volumes lie on."""

    def __init__(self, controller: Controller, host: Machine, kind: str) -> None:
        self.controller = controller
        self.host = host
        self.kind = kind
        self.image = f"/root/{kind}.image"
        controller.write("site.yml", SITE)
        controller.write("inventory/hosts.yml", f"all: {{hosts: {{{HOST}: }}}}\n")

    def make(self) -> None:
        """Make the file system, and mount it without quotas."""
        command = MAKING[self.kind][0].format(image=self.image)
        self.host.succeed(f"truncate --size=600M {self.image} && {command} && (umask 077; mkdir -p {DIRECTORY})", 120)
        self.mount()

    def mount(self, *options: str) -> None:
        words = ",".join(("loop", *options))
        self.host.succeed(f"mount -t {self.kind} -o {words} {self.image} {DIRECTORY} && chmod 0700 {DIRECTORY}")

    def unmount(self) -> None:
        self.host.succeed(f"umount {DIRECTORY}")

    def play(self, *volumes: dict[str, t.Any], **options: t.Any) -> Run:
        items = [{"path": f"/srv/{item['name']}", **item} for item in volumes]
        containers = {NAME: declared(NAME, volumes=items, **options)} if volumes else {}
        return self.controller.run_playbook("site.yml", containers=containers)

    def changes(self, *volumes: dict[str, t.Any], **options: t.Any) -> int:
        run = self.play(*volumes, **options)
        assert run.code == 0, run.output
        return run.counts(HOST)["changed"]

    def refusal(self, *volumes: dict[str, t.Any]) -> str:
        run = self.play(*volumes)
        assert run.code != 0
        return " ".join(run.output.split())

    def inside(self, *words: str) -> str:
        return f"/run/unshare/{NAME}/system/enter-container --no-start {shlex.join(words)}"

    def python(self, text: str) -> str:
        return self.host.succeed(self.inside("/usr/bin/python3", "-c", text), 120)

    def fill(self) -> tuple[str, int]:
        number, written = self.python(FILL).split()
        return number, int(written)

    def pid(self) -> str:
        return self.host.succeed(f"systemctl show --property=MainPID --value {unit(NAME)}").strip()


@pytest.fixture(params=list(MAKING))
def sized(request: pytest.FixtureRequest, controller: Controller, host: Machine) -> t.Iterator[Sized]:
    found = Sized(controller, host, request.param)
    try:
        found.make()
        yield found
    finally:
        controller.run_playbook("site.yml", containers={NAME: {"state": "absent", "remove_volumes": True}})
        with contextlib.suppress(AssertionError):
            found.unmount()
        host.succeed(f"rm -f {found.image}; rmdir --ignore-fail-on-non-empty -p {DIRECTORY}; true")


@pytest.mark.shows("volumes")
def test_v3_project_quotas(sized: Sized) -> None:
    """A volume is full inside and nowhere else; it grows and shrinks while it runs; root inside gets out of nothing."""
    full = MAKING[sized.kind][1]
    data, beside = {"name": "data", "size": "32M"}, {"name": "beside", "size": "64M"}

    # Without quotas nothing changes, and it says how to turn them on.
    said = sized.refusal(data, beside)
    assert "volumes[0].size: the volume data cannot be kept to 32M here" in said
    assert "prjquota" in said
    assert ("tune2fs -O project,quota" in said) == (sized.kind == "ext4")
    sized.host.fail(f"ls {DIRECTORY}/volumes")
    sized.host.fail("ls -d /var/lib/unshare/systems/*")

    # A volume with data, links among them, that was made without a size.
    assert sized.changes({"name": "data"}, beside | {"size_may_fail": True}) > 0
    sized.python(CONTENT)
    before = sized.host.succeed(sized.inside("sh", "-c", LOOK))
    sized.changes({"name": "data"}, {"name": "beside"}, state="stopped")
    sized.unmount()
    sized.mount("prjquota")
    assert sized.changes(data, beside) > 0
    assert sized.changes(data, beside) == 0
    assert sized.host.succeed(sized.inside("sh", "-c", LOOK)) == before
    sized.host.succeed(sized.inside("sh", "-c", RENAME))
    number, written = sized.fill()
    assert number == full
    assert 24 * M < written <= 32 * M
    assert int(sized.host.succeed(sized.inside("df", "--block-size=1", "--output=size", "/srv/data")).split()[-1]) == (
        32 * M
    )
    sized.host.succeed(sized.inside("sh", "-c", "head -c 40M /dev/zero > /srv/beside/file && sync /srv/beside/file"))
    sized.host.succeed(f"head -c 8M /dev/zero > {DIRECTORY}/host && sync {DIRECTORY}/host && rm {DIRECTORY}/host")

    # It grows while it is full; it does not shrink below what it holds; without a size there is none.
    pid = sized.pid()
    data["size"] = "48M"
    assert sized.changes(data, beside) > 0
    number, more = sized.fill()
    assert number == full
    assert 12 * M < more <= 16 * M
    said = sized.refusal({**data, "size": "40M"}, beside)
    assert "which is more than 40M" in said
    sized.host.succeed(sized.inside("rm", "/srv/data/full"))
    assert sized.changes({**data, "size": "16M"}, beside) > 0
    assert sized.fill()[1] <= 16 * M
    sized.host.succeed(sized.inside("rm", "/srv/data/full"))

    # Root inside stays in it, and takes no more files than it has room for.
    words = json.loads(sized.python(ATTEMPTS))
    assert {"no project for own", "hand no project down, by flags", "limit of the own project by descriptor"} <= set(
        words
    )
    assert {name: word for name, word in words.items() if word == "ok"} == {}, words
    number, count = sized.python(EMPTY_FILES).split()
    assert number == full
    assert 3000 < int(count) <= 4096
    sized.host.succeed(sized.inside("sh", "-c", "rm -r /srv/data/many && touch /srv/beside/one"), 120)
    assert sized.fill()[0] == full
    sized.host.succeed(sized.inside("rm", "/srv/data/full"))
    assert sized.changes({"name": "data"}, beside) > 0
    sized.host.succeed(sized.inside("sh", "-c", "head -c 60M /dev/zero > /srv/data/file && sync /srv/data/file"))
    assert sized.changes({**data, "size": "100M"}, beside) > 0
    assert sized.pid() == pid
    assert sized.fill()[0] == full

    # What a snapshot brings back is in new directories, with the size.
    sized.host.succeed(sized.inside("rm", "/srv/data/full"))
    for state in ("present", "restored"):
        sized.controller.write(
            "snapshot.yml",
            f"- hosts: all\n  gather_facts: false\n  tasks:\n    - unshare.container.container_snapshot:\n"
            f"        {{name: {NAME}, snapshot: one, stop: true, timeout: 300, state: {state}}}\n",
        )
        assert sized.controller.playbook("snapshot.yml").counts(HOST)["changed"] == 1
    assert sized.fill()[0] == full


KEPT, NEEDS = "kept", "needs"
ARCHIVE = "/root/kept.tar"


class Kept:
    """A container with a volume, another one that requires it, and what is asked of the first."""

    def __init__(self, controller: Controller, host: Machine) -> None:
        self.controller = controller
        self.host = host
        controller.write("site.yml", SITE)
        controller.write("inventory/hosts.yml", f"all: {{hosts: {{{HOST}: }}}}\n")

    def deploy(self) -> int:
        """Deploy both. Return how many tasks have changed something."""
        volumes = [{"name": "data", "path": "/srv/data"}]
        containers = {KEPT: declared(KEPT, volumes=volumes), NEEDS: declared(NEEDS, requires=[KEPT])}
        return self.controller.playbook("site.yml", containers=containers).counts(HOST)["changed"]

    def ask(self, module: str, *that: str, **options: t.Any) -> None:
        """Have a module of the collection do something, and see that this is true of its result, `done`."""
        tasks = [
            {
                f"unshare.container.{module}": {"name": KEPT, "timeout": START_SECONDS, **options},
                "register": "done",
            },
            {"ansible.builtin.assert": {"that": list(that)}},
        ]
        self.controller.write("kept.yml", json.dumps([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
        self.controller.playbook("kept.yml")

    def inside(self, command: str) -> str:
        words = f"/run/unshare/{KEPT}/system/enter-container --no-start sh -c {shlex.quote(command)}"
        return self.host.succeed(words, 120)

    def pids(self) -> list[str]:
        """Return the first processes of both, as their units know them."""
        shown = f"systemctl show --property=MainPID --value {unit(KEPT)} {unit(NEEDS)}"
        return self.host.succeed(shown).split()

    def run(self) -> bool:
        """Return whether both units are active, and have a process each."""
        found = self.host.succeed(f"systemctl is-active {unit(KEPT)} {unit(NEEDS)} || true").split()
        return found == ["active", "active"] and "0" not in self.pids()


@pytest.fixture
def kept(controller: Controller, host: Machine) -> t.Iterator[Kept]:
    found = Kept(controller, host)
    try:
        yield found
    finally:
        gone = {NEEDS: {"state": "absent"}, KEPT: {"state": "absent", "remove_volumes": True}}
        controller.run_playbook("site.yml", containers=gone)
        host.succeed(f"rm -f {ARCHIVE}")


@pytest.mark.shows("volumes")
def test_v4_v5_snapshots_archives_and_moves_go_through_the_unit(kept: Kept) -> None:
    """What is frozen keeps its process; what is stopped is started again by its unit, with what requires it."""
    assert kept.deploy() > 0
    first = kept.pids()
    kept.inside("echo first > /srv/data/file")
    kept.ask("container_snapshot", "done.changed", "done.consistent == 'frozen'", snapshot="one")
    kept.ask("container_archive", "done.consistent == 'frozen'", path=ARCHIVE)
    assert kept.pids() == first
    kept.inside("echo second > /srv/data/file")

    # Both are stopped for a restore, and run again afterwards, with what was saved.
    kept.ask("container_snapshot", "done.consistent == 'frozen'", snapshot="one", state="restored", stop=True)
    second = kept.pids()
    assert kept.run()
    assert not {*second} & {*first}
    assert kept.inside("cat /srv/data/file") == "first\n"
    kept.inside("echo third > /srv/data/file")
    kept.ask("container_archive", "done.paused_seconds > 0", path=ARCHIVE, state="imported", replace=True, stop=True)
    assert kept.run()
    assert kept.inside("cat /srv/data/file") == "first\n"
    kept.ask("container_snapshot", "done.consistent == 'stopped'", snapshot="two", stop=True)
    assert kept.run()

    # One that stands in its move is started by nobody, nor is what requires it; both run when it goes back.
    stopped = f"done.stopped_with == ['{unit(NEEDS)}']"
    kept.ask("container_move", "done.changed", stopped, state="held", peer="two.example.org")
    kept.host.fail(f"systemctl start {unit(KEPT)}")
    kept.host.fail(f"systemctl start {unit(NEEDS)}")
    assert "it moves to two.example.org" in kept.host.succeed(f"journalctl --no-pager --unit={unit(KEPT)}")
    assert kept.pids() == ["0", "0"]
    kept.ask("container_archive", "done.consistent == 'was not running'", path=ARCHIVE)
    kept.ask("container_move", "done.released", state="released", peer="two.example.org")
    assert kept.run()
    assert kept.deploy() == 0
    assert kept.inside("cat /srv/data/file") == "first\n"
