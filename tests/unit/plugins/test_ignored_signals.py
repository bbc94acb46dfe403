# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the caller of a program of ours ignores makes no difference: how its children end is known all the same."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest
from ansible_collections.unshare.container.plugins import modules
from ansible_collections.unshare.container.tests import signals

COLLECTION = "ansible_collections.unshare.container.plugins"
ENDS = {
    "a command of this machine": f"""
from {COLLECTION}.plugin_utils.local_command import LocalCommand
print(LocalCommand(["sh", "-c", "exit 7"], None, None, 10).run()[0])
""",
    "a thread's command": f"""
import threading
from {COLLECTION}.plugin_utils.local_command import LocalCommand
work = threading.Thread(target=lambda: print(LocalCommand(["sh", "-c", "exit 7"], None, None, 10).run()[0]))
work.start()
work.join()
""",
    "the first process of a pid namespace": f"""
import os
from {COLLECTION}.module_utils.evaluation import processes
from {COLLECTION}.module_utils.launcher.process import heed_children
heed_children()
first = os.fork()
if first == 0:
    child = os.fork()
    if child == 0:
        os._exit(7)
    os.dup2(os.open("/dev/null", os.O_RDWR), 1)
    processes.linux.capset = lambda *_arguments: None
    processes.be_first_process(child)
print(os.waitstatus_to_exitcode(os.waitpid(first, 0)[1]))
""",
}
MODULES = sorted(
    entry.name for entry in pkgutil.iter_modules(modules.__path__) if entry.name not in ("kept_code", "rollout_step")
)
"""Those with code of their own on the target."""


def said(text: str) -> str:
    """Return what Python says when it runs a text, called by who ignores signals."""
    command = signals.ignoring(sys.executable, "-c", text)
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=60).stdout.strip()


def test_the_caller_of_these_tests_ignores_signals() -> None:
    text = "from ansible_collections.unshare.container.tests import signals; print(signals.ignored())"
    assert set(map(int, signals.ALL)) <= set(map(int, said(text)[1:-1].split(",")))


def test_a_run_of_the_tests_heeds_what_its_caller_ignores() -> None:
    text = """
import subprocess, sys
from ansible_collections.unshare.container.tests import signals
signals.let_programs_heed()
mine = signals.ignored()
print(mine == set(signals.OF_PYTHON), subprocess.check_output(["grep", "SigIgn", "/proc/self/status"], text=True))
"""
    assert said(text).split() == ["True", "SigIgn:", "0" * 16]


@pytest.mark.parametrize("what", ENDS)
def test_the_exit_status_is_the_commands(what: str) -> None:
    assert said(ENDS[what]) == "7"


@pytest.mark.parametrize("name", MODULES)
def test_a_module_learns_how_what_it_runs_ends(name: str) -> None:
    text = f"""
import signal, sys
from ansible_collections.unshare.container.tests import signals
from {COLLECTION}.modules import {name} as module
module.AnsibleModule.__init__ = lambda self, **_options: sys.exit(signal.SIGCHLD in signals.ignored())
module.main()
"""
    said(text)
