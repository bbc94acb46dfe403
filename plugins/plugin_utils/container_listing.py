# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Asking the hosts of an inventory for their containers, from the controller.

A playbook in a process of its own does that. So a module runs on a host in all the ways that the inventory and the
configuration allow (jump hosts, become, but not Windows), and no inner interface of Ansible is used. The answer comes
back in a file, so that no callback plugin stands between.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import typing as t

from ..module_utils.launcher.printable import printable
from ..module_utils.launcher.process import heed_children

LISTING = "UNSHARE_CONTAINER_LISTING"
"""Set in the environment of the playbook: an inventory in which it meets this plugin again is not asked once more."""

RESULT = "unshare_container_listing"

PLAYBOOK = [
    {
        "name": "Look at the containers",
        "hosts": "{{ unshare_pattern }}",
        "gather_facts": False,
        "tasks": [
            {
                "name": "Look at the containers of this host",
                "unshare.container.system_container_info": {"timeout": "{{ unshare_timeout }}"},
                "register": RESULT,
                "ignore_errors": True,
                "ignore_unreachable": True,
            }
        ],
    },
    {
        "name": "Give the answer",
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {
            "ansible_connection": "local",
            "ansible_python_interpreter": "{{ ansible_playbook_python }}",
            "ansible_become": False,
        },
        "tasks": [
            {
                "name": "Write what was learned",
                "ansible.builtin.copy": {
                    "content": "{%% set found = {} %%}"
                    "{%% for host in query('ansible.builtin.inventory_hostnames', unshare_pattern) %%}"
                    "{%% set _ = found.update({host: hostvars[host].%s | default({})}) %%}"
                    "{%% endfor %%}{{ found | to_json }}" % RESULT,
                    "dest": "{{ unshare_answer }}",
                    "mode": "0600",
                },
            }
        ],
    },
]

OPTIONS = {
    "remote_user": "--user",
    "private_key_file": "--private-key",
    "ssh_common_args": "--ssh-common-args",
    "ssh_extra_args": "--ssh-extra-args",
    "timeout": "--timeout",
}
"""Options of Ansible's command line that say how hosts are reached."""


class ListingError(Exception):
    """A failure to ask the hosts."""


def ask(
    sources: list[str],
    pattern: str,
    timeout: float,
    arguments: t.Mapping[str, t.Any],
    environment: t.Mapping[str, str],
) -> dict[str, dict[str, t.Any]]:
    """Return the result of the info module on each host of a pattern, or how it failed there.

    Args:
        sources: inventory sources.
        timeout: seconds that each question to a container may take.
        arguments: the command line that this process was called with, as Ansible keeps it.
        environment: further environment variables.

    Raises:
        ListingError: no host could be asked.
    """
    with tempfile.TemporaryDirectory(prefix="unshare-") as directory:
        playbook, answer = os.path.join(directory, "playbook.yml"), os.path.join(directory, "answer.json")
        with open(playbook, "w", encoding="utf-8") as file:
            json.dump(PLAYBOOK, file)
        extra = {"unshare_pattern": pattern, "unshare_answer": answer, "unshare_timeout": timeout}
        words = [sys.executable, "-m", "ansible", "playbook", *_command_line(arguments)]
        for source in sources:
            words += ["--inventory", source]
        words += ["--extra-vars", json.dumps(extra), playbook]
        heed_children()
        result = subprocess.run(
            words,
            env={**os.environ, **environment, LISTING: "1"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        try:
            with open(answer, encoding="utf-8") as file:
                found: dict[str, dict[str, t.Any]] = json.load(file)
        except (OSError, ValueError) as error:
            said = printable("\n".join((result.stdout + result.stderr).rstrip("\n").split("\n")[-20:]))
            raise ListingError(f"the hosts could not be asked for their containers:\n{said}") from error
        return found


def _command_line(arguments: t.Mapping[str, t.Any]) -> list[str]:
    words = []
    for name, option in OPTIONS.items():
        if arguments.get(name):
            words.append(f"{option}={arguments[name]}")
    for secret in arguments.get("vault_ids") or []:
        if not secret.endswith("@prompt"):
            words.append(f"--vault-id={secret}")
    for secret in arguments.get("vault_password_files") or []:
        words.append(f"--vault-password-file={secret}")
    return words
