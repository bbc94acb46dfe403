# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which of a host's containers go back to their former system: all, or those that say so themselves."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.life import host_containers as subject
from ansible_collections.unshare.container.plugins.modules.containers import options_of


@pytest.mark.parametrize(
    ("of_all", "own", "expected"), [(False, False, False), (False, True, True), (True, False, True), (True, True, True)]
)
def test_roll_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of_all: bool, own: bool, expected: bool) -> None:
    asked = {}

    class One:
        warnings: t.ClassVar[list[str]] = []

        def __init__(self, _layout: t.Any, container: str, _system: t.Any, _options: t.Any, roll_back: bool) -> None:
            asked[container] = roll_back
            self.name = container

            self.would_end = self.stays = False

        def bring(self, _check: bool, _diff: bool) -> dict[str, t.Any]:
            return {"changed": False}

    monkeypatch.setattr(subject, "OneContainer", One)
    declared = {"web": options_of({"roll_back": own}, "web"), "other": options_of({}, "other")}
    host = subject.HostContainers(tmp_path, declared, {}, {}, lambda name: name)
    assert [result["changed"] for result in host.bring(of_all)] == [False, False]
    assert asked == {"web": expected, "other": of_all}
