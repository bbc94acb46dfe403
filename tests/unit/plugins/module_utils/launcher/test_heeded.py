# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A signal is sent when the process heeds it, in whichever of the ways that programs have."""

from __future__ import annotations

import os
import signal
import time
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.process import Process

NUMBER = signal.SIGUSR2
SECONDS = 30.0
STATUS = 7


def catches() -> None:
    """Have a handler for it, and wait for any signal."""
    signal.signal(NUMBER, lambda _number, _frame: os._exit(STATUS))
    while True:
        signal.pause()


def waits() -> None:
    """Wait for it without a time limit."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [NUMBER])
    signal.sigwait([NUMBER])


def waits_for_a_time() -> None:
    """Wait for it with a time limit, as inits do that look for children now and then."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [NUMBER])
    while not signal.sigtimedwait([NUMBER], 5.0):
        pass


def polls() -> None:
    """Block it, and be told by a descriptor that there is one."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    signal.signal(NUMBER, lambda _number, _frame: None)
    os.read(reader, 1)


@pytest.mark.parametrize("way", [catches, waits, waits_for_a_time, polls])
def test_it_is_sent_once_it_is_heeded(way: t.Callable[[], None]) -> None:
    pid = os.fork()
    if pid == 0:
        try:
            way()
        finally:
            os._exit(STATUS)
    process = Process.pin_child(pid)
    began = time.monotonic()
    process.ask(NUMBER, began + SECONDS)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == STATUS
    assert time.monotonic() < began + SECONDS / 2
    process.close()


def test_who_does_nothing_about_it_is_not_told() -> None:
    pid = os.fork()
    if pid == 0:
        signal.signal(NUMBER, signal.SIG_DFL)
        while True:
            signal.pause()
    process = Process.pin_child(pid)
    process.ask(NUMBER, time.monotonic() + 0.2)
    assert os.waitpid(pid, os.WNOHANG) == (0, 0)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    process.close()
