# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests of the target side and of the modules share."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.life import starting
from ansible_collections.unshare.container.plugins.module_utils.state import locks, record


@pytest.fixture(scope="module", autouse=True)
def _own_run_directory(tmp_path_factory: pytest.TempPathFactory) -> t.Iterator[None]:
    """Have locks and records in a directory of a file of tests: those of the host are its containers'."""
    directory = str(tmp_path_factory.mktemp("run") / "unshare")
    with pytest.MonkeyPatch.context() as patch:
        for module in (starting, locks, record):
            patch.setattr(module, "RUN_DIRECTORY", directory)
        yield


@pytest.fixture
def own_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the launcher of every system for the one that is loaded: a test's systems bring a stub."""
    monkeypatch.setattr(starting, "is_own", lambda system: True)
