# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the tests of the target side and of the modules share."""

from __future__ import annotations

import pytest
from ansible_collections.unshare.container.plugins.module_utils.life import starting


@pytest.fixture
def own_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the launcher of every system for the one that is loaded: a test's systems bring a stub."""
    monkeypatch.setattr(starting, "is_own", lambda system: True)
