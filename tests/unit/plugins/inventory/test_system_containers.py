# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The inventory plugin's own decisions; it is used as a whole in the integration tests."""

from __future__ import annotations

import types
import typing as t
from pathlib import Path

import pytest
from ansible.errors import AnsibleParserError
from ansible_collections.unshare.container.plugins.inventory import system_containers
from ansible_collections.unshare.container.plugins.plugin_utils import container_listing


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("unshare.yml", True),
        ("unshare.yaml", True),
        ("fleet.unshare.yml", True),
        ("fleet.unshare.yaml", True),
        ("fleet.yml", False),
        ("notunshare.yml", False),
        ("unshare.json", False),
    ],
)
def test_its_files(tmp_path: Path, name: str, taken: bool) -> None:
    (tmp_path / name).write_text("")
    assert system_containers.InventoryModule().verify_file(str(tmp_path / name)) is taken


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), float("inf")])
def test_a_time_limit_that_cannot_be_waited_for(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    monkeypatch.setattr(container_listing, "ask", None)
    monkeypatch.setattr(system_containers, "AnsibleCollectionConfig", types.SimpleNamespace(collection_paths=[]))
    monkeypatch.setattr(system_containers.context, "CLIARGS", {})
    plugin = system_containers.InventoryModule()
    options: dict[str, t.Any] = {"question_timeout": seconds, "inventory": ["a,"], "pattern": "all"}
    monkeypatch.setattr(plugin, "get_option", options.__getitem__)
    with pytest.raises(AnsibleParserError, match=r"^/here\.unshare\.yml: question_timeout: .* is no number of seconds"):
        plugin._ask("/here.unshare.yml")
