# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What root inside has left for our processes to stumble over: modules, shells, interpreters, links, odd callers."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import enter
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError

if t.TYPE_CHECKING:
    from .conftest import Machine, MakeMachine

pytestmark = pytest.mark.root

NAME = "test-isolation-cross"

EVIL = """
with open("/tmp/ran", "a") as file:
    file.write(__name__ + open("/proc/self/status").read())
"""
PLANT = f"""
import os, sys
root = sys.argv[1]
os.makedirs(root + "/encodings", exist_ok=True)
os.makedirs(root + "/importlib", exist_ok=True)
for name in [*sys.stdlib_module_names, "sitecustomize", "usercustomize", "encodings/__init__", "encodings/idna"]:
    with open(f"{{root}}/{{name}}.py", "w") as file:
        file.write({EVIL!r})
"""
SHOW_MOUNT = """
import os, re
descriptor = os.open("/proc/self/exe", os.O_PATH)
number = re.search(r"mnt_id:\\t(\\d+)", open(f"/proc/self/fdinfo/{descriptor}").read())[1]
print("container's" if any(line.split()[0] == number for line in open("/proc/self/mountinfo")) else "host's")
"""


@pytest.fixture
def machine(make_machine: MakeMachine) -> Machine:
    made = make_machine({"users": [{"name": "alice"}]}, name=NAME)
    made.start()
    return made


def python_directories(machine: Machine) -> list[str]:
    """Where this machine's Pythons look for modules, as far as the container has it."""
    found = machine.output("sh", "-c", "ls -d /usr/lib/python3*").split()
    assert found
    return found


def enter_in_all_ways(machine: Machine) -> None:
    """As an administrator, as a user, as a program, and as the launcher's own questions do."""
    machine.output("true")
    machine.output("/usr/bin/true")
    machine.output("true", user="alice")
    with contextlib.suppress(subprocess.TimeoutExpired):
        machine.run("no-such-program")
    machine.run("true", user="nobody-knows")
    assert enter.ask(machine.container, ["true"], 20)[0] == 0
    with pytest.raises(LauncherError):
        enter.ask(machine.container, ["/no/such/program"], 20)
    machine.container.failed_units()


class TestModules:
    """Code of the container's own in place of Python's: it never runs in an entering process."""

    def test_planted_modules_are_not_imported(self, machine: Machine) -> None:
        for directory in python_directories(machine):
            machine.output("python3", "-c", PLANT, "/tmp/planted")
            machine.output("mount", "--bind", "/tmp/planted", directory)
        enter_in_all_ways(machine)
        assert machine.run("cat", "/tmp/ran").returncode != 0

    def test_a_planted_module_would_be_seen(self, machine: Machine) -> None:
        """The trap works."""
        machine.output("python3", "-c", PLANT, "/tmp/planted")
        machine.output("python3", "-c", "import sys; sys.path.insert(0, '/tmp/planted'); import wave")
        assert "CapEff" in machine.output("cat", "/tmp/ran")

    def test_a_container_without_python_can_be_entered(self, machine: Machine) -> None:
        """As one whose store holds another Python, or none (T7)."""
        for directory in python_directories(machine):
            machine.output("mount", "-t", "tmpfs", "none", directory)
        enter_in_all_ways(machine)


class TestPrograms:
    """The host's own Python, which the entering process is, never becomes a program of the container's."""

    @pytest.mark.parametrize(
        "shell",
        [
            "/proc/self/exe",
            "/proc/thread-self/exe",
            "/tmp/link",
            "/tmp/script",
            "/tmp/script-of-script",
            "/tmp/directory/exe",
        ],
    )
    def test_the_hosts_python_is_not_run(self, machine: Machine, shell: str) -> None:
        """CVE-2019-5736, with shells and interpreters that name the process's own program."""
        machine.output(
            "sh",
            "-ec",
            "ln -s /proc/self/exe /tmp/link; ln -s /proc/self /tmp/directory\n"
            "(echo '#!/proc/self/exe'; cat) > /tmp/script; echo '#!/tmp/script' > /tmp/script-of-script\n"
            "chmod 755 /tmp/script /tmp/script-of-script\n"
            f"echo mallory:x:0:0::/tmp:{shell} >> /etc/passwd",
            input=SHOW_MOUNT,
        )
        for command in ([], [shell]):
            words = [str(machine.system / "enter-container"), "--user=mallory", "--", *command]
            result = subprocess.run(words, input=SHOW_MOUNT, capture_output=True, text=True, timeout=60)
            assert "host's" not in result.stdout
            assert "container's" in result.stdout or result.returncode == 125

    def test_the_boot_script_is_not_run_by_it(self, make_machine: MakeMachine, tmp_path: Path) -> None:
        """A hostile store, whose shell is a link to the process's own program."""
        store = tmp_path / "usr"
        with tree(store):
            machine = make_machine(
                name=NAME, store=f"{store}=/usr", mappings=[f"{_link_to_itself(tmp_path)}=/usr/bin/dash"]
            )
            with contextlib.suppress(LauncherError):
                machine.start(wait=False, timeout=10)
            machine.stop()

    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("#!/bin/sh", "one two"),
            ("#! /bin/sh -e", "one two"),
            ("#!/usr/bin/env sh", "one two"),
            ("#!/usr/bin/env -S sh -e", "one two"),
            ("#!\t/bin/sh\t", "one two"),
        ],
    )
    def test_scripts_run_as_the_kernel_runs_them(self, machine: Machine, line: str, expected: str) -> None:
        machine.output("sh", "-c", f"printf '{line}\\necho $1 $2\\n' > /tmp/s; chmod 755 /tmp/s")
        assert machine.output("/tmp/s", "one", "two").strip() == expected
        assert machine.output("sh", "-c", 'PATH=/tmp:$PATH exec s "$@"', "sh", "one", "two").strip() == expected

    @pytest.mark.parametrize("made", ["mkfifo", "mkdir", "touch", "ln -s /dev/ptmx", "ln -s /dev/zero"])
    def test_what_is_no_program_is_an_error_at_once(self, machine: Machine, made: str) -> None:
        machine.output("sh", "-c", f"{made} /tmp/thing")
        result = machine.run("/tmp/thing")
        assert (result.returncode, result.stdout) == (125, "")
        assert "Permission denied" in result.stderr


@contextlib.contextmanager
def tree(usr: Path) -> t.Iterator[Path]:
    """The host's `/usr` as the one of another tree; what lies beside it is the test's."""
    usr.mkdir()
    subprocess.run(["mount", "--bind", "/usr", str(usr)], check=True, timeout=60)
    try:
        yield usr.parent
    finally:
        subprocess.run(["umount", str(usr)], check=True, timeout=60)


def _link_to_itself(directory: Path) -> Path:
    link = directory / "own-program"
    link.write_text("#!/proc/self/exe\n")
    link.chmod(0o755)
    return link


class TestStart:
    """Links that a former run has left in writable mappings lead the next start nowhere outside."""

    def test_a_home_through_every_descriptor(self, make_machine: MakeMachine, tmp_path: Path) -> None:
        home = tmp_path / "home"
        home.mkdir()
        numbers = range(3, 64)
        users = [{"name": f"u{number}", "home_directory": f"/home/t{number}/of-the-test"} for number in numbers]
        mappings = [{"source": str(home), "target": "/home", "writable": True}]
        machine = make_machine({"users": users}, name=NAME, mappings=mappings)
        machine.start()
        machine.stop()
        for number in numbers:
            place = home / f"t{number}"
            (place / "of-the-test").rmdir()
            place.rmdir()
            place.symlink_to(f"/proc/self/fd/{number}{tmp_path}")
        with contextlib.suppress(LauncherError):
            machine.start(wait=False)
        machine.stop()
        assert sorted(os.listdir(tmp_path)) == ["home"]

    @pytest.mark.parametrize(
        "link",
        [
            "/proc/1/root",
            "/proc/self/cwd",
            "/proc/self/root",
            "/proc/thread-self/root",
            "/proc/self/task/1/root",
            "../../..",
        ],
    )
    def test_a_home_through_other_magic_links(self, make_machine: MakeMachine, tmp_path: Path, link: str) -> None:
        home = tmp_path / "home"
        home.mkdir()
        users = [{"name": "alice", "home_directory": "/home/team/of-the-test"}]
        mappings = [{"source": str(home), "target": "/home", "writable": True}]
        machine = make_machine({"users": users}, name=NAME, mappings=mappings)
        (home / "team").symlink_to(f"{link}{tmp_path}")
        with contextlib.suppress(LauncherError):
            machine.start(wait=False)
        machine.stop()
        assert sorted(os.listdir(tmp_path)) == ["home"]

    def test_the_null_device_is_no_file_of_a_mapping(self, make_machine: MakeMachine, tmp_path: Path) -> None:
        """A kept journal that a link lays over /dev is an error that names the link's place."""
        var = tmp_path / "var"
        (var / "log").mkdir(parents=True)
        mappings = [{"source": str(var), "target": "/var", "writable": True}]
        machine = make_machine(name=NAME, mappings=mappings, log="persistent")
        machine.start()
        machine.stop()
        (var / "log/journal").rmdir()
        (var / "log/journal").symlink_to("/dev")
        with pytest.raises(LauncherError, match="/var/log/journal: a symbolic link"):
            machine.start()

    @pytest.mark.parametrize(
        "place", ["/", "/run", "/run/host", "/run/current-system", "/dev", "/dev/../dev", "/proc", "/proc/../sys"]
    )
    def test_a_mount_point_is_not_led_to_the_foundations(
        self, make_machine: MakeMachine, tmp_path: Path, place: str
    ) -> None:
        data = tmp_path / "data"
        data.mkdir()
        (data / "link").symlink_to(place)
        mappings = [{"source": str(data), "target": "/data", "writable": True}, "/usr/share=/data/link"]
        with pytest.raises(LauncherError, match="/data/link: a symbolic link"):
            make_machine(name=NAME, mappings=mappings).start()


class TestTrees:
    """What lies beside a store is read as the tree's own: its links are, absolute ones too."""

    @pytest.mark.parametrize(
        ("path", "target"),
        [
            ("etc/ld.so.cache", "/etc/shadow"),
            ("etc/rpc", "/proc/kallsyms"),
            ("etc/mime.types", "/proc/self/environ"),
            ("etc/ethertypes", "../../../../../../../../../../etc/gshadow"),
            ("etc/alternatives", "/root"),
            ("etc/ssl", "/etc/ssl"),
            ("etc/protocols", "/proc/self/fd/0"),
            ("etc/magic", "/dev/zero"),
        ],
    )
    def test_hostile_links(self, make_machine: MakeMachine, tmp_path: Path, path: str, target: str) -> None:
        (tmp_path / "etc").mkdir()
        (tmp_path / path).symlink_to(target)
        with tree(tmp_path / "usr"):
            machine = make_machine(name=NAME, store=f"{tmp_path}/usr=/usr")
            machine.start()
            assert machine.run("test", "-e", "/" + path).returncode != 0
            machine.stop()

    def test_honest_links(self, make_machine: MakeMachine, tmp_path: Path) -> None:
        """Absolute and relative, to a file, a directory, and through a directory."""
        (tmp_path / "etc").mkdir()
        (tmp_path / "data/alternatives").mkdir(parents=True)
        (tmp_path / "data/alternatives/editor").write_text("the tree's\n")
        (tmp_path / "data/rpc").write_text("the tree's\n")
        (tmp_path / "etc/alternatives").symlink_to("/data/alternatives")
        (tmp_path / "etc/rpc").symlink_to("../data/rpc")
        (tmp_path / "etc/protocols").symlink_to("/etc/rpc")
        with tree(tmp_path / "usr"):
            machine = make_machine(name=NAME, store=f"{tmp_path}/usr=/usr")
            machine.start()
            files = ["/etc/alternatives/editor", "/etc/rpc", "/etc/protocols"]
            assert machine.output("cat", *files) == "the tree's\n" * 3
            machine.stop()

    def test_a_vast_file_is_refused(self, make_machine: MakeMachine, tmp_path: Path) -> None:
        (tmp_path / "etc").mkdir()
        with open(tmp_path / "etc/rpc", "wb") as file:
            file.truncate(1 << 40)
        with tree(tmp_path / "usr"), pytest.raises(LauncherError, match="/etc/rpc"):
            make_machine(name=NAME, store=f"{tmp_path}/usr=/usr").start()


class TestCallers:
    """PID 1 and what enters have the same limits and priorities, whoever called."""

    ODD = (
        "import os, resource, sys\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))\n"
        "resource.setrlimit(resource.RLIMIT_STACK, (1 << 20, resource.getrlimit(resource.RLIMIT_STACK)[1]))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, resource.RLIM_INFINITY))\n"
        "os.nice(7)\n"
        "os.sched_setaffinity(0, {0})\n"
        "os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))\n"
        "open('/proc/self/oom_score_adj', 'w').write('500')\n"
        "os.umask(0o077)\n"
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN); signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "os.execv(sys.argv[1], sys.argv[1:])\n"
    )
    LOOK = (
        "cat /proc/$P/limits; cat /proc/$P/oom_score_adj; chrt -p $P | sed 's/[0-9]*.s current/current/'\n"
        "taskset -p $P | sed 's/.*mask//'; ps -o ni= -p $P\n"
        "grep -E '^(Cap|Seccomp|NoNewPrivs|Uid|Gid|Groups)' /proc/$P/status\n"
        "ionice -p $P; cat /proc/$P/uid_map /proc/$P/gid_map"
    )

    def test_they_do_not_depend_on_the_caller(self, make_machine: MakeMachine) -> None:
        machine = make_machine(name=NAME)
        script = [sys.executable, "-c", self.ODD, str(machine.system / "run-container"), "--detach"]
        subprocess.run(script, check=True, timeout=60, capture_output=True)
        odd = self._look(machine, "1")
        machine.stop()
        machine.start()
        assert self._look(machine, "1") == odd
        assert "Max stack size            8388608 " in odd

    def test_an_entered_command_has_what_pid_1_has(self, machine: Machine) -> None:
        first = self._look(machine, "1")
        assert self._look(machine, "$$") == first
        words = [sys.executable, "-c", self.ODD, str(machine.system / "enter-container"), "--", "sh", "-c"]
        command = [*words, self.LOOK.replace("$P", "$$")]
        odd = subprocess.run(command, check=True, timeout=60, capture_output=True, text=True).stdout
        assert _without_pids(odd) == _without_pids(first)

    def _look(self, machine: Machine, pid: str) -> str:
        return _without_pids(machine.output("sh", "-c", self.LOOK.replace("$P", pid)))


def _without_pids(text: str) -> str:
    return "\n".join(line for line in text.replace("'s", "").splitlines() if not line.startswith("pid "))


@pytest.mark.parametrize("broken", ["mkdir", "ln -s /dev/null/x", "ln -s passwd", "mkfifo", "ln -s /proc/self/fd/0"])
def test_a_broken_account_file_keeps_root_not_out(machine: Machine, broken: str) -> None:
    machine.output("sh", "-c", f"rm /etc/passwd; {broken} /etc/passwd")
    assert machine.output("id", "-u").strip() == "0"
    refused = machine.run("true", user="alice")
    assert refused.returncode == 125
    assert f"container {NAME}: cannot enter: " in refused.stderr
    assert "alice" in refused.stderr or "/etc/passwd" in refused.stderr
