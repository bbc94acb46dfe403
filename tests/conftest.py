# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What holds for all tests."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
import tempfile
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.tests import signals
from hypothesis import settings

# How long an example takes says something about the machine, not about the code.
settings.register_profile("any-machine", deadline=None)
settings.load_profile("any-machine")

signals.let_programs_heed()
# Whoever ends a run by `timeout` or `kill` has it tidy up, too: a container outlives the process that started it.
signal.signal(signal.SIGTERM, signal.default_int_handler)

SYS_ADMIN = 21


def lacking_for_containers() -> str | None:
    """Return what this process lacks to make namespaces and mounts, or None."""
    if os.geteuid() != 0:
        return "needs root"
    effective = int(Path("/proc/self/status").read_text().partition("\nCapEff:")[2].split()[0], 16)
    return None if effective >> SYS_ADMIN & 1 else "needs CAP_SYS_ADMIN, which root has not in this container"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out, with the reason, the tests that are marked `root` where they cannot be made."""
    reason = lacking_for_containers()
    for item in items:
        if reason is not None and item.get_closest_marker("root"):
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_collection_finish() -> None:
    """Have Python's collector look through what is made from now on only: what was collected stays to the end.

    The tests of containers have all garbage collected twice each, which takes half a second with ten thousand tests.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def importing() -> t.Iterator[None]:
    """Hold a file of tests to how this process imports: what comes after it imports as it would alone."""
    before = [*sys.meta_path, *sys.path_hooks]
    yield
    assert [*sys.meta_path, *sys.path_hooks] == before, "this file has changed how Python imports"


@pytest.fixture
def public() -> t.Iterator[Path]:
    """Yield a directory that every user of this machine can reach."""
    path = Path(tempfile.mkdtemp(dir="/var/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)
