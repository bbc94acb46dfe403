# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Going back to the former generations in a rollout that was stopped: without what was asked of the new ones."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.action.containers import ActionModule as Containers
from ansible_collections.unshare.container.plugins.action.rollout_step import ActionModule
from ansible_collections.unshare.container.plugins.plugin_utils import rollout


def test_undo_asks_nothing_of_the_former_generation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[t.Any] = []

    def act(step: Containers, arguments: dict[str, t.Any], _variables: t.Any, _texts: t.Any) -> dict[str, t.Any]:
        asked.append(arguments)
        return {"changed": True, "containers": []}

    monkeypatch.setattr(Containers, "act", act)
    step = ActionModule.__new__(ActionModule)
    step.journal = rollout.Journal(str(tmp_path))
    step.journal.begin()
    step.host = "host"
    step.texts = frozenset()
    web = {"name": "web", "generation": 8, "former_generation": 7}
    step.journal.note("host", {"outcome": rollout.SWITCHED, "containers": [web]})
    step.journal.fail("other", 0, 1, 0.0)
    declared = {"operating_system": {}, "health": {"units": ["new.service"]}, "roll_back": True, "timeout": 5}
    step.given = {"containers": {"web": declared, "unchanged": {}}}
    step.step_undo({})
    wanted = {"operating_system": {}, "timeout": 5, "state": "rolled_back", "generation": 7}
    assert asked == [{"containers": {"web": wanted}}]
    assert step.journal.record("host")["outcome"] == rollout.UNDONE
