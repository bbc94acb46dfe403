# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The computer that Ansible runs on: this one, with the collection installed and no configuration of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t
from functools import partial
from pathlib import Path

from ansible_collections.unshare.container.plugins.module_utils.launcher import linux
from ansible_collections.unshare.container.tests.hosts.machine import CommandFailed, Machine, MachineError
from ansible_collections.unshare.container.tests.integration.playbooks import Run

REPOSITORY = Path(__file__).resolve().parents[2]
PLAY_SECONDS = 60.0
"""How long a play may take (see `Machine.deadline`)."""

START_SECONDS = 300
"""How long a container may take to become ready, or to stop, on an emulated processor that others keep busy."""

PATIENT: dict[str, t.Any] = {"timeout": START_SECONDS, "health": {"timeout": START_SECONDS}}
"""Options that give a container this time."""

SSH_ARGUMENTS = "-o ControlMaster=auto -o ControlPersist=120s -o ServerAliveInterval=20 -o ServerAliveCountMax=6"
"""One login for all tasks, and an end of a connection whose host has lost its power. To compress would cost time."""


class Controller:
    """A directory with an inventory and playbooks, in which somebody types commands of Ansible.

    Attributes:
        directory: where he is.
        machines: the hosts, by their names in the inventory.
    """

    def __init__(self, directory: Path, machines: t.Mapping[str, Machine]) -> None:
        self.directory = directory
        self.machines = machines

    def write(self, path: str, text: str) -> None:
        """Write a file of his."""
        file = self.directory / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def playbook(self, *arguments: str, seconds: float = PLAY_SECONDS, **variables: t.Any) -> Run:
        """Run a playbook that is to succeed.

        Args:
            *arguments: its name, and further arguments.
            seconds: how long it may take.
            **variables: given on the command line.
        """
        play = self.run_playbook(*arguments, seconds=seconds, **variables)
        if play.code != 0:
            message = f"ansible-playbook {' '.join(arguments)} failed with {play.code}:\n{play.output}"
            raise self.any_machine().failure(CommandFailed, message)
        return play

    def run_playbook(self, *arguments: str, seconds: float = PLAY_SECONDS, **variables: t.Any) -> Run:
        """Run a playbook, whether or not it succeeds."""
        self.write_inventory()
        command = ["ansible-playbook", "--inventory=inventory", *arguments]
        if variables:
            command.append(f"--extra-vars={json.dumps(variables)}")
        limit = max(machine.deadline(seconds).seconds for machine in self.machines.values())
        try:
            done = subprocess.run(
                command,
                cwd=self.directory,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                timeout=limit,
                check=False,
                preexec_fn=partial(linux.end_with, os.getpid()),
            )
        except subprocess.TimeoutExpired as error:
            printed = error.stdout.decode("utf-8", "replace") if isinstance(error.stdout, bytes) else error.stdout
            message = f"{' '.join(command)}: not done after {limit:.0f} s\n{printed}"
            raise self.any_machine().failure(MachineError, message) from None
        return Run(done.returncode, done.stdout)

    def any_machine(self) -> Machine:
        """Return one of the machines."""
        return next(iter(self.machines.values()))

    def write_inventory(self) -> None:
        """Write how the hosts are reached; what ports they have changes when they are switched on."""
        for name, machine in self.machines.items():
            self.write(f"inventory/host_vars/{name}/machine.json", json.dumps(machine.ansible_variables()))

    def environment(self) -> dict[str, str]:
        """Return the environment of his shell."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
        slowest = max(machine.accelerator.slowness for machine in self.machines.values())
        return {
            **kept,
            "ANSIBLE_COLLECTIONS_PATH": str(REPOSITORY / ".collections"),
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_SSH_ARGS": SSH_ARGUMENTS,
            "ANSIBLE_TIMEOUT": str(round(10 * slowest)),
            "LC_ALL": "C.UTF-8",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
