# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host enters a container whose root is hostile: nothing of the host is got hold of, and nobody is kept waiting."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.inside import enter, passage, questions
from ansible_collections.unshare.container.plugins.module_utils.inside.streams import Pipes
from ansible_collections.unshare.container.plugins.module_utils.launcher import linux, program
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.tests import mountinfo

from . import isolation_record
from .isolation import MODES, make_hostile

if t.TYPE_CHECKING:
    from .conftest import Machine, MakeMachine

pytestmark = pytest.mark.root

WATCHER = Path(__file__).with_name("isolation_watcher.py")
ENTRIES = 100
KILLED = 50
TOKEN = "a-token-that-no-command-learns"


@pytest.fixture
def machine(make_machine: MakeMachine) -> Machine:
    made = make_machine(name="test-isolation-enter")
    made.start()
    return made


def watch(machine: Machine, deed: str = "trace") -> subprocess.Popen[str]:
    """Start a watcher inside, and return it once it has begun."""
    (script, words) = (WATCHER.read_text(), f"{TOKEN},enter-container,pytest")
    machine.output("sh", "-c", "cat > /tmp/watcher", input=script)
    command = [str(machine.system / "enter-container"), "--", "python3", "-I", "/tmp/watcher", words, deed]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "watching\n"
    return process


@pytest.fixture(params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def in_mode(make_machine: MakeMachine, tmp_path: Path, mode: str) -> Machine:
    made = make_hostile(make_machine, mode, "test-isolation-enter", tmp_path / "data")
    made.start()
    return made


def said(found: dict[str, int]) -> str:
    """Return the word for what a watcher found."""
    return ", ".join(found) or "refused"


def test_nothing_of_an_entering_process_is_seen(in_mode: Machine, mode: str) -> None:
    """CVE-2019-5736, CVE-2024-21626: its program, descriptors, directory, memory; its command line, too."""
    entries = ENTRIES if mode == "auto" else ENTRIES // 5
    with watch(in_mode) as watcher:
        for _entry in range(entries):
            assert questions.capture(in_mode.container, ["/usr/bin/true"], 20) == ""
        script = str(in_mode.system / "enter-container")
        for _entry in range(10):
            told = subprocess.run(
                [script, "--report", TOKEN, "--", "true"], capture_output=True, text=True, timeout=60, check=True
            )
            assert f"{TOKEN} exit 0" in told.stderr
        output, _errors = watcher.communicate("end\n", timeout=60)
    result = json.loads(output)
    isolation_record.check(mode, "watched", "look", {"watch who enters": said(result["found"])})
    assert result["seen"] > entries / 10, "the watcher saw too little to tell anything"


def test_nothing_of_the_host_is_seen_of_a_dying_process(in_mode: Machine, mode: str) -> None:
    """Root inside kills whatever enters; dying it has no memory any more that would say whether it may be looked at."""
    killed = 0
    with watch(in_mode, "kill") as watcher:
        for _entry in range(KILLED if mode == "auto" else KILLED // 3):
            try:
                killed += questions.ask(in_mode.container, ["/usr/bin/true"], 20)[0] == signal.SIGKILL
            except LauncherError as error:
                killed += any(word in str(error) for word in (enter.KILLED, "it ended meanwhile"))
        output, _errors = watcher.communicate("end\n", timeout=60)
    isolation_record.check(mode, "killed", "look", {"kill who enters": said(json.loads(output)["found"])})
    assert killed > 0


def test_the_watcher_sees_what_does_not_hide(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The attack works where the defence is taken away."""
    monkeypatch.setattr(passage, "_forget_command_line", lambda: None)
    find = passage.Account.find

    def find_slowly(root: int, user: str) -> passage.Account:
        time.sleep(0.05)  # so that it is seen under way in any case
        return find(root, user)

    monkeypatch.setattr(passage.Account, "find", find_slowly)
    with watch(machine) as watcher:
        for _entry in range(5):
            questions.capture(machine.container, ["/usr/bin/true"], 20)
        output, _errors = watcher.communicate("end\n", timeout=60)
    assert json.loads(output)["found"].keys() == {"command line"}


def test_an_entered_command_inherits_nothing(machine: Machine) -> None:
    with open("/etc/hostname", "rb") as held:  # a descriptor of the host's that does not close by itself
        os.set_inheritable(held.fileno(), True)
        listing = questions.capture(
            machine.container, ["sh", "-c", "ls -l /proc/$$/fd /proc/$$/cwd; exec 9</dev/null"], 20
        )
    links = [line.split(" -> ")[1] for line in listing.splitlines() if " -> " in line]
    assert len(links) == 4, listing
    assert sorted(link.split(":")[0] for link in links) == ["/", "pipe", "pipe", "pipe"]


@pytest.mark.parametrize("deed", ["os.kill(int(name), 19)", "libc.ptrace(0x4206, int(name), 0, 0)"])
def test_stopped_and_traced_processes_keep_nobody_waiting(machine: Machine, deed: str) -> None:
    """Root inside stops whatever enters, or traces it and never asks how it ended, so that nobody else gets to know."""
    stopper = (
        "import ctypes, os, select\n"
        "libc = ctypes.CDLL(None)\n"
        "known = set(os.listdir('/proc'))\n"
        "print('watching', flush=True)\n"
        "while not select.select([0], [], [], 0)[0]:\n"
        "    for name in os.listdir('/proc'):\n"
        "        if name.isdigit() and name not in known:\n"
        f"            try: {deed}\n"
        "            except OSError: pass\n"
    )
    command = [str(machine.system / "enter-container"), "--", "python3", "-c", stopper]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as inside:
        assert inside.stdout is not None
        assert inside.stdout.readline() == "watching\n"
        began = time.monotonic()
        with pytest.raises(LauncherError, match="in time|did not answer"):
            machine.container.failed_units(timeout=1)
        assert time.monotonic() - began < 4
        inside.communicate("end\n", timeout=60)
    assert machine.container.failed_units() == []


def test_a_control_group_made_by_root_inside_keeps_nobody_waiting(machine: Machine) -> None:
    """The group that entered processes get into is frozen before they do."""
    machine.output("systemd-run", "--quiet", "--service-type=oneshot", "true")  # entered once: the group exists
    group = "unshare.entered"
    freeze = f"cd /sys/fs/cgroup && rmdir {group} && mkdir {group} && echo 1 > {group}/cgroup.freeze"
    machine.output("systemd-run", "--quiet", "--on-active=0", "sh", "-c", f"until {freeze}; do sleep 0.01; done")
    events = mountinfo.lines()
    hierarchy = next(line.split()[4] for line in events if " - cgroup2 " in line)
    switch = Path(hierarchy, machine.container.cgroup.path, group, "cgroup.freeze")
    deadline = time.monotonic() + 20
    frozen = False
    while not frozen:
        assert time.monotonic() < deadline
        with contextlib.suppress(OSError):  # the old one has just gone
            frozen = switch.read_text() == "1\n"
    began = time.monotonic()
    assert machine.container.failed_units(timeout=3) == [], "who enters gets a group of the host's own"
    assert time.monotonic() - began < 4
    assert switch.read_text() == "1\n"


def test_a_program_that_closes_its_output_and_stays_keeps_nobody_waiting(machine: Machine) -> None:
    began = time.monotonic()
    with pytest.raises(LauncherError, match="did not answer"):
        questions.capture(machine.container, ["sh", "-c", "exec >&- 2>&-; exec sleep 600"], 1)
    assert time.monotonic() - began < 4


@pytest.mark.parametrize(
    ("turn", "said"),
    [
        ("mkfifo", "/etc/passwd: is not a file"),
        ("mkdir", "/etc/passwd: is not a file"),
        ("ln -s /dev/pts/ptmx", "/etc/passwd: is not a file"),
        ("ln -s /dev/zero", "/etc/passwd: is not a file"),
        ("ln -s passwd", "Too many levels of symbolic links: '/etc/passwd'"),
        ("ln -s /dev/null/x", "Not a directory: '/etc/passwd'"),
        ("ln -s /proc/self/fd/0", "/etc/passwd"),
    ],
)
def test_accounts_are_read_from_a_file_only(machine: Machine, turn: str, said: str) -> None:
    """The host reads /etc/passwd of the container to know whose pipes they are. Root gets in, to mend it."""
    machine.output("sh", "-c", f"mv /etc/passwd /etc/passwd.kept && {turn} /etc/passwd")
    result = machine.run("true", user="nobody", timeout=30)
    assert result.returncode == 125
    assert f"container {machine.name}: cannot enter: " in result.stderr
    assert said in result.stderr
    assert machine.output("id", "-u").strip() == "0"


@pytest.mark.parametrize(
    "line",
    [
        "root:x:0:0:r:/ro\\000ot:/bin/sh",
        "root:x:0:0:r:/root:/bin/\\000sh",
        "root:x:0:0:r:/%0300000d:/bin/sh",
        "ro\\000ot:x:0:0:r:/root:/bin/sh",
        "root:x:65535:65535:r:/:/bin/sh",
        "root:x:0:7:r:/root:/bin/sh",  # with more groups than a process can have
    ],
)
def test_no_line_of_accounts_keeps_root_out(machine: Machine, line: str) -> None:
    """Neither the host's questions, nor who comes to mend it."""
    groups = "seq 70000 | sed 's/.*/g:x:5:root/' >/etc/group"
    machine.output("sh", "-c", f"cp /etc/passwd /etc/kept && printf '{line}\\n' >/etc/passwd && {groups}")
    for user in ("root", "0"):
        assert machine.output("id", "-u", user=user) == "0\n"
    assert machine.container.failed_units(timeout=20) == []
    machine.output("mv", "/etc/kept", "/etc/passwd")


def test_a_link_to_the_hosts_accounts_stays_inside(machine: Machine) -> None:
    script = "cd /etc && mkdir -p /srv/etc && sed s/^nobody:x:65534:/nobody:x:1234:/ passwd > /srv/etc/passwd"
    machine.output("sh", "-c", f"{script} && ln -sf ../../../../../../srv/etc/passwd passwd")
    assert machine.output("id", "-u", user="nobody").strip() == "1234"


def test_the_command_line_seen_inside_is_blank(machine: Machine) -> None:
    """And the host's own is as it was."""
    before = Path("/proc/self/cmdline").read_bytes()
    questions.capture(machine.container, ["true"], 20)
    assert Path("/proc/self/cmdline").read_bytes() == before


def test_what_was_given_up_does_not_run_later(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root inside can freeze who enters, and let it go on when the host has said that it was not let in."""
    monkeypatch.setattr(enter, "_let_go", lambda _go: None)
    with pytest.raises(LauncherError, match="in time"):
        questions.ask(machine.container, ["touch", "/tmp/ran-later"], 1)
    monkeypatch.undo()
    assert questions.ask(machine.container, ["test", "-e", "/tmp/ran-later"], 20)[0] != 0


@pytest.mark.parametrize("user", ["root", "nobody"])
def test_a_change_of_ids_makes_nothing_visible(machine: Machine, monkeypatch: pytest.MonkeyPatch, user: str) -> None:
    """As where fs.suid_dumpable is 1: the kernel then makes a process dumpable whenever its ids or rights change."""
    # What the kernel does with `commit_creds`; less that it does not do it when rights are only given up.
    for module, name in ((os, "setresuid"), (os, "setresgid"), (linux, "setns")):
        monkeypatch.setattr(module, name, then_dumpable(getattr(module, name)))
    checked = ((passage.lookup, "open_root"), (passage.Account, "find"), (program.Program, "execute"))
    for owner, name in (*checked, (passage.linux, "clone3"), (passage, "_change_directory")):
        monkeypatch.setattr(owner, name, only_hidden(getattr(owner, name)))
    entry = enter.Entry(machine.container)
    try:
        entered = entry.spawn(["true"], user, Pipes())
    finally:
        entry.close()
    assert os.waitpid(entered.pid, 0)[1] == 0
    entered.courier.close()


def then_dumpable(function: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
    """Return a function after which the process is dumpable."""

    def call(*arguments: t.Any) -> t.Any:
        result = function(*arguments)
        linux.prctl(linux.PR_SET_DUMPABLE, 1)
        return result

    return call


def only_hidden(function: t.Callable[..., t.Any]) -> t.Callable[..., t.Any]:
    """Return a function that fails in a dumpable process, unless that has not left the host."""
    host = os.stat("/proc/self/ns/user").st_ino

    def call(*arguments: t.Any) -> t.Any:
        try:
            outside = os.stat("/proc/self/ns/user").st_ino == host
        except OSError:
            outside = False  # it has no number in the container's /proc
        assert outside or linux.prctl(linux.PR_GET_DUMPABLE) != 1, function.__name__
        return function(*arguments)

    return call
