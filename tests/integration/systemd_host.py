# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A host for the tests that is a container itself, with systemd as its PID 1; the modules run inside it."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import ansible

from .conftest import INTERPRETER, contain, files_of, render_boot

if t.TYPE_CHECKING:
    from .conftest import Machine, MakeMachine, Mapping

COLLECTION = Path(__file__).resolve().parents[2]
PACKAGES = Path(ansible.__file__).resolve().parents[1]
KEEP_UNITS = """\
for each in system network; do
    mkdir -p /etc/systemd/$each /persistent/$each &&
        cp -an /etc/systemd/$each/. /persistent/$each/ &&
        mount --bind /persistent/$each /etc/systemd/$each || exit
done
"""

MODULES = "ansible_collections.unshare.container.plugins.modules."
RUN_MODULE = "import runpy, sys; runpy.run_module(sys.argv.pop(), run_name='__main__')"


class SystemdHost:
    """A host that runs containers, as one sees it who is logged in there."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def reboot(self) -> None:
        """Stop it as a host stops, start it, and wait until its boot is over."""
        self.machine.stop()
        self.machine.start()
        self.machine.output("systemctl", "is-system-running", "--wait")

    def module(self, module_name: str, check: bool = False, **arguments: t.Any) -> Mapping:
        """Run a module of the collection there; its result."""
        given = {"ANSIBLE_MODULE_ARGS": {**arguments, "_ansible_check_mode": check, "_ansible_remote_tmp": "/tmp"}}
        command = ["env", "PYTHONPATH=/opt/collections:/opt/packages", INTERPRETER, "-c", RUN_MODULE]
        done = self.machine.run(*command, MODULES + module_name, input=json.dumps(given))
        result: Mapping = json.loads(done.stdout)
        assert not result.get("failed"), f"{result.get('msg')}\n{done.stderr}"
        return result

    def write(self, name: str, host_name: str = "inside", services: t.Any = (), **network: t.Any) -> str:
        """Write the system of a container there; its directory."""
        derived = contain({"host_name": host_name, "services": list(services)}, **network)
        system = files_of(derived, name=name, **network)
        return str(self.module("container_script", system=system, boot=render_boot(system))["system"])

    def container(self, name: str, **arguments: t.Any) -> Mapping:
        """Bring a container into a state."""
        return self.module("system_container", name=name, **arguments)

    def show(self, name: str, *properties: str) -> list[str]:
        """Properties of a container's unit."""
        unit = f"unshare-container@{name}.service"
        return [
            self.machine.output("systemctl", "show", "--value", f"--property={item}", unit).strip()
            for item in properties
        ]

    def inside(self, name: str, *command: str) -> str:
        """Run a command in a container there, and return its output."""
        return self.machine.run(f"/var/lib/unshare/containers/{name}/current/enter-container", "--", *command).stdout

    def await_message(self, name: str, text: str, times: int, unit: str = "") -> None:
        """Wait until a container's unit's log has something so many times."""
        unit = unit or f"unshare-container@{name}"
        follow = f"journalctl --follow --lines=all --output=cat --unit={unit}.service"
        command = ["timeout", "40", "bash", "-c", f'grep --max-count={times} "$0" < <({follow})', text]
        assert self.machine.run(*command).returncode == 0, self.machine.logs()

    def runs(self, name: str) -> bool:
        """Return whether the launcher finds the container running."""
        result = self.module("system_container", check=True, name=name)
        return not result["changed"]


def started(name: str, make_machine: MakeMachine, disk: Path) -> SystemdHost:
    """Start a host, and return it.

    Args:
        name: of the container that it is.
        disk: a directory, for what it keeps when it reboots: its units, files of networkd, and /var/lib/unshare.
    """
    for directory in ("state", "units"):
        (disk / directory).mkdir()
    machine = make_machine(
        {"services": [{"type": "simple", "value": {"target": "activation", "value": [KEEP_UNITS]}}]},
        name=name,
        mappings=[
            {"source": str(disk / "state"), "target": "/var/lib/unshare", "writable": True},
            {"source": str(disk / "units"), "target": "/persistent", "writable": True},
            {"source": str(COLLECTION), "target": "/opt/collections/ansible_collections/unshare/container"},
            {"source": str(PACKAGES), "target": "/opt/packages"},
        ],
        security={"nesting": True},
    )
    machine.start()
    return SystemdHost(machine)
