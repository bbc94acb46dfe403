# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A thousand commands in a row, and what they leave: nothing."""

from __future__ import annotations

import os
import subprocess
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.inside.enter import Entry
from ansible_collections.unshare.container.plugins.module_utils.inside.streams import Pipes
from ansible_collections.unshare.container.tests import mountinfo

from .conftest import Host, Machine, write_system
from .connection_hosts import connect

pytestmark = pytest.mark.root

NAME = "test-leaks"
THROUGH_THE_LIBRARY, THROUGH_THE_PROGRAM, THROUGH_THE_PLUGIN = 850, 100, 50


@pytest.fixture
def machine() -> t.Iterator[Machine]:
    made = Machine(NAME, write_system({"host_name": NAME}, NAME))
    made.start()
    yield made
    made.destroy()


def traces(machine: Machine) -> dict[str, t.Any]:
    """Return what a command could leave behind, on the host and in the container."""
    seen = Host.snapshot()
    named = {
        key: {entry for entry in seen[key] if NAME in entry} for key in seen if key not in ("mounts", "descriptors")
    }
    init = machine.container.status().pid
    root = Path(f"/proc/{init}/root")
    return {
        **named,
        "descriptors": seen["descriptors"],
        "children": Path("/proc/self/task", str(os.getpid()), "children").read_text(),
        "mounts inside": len(mountinfo.lines(str(init))),
        "files inside": {name: sorted(os.listdir(root / name)) for name in ("tmp", "run", "root", "dev", "dev/pts")},
        "processes inside": [
            line for line in machine.output("ps", "-e", "-o", "pid=,comm=").splitlines() if not line.endswith(" ps")
        ],
    }


@pytest.mark.long
def test_a_thousand_commands_leave_nothing(machine: Machine, tmp_path: Path) -> None:
    enter = str(machine.system / "enter-container")
    connection = connect(inventory_hostname=NAME)
    (tmp_path / "file").write_bytes(b"content")
    machine.output("true")
    before = traces(machine)
    for number in range(THROUGH_THE_LIBRARY):
        entry = Entry(machine.container)
        entered = entry.spawn(["/bin/sh", "-c", f"exit {number % 250}"], "root", Pipes(0, 1, 2))
        entry.close()
        assert os.waitstatus_to_exitcode(os.waitpid(entered.pid, 0)[1]) == number % 250
        entered.courier.close()
    for _number in range(THROUGH_THE_PROGRAM):
        subprocess.run([enter, "--", "true"], check=True, stdin=subprocess.DEVNULL)
    for _number in range(THROUGH_THE_PLUGIN // 2):
        assert connection.exec_command("cat", in_data=b"data") == (0, b"data", b"")
        connection.put_file(str(tmp_path / "file"), "/dev/null")
    connection.close()
    assert traces(machine) == before
