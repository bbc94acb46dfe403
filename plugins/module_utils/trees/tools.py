# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Running a program that fills a tree, apart: nobody else sees what it mounts, and nothing of it stays.

It has a mount and a pid namespace of its own, and ends with the process that started it, however that ends.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from typing import Dict, List

from ..launcher import linux
from ..launcher.process import KILL
from ..state.target import TargetError

APART = ("unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc", "--")
SAID = 4000
"""Bytes of the end of what a program has said that an error repeats."""


def run_apart(argv: List[str], environment: Dict[str, str], directory: str, timeout: float, what: str) -> None:
    """Run a program to its end.

    :param directory: its working directory.
    :param timeout: seconds that it may take.
    :param what: what it is called in messages.
    :raises TargetError: it is not there, fails, or takes longer. Nothing of it runs then.
    """
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(
                [*APART, *argv],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                cwd=directory,
                env={**os.environ, **environment},
                preexec_fn=lambda: linux.prctl(linux.PR_SET_PDEATHSIG, KILL),
            )
        except FileNotFoundError:
            raise TargetError(f"{what}: needs the program unshare: install the package util-linux") from None
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TargetError(f"{what}: has not ended after {timeout:g} s, and was ended; set timeout to more") from None
        finally:
            process.kill()
            process.wait()
        if status:
            size = said.seek(0, os.SEEK_END)
            said.seek(max(0, size - SAID))
            words = said.read().decode("utf-8", "replace").strip()
            raise TargetError(f"{what}: has failed with status {status}: {words or 'it has said nothing'}")
