# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes to a list of services."""

from __future__ import annotations

import copy
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.plugin_utils.errors import DeclarationError
from ansible_collections.unshare.container.plugins.plugin_utils.modify import modify_services

SERVICES: list[dict[str, t.Any]] = [
    {"type": "web", "value": {"port": 80, "tls": {"on": True}}},
    {"type": "web", "value": {"port": 81}},
    {"type": "udev"},
]


@pytest.mark.parametrize(
    ("select", "left"),
    [
        ({"type": "web"}, ["udev"]),
        ({"query": "[?type=='web' && value.port==`80`]"}, ["web", "udev"]),
        ({"query": "value.port == `81`"}, ["web", "udev"]),
        ({"query": "[0]"}, ["web", "udev"]),
    ],
)
def test_delete(select: dict[str, str], left: list[str]) -> None:
    before = copy.deepcopy(SERVICES)
    result = modify_services(SERVICES, [{"select": select, "action": "delete"}])
    assert [service["type"] for service in result] == left
    assert before == SERVICES


def test_replace_and_merge() -> None:
    changes = [
        {"select": {"query": "[0]"}, "action": "merge", "value": {"tls": {"key": "x"}}},
        {"select": {"query": "[1]"}, "action": "replace", "value": {"port": 8}},
    ]
    result = modify_services(SERVICES, changes)
    assert result[0]["value"] == {"port": 80, "tls": {"on": True, "key": "x"}}
    assert result[1]["value"] == {"port": 8}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"select": {"type": "wbe"}, "action": "delete"}, r"changes\[0\].select: no service is selected; did you mean"),
        ({"select": {"query": "[?"}, "action": "delete"}, r"changes\[0\].select.query: .* not a usable JMESPath"),
        ({"select": {}, "action": "delete"}, "exactly one of `type` and `query`"),
        (
            {"select": {"type": "web"}, "action": "drop"},
            r"changes\[0\].action: 'drop' is not possible here",
        ),
        ({"select": {"type": "web"}, "action": "replace"}, "is needed by `replace`"),
        ({"select": {"type": "web"}, "action": "merge", "value": 3}, "can be merged only into a mapping"),
    ],
)
def test_wrong_changes(change: dict[str, t.Any], message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        modify_services(SERVICES, [change])


def test_selecting_nothing_can_be_allowed() -> None:
    change = {"select": {"type": "x"}, "action": "delete", "required": False}
    assert modify_services(SERVICES, [change]) == SERVICES
