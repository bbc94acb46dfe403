# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A child of `run-container` that has a container in the foreground follow its host's network files (N7).

It lives as long as that one. Where nobody stays with a container, the host's systemd sees to it, or the next run.
"""

from __future__ import annotations

import _signal
import os

from ..launcher import linux, network_files, watch
from ..launcher.descriptors import close_all_but, occupy_streams
from ..launcher.errors import LauncherError
from ..launcher.process import Process
from ..launcher.stop_signals import HEEDED
from ..launcher.targets import NETWORK_FILES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


class Follower:
    """The child, if the container has copies of network files.

    Args:
        run_directory: of the container, which runs.
        host_name: the container's.
    """

    def __init__(self, run_directory: str, host_name: str) -> None:
        self.process: Process | None = None
        if not os.path.isdir(os.path.join(run_directory, network_files.DIRECTORY)):
            return
        parent = os.getpid()
        try:
            child = os.fork()
        except OSError:
            return  # there are too many processes; the container runs all the same, as below
        if child == 0:
            _be_child(parent, run_directory, host_name)
        try:
            self.process = Process.pin_child(child)
        except OSError:
            pass  # there are too many open files; who enters brings the files up to date

    def close(self) -> None:
        """End it."""
        if self.process is not None:
            self.process.end()
            self.process.close()
            self.process = None


def _be_child(parent: int, run_directory: str, host_name: str) -> NoReturn:
    try:
        linux.end_with(parent)
        close_all_but(set())
        occupy_streams()
        for number in HEEDED:
            _signal.signal(number, _signal.SIG_IGN)  # they ask the container to stop, and it may take its time
        _follow(run_directory, host_name)
    finally:
        os._exit(0)


def _follow(run_directory: str, host_name: str) -> NoReturn:
    """Bring the copies up to date whenever the host's files change. What changes meanwhile is seen the next time."""
    while True:
        now = watch.Watch([*NETWORK_FILES, network_files.WITHOUT_STUB])
        try:
            network_files.refresh(run_directory, host_name)
        except LauncherError:
            pass  # somebody inside holds them
        now.wait()
        now.close()
