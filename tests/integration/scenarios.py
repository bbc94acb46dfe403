# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Molecule, run as a developer runs it, on scenarios of this repository or of its pages."""

from __future__ import annotations

import os
import subprocess
import sys
import typing as t
from pathlib import Path

from ansible_collections.unshare.container.tests import followed
from ansible_collections.unshare.container.tests.integration.playbooks import REPOSITORY

SECONDS = 280


def molecule(*arguments: str, directory: Path, state: Path, fails: bool = False, before: t.Sequence[str] = ()) -> str:
    """Run Molecule; what it printed.

    Args:
        arguments: its arguments.
        directory: where it is run.
        state: where it keeps its files.
        fails: whether it must fail, instead of succeed.
        before: the words of a command that runs it.
    """
    command = [*before, str(Path(sys.executable).with_name("molecule")), *arguments]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MOLECULE_"))},
        "ANSIBLE_COLLECTIONS_PATH": str(REPOSITORY / ".collections"),
        "ANSIBLE_HOME": str(state / "ansible"),
        "LC_ALL": "C.UTF-8",
        "MOLECULE_EPHEMERAL_DIRECTORY": str(state / "molecule"),
        "NO_COLOR": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    options: dict[str, t.Any] = {"capture_output": True, "text": True, "stdin": subprocess.DEVNULL, "timeout": SECONDS}
    result = subprocess.run(command, cwd=directory, env=environment, check=False, **options)
    assert (result.returncode != 0) == fails, f"{result.stdout}\n{result.stderr}"
    return result.stdout + result.stderr


def write(steps: t.Iterable[followed.Step], directory: Path) -> None:
    """Write the files of a page."""
    for step in steps:
        path = directory / str(step.block.file)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(step.text)
