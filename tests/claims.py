# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A plugin of pytest: several processes share one run, and each part of it is run by the first that comes to it.

A part is a file of tests, or what a test's stash has under `PART`.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import typing as t
from pathlib import Path

import pytest

DIRECTORY = "UNSHARE_TEST_CLAIMS"
"""The environment variable that names the directory in which the processes of a run claim files of tests."""


PART = pytest.StashKey[str]()
"""The name of the part that a test is in, where that is no file. The tests of a part follow each other."""


def part_of(item: pytest.Item) -> str:
    """Return the part of the run that a test is in."""
    return item.stash.get(PART, str(item.path))


def claimant(name: str, who: str) -> str:
    """Claim a name of this machine for somebody, and return whose it is in this run: the first one's that asked."""
    place = Path(os.environ[DIRECTORY], name.replace("/", "%"))
    with contextlib.suppress(FileExistsError):
        os.symlink(who, place)  # It appears with its text, so nobody reads half of it.
    return os.readlink(place)


class Claims:
    """The parts of the run that this process runs.

    A process has one thread, unlike a worker of pytest-xdist: code of ours that forks behaves as it does in production.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.made: dict[str, bool] = {}

    def claim(self, part: str) -> bool:
        """Return whether a part of the run is this process's."""
        if part not in self.made:
            try:
                os.close(os.open(self.directory / part.replace("/", "%"), os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                self.made[part] = True
            except FileExistsError:
                self.made[part] = False
        return self.made[part]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> t.Literal[True] | None:
        """Run the tests of the parts that are claimed on the way, as pytest's own loop does.

        After a part all is torn down, also what tests of other parts would share: which comes next is not known yet.
        """
        if session.testsfailed or session.config.option.collectonly:
            return None  # pytest's own loop ends it
        for item, following in itertools.zip_longest(session.items, session.items[1:]):
            part = part_of(item)
            if not self.claim(part):
                continue
            last = following is None or part_of(following) != part
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=None if last else following)
            if session.shouldfail or session.shouldstop:
                raise session.Interrupted(str(session.shouldfail or session.shouldstop))
        return True


def pytest_configure(config: pytest.Config) -> None:
    """Share the tests with the other processes of this run."""
    config.pluginmanager.register(Claims(Path(os.environ[DIRECTORY])))
