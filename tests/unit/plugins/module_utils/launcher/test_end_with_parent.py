# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A child ends with its parent, also with one that has ended before the child's first instruction."""

from __future__ import annotations

import os
import select
import subprocess
import sys

from ansible_collections.unshare.container.plugins.module_utils.launcher import linux

PARENT = """
import functools, os, subprocess, sys
from ansible_collections.unshare.container.plugins.module_utils.launcher import linux
prepare = functools.partial(linux.end_with, os.getpid())
print(subprocess.Popen(["sleep", "infinity"], preexec_fn=prepare).pid, flush=True)
sys.stdin.read()
"""


def test_a_program_ends_with_the_process_that_has_started_it() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = os.pidfd_open(int(parent.stdout.readline()))
    parent.kill()
    parent.communicate()
    assert select.select([child], [], [], 10)[0]
    os.close(child)


def test_a_child_whose_parent_has_ended_before_ends_at_once() -> None:
    not_its_parent = os.getpid()
    child = os.fork()
    if child == 0:
        grandchild = os.fork()
        if grandchild == 0:
            linux.end_with(not_its_parent)
            os._exit(0)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(grandchild, 0)[1]))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
