# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an entered process and PID 1 may do does not depend on who calls: limits, priorities, signals, descriptors."""

from __future__ import annotations

import json
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.inside import questions

from . import isolation_record
from .isolation import MODES, make_hostile

if t.TYPE_CHECKING:
    from .conftest import Machine, MakeMachine

pytestmark = pytest.mark.root

NAME = "test-isolation-callers"
TELL = """
import ctypes, json, os, sys
IOPRIO_GET = {"x86_64": 252}.get(os.uname().machine, 31)
FIELDS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "Seccomp", "Seccomp_filters", "NoNewPrivs", "Uid", "Gid",
          "Groups", "Cpus_allowed_list", "Mems_allowed_list", "THP_enabled")
def read(name):
    with open(name) as file:
        return file.read()
def tell(pid):
    status = dict(line.split(":", 1) for line in read(f"/proc/{pid}/status").splitlines())
    facts = {name: status[name].strip() for name in FIELDS if name in status}
    for name in ("uid_map", "gid_map", "oom_score_adj", "limits", "coredump_filter"):
        facts[name] = read(f"/proc/{pid}/{name}")
    stat = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    facts.update(priority=stat[15], nice=stat[16], real_time=stat[37], policy=stat[38])
    if os.path.exists("/proc/1/numa_maps"):
        maps = read(f"/proc/{pid}/numa_maps").splitlines()
        facts["memory policy"] = [line.split()[1] for line in maps if " stack " in line]
    facts["I/O"] = ctypes.CDLL(None).syscall(IOPRIO_GET, 1, 0 if pid == "self" else pid)
    return facts
own = dict(line.split(":", 1) for line in read("/data/status").splitlines())
extra = {"SigIgn": own["SigIgn"].strip(), "SigBlk": own["SigBlk"].strip(), "Umask": own["Umask"].strip()}
numbers = filter(lambda name: int(name) > 2, os.listdir("/proc/self/fd"))
extra["descriptors"] = [number for number in numbers if os.path.lexists("/proc/self/fd/" + number)]
extra["stray"] = sorted(name for name in os.environ if name.startswith("UNSHARE_TEST"))
extra["namespaces"] = {
    name: os.readlink("/proc/self/ns/" + name) == os.readlink("/proc/1/ns/" + name) for name in os.listdir("/proc/1/ns")
}
extra["group"] = read("/proc/self/cgroup").splitlines()[-1].startswith("0::/../")
with open("/data/facts", "w") as file:
    json.dump({"PID 1": tell(1), "own": tell("self"), "extra": extra}, file)
"""
OWN_STATUS = "cat /proc/self/status > /data/status;"
IGNORE = """
import ctypes, os, sys
number = {"x86_64": 13, "ppc64le": 173, "s390x": 174}.get(os.uname().machine, 134)
ignored = (ctypes.c_ulong * 4)(1)
for signal in (32, 33):
    assert ctypes.CDLL(None).syscall(number, signal, ignored, None, 8) == 0
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""Ignores the signals that the C library keeps for itself, and executes the rest of its arguments."""

MEMORY = """
import ctypes, os, sys
number = {"x86_64": 238, "ppc64le": 261, "s390x": 270}.get(os.uname().machine, 237)
libc = ctypes.CDLL(None)
if sys.argv[1] == "pages":
    assert libc.prctl(41, 1, 0, 0, 0) == 0
else:
    assert libc.syscall(number, 3, ctypes.byref(ctypes.c_ulong(1)), ctypes.c_ulong(64)) == 0
os.execvp(sys.argv[2], sys.argv[2:])
"""
"""Does without huge pages, or spreads its memory over the nodes of the machine, and executes its other arguments."""

OPEN = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
for _number in range(2000):
    os.set_inheritable(os.open("/etc/shadow", os.O_RDONLY), True)
os.execvp(sys.argv[1], sys.argv[1:])
"""
"""Opens more files than a container's processes may, as a rule, and executes its arguments."""

EXPECTED = {"SigIgn": "0" * 16, "SigBlk": "0" * 16, "Umask": "0022", "descriptors": [], "stray": [], "group": False}
CALLERS = {
    "nobody special": "",
    "few descriptors": "prlimit --nofile=64:",
    "small stack, files and core": "prlimit --stack=4194304: --fsize=1073741824: --core=0:",
    "few processes and signals": "prlimit --nproc=5000: --sigpending=100: --memlock=65536:",
    "low hard limits": "prlimit --nofile=64:64 --stack=4194304:8388608 --memlock=65536:65536",
    "a low priority": "nice -n 10",
    "a high priority": "nice -n -10",
    "a real-time policy": "chrt --fifo 5",
    "a batch policy": "chrt --batch 0",
    "the highest priority of I/O": "ionice --class 1 --classdata 0",
    "no priority of I/O": "ionice --class 3",
    "one processor": "taskset 1",
    "the killer's disfavour": "choom -n 500 --",
    "inheritable capabilities": "setpriv --inh-caps=+net_admin,+sys_module --ambient-caps=+net_admin,+sys_module",
    "supplementary groups": "setpriv --groups=4,1000,1001",
}
SHELLS = {
    "ignored signals": "trap '' HUP INT QUIT TERM PIPE USR1 CHLD; exec \"$@\"",
    "an odd umask": 'umask 0777; exec "$@"',
    "more descriptors": 'exec 7</etc/shadow 8>>/dev/kmsg 9</; exec "$@"',
    "no standard input": 'exec "$@" <&-',
    "no standard streams": 'exec "$@" <&- >&- 2>&-',
    "another part of memory in core dumps": 'echo 0x7f >/proc/self/coredump_filter; exec "$@"',
    "strange variables": 'UNSHARE_TEST=1 LD_PRELOAD= PYTHONPATH=/tmp IFS=x exec "$@"',
}

PROGRAMS = {
    "ignored signals of the C library": [sys.executable, "-c", IGNORE],
    "thousands of descriptors": [sys.executable, "-c", OPEN],
    "no huge pages": [sys.executable, "-c", MEMORY, "pages"],
    "memory of all nodes": [sys.executable, "-c", MEMORY, "nodes"],
}


def callers() -> dict[str, list[str]]:
    """Return the words before a command that make each caller, as far as this machine lets anybody be that."""
    found = {name: words.split() for name, words in CALLERS.items()}
    found |= {name: ["sh", "-c", script, "sh"] for name, script in SHELLS.items()}
    found |= PROGRAMS
    # Who lowers a hard limit and lacks CAP_SYS_RESOURCE has no way back, nor has what comes of them.
    found["low hard limits"] += ["sh", "-c", 'prlimit --nofile=128:128 && exec "$@"', "sh"]
    tried = {name: subprocess.run([*words, "true"], capture_output=True, timeout=60) for name, words in found.items()}
    return {name: words for name, words in found.items() if tried[name].returncode == 0}


def not_there(verb: str, words: t.Collection[str]) -> set[str]:
    """Return the attempts by callers that cannot be on this machine."""
    return {f"{verb} by a caller with {name}" for name in [*CALLERS, *SHELLS, *PROGRAMS]} - set(words)


def ask(machine: Machine, data: Path, prefix: list[str]) -> dict[str, t.Any]:
    """Return what a process says that was entered by such a caller; `error` when it was not let in."""
    facts = data / "facts"
    facts.unlink(missing_ok=True)
    # Python ignores signals of its own accord, so a shell says which ones are.
    script = OWN_STATUS + ' exec /usr/bin/python3 -I -c "$1"'
    command = [*prefix, str(machine.system / "enter-container"), "--", "/bin/sh", "-c", script, "sh", TELL]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    if not facts.exists():
        return {"error": f"not let in: {done.returncode}: {done.stderr}"}
    return t.cast("dict[str, t.Any]", json.loads(facts.read_text()))


def difference(found: dict[str, t.Any]) -> str:
    """Return the names of what is not as it is for PID 1, or `refused` when there are none."""
    if "error" in found:
        return str(found["error"])
    wrong = [name for name, value in found["own"].items() if value != found["PID 1"][name]]
    wrong += [name for name, value in EXPECTED.items() if found["extra"][name] != value]
    wrong += [f"namespace {name}" for name, same in found["extra"]["namespaces"].items() if not same]
    return ", ".join(wrong) or "refused"


@pytest.mark.parametrize("mode", MODES)
def test_an_entered_process_is_as_pid_1_is(make_machine: MakeMachine, tmp_path: Path, mode: str) -> None:
    data = tmp_path / "data"
    machine = make_hostile(make_machine, mode, NAME, data)
    machine.start()
    words = {
        f"entered by a caller with {name}": difference(ask(machine, data, prefix)) for name, prefix in callers().items()
    }
    isolation_record.check(mode, "callers", "limits", words, not_there("entered", words))


def test_how_soon_it_is_killed_for_memory_is_declared(make_machine: MakeMachine, tmp_path: Path) -> None:
    data = tmp_path / "data"
    machine = make_hostile(make_machine, "auto", NAME, data, oom_score_adj=300)
    machine.start()
    found = ask(machine, data, [])
    assert found["PID 1"]["oom_score_adj"] == found["own"]["oom_score_adj"] == "300\n"


@pytest.mark.parametrize("score", [-500, 0, 500])
def test_root_inside_does_not_lower_how_soon_it_is_killed(
    make_machine: MakeMachine, tmp_path: Path, score: int
) -> None:
    """Or a start has said so: a host that is a container lacks the capability by which the kernel holds it."""
    machine = make_hostile(make_machine, "auto", NAME, tmp_path / "data", oom_score_adj=score)
    warnings = [warning for warning in machine.start().warnings if warning.startswith("oom_score_adj: ")]
    path = "/proc/1/oom_score_adj"
    given = machine.output("cat", path) == f"{score}\n"
    machine.shell(f"echo {score - 1} > {path}")
    kept = machine.output("cat", path) == f"{score}\n"
    assert len(warnings) == (not given or not kept), warnings
    assert not warnings or (("root inside can lower it" in warnings[0]) is given)


LOWER = """
import ctypes, os
IOPRIO_SET, IDLE = {"x86_64": 251}.get(os.uname().machine, 30), 3 << 13
os.sched_setscheduler(1, os.SCHED_IDLE, os.sched_param(0))
os.sched_setaffinity(1, {min(os.sched_getaffinity(0))})
os.setpriority(os.PRIO_PROCESS, 1, 5)
assert ctypes.CDLL(None).syscall(IOPRIO_SET, 1, 1, IDLE) == 0
with open("/proc/1/oom_score_adj", "w") as file:
    file.write("700")
"""
"""Lowers the scheduling of PID 1."""


def test_an_entered_process_has_what_pid_1_has_left_itself(make_machine: MakeMachine, tmp_path: Path) -> None:
    """And who asks for the host has not: the answer would be as slow as root inside likes."""
    data = tmp_path / "data"
    machine = make_hostile(make_machine, "auto", NAME, data)
    machine.start()
    before = ask(machine, data, [])["PID 1"]
    machine.output("python3", "-I", "-c", LOWER)
    found = ask(machine, data, [])
    assert difference(found) == "refused"
    changed = {name for name, value in found["PID 1"].items() if value != before[name]}
    assert changed == {"policy", "priority", "nice", "Cpus_allowed_list", "I/O", "oom_score_adj"}
    questions.capture(machine.container, ["sh", "-c", OWN_STATUS + ' exec python3 -I -c "$1"', "sh", TELL], 20)
    asked = json.loads((data / "facts").read_text())["own"]
    assert {name for name, value in asked.items() if value != before[name]} == {"oom_score_adj"}


def test_a_container_is_the_same_whoever_starts_it(make_machine: MakeMachine, tmp_path: Path) -> None:
    data = tmp_path / "data"
    machine = make_hostile(make_machine, "auto", NAME, data)
    known: dict[str, t.Any] = {}
    words: dict[str, str] = {}
    for name, prefix in callers().items():
        script = [*prefix, str(machine.system / "run-container"), "--detach", "--timeout=20"]
        started = subprocess.run(
            script, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
        )
        found: dict[str, t.Any] = {"error": f"does not start: {started.stderr}"}
        if started.returncode == 0:
            found = ask(machine, data, [])
        word = str(found.get("error", ""))
        if not word:
            first = found["PID 1"]
            known = known or first
            word = ", ".join(key for key, value in known.items() if value != first[key]) or "refused"
        words[f"started by a caller with {name}"] = word
        machine.stop(10)
    isolation_record.check("auto", "starters", "limits", words, not_there("started", words))
