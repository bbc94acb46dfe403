# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Running a program that fills a tree, apart: nobody else sees what it mounts, and nothing of it stays.

It has a mount and a pid namespace of its own, and ends with the process that started it, however that ends.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from functools import partial
from typing import IO

from ..launcher import linux
from ..state.target import TargetError

APART = ("unshare", "--mount", "--propagation=private", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc", "--")
SAID = 2000
"""Bytes of the beginning, and of the end, of what a program has said that an error repeats."""


def run_apart(
    argv: list[str], environment: dict[str, str], directory: str, timeout: float, what: str, noise: tuple[str, ...] = ()
) -> None:
    """Run a program to its end.

    :param directory: its working directory.
    :param timeout: seconds that it may take.
    :param what: what it is called in messages.
    :param noise: how the lines begin that an error leaves out.
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
                preexec_fn=partial(linux.end_with, os.getpid()),
            )
        except FileNotFoundError:
            raise TargetError(f"{what}: needs the program unshare: install the package util-linux") from None
        try:
            status = process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise TargetError(
                f"{what}: has not ended after {timeout:g} s, and was ended; set timeout to more"
            ) from None
        finally:
            process.kill()
            process.wait()
        if status:
            words = _said(said, noise)
            raise TargetError(f"{what}: has failed with status {status}: {words or 'it has said nothing'}")


def _said(output: IO[bytes], noise: tuple[str, ...]) -> str:
    """Return what a program has said, without the middle of much, and without the noise."""
    size = output.seek(0, os.SEEK_END)
    output.seek(0)
    text = output.read(SAID)
    if size > 2 * SAID:
        output.seek(size - SAID)
        text += b"\n[...]\n"
    lines = (text + output.read()).decode("utf-8", "replace").split("\n")
    return "\n".join(line for line in lines if not line.startswith(noise)).strip()
