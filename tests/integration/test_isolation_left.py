# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a former run left in writable mappings, when the container starts again: links to wherever the host is open.

Nothing of the host may be made, changed, or reachable inside afterwards. A start that is refused with an error that
names the link's place is as good; each test shows by a link that leads inside that starts work.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.tests import mountinfo

from . import isolation_record
from .isolation import MODES, make_hostile

if t.TYPE_CHECKING:
    from .conftest import Machine, MakeMachine

pytestmark = pytest.mark.root

NAME = "test-isolation-left"
UP = "../" * 40
ALICE = {"name": "alice", "uid": 1000, "home_directory": "/data/team/alice"}
MAGIC = ("/proc/self/cwd", "/proc/self/root", "/proc/1/cwd", "/proc/1/root", "/proc/thread-self/root", "/dev/fd/3")
"""Links of the kernel's that lead into whatever process follows them; the numbered ones are `descriptors()`."""
STREAMS = ("/proc/self/fd/0", "/proc/1/fd/1", "/proc/self/exe", "/proc/self/mem", "/etc/passwd", "/sys/kernel/notes")
BEYOND = 12
"""How many descriptors more than this process has open a launcher may have."""


class Victim:
    """A directory of the host that everybody can reach, in which nothing may change, and of which nothing be seen."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.chmod(0o777)
        (path / "secret").write_text("secret of the host\n")
        self.before = self.look()

    def look(self) -> dict[str, tuple[int, int, int]]:
        """Return mode and owner of everything in it."""
        found = {}
        for path in [self.path, *self.path.rglob("*")]:
            status = path.lstat()
            found[str(path)] = (status.st_mode, status.st_uid, status.st_gid)
        return found

    def restore(self) -> None:
        """Make it as it was."""
        for path in sorted(self.path.rglob("*"), reverse=True):
            if str(path) not in self.before:
                path.rmdir() if path.is_dir() else path.unlink()
        for name, (mode, uid, gid) in self.before.items():
            os.chown(name, uid, gid)
            os.chmod(name, stat.S_IMODE(mode))


@pytest.fixture
def victim(public: Path) -> Victim:
    return Victim(public)


def descriptors(mode: str) -> list[int]:
    """Return the numbers that a descriptor of a start may have: those that are free here; all, in the first mode."""
    known = set(map(int, os.listdir("/proc/self/fd")))
    numbers = range(3, max(known) + BEYOND)
    return [*numbers, *range(64, 72)] if mode == "auto" else [number for number in numbers if number not in known]


def targets(victim: Victim, numbers: t.Iterable[int]) -> dict[str, str]:
    """Return what a link is to lead to, by the name of the attempt."""
    found = {f"{link}": link + str(victim.path) for link in MAGIC}
    found["an absolute path"] = str(victim.path)
    found["a path upward"] = UP + str(victim.path).lstrip("/")
    found["/proc/self/fd/*"] = ""
    return {name: target for name, target in found.items() if target} | {
        f"/proc/self/fd/{number}": f"/proc/self/fd/{number}{victim.path}" for number in numbers
    }


def start(machine: Machine, meant: str) -> bool:
    """Start it; whether it runs, or else is refused with the error that is meant. Another error is one of the test's.

    Args:
        meant: a pattern for the error of a start that does not follow the link.
    """
    try:
        machine.start(timeout=20)
    except LauncherError as error:
        if not re.search(rf"cannot start: {meant}", str(error)):
            raise
        return False
    return True


def follow(machine: Machine, victim: Victim, where: str, meant: str) -> str:
    """Start a machine beside which a link lies; `ok` when that led to the host, or what kept it from that."""
    try:
        started = start(machine, meant)
        if victim.look() != victim.before:
            return "ok"
        if not started:
            return "refused"
        seen = machine.output("sh", "-c", f"cat {where}/secret {where}/../secret; echo looked")
        assert "looked" in seen
        return "ok" if "secret of the host" in seen else "inside"
    finally:
        machine.stop(5)
        victim.restore()


def lead_inside(machine: Machine, link: Path, where: str) -> None:
    """Start a machine beside which a link leads to a directory of its own, where all is as it would be without it.

    Args:
        where: a path through that link, whose last part is to be there.
    """
    beside = link.parent / "beside"
    beside.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to("beside")
    machine.start(timeout=20)
    assert machine.output("realpath", where).strip() == where.replace(link.name, "beside")
    machine.output("test", "-d", where)
    machine.stop(5)
    link.unlink()


def add_directory(machine: Machine, path: str) -> None:
    """Declare a directory of a service's, as the specification has it."""
    specification = machine.system / "spec.json"
    spec = json.loads(specification.read_text())
    spec["directories"].append({"path": path, "mode": "0777", "uid": 0, "gid": 0})
    specification.write_text(json.dumps(spec))


@pytest.mark.parametrize("mode", MODES)
def test_a_home_directory_is_made_inside(make_machine: MakeMachine, tmp_path: Path, victim: Victim, mode: str) -> None:
    """The directory above it is a link of the last run's: through it a home would be made on the host."""
    data = tmp_path / "data"
    machine = make_hostile(make_machine, mode, NAME, data, {"users": [ALICE]})
    words: dict[str, str] = {}
    by_number: dict[str, str] = {}
    lead_inside(machine, data / "team", "/data/team/alice")
    assert (data / "beside/alice").is_dir()
    for name, target in targets(victim, descriptors(mode)).items():
        link = data / "team"
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        word = follow(machine, victim, "/data/team/alice", "in the container: directory /data/team/alice: ")
        (by_number if name.startswith("/proc/self/fd/") else words)[name] = word
    got = [name for name, word in by_number.items() if word == "ok"]
    words["/proc/self/fd/N, for all N"] = "ok" if got else "refused"
    words = {f"home below a link to {name}": word for name, word in words.items()}
    isolation_record.check(mode, "homes", "start", words)


@pytest.mark.parametrize("mode", MODES)
def test_mount_points_and_directories_stay_inside(
    make_machine: MakeMachine, tmp_path: Path, victim: Victim, mode: str
) -> None:
    """A mount point, and a directory that a service declares: the last component of its path, or one before it."""
    data, shared = tmp_path / "data", tmp_path / "shared"
    shared.mkdir()
    point = {"source": str(shared), "target": "/data/link/alice"}
    mounting = make_hostile(make_machine, mode, NAME + "-point", data, mappings=[point])
    making = make_hostile(make_machine, mode, NAME, data)
    add_directory(making, "/data/link")
    words = {}
    lead_inside(mounting, data / "link", "/data/link/alice")
    lead_inside(making, data / "link", "/data/link")
    for name, target in targets(victim, [3, 4, 5]).items():
        link = data / "link"
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        words[f"mount point below a link to {name}"] = follow(
            mounting, victim, "/data/link/alice", "/data/link(/alice)?: "
        )
        words[f"declared directory that is a link to {name}"] = follow(
            making, victim, "/data/link", "in the container: directory /data/link: "
        )
    isolation_record.check(mode, "points", "start", words)


@pytest.mark.parametrize("mode", MODES)
def test_standard_streams_are_the_containers_own(
    make_machine: MakeMachine, tmp_path: Path, victim: Victim, mode: str
) -> None:
    """With the journal kept, links of the last run's where the launcher mounts it and what it mounts there: `/dev`.

    PID 1's standard input is the null device of the container, or the start is refused.
    """
    var = tmp_path / "var"
    (var / "log").mkdir(parents=True)
    mapping = {"source": str(var), "target": "/var", "writable": True}
    machine = make_hostile(make_machine, mode, NAME, tmp_path / "data", mappings=[mapping], log="persistent")
    words: dict[str, str] = {}
    lead_inside(machine, var / "log/journal", "/var/log/journal")
    numbered = [f"/proc/self/fd/{number}/dev/ptmx" for number in descriptors(mode)]
    for target in [*STREAMS, *numbered]:
        for path in (var / "log").iterdir():
            path.unlink() if path.is_symlink() else shutil.rmtree(path)
        (var / "log" / "journal").symlink_to("/dev")
        journal = Path("/var/lib/unshare/containers", NAME, "journal")
        journal.mkdir(parents=True, exist_ok=True)
        (journal / "null").unlink(missing_ok=True)
        (journal / "null").symlink_to(target)
        name = target if target in STREAMS else "/proc/self/fd/N/dev/ptmx, for all N"
        if words.get(name) != "ok":
            words[name] = _standard_input(machine)
    words = {f"the null device replaced by a link to {name}": word for name, word in words.items()}
    isolation_record.check(mode, "streams", "start", words)


def _standard_input(machine: Machine) -> str:
    """`ok` when the standard input of the first process lies on no mount of the container's."""
    try:
        if not start(machine, "/var/log/journal: a symbolic link "):
            return "refused"
        process = machine.container.process()
        assert process is not None
        process.close()
        mounts = {line.split()[0] for line in mountinfo.lines(process.pid)}
        lines = Path(f"/proc/{process.pid}/fdinfo/0").read_text().splitlines()
        mount = next(line.split()[1] for line in lines if line.startswith("mnt_id:"))
        return "inside" if mount in mounts else "ok"
    finally:
        machine.stop(5)
