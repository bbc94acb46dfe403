# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the module says of containers that nobody declared."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.target import Layout
from ansible_collections.unshare.container.plugins.modules import containers

from .conftest import RunModule


@pytest.mark.parametrize(("purge", "count"), [(None, 0), (False, 1)])
def test_the_warning_names_what_removes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run_module: RunModule, purge: bool | None, count: int
) -> None:
    monkeypatch.setattr(containers, "ROOT", tmp_path)
    Layout(tmp_path).generations("old").mkdir(parents=True)
    result = run_module(containers.main, containers={}, purge=purge)
    assert result["unnamed"] == ["old"]
    assert len(result["warnings"]) == count
    for warning in result["warnings"]:
        assert "not declared: old; 'containers_purge: true' (of this module alone, 'purge: true') removes" in warning
