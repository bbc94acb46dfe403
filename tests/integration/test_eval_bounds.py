# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a hostile command can have of its caller's time and memory: no more than was said."""

from __future__ import annotations

import os
import time

import pytest
from ansible_collections.unshare.container.plugins.module_utils.evaluation import run as evaluation
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.tests.unit.plugins.module_utils.evaluation import elf_files

from .eval_commands import PYTHON, Evaluator

pytestmark = pytest.mark.root

TRACED = """
import ctypes, os, signal
read, write = os.pipe()
command, child = os.getpid(), os.fork()
if child == 0:
    os.setsid()
    seized = ctypes.CDLL(None).ptrace(0x4206, command, None, None)
    os.write(write, b"1" if seized == 0 else b"0")
    os.closerange(0, 64)
    signal.pause()
print(os.read(read, 1) == b"1", child, flush=True)
signal.pause()
"""
THIEF = """
import fcntl, os, signal, termios, time
out, error = (os.open("/proc/self/fd/%d" % number, os.O_RDONLY | os.O_NONBLOCK) for number in (1, 2))
def waits():
    return any(fcntl.ioctl(error, termios.FIONREAD, bytes(4)))
for turn in range(10**9):
    os.write(1, b"x")
    end = time.monotonic() + (turn % 100) * 2e-6
    while time.monotonic() < end:
        pass
    try:
        os.read(out, 65536)
    except BlockingIOError:
        continue
    os.write(2, b"y")
    for _look in range(50):
        if not waits():
            break
        time.sleep(0.002)
    else:
        signal.pause()  # the other stream is not read any more: who reads waits for what was taken
"""


def test_much_output_is_read_and_the_first_of_it_kept(evaluate: Evaluator) -> None:
    outcome = evaluate("sh", "-c", "head -c 20000000 /dev/zero; head -c 20000000 /dev/zero >&2; exit 3")
    assert (outcome.code, outcome.truncated) == (3, True)
    assert (len(outcome.output), len(outcome.error)) == (evaluation.OUTPUT_LIMIT, evaluation.OUTPUT_LIMIT)


def test_the_time_limit_counts_while_the_closure_is_looked_for(evaluate: Evaluator) -> None:
    names = [(elf_files.AUXILIARY, f"lib{number}.so") for number in range(320)]
    program = evaluate.file("program", mode=0o755)
    program.write_bytes(elf_files.elf(more=names, runpath=":".join(f"/{number}" for number in range(100))))
    with pytest.raises(LauncherError, match="timeout: it was over before all that the command needs was found"):
        evaluate("/work/program", mappings=[f"{evaluate.workspace}=/work"], closure="elf", timeout=0.05)


def test_a_command_that_reads_its_own_output_ends_in_time(evaluate: Evaluator) -> None:
    begun = time.monotonic()
    outcome = evaluate(PYTHON, "-c", THIEF, timeout=4)
    assert (outcome.expired, outcome.code) == (True, 137)
    assert time.monotonic() - begun < 4 + evaluation.DRAIN_TIMEOUT + evaluation.END_TIMEOUT + 5


def test_a_process_that_does_not_end_is_not_waited_for(evaluate: Evaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its tracer keeps it, as a file system inside keeps who waits for that; both keep it for good."""
    monkeypatch.setattr(evaluation, "DRAIN_TIMEOUT", 0.5)
    begun = time.monotonic()
    outcome = evaluate(PYTHON, "-c", TRACED, timeout=2, namespaces=["user", "mnt"], capabilities=["SYS_PTRACE"])
    traced, tracer = outcome.output.decode().split()
    os.kill(int(tracer), 9)
    assert traced == "True"
    assert (outcome.expired, outcome.code) == (True, 137)
    assert "was killed and does not end" in outcome.warnings[0]
    assert time.monotonic() - begun < 15


def test_no_file_system_of_its_own_program_can_be_waited_for(evaluate: Evaluator) -> None:
    assert "fuse" not in evaluate.value("os.listdir('/dev')")
