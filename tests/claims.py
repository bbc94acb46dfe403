# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A plugin of pytest: several processes share one run, and each file of tests is run by the first that comes to it."""

from __future__ import annotations

import itertools
import os
import typing as t
from pathlib import Path

import pytest

DIRECTORY = "UNSHARE_TEST_CLAIMS"
"""The environment variable that names the directory in which the processes of a run claim files of tests."""


class Claims:
    """The files of tests that this process runs.

    A process has one thread, unlike a worker of pytest-xdist: code of ours that forks behaves as it does in production.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.made: dict[Path, bool] = {}

    def claim(self, file: Path) -> bool:
        """Return whether a file of tests is this process's to run."""
        if file not in self.made:
            try:
                os.close(os.open(self.directory / str(file).replace("/", "%"), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                self.made[file] = True
            except FileExistsError:
                self.made[file] = False
        return self.made[file]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> t.Literal[True] | None:
        """Run the tests of the files that are claimed on the way, as pytest's own loop does.

        After a file all is torn down, also what tests of other files would share: which comes next is not known yet.
        """
        if session.testsfailed or session.config.option.collectonly:
            return None  # pytest's own loop ends it
        for item, following in itertools.zip_longest(session.items, session.items[1:]):
            if not self.claim(item.path):
                continue
            last = following is None or following.path != item.path
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=None if last else following)
            if session.shouldfail or session.shouldstop:
                raise session.Interrupted(str(session.shouldfail or session.shouldstop))
        return True


def pytest_configure(config: pytest.Config) -> None:
    """Share the tests with the other processes of this run."""
    config.pluginmanager.register(Claims(Path(os.environ[DIRECTORY])))
