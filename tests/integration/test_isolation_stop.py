# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A hostile root does not want to be stopped, or wants to leave something behind (`host_unchanged` looks for that)."""

from __future__ import annotations

import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError

from . import isolation_record
from .isolation import MODES, differences, host_state, make_hostile, stop

if t.TYPE_CHECKING:
    from .conftest import Machine, MakeMachine

pytestmark = pytest.mark.root

NAME = "test-isolation-stop"
TIMEOUT = 1.0
GRACE = 4.0
"""Seconds that a stop may take beyond its time limit: it kills, and waits for the ends."""

CLINGS = {
    "processes that ignore signals": (
        "import os, signal, time\n"
        "for number in range(1, 65):\n"
        "    try: signal.signal(number, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\n"
        "for _count in range(20):\n"
        "    if os.fork() == 0: os.setsid(); time.sleep(600)\n"
    ),
    "processes that fork while they are killed": (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    while True:\n"
        "        if os.fork(): os._exit(0)\n"
        "        time.sleep(0.001)\n"
    ),
    "a frozen control group": (
        "import os, time\n"
        "os.makedirs('/sys/fs/cgroup/cold/deep')\n"
        "child = os.fork()\n"
        "if child == 0: os.setsid(); time.sleep(600)\n"
        "open('/sys/fs/cgroup/cold/deep/cgroup.procs', 'w').write(str(child))\n"
        "open('/sys/fs/cgroup/cold/cgroup.freeze', 'w').write('1')\n"
    ),
    "control groups as deep as they get": (
        "import os\n"
        "path = '/sys/fs/cgroup/x'\n"
        "try:\n"
        "    while True: os.mkdir(path); path += '/x'\n"
        "except OSError: pass\n"
    ),
    "traced processes": (
        "import ctypes, os, time\n"
        "libc = ctypes.CDLL(None)\n"
        "child = os.fork()\n"
        "if child == 0: libc.ptrace(0, 0, 0, 0); os.kill(os.getpid(), 19); time.sleep(600)\n"
        "if os.fork() == 0: os.setsid(); libc.ptrace(0x4206, 1, 0, 0); time.sleep(600)\n"
    ),
    "a first process that does not hear": (
        "import os, signal, subprocess\n"
        "subprocess.run(['systemd-run', '--quiet', '--property=KillMode=none', '--property=TimeoutStopSec=infinity',"
        " '--property=SendSIGKILL=no', '--property=ExecStop=/usr/bin/sleep infinity', '/usr/bin/sleep', 'infinity'])\n"
    ),
}
DEEP = """
import os
os.chdir("/var/log/journal")
for _level in range(3000):
    os.mkdir("d")
    os.chdir("d")
"""


def cling(machine: Machine, script: str) -> None:
    """Run a script inside that goes on without its standard streams."""
    machine.output("python3", "-c", "import os\nos.dup2(os.open('/dev/null', os.O_RDWR), 2)\n" + script, timeout=20)


def remove(machine: Machine) -> str:
    """Remove what is kept of it; how that went."""
    try:
        with machine.container.lock(10):
            machine.container.remove()
    except (LauncherError, RecursionError) as error:
        return str(error)
    return "refused"


@pytest.mark.parametrize("mode", MODES)
def test_nothing_keeps_a_container_from_being_stopped_and_removed(
    make_machine: MakeMachine, tmp_path: Path, mode: str
) -> None:
    before = host_state()
    words = {}
    each = {name: [script] for name, script in CLINGS.items()} if mode == "auto" else {}
    for name, scripts in {**each, "all of these at once": [*CLINGS.values(), DEEP]}.items():
        machine = make_hostile(make_machine, mode, NAME, tmp_path / "data", log="persistent")
        machine.start()
        for script in scripts:
            cling(machine, script)
        words[f"hold on by {name}"] = stop(machine, TIMEOUT, GRACE)
        removed = remove(machine)
        if DEEP in scripts:
            words["hold on by directories without end in the kept journal"] = removed
            subprocess.run(["rm", "-rf", machine.container.directory], check=True, timeout=60)  # whatever that left
        else:
            assert removed == "refused"
    isolation_record.check(mode, "stop", "stop", words)
    assert differences(before) == {}
