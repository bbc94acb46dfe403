# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Running the collection's playbooks as a user does, and reading what they say."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PLAYBOOK = (
    shutil.which("ansible-playbook", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}") or "ansible-playbook"
)
RECAP = re.compile(r"^(?P<host>\S+)\s+: (?P<counts>ok=\d+.*)$", re.MULTILINE)


class Run:
    """A run of ansible-playbook that has ended.

    Attributes:
        code: its exit status.
        output: what it printed.
    """

    def __init__(self, code: int, output: str) -> None:
        self.code = code
        self.output = output

    def counts(self, host: str) -> dict[str, int]:
        """Return what the play's recap counts for a host: `changed`, `failed` and so on."""
        (line,) = [match["counts"] for match in RECAP.finditer(self.output) if match["host"] == host]
        return {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", line)}

    def changed(self, host: str = "localhost") -> int:
        """Return how many tasks changed something on a host."""
        return self.counts(host)["changed"]

    def succeeded(self) -> Run:
        """Return this run, and fail unless it has succeeded."""
        assert self.code == 0, self.output
        return self


def ended(
    words: t.Sequence[str], environment: t.Mapping[str, str], directory: Path = REPOSITORY, timeout: float = 300
) -> Run:
    """Run ansible-playbook with some words, in a directory. Return the run."""
    result = subprocess.run(
        [PLAYBOOK, *words], capture_output=True, text=True, timeout=timeout, env=environment, cwd=directory, check=False
    )
    return Run(result.returncode, result.stdout + result.stderr)


def playbook(name: str, inventory: str, *arguments: str, variables: dict[str, t.Any] | None = None) -> Run:
    """Run a playbook of the collection with one of the example inventories."""
    words = [
        f"--inventory={REPOSITORY / inventory}",
        str(REPOSITORY / "playbooks" / name),
        f"--extra-vars={json.dumps(variables or {})}",
        *arguments,
    ]
    environment = {
        **os.environ,
        "ANSIBLE_COLLECTIONS_PATH": str(REPOSITORY / ".collections"),
        "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "1",
        "LC_ALL": "C.UTF-8",
    }
    return ended(words, environment)
