# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Root inside lays traps for whoever enters, so that a process of the host would run its code before the program."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.inside import questions
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError

from . import isolation_record
from .conftest import INTERPRETER
from .isolation import MODES, make_hostile, package

if t.TYPE_CHECKING:
    from .conftest import Machine, MakeMachine

pytestmark = pytest.mark.root

NAME = "test-isolation-traps"
TELL = """
import os
descriptor = os.open("/proc/self/exe", os.O_RDONLY)
lines = open("/proc/self/fdinfo/%d" % descriptor).read().splitlines()
mount = next(line.split()[1] for line in lines if line.startswith("mnt_id:"))
mounts = [line.split()[0] for line in open("/proc/self/mountinfo")]
open("/tmp/which", "w").write("inside" if mount in mounts else "of the host")
"""
"""Says whether the interpreter that runs it lies on a mount of the container's."""

OTHERS = [f"/usr/local/lib/python3.{minor}" for minor in range(8, 16)]
"""Where Pythons of a host may look for modules, whatever the store has."""


def interpreters_paths() -> list[str]:
    """Return where the Pythons that enter, this one and the one of `enter-container`, look for modules."""
    script = "import sys; print('\\n'.join(sys.path))"
    theirs = subprocess.run([INTERPRETER, "-c", script], capture_output=True, text=True, timeout=60, check=True).stdout
    return [path for path in {*sys.path, *theirs.splitlines()} if path.startswith("/")]


def lay(machine: Machine) -> subprocess.Popen[str]:
    """Have the traps laid; the process that watches them."""
    machine.output("sh", "-c", "cat > /tmp/traps", input=package("lay"), text=False)
    system = str(machine.system)
    words = json.dumps({"paths": [*interpreters_paths(), *OTHERS, system, f"{system}/library"]})
    command = [str(machine.system / "enter-container"), "--", "python3", "-I", "/tmp/traps", words]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    word, said = process.stdout.readline().split(" ", 1)
    found = json.loads(said)
    assert word == "laid"
    assert found["caught"] == sorted(found["traps"]), "a trap that catches nobody"
    assert set(OTHERS) <= set(found["traps"])
    return process


@pytest.mark.parametrize("mode", MODES)
def test_nothing_of_the_container_is_loaded_by_who_enters(make_machine: MakeMachine, tmp_path: Path, mode: str) -> None:
    """Neither by this process nor by `enter-container`: with a program that is there, and with one that is not."""
    machine = make_hostile(make_machine, mode, NAME, tmp_path / "data")
    machine.start()
    with lay(machine) as traps:
        for command in (["/not/there"], ["not-there"]):
            with contextlib.suppress(LauncherError):
                questions.capture(machine.container, command, 20)
            machine.run(*command)
            machine.run(*command, user="nobody")
        output, _errors = traps.communicate("", timeout=30)
    entered = [machine.run(program, user=user) for program in ("true", "/usr/bin/true") for user in ("root", "nobody")]
    with contextlib.suppress(LauncherError):
        entered.append(subprocess.CompletedProcess([], 0, questions.capture(machine.container, ["true"], 20), ""))
    evidence = machine.run("/usr/bin/cat", "/tmp/evidence").stdout
    opened = set(json.loads(output)) - {"/etc/passwd", "/etc/group", "/etc/"}
    words = {
        "run a module put in place of one of Python's": evidence or "refused",
        "have a library, locale or module opened": " ".join(sorted(opened)[:9]) or "refused",
        "keep everybody out by a store without Python": "ok"
        if len(entered) < 5 or any(result.returncode for result in entered)
        else "refused",
    }
    isolation_record.check(mode, "traps", "code", words)


OVERWRITE = """#!/proc/self/exe
import os
descriptor = os.open("/proc/self/exe", os.O_RDONLY)
os.set_inheritable(descriptor, True)
script = "until printf x >> /proc/self/fd/%d; do [ $((n += 1)) -gt 10 ] && break; sleep 0.02; done; touch /tmp/tried"
if os.fork() == 0:
    os.execv("/bin/sh", ["sh", "-c", script % descriptor])
"""
"""Keeps the program open that runs it, and writes to that as soon as nobody runs it any more."""


@pytest.mark.parametrize("mode", MODES)
def test_the_program_that_enters_is_not_overwritten(make_machine: MakeMachine, tmp_path: Path, mode: str) -> None:
    """CVE-2019-5736, as it was: a program that is the host's, which the next one there runs."""
    machine = make_hostile(make_machine, mode, NAME, tmp_path / "data")
    machine.start()
    copy = tmp_path / "python"  # which nothing else runs meanwhile
    shutil.copy(os.path.realpath(INTERPRETER), copy)
    before = copy.read_bytes()
    machine.output("sh", "-c", "cat > /tmp/script; chmod 755 /tmp/script", input=OVERWRITE)
    script = [str(copy), "-I", str(machine.system / "enter-container"), "--", "/tmp/script"]
    entered = subprocess.run(script, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    deadline = time.monotonic() + 20
    while entered.returncode == 0 and machine.run("test", "-e", "/tmp/tried").returncode:
        assert time.monotonic() < deadline, "it was not tried"
    word = "refused" if copy.read_bytes() == before else "ok"
    isolation_record.check(mode, "overwriting", "look", {"overwrite the program that enters": word})


WAYS = {
    "its path": "/proc/self/exe",
    "the path of its thread": "/proc/thread-self/exe",
    "a path through a link": "/tmp/directory/exe",
    "a link to it": "/tmp/itself",
    "a script for it": "/tmp/script",
    "a script for a script for it": "/tmp/script-of-script",
}
MAKE_WAYS = """
cat > /tmp/script
echo '#!/tmp/script' > /tmp/script-of-script
chmod 755 /tmp/script /tmp/script-of-script
ln -s /proc/self /tmp/directory
ln -s /proc/self/exe /tmp/itself
"""


@pytest.mark.parametrize("mode", MODES)
def test_the_program_that_enters_is_not_run_inside(make_machine: MakeMachine, tmp_path: Path, mode: str) -> None:
    """CVE-2019-5736: through /proc/self/exe, which is the host's until the container's program runs."""
    machine = make_hostile(make_machine, mode, NAME, tmp_path / "data")
    machine.start()
    machine.output("sh", "-ec", MAKE_WAYS, input="#!/proc/self/exe" + TELL)
    machine.output("python3", "-c", TELL)
    assert machine.output("cat", "/tmp/which") == "inside"
    words = {}
    for name, path in WAYS.items():
        machine.output("sh", "-c", f"echo evil:x:1234:1234::/:{path} >> /etc/passwd")
        for kind, words_after in {"": ["--", path], "a user's shell, ": ["--user=evil"]}.items():
            machine.output("rm", "-f", "/tmp/which")
            command = [str(machine.system / "enter-container"), *words_after]
            ended = subprocess.run(command, input=TELL, text=True, timeout=30, check=False, capture_output=True)
            said = machine.run("cat", "/tmp/which").stdout
            assert said or ended.returncode == 125, ended  # a program of the container's, or none
            words[f"/proc/self/exe as {kind}{name}"] = said or "refused"
        machine.output("sed", "-i", "/^evil:/d", "/etc/passwd")
    isolation_record.check(mode, "own program", "look", words)


MAGIC = ("/proc/self/cwd", "/proc/self/root", "/proc/1/root", "/proc/1/cwd", "/proc/thread-self/root", "/dev/fd/3")
WHERE = 'test -p /proc/self/fd/0 || { grep mnt_id /proc/self/fdinfo/0; cut -d" " -f1 /proc/self/mountinfo; }'
"""Says on which mount the standard input lies, and which mounts there are, unless it is a pipe."""


@pytest.fixture
def outside(public: Path) -> Path:
    """Return a directory of the host that everybody can read, and of which no container has anything."""
    (public / "passwd").write_text("mallory:x:0:0::/:/bin/sh\n")
    (public / "group").write_text("hosts:x:4321:mallory\n")
    (public / "secret").write_text("secret of the host\n")
    return public


def lay_links(inside: subprocess.Popen[str], target: str) -> None:
    """Have a shell inside put links in place of the files and the directory that entering looks at."""
    assert inside.stdin is not None
    assert inside.stdout is not None
    deeds = f"ln -sfn {target}/passwd /etc/passwd; ln -sfn {target}/group /etc/group; ln -sfn {target} /root"
    inside.stdin.write(f"{deeds}; ln -sfn {target}/secret /dev/null; echo laid\n")
    inside.stdin.flush()
    assert inside.stdout.readline() == "laid\n"


def follow_links(machine: Machine) -> str:
    """Enter in every way; `ok` when a link led to the host."""
    user = machine.run("id", user="mallory")
    home = machine.run("/bin/cat", "secret")
    null = ""
    with contextlib.suppress(LauncherError):
        null = questions.capture(machine.container, ["/bin/sh", "-c", WHERE], 20)
    mount, *mounts = null.replace("mnt_id:", "").split() or [""]
    led = user.returncode == 0, "secret of the host" in home.stdout, bool(mount) and mount not in mounts
    return "ok" if any(led) else "refused"


@pytest.mark.parametrize("mode", MODES)
def test_links_laid_for_who_enters_lead_nowhere(
    make_machine: MakeMachine, tmp_path: Path, outside: Path, mode: str
) -> None:
    """`/etc/passwd`, `/etc/group`, the home directory and `/dev/null` are links of the kernel's, or lead upward."""
    machine = make_hostile(make_machine, mode, NAME, tmp_path / "data")
    machine.start()
    machine.output("sh", "-c", "mv /root /root.kept; rm /etc/passwd; umount /dev/null; rm /dev/null; touch /etc/passwd")
    numbers = [*range(10), *range(62, 72)] if mode == "auto" else [3, 4, 64, 65]
    targets = {name: f"{name}{outside}" for name in MAGIC}
    targets["a path upward"] = "../" * 40 + str(outside).lstrip("/")
    targets |= {f"/proc/self/fd/{number}": f"/proc/self/fd/{number}{outside}" for number in numbers}
    words: dict[str, str] = {}
    command = [str(machine.system / "enter-container"), "--", "sh"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as inside:
        for name, target in targets.items():
            lay_links(inside, target)
            name = "/proc/self/fd/N, for many N" if name.startswith("/proc/self/fd/") else name
            word = follow_links(machine)
            if words.get(f"links for who enters to {name}") != "ok":
                words[f"links for who enters to {name}"] = word
        # Links that stay inside are followed, so the others were looked at.
        (tmp_path / "data" / "passwd").write_text((outside / "passwd").read_text())
        lay_links(inside, "/data")
        assert machine.run("id", user="mallory").returncode == 0
        inside.communicate("exit\n", timeout=30)
    isolation_record.check(mode, "links", "look", words)
