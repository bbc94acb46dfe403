# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action `container_script`: secrets travel apart from the rest."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.unshare.container.plugins.action.container_script import ActionModule

from .conftest import Run

SECRET = {"mode": "0600", "secret": True}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (
            {"system": {"name": "a", "files": {"/k": {**SECRET, "content": "x"}, "/f": {"content": "y"}}}, "boot": "b"},
            {
                "system": {"name": "a", "files": {"/k": SECRET, "/f": {"content": "y"}}},
                "boot": "b",
                "secrets": {"/k": "x"},
            },
        ),
        (
            {"system": {"files": {"/k": {**SECRET, "content": "x"}}}, "secrets": {"/k": "older", "/other": "z"}},
            {"system": {"files": {"/k": SECRET}}, "secrets": {"/k": "x", "/other": "z"}},
        ),
        ({"system": {"files": {"/f": {"content": "y"}}}}, {"system": {"files": {"/f": {"content": "y"}}}}),
        ({"system": {"files": {"/l": {"link": "x", "secret": True}}}},) * 2,
        # The module itself says what is wrong with these.
        ({"system": {"files": ["x"]}},) * 2,
        ({"system": "x"},) * 2,
        ({"secrets": {"/k": "x"}},) * 2,
    ],
)
def test_secrets_are_sent_apart(run: Run, given: dict[str, t.Any], sent: dict[str, t.Any]) -> None:
    run.answers = [{"changed": True, "path": "/x"}]
    assert run(ActionModule, given) == {"changed": True, "path": "/x"}
    assert run.sent == [("unshare.container.container_script", sent)]


def test_it_can_be_checked_and_shows_differences() -> None:
    assert ActionModule._supports_check_mode
    assert ActionModule._supports_diff
    assert not ActionModule.TRANSFERS_FILES
