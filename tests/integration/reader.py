# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Somebody who follows a page: writes its files, runs its commands, and compares what they print."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import typing as t
from pathlib import Path

from ansible_collections.unshare.container.tests import followed, guides
from ansible_collections.unshare.container.tests.integration.playbooks import REPOSITORY

if t.TYPE_CHECKING:
    from ansible_collections.unshare.container.tests.integration.fleet_hosts import FleetHost

BIN = Path(sys.executable).parent
HOST = "one.example.org"
HERE = {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}
"""What makes this machine the host of the guides."""


class Reader:
    """Somebody who follows a page in a directory of his own.

    Attributes:
        directory: where he is.
        changes: what he writes in place of what the page says, as pairs of a regular expression and a text.

    Args:
        hosts: the variables that reach each host of the inventory.
    """

    def __init__(self, directory: Path, changes: dict[str, str], hosts: dict[str, t.Any] | None = None) -> None:
        self.directory = directory
        self.changes = changes
        self.unused = set(changes)
        for host, variables in (hosts or {HOST: HERE}).items():
            host_variables = directory / "inventory/host_vars" / f"{host}.json"
            host_variables.parent.mkdir(parents=True, exist_ok=True)
            host_variables.write_text(json.dumps(variables))

    def own(self, text: str) -> str:
        """Return a text of the page with the changes made."""
        for pattern, replacement in self.changes.items():
            text, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
            if count:
                self.unused.discard(pattern)
        return text

    def write(self, block: guides.Block) -> None:
        """Write the file that a block shows."""
        path = self.directory / str(block.file)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a" if block.added else "w") as file:
            file.write(self.own(block.text))

    def environment(self) -> dict[str, str]:
        """Return the environment of his shell: the collection is installed, and no configuration is set."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        return {
            **kept,
            "ANSIBLE_COLLECTIONS_PATH": str(REPOSITORY / ".collections"),
            "ANSIBLE_NOCOLOR": "1",
            "LC_ALL": "C.UTF-8",
            "PATH": f"{BIN}:{os.environ['PATH']}",
        }

    def started(self, text: str) -> list[str]:
        """Return the command that has a shell run a text."""
        return ["/bin/sh", "-c", text]

    def streams(self) -> dict[str, t.Any]:
        """Return where a command runs, and where what it prints goes."""
        places = {"cwd": self.directory, "env": self.environment(), "text": True}
        return {**places, "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}

    def start(self, command: str) -> subprocess.Popen[str]:
        """Start a command of the page, whose output is read as it comes."""
        return subprocess.Popen(self.started(f"exec {self.own(command)}"), **self.streams())

    def run(self, command: str, fails: bool = False) -> str:
        """Run a command of the page, and return what it printed."""
        done = subprocess.run(self.started(self.own(command)), timeout=120, check=False, **self.streams())
        assert (done.returncode != 0) == fails, f"{command}\n{done.stdout}"
        return done.stdout

    def follow(self, steps: t.Iterable[followed.Step]) -> str:
        """Write the files and run the commands of steps, and compare what they print; return all of that."""
        said = ""
        for step in steps:
            if step.block.language == "text":
                assert followed.not_printed(self.own(step.text), said) == [], f"{step.block.place}\n{said}"
            elif step.block.is_commands:
                said += self.run(step.text)
            else:
                assert step.block.file, f"{step.block.place}: nobody says what to do with it"
                self.write(step.block)
        return said

    def remove(self, *names: str) -> None:
        """Remove containers."""
        for name in names:
            options = f"name={name} state=absent"
            self.run(f"ansible -i inventory {HOST} -m unshare.container.system_container -a '{options}'")


ENTER = """\
echo $$ > "$1/cgroup.procs"
exec nsenter --target="$2" --mount --pid --net --uts --ipc --cgroup -- env --chdir="$3" /bin/sh -c "$4"
"""
"""What runs a command in a host of a fleet, as one of its processes: $1 its group, $2 its PID, $3 where, $4 what."""


FURNISH = """\
set -e
mount -t tmpfs -o mode=0755 tmpfs /srv
umount /root
mount --bind /root /mnt
mount -t tmpfs -o mode=0700 tmpfs /root
for path in "$@"; do
    mkdir -p "$path"
    mount --bind "/mnt/${path#/root/}" "$path"
done
umount /mnt
"""


def furnish(host: FleetHost, command: str = "true") -> None:
    """Give a host a `/srv` of its own, and the controller's software, which may lie in `/root`; then run a command."""
    kept = [path for path in (sys.prefix, sys.base_prefix, str(REPOSITORY)) if path.startswith("/root/")]
    done = host.inside("sh", "-c", f"{FURNISH}{command}", "sh", *kept)
    assert done.returncode == 0, done.stderr


class HostReader(Reader):
    """A reader who is root on a host that has nothing but this machine's software: no container, nothing in `/srv`.

    Names and paths of a page are free there, so that he need not change them.

    Attributes:
        host: the host.
    """

    def __init__(self, host: FleetHost, directory: Path, changes: dict[str, str] | None = None) -> None:
        super().__init__(directory, changes or {})
        (directory / "home").mkdir()
        self.host = host

    def environment(self) -> dict[str, str]:
        """Return the environment of his shell on the host."""
        return {**super().environment(), "HOME": str(self.directory / "home")}

    def started(self, text: str) -> list[str]:
        """Return the command that has a shell on the host run a text."""
        return ["/bin/sh", "-c", ENTER, "sh", str(self.host.cgroup), self.host.first(), str(self.directory), text]
