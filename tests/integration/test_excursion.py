# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The caller of a start builds the root elsewhere, and is afterwards as it was before, whatever happened there."""

from __future__ import annotations

import contextlib
import gc
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import excursion, linux
from ansible_collections.unshare.container.plugins.module_utils.launcher.contract import Mount
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.life import start
from ansible_collections.unshare.container.tests import mountinfo

from .conftest import INTERPRETER, Host
from .fuse_servers import Silent

if t.TYPE_CHECKING:
    from .conftest import Machine, MakeMachine

NAME = "test-excursion"
pytestmark = pytest.mark.root

MISSING = Mount(device="/nonexistent/source", mount_point="/srv/data", type="none", flags=["bind-mount"], required=True)


def caller() -> dict[str, t.Any]:
    """Return all of this process that an excursion changes, and what it could."""
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    mounts = mountinfo.lines()
    changing = ("State", "Vm", "Rss", "Hugetlb", "voluntary", "nonvoluntary", "Threads", "SigQ", "Shd", "SigPnd")
    return {
        "namespaces": {name: os.readlink(f"/proc/self/ns/{name}") for name in os.listdir("/proc/self/ns")},
        "status": {key: value for key, value in status.items() if not key.startswith(changing)},
        "directory": os.getcwd(),
        "root": (os.stat("/").st_dev, os.stat("/").st_ino),
        "mounts": Host.mounts(),
        "root's mount": next(line for line in mounts if line.split()[4] == "/"),
        "limits": {number: resource.getrlimit(number) for number in range(16)},
        "bits": linux.prctl(linux.PR_GET_SECUREBITS),
        "dumpable": linux.prctl(linux.PR_GET_DUMPABLE),
        "death signal": linux.parent_death_signal(),
        "timer": signal.getitimer(signal.ITIMER_REAL)[0] // 60,
        "alarm": signal.getsignal(signal.SIGALRM),
        "collects": gc.isenabled(),
        "descriptors": sorted(os.listdir("/proc/self/fd")),
    }


@pytest.mark.parametrize("shared_network", [False, True])
def test_the_caller_is_as_before(make_machine: MakeMachine, tmp_path: Path, shared_network: bool) -> None:
    machine = make_machine(name=NAME, shared_network=shared_network)
    with contextlib.chdir(tmp_path) if sys.version_info >= (3, 11) else contextlib.nullcontext():
        before = caller()
        machine.start()
        assert caller() == before
        machine.stop()
        for _again in range(2):
            with pytest.raises(LauncherError, match="the source of the mapping to /srv/data does not exist"):
                machine.start(extra_file_systems=[MISSING])
            assert caller() == before


def test_who_cannot_come_back_ends() -> None:
    """It writes why, and nothing that was to follow is done."""
    program = (
        "import os, sys\n"
        f"sys.path.insert(0, {str(Path(excursion.__file__).parents[1])!r})\n"
        "from launcher import excursion, linux, mount_calls\n"
        "away = excursion.Excursion()\n"
        "assert away.possible()\n"
        "with away:\n"
        "    linux.capset(0, 0, 0)\n"
        "print('went on')\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30)
    assert (result.returncode, result.stdout) == (125, "")
    assert result.stderr.startswith("the launcher cannot come back to the host's mount namespace, and ends: ")


def test_a_signal_waits_until_it_is_back(make_machine: MakeMachine) -> None:
    """One that comes while the root is built undoes the start afterwards."""
    machine = make_machine(name=NAME)
    before = caller()
    build = excursion.Excursion.__enter__

    def interrupted(self: excursion.Excursion) -> None:
        build(self)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(excursion.Excursion, "__enter__", interrupted)
        former = signal.signal(signal.SIGINT, signal.default_int_handler)  # who called may ignore it
        try:
            with pytest.raises(KeyboardInterrupt):
                machine.start()
        finally:
            signal.signal(signal.SIGINT, former)
    assert caller() == before
    assert machine.container.status().state == "stopped"
    machine.start()


KILLED_AT = {
    "the root is built": "launch.Launch._make_root",
    "it comes back": "excursion.Excursion.__exit__",
    "the start is noted": "start.Start._note",
    "the init is let go": "start._read_report",
}


def killed_at(machine: Machine, place: str, *records: Mount, when: str = "before") -> subprocess.Popen[str]:
    """Run a caller that starts the machine, and is killed at a place, or reports that it is there and goes on."""
    module, _dot, names = place.partition(".")
    program = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(excursion.__file__).parents[2])!r})
from module_utils.launcher import excursion, launch, records, root
from module_utils.life import container, start
from module_utils.launcher.contract import Mount
owner = {module}
*way, name = {names!r}.split(".")
for step in way:
    owner = getattr(owner, step)
real = getattr(owner, name)
def killed(*arguments):
    if {when!r} == "before":
        os.kill(os.getpid(), signal.SIGKILL)
    print("there", flush=True)
    return real(*arguments)
setattr(owner, name, killed)
machine = container.Container({machine.name!r})
with machine.lock(5):
    shared = map(Mount.read, {[record.write() for record in records]!r})
    machine.start({str(machine.system)!r}, extra_file_systems=list(shared))
"""
    return subprocess.Popen([INTERPRETER, "-c", program], stdout=subprocess.PIPE, text=True)


def nobody_is_left(machine: Machine) -> bool:
    return machine.container.cgroup.wait_empty(5)


@pytest.mark.parametrize("place", KILLED_AT.values(), ids=KILLED_AT)
def test_the_init_ends_with_a_killed_caller(make_machine: MakeMachine, place: str) -> None:
    """Before it was let go: nobody waits for it, holding the lock. Then the next run goes on."""
    machine = make_machine(name=NAME)
    assert killed_at(machine, place).wait(30) == -signal.SIGKILL
    if "_read_report" not in place:
        assert nobody_is_left(machine)
    machine.container.cgroup.close()
    with machine.container.lock(5):
        pass
    machine.stop()
    machine.start()


def test_an_init_that_is_killed_before_it_runs_is_a_failure(
    make_machine: MakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = make_machine(name=NAME)
    note = start.Start._note

    def noted(self: start.Start, is_ready: bool) -> dict[str, t.Any]:
        record = note(self, is_ready)
        assert self.init is not None
        self.init.signal(signal.SIGKILL)
        assert self.init.wait(10)
        return record

    monkeypatch.setattr(start.Start, "_note", noted)
    with pytest.raises(LauncherError, match="cannot start: its first process was killed"):
        machine.start(wait=False)
    monkeypatch.undo()
    machine.start()


def test_a_caller_with_threads_lets_a_child_build(make_machine: MakeMachine) -> None:
    """What an excursion changes belongs to all threads of a process, and the way back to one."""
    machine = make_machine(name=NAME)
    seen: set[tuple[str, int, int]] = set()
    over = threading.Event()

    def watch() -> None:
        while not over.is_set():
            status = dict(line.split(":", 1) for line in Path("/proc/thread-self/status").read_text().splitlines())
            seen.add((os.getcwd(), int(status["Umask"], 8), int(status["Uid"].split()[1])))

    thread = threading.Thread(target=watch)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # it asks for Python's lock all the time, also while a process is made
    thread.start()
    try:
        for _again in range(10):
            machine.start(wait=False)
            machine.stop(0)
        status = machine.start()
        assert os.waitpid(status.pid or 0, os.WNOHANG) == (0, 0), "the init is the caller's child"
        machine.stop()
        with pytest.raises(LauncherError, match="the source of the mapping to /srv/data does not exist"):
            machine.start(extra_file_systems=[MISSING])
    finally:
        over.set()
        thread.join()
        sys.setswitchinterval(interval)
    assert len(seen) == 1
    assert next(iter(seen))[2] == 0


def test_a_caller_that_could_not_come_back(make_machine: MakeMachine) -> None:
    """Without CAP_SYS_CHROOT nobody enters a mount namespace (setns(2)); a child builds."""
    machine = make_machine(name=NAME)
    words = ["setpriv", "--bounding-set=-sys_chroot", "--inh-caps=-sys_chroot", str(machine.system / "run-container")]
    result = subprocess.run([*words, "--detach"], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert machine.output("systemctl", "is-system-running").strip() == "running"


def test_a_caller_that_may_not_mount_gets_an_error(make_machine: MakeMachine) -> None:
    machine = make_machine(name=NAME)
    words = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin", str(machine.system / "run-container")]
    result = subprocess.run([*words, "--detach"], capture_output=True, text=True, timeout=60)
    assert result.returncode == 125
    assert result.stderr.startswith(f"run-container: container {NAME}: cannot start: ")
    assert "Traceback" not in result.stderr


def test_a_mapping_whose_file_system_hangs_is_given_up_in_time(make_machine: MakeMachine, silent: Silent) -> None:
    machine = make_machine(name=NAME)
    mapping = MISSING.replacing(device=str(silent.path / "below"))
    before = caller()
    began = time.monotonic()
    # On a busy machine the child that builds is given up before it has said what it waits for.
    with pytest.raises(LauncherError, match=r"/srv/data: the file system of .* has not answered for [0-9.]+ s|in time"):
        machine.start(extra_file_systems=[mapping], timeout=1.0)
    assert 0.9 <= time.monotonic() - began < 20
    assert caller() == before
    machine.start()


def test_who_waits_for_a_silent_server_ends_with_a_killed_caller(make_machine: MakeMachine, silent: Silent) -> None:
    machine = make_machine(name=NAME)
    process = killed_at(
        machine, "records.Records._asks_a_server", MISSING.replacing(device=str(silent.path / "below")), when="after"
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "there\n"
    silent.await_question()
    process.kill()
    process.wait()
    assert nobody_is_left(machine)
    machine.container.cgroup.close()
    machine.start()


def test_a_container_in_one_that_shares_its_hosts_network(make_machine: MakeMachine) -> None:
    """There nobody who has left the network comes back to it; the inner one gets a network of its own all the same."""
    inner = make_machine(name=f"{NAME}-inner")
    mappings = [{"source": str(inner.system), "target": str(inner.system)}]
    outer = make_machine(name=f"{NAME}-outer", mappings=mappings, shared_network=True, security={"nesting": True})
    outer.start()
    outer.output(str(inner.system / "run-container"), "--detach")
    enter = [str(inner.system / "enter-container"), "--"]
    assert outer.output(*enter, "systemctl", "is-system-running").strip() == "running"
    assert outer.output(*enter, "ls", "/sys/class/net").split() == ["lo"]
    assert "lo:" in outer.output(*enter, "cat", "/proc/net/dev")
    assert os.readlink("/proc/self/ns/net") == outer.output("readlink", "/proc/self/ns/net").strip()
    outer.output(str(inner.system / "run-container"), "--stop")


def test_a_timer_goes_on_after_an_alarm() -> None:
    rung = threading.Event()
    former = signal.signal(signal.SIGALRM, lambda *_arguments: rung.set())
    left, interval = signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(TimeoutError), excursion.Alarm(0.01):
            threading.Event().wait(10)
        with excursion.Alarm(10):
            threading.Event().wait(0.01)
        assert not rung.is_set()
        assert rung.wait(10)
    finally:
        signal.setitimer(signal.ITIMER_REAL, left, interval)
        signal.signal(signal.SIGALRM, former)
