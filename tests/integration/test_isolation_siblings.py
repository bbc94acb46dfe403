# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a container does in a directory that it shares with another, when that one starts.

The other has more than they share: its own root, and mappings of the same file system. Neither is mounted over, made,
or given to anybody.
"""

from __future__ import annotations

import os
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import mount_table
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.state import writers

from . import archives, isolation_record
from .isolation import MODES, make_hostile, writable

if t.TYPE_CHECKING:
    from .conftest import Machine, MakeMachine

pytestmark = pytest.mark.root

NAME = "test-isolation-siblings"
STATE = "(contains|lies in) /var/lib/unshare, where the systems"
LINKS = {
    "its /etc": "/etc",
    "its /etc, upward": "../../etc",
    "its /usr/local": "/usr/local",
    "a mapping that is not shared": "/secret",
    "a mapping that is not shared, upward": "../../secret",
    "what is in a mapping that is not shared": "/secret/kept",
    "a mapping mounted below the shared one": "../below",
    "a second link, which leads out": "../second",
}
"""What a link in the shared directory leads to, for the one that starts, by its name."""

POINT, HOME = "/data/team/point", "/data/team/alice"
ALICE = {"name": "alice", "uid": 1000, "home_directory": HOME}


class Shared:
    """Directories of the host, one of which two containers share."""

    def __init__(self, directory: Path) -> None:
        self.data, self.secret, self.below, self.other = (
            directory / name for name in ("data", "secret", "below", "other")
        )
        for path in (self.data, self.secret, self.below, self.other):
            path.mkdir()
        (self.data / "team").mkdir()
        (self.secret / "kept").mkdir(mode=0o700)
        self.secret.chmod(0o700)
        self.before = self.look()

    def look(self) -> dict[str, tuple[int, int, int]]:
        """Return mode and owner of everything that is not shared, but with its container."""
        found = {}
        for path in (self.secret, *self.secret.rglob("*"), self.below, *self.below.rglob("*")):
            status = path.lstat()
            found[str(path)] = (status.st_mode, status.st_uid, status.st_gid)
        return found

    def mappings(self) -> list[dict[str, t.Any]]:
        return [writable(self.below, "/data/below"), writable(self.secret, "/secret")]


@pytest.fixture
def shared(tmp_path: Path) -> Shared:
    return Shared(tmp_path)


@pytest.fixture
def sibling(make_machine: MakeMachine, shared: Shared, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Who shares the directory, and runs. A start refuses a second writer, but for one that a mount meets later."""
    monkeypatch.setattr(writers, "refuse_second", lambda *_arguments: None)
    machine = make_machine(name=NAME + "-a", mappings=[writable(shared.data), writable(shared.other, "/other")])
    machine.start()
    return machine


def lay(sibling: Machine, place: str, link: str) -> None:
    """Leave a link where the other container will look, in place of what is there."""
    script = 'rm -rf "$1" /data/second; ln -s /secret /data/second; ln -s "$2" "$1"'
    sibling.output("sh", "-c", script, "sh", place, link)


def start(machine: Machine, meant: str) -> bool:
    try:
        machine.start(timeout=20)
    except LauncherError as error:
        if "leads out of the mapping" not in str(error) or meant not in str(error):
            raise
        return False
    return True


def points(machine: Machine, source: Path) -> list[str]:
    """Return where a running container has something of this source mounted."""
    process = machine.container.process()
    assert process is not None
    process.close()
    found = mount_table.read(f"/proc/{process.pid}/mountinfo")
    return [mount.point for mount in found if mount.part.endswith(f"/{source.parent.name}/{source.name}")]


@pytest.mark.parametrize("mode", MODES)
def test_a_link_leads_nothing_out_of_what_is_shared(
    make_machine: MakeMachine, tmp_path: Path, shared: Shared, sibling: Machine, mode: str
) -> None:
    """Neither a mount point, so that the other's software is the sibling's, nor a home, so that it has a new owner."""
    point = writable(shared.other, POINT)
    mounting = make_hostile(make_machine, mode, NAME + "-b", shared.data, mappings=[*shared.mappings(), point])
    making = make_hostile(make_machine, mode, NAME + "-c", shared.data, {"users": [ALICE]}, mappings=shared.mappings())
    words = {}
    for name, link in LINKS.items():
        lay(sibling, POINT, link)
        mounted = start(mounting, POINT)
        words[f"mount point that is a link to {name}"] = "ok" if mounted else "refused"
        if mounted:
            assert points(mounting, shared.other) != [POINT]
            mounting.stop(5)
        lay(sibling, HOME, link)
        made = start(making, HOME)
        words[f"home that is a link to {name}"] = "ok" if made or shared.look() != shared.before else "refused"
        making.stop(5)
        for path, (mode_bits, uid, gid) in shared.before.items():
            os.chown(path, uid, gid)
            os.chmod(path, mode_bits & 0o7777)
    isolation_record.check(mode, "siblings", "siblings", words)


@pytest.mark.parametrize("link", ["beside", "/data/team/beside", "../team/beside", "/etc/../data/team/beside"])
def test_links_within_what_is_shared_are_followed(
    make_machine: MakeMachine, shared: Shared, sibling: Machine, link: str
) -> None:
    lay(sibling, POINT, link)
    lay(sibling, HOME, link)
    sibling.output("mkdir", "/data/team/beside")
    (shared.other / "there").write_text("there\n")
    making = make_machine({"users": [ALICE]}, name=NAME + "-c", mappings=[writable(shared.data)])
    making.start()
    assert making.output("stat", "--format=%U", "/data/team/beside").strip() == "alice"
    mappings = [writable(shared.data), writable(shared.other, POINT)]
    mounting = make_machine(name=NAME + "-b", mappings=mappings)
    mounting.start()
    assert mounting.output("cat", "/data/team/beside/there") == "there\n"
    assert points(mounting, shared.other) == ["/data/team/beside"]


def test_who_would_write_all_state_is_not_told_to_stop_the_one_whose_volume_is_there(
    make_machine: MakeMachine, tmp_path: Path
) -> None:
    """The host runs what is there, which is why it is refused, whoever else is on the host."""
    alias = tmp_path / "alias"
    alias.mkdir()
    subprocess.run(["mount", "--bind", "/var/lib", alias], check=True, timeout=60)
    try:
        with archives.another(NAME + "-a") as other:
            archives.reach(other, system=archives.system(other.name))
            for path in (alias, alias / f"unshare/containers/{other.name}"):
                one = make_machine(name=NAME + "-b", mappings=[writable(path)])
                with pytest.raises(LauncherError, match=f"^container {one.name}: cannot start: .*{STATE}"):
                    one.start()
    finally:
        subprocess.run(["umount", alias], check=True, timeout=60)


def test_a_second_writer_is_named_also_to_one_with_a_volume_of_its_own(
    make_machine: MakeMachine, tmp_path: Path
) -> None:
    """What lies in /var/lib/unshare is its own there, and no reason."""
    (tmp_path / "both").mkdir()
    mapping = writable(tmp_path / "both")
    with archives.another(NAME + "-a") as one:
        system = archives.system(one.name, mappings=[mapping])
        archives.reach(one, system=system)
        archives.reach(one, "stopped")
        make_machine(name=NAME + "-b", mappings=[mapping]).start()
        said = f"^container {one.name}: cannot start: container '{NAME}-b', which runs, writes to {tmp_path}/both "
        with one.lock(30), pytest.raises(LauncherError, match=said):
            one.start(str(system), timeout=20)
