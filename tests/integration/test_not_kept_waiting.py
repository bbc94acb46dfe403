# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Neither what root inside leaves behind nor a user of the host keeps a container from its start, stop or removal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import subprocess
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.evaluation import identity
from ansible_collections.unshare.container.plugins.module_utils.launcher import linux, lookup
from ansible_collections.unshare.container.plugins.module_utils.launcher.cgroup import ControlGroup
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.state.locks import Lock

from . import isolation_record
from .eval_commands import ORDINARY, Evaluator
from .isolation import MODES, make_hostile
from .lives import Run, reach

if t.TYPE_CHECKING:
    from .conftest import Machine, MakeMachine

pytestmark = [pytest.mark.root, pytest.mark.timeout(300)]

NAME = "test-waiting"
DEPTH = 3_000

# Directories in each other, and beside each of them what else a directory can hold.
DEEPEN = """
import os, socket, sys
os.chdir(sys.argv[1])
os.mkdir("deep")
os.chdir("deep")
with socket.socket(socket.AF_UNIX) as made:
    made.bind("socket")
os.mkfifo("fifo")
os.symlink("/proc/1/root", "link")
for number in range(100_000):
    os.close(os.open("many-%d" % number, os.O_CREAT | os.O_WRONLY))
for level in range(int(sys.argv[2])):
    os.mkdir(b"\\xff" * 250)
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY))
    os.chdir(b"\\xff" * 250)
    os.chmod("..", 0o300)
"""


def test_a_kept_journal_of_any_depth_is_removed(make_machine: MakeMachine) -> None:
    machine = make_machine(name=NAME, log="persistent")
    machine.start()
    machine.output("python3", "-c", DEEPEN, "/var/log/journal", str(DEPTH))
    machine.stop()
    kept = Path(machine.container.directory, "journal/deep")
    assert kept.is_dir()
    outside = kept.parents[2] / f"{NAME}-data"
    outside.mkdir()
    try:
        # What is mounted there is nobody's to remove, however deep it is.
        place = os.path.join(os.fsencode(kept), *[b"\xff" * 250] * 10)
        (outside / "data").write_text("data")
        subprocess.run(["mount", "--bind", str(outside), os.path.join(place, b"\xff" * 250)], check=True)
        try:
            with pytest.raises(LauncherError, match="something is mounted there; unmount it"):
                reach(NAME, "absent")
        finally:
            subprocess.run(["umount", os.path.join(place, b"\xff" * 250)], check=True)
        assert (outside / "data").read_text() == "data"
        assert reach(NAME, "absent").changed
        assert not os.path.exists(machine.container.directory)
    finally:
        (outside / "data").unlink()
        outside.rmdir()


def test_control_groups_of_any_depth_are_cleared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Root inside who has the host root's id can lift the bound of their depth."""
    group = ControlGroup(NAME)
    depth = 1_100
    here = os.dup(group.create(0))
    group._write(group.path + "/cgroup.max.depth", "max")
    for _level in range(depth):
        os.mkdir("g", dir_fd=here)
        inner = os.open("g", os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = inner
    sleeper = subprocess.Popen(["sleep", "600"])
    file = os.open("cgroup.procs", os.O_WRONLY, dir_fd=here)
    os.write(file, b"%d" % sleeper.pid)
    os.close(file)
    os.close(here)
    write = group._write

    def refuse(path: str, text: str) -> None:
        if path.endswith("cgroup.kill"):
            raise FileNotFoundError(path)  # as before Linux 5.14
        write(path, text)

    monkeypatch.setattr(group, "_write", refuse)
    assert not group.kill(20)
    group.kill_each()
    assert group.wait_empty(20)
    assert sleeper.wait(20) == -9
    group.remove()
    with pytest.raises(FileNotFoundError):
        group.open_inside()
    group.close()


def as_a_user(function: t.Callable[[], object]) -> str:
    """Return what a function returns to an ordinary user of the host, or the name of its error."""

    def run() -> object:
        os.setgroups([])
        os.setresgid(ORDINARY, ORDINARY, ORDINARY)
        os.setresuid(ORDINARY, ORDINARY, ORDINARY)
        try:
            return function()
        except OSError as error:
            return type(error).__name__

    return Run(run).result(60)


def lockable() -> set[str]:
    """Every file of the collection's that a user of the host can open, and so lock (flock(2))."""
    places = [identity.HELD]
    for top in ("/run/unshare", "/var/lib/unshare"):
        for directory, directories, names in os.walk(top):
            places += [os.path.join(directory, name) for name in [".", *directories, *names]]

    def opened() -> str:
        found = []
        for path in places:
            with contextlib.suppress(OSError):
                os.close(os.open(path, os.O_RDONLY | os.O_NONBLOCK))
                found.append(os.path.normpath(path))
        return "\n".join(found)

    return set(as_a_user(opened).splitlines())


@contextlib.contextmanager
def noted_locks() -> t.Iterator[set[str]]:
    """Note the paths of what this process locks, and of the file whose bytes commands lock."""
    locked = {identity.HELD}
    flock = fcntl.flock

    def note(descriptor: int, operation: int) -> None:
        locked.add(os.readlink(f"/proc/self/fd/{descriptor}"))
        flock(descriptor, operation)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fcntl, "flock", note)
        yield locked


def test_no_user_of_the_host_can_take_a_lock(make_machine: MakeMachine) -> None:
    machine = make_machine(name=NAME, log="persistent")
    machine.start()
    held = Path("/run/unshare", NAME)
    with noted_locks() as locked:
        reach(NAME, "restarted", machine.system)
        reach(NAME, "stopped")
        assert str(held) in locked
        reach(NAME, "started", machine.system)
    evaluator = Evaluator(0)
    assert evaluator.text("id -u") == "0"
    evaluator.close()
    assert os.path.exists(identity.HELD)
    assert lockable() & locked == set()
    assert lockable() != set(), "nothing was tried"
    assert as_a_user(lambda: os.listdir(held)) == "PermissionError"
    # Yet a file of which the name is known can be read.
    assert as_a_user(lambda: len((held / "state.json").read_text()) > 10) == "True"


LOCK = """
import fcntl, os, sys
for path in sys.argv[1:]:
    try:
        fcntl.flock(os.open(path, os.O_RDONLY), fcntl.LOCK_SH | fcntl.LOCK_NB)
        print(path)
    except PermissionError:
        pass
"""


@pytest.mark.parametrize("mode", MODES)
def test_root_inside_can_take_no_lock(make_machine: MakeMachine, tmp_path: Path, mode: str) -> None:
    """Where it may read the state of all containers, and what is like `/run`, on a file system that maps ids."""
    shown = tmp_path / "run"
    shown.mkdir()
    places = {"/var/lib/unshare": "/hosts/state", str(shown): "/hosts/run"}
    mappings = [{"source": source, "target": target} for source, target in places.items()]
    machine = make_hostile(make_machine, mode, NAME, tmp_path / "data", mappings=mappings)
    with noted_locks() as locked:
        reach(NAME, "started", machine.system)
        machine.stop()
        reach(NAME, "started", machine.system)
        lock = Lock("other", str(shown / "unshare/other"), 5, lambda: None)
        with pytest.MonkeyPatch.context() as patch, lock:
            patch.setattr(identity, "HELD", str(shown / "ids"))
            ids = identity.Ids(True, True, (5, 5), (0, 0), 1)
            assert ids.hold(5, 1)
            try:
                locked.add(identity.HELD)
                asked = [place.replace(source, target, 1) for place in locked for source, target in places.items()]
                paths = [path for path in asked if path.startswith("/hosts/")]
                assert {"/hosts/state/containers", "/hosts/run/unshare/other", "/hosts/run/ids"} <= set(paths)
                taken = machine.output("python3", "-I", "-c", LOCK, *paths, "/hosts", "/hosts/state").split()
            finally:
                ids.release()
    assert {"/hosts", "/hosts/state"} <= set(taken), "nothing was tried"
    words = {"by a lock that a start takes": ", ".join(set(taken) - {"/hosts", "/hosts/state"}) or "refused"}
    isolation_record.check(mode, "locks", "wait", words)


def test_directories_from_before_are_closed(make_machine: MakeMachine) -> None:
    machine = make_machine(name=NAME)
    machine.start()
    places = [Path("/run/unshare", NAME), Path("/var/lib/unshare/containers")]
    for place in places:
        place.chmod(0o755)
    machine.stop()
    machine.start()
    assert [stat.S_IMODE(place.stat().st_mode) for place in places] == [0o2311, 0o311]
    places[1].chmod(0o700)


def test_who_holds_a_lock_is_named(make_machine: MakeMachine) -> None:
    machine = make_machine(name=NAME)
    machine.start()
    with subprocess.Popen(["flock", f"/run/unshare/{NAME}", "cat"], stdin=subprocess.PIPE) as holder:
        try:
            deadline = time.monotonic() + 20
            with contextlib.suppress(LauncherError):
                while time.monotonic() < deadline:
                    with machine.container.lock(0.05):
                        pass
            with pytest.raises(LauncherError, match=rf"another process \(PID {holder.pid}\) has held it for 0\.2 s"):
                machine.container.lock(0.2).acquire()
        finally:
            holder.communicate(timeout=20)
    machine.stop()


def test_abstract_sockets_of_a_user_take_no_ids() -> None:
    """Names in the abstract namespace are free for all to take, so nothing depends on them."""
    with contextlib.ExitStack() as stack:
        evaluator = Evaluator(0)
        stack.callback(evaluator.close)
        ran = evaluator.value(
            "[line.split()[-1] for line in open('/proc/net/unix') if '@unshare' in line]",
            namespaces=["mnt", "user", "pid"],
            ids=5,
        )
        assert ran == []


# Renames directories and mounts file systems, in a mount namespace of its own, until its standard input ends.
DISTURB = """
import ctypes, os, select, sys
libc = ctypes.CDLL(None, use_errno=True)
os.chdir(sys.argv[1])
assert libc.mount(b"none", b"/", None, 0x4000 | 1 << 18, None) == 0
for name in ("a", "b", "mount"):
    os.mkdir(name)
print("disturbing", flush=True)
while not select.select([0], [], [], 0)[0]:
    for _round in range(100):
        os.rename("a", "b/a")
        os.rename("b/a", "a")
        assert libc.mount(b"none", b"mount", b"tmpfs", 0, None) == 0
        assert libc.umount2(b"mount", 0) == 0
"""


@pytest.fixture
def disturbed(tmp_path: Path) -> t.Iterator[None]:
    """Somebody renames and mounts all the time, in places that have nothing to do with the collection."""
    (tmp_path / "disturbed").mkdir()
    command = ["unshare", "--mount", "/usr/bin/python3", "-c", DISTURB, str(tmp_path / "disturbed")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "disturbing\n"
        yield
        process.communicate(timeout=60)
    assert process.returncode == 0


def look_up(tmp_path: Path, times: int, deadline: float) -> tuple[int, bool]:
    """Resolve a path with many steps upward, until the kernel gives up; how often, and whether it did."""
    root = lookup.open_root(str(tmp_path))
    try:
        for count in range(1, times + 1):
            assert time.monotonic() < deadline, f"{count} look-ups, and nothing was disturbed"
            try:
                os.close(lookup.open_below(root, "way/../" * 50 + "way"))
            except OSError as error:
                if error.errno != linux.EAGAIN:
                    raise
                return count, True
        return times, False
    finally:
        os.close(root)


@pytest.mark.usefixtures("disturbed")
def test_what_others_rename_and_mount_disturbs_no_look_up(
    make_machine: MakeMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "way").mkdir()
    with monkeypatch.context() as once:
        once.setattr(linux, "OPEN_TRIES", 1)
        needed, _given_up = look_up(tmp_path, 10_000_000, time.monotonic() + 60)
    times = max(3_000, 2 * needed)
    assert look_up(tmp_path, times, time.monotonic() + 300) == (times, False)
    machine: Machine = make_machine(name=NAME)
    for _start in range(20):
        machine.start(wait=False)
        machine.stop(0.1)
