# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action `container_script`: secrets travel apart from the rest."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.unshare.container.plugins.action.container_script import ActionModule
from ansible_collections.unshare.container.plugins.action.containers import ActionModule as Containers
from ansible_collections.unshare.container.plugins.action.system_container import ActionModule as SystemContainer

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


def _entry(before: str, after: str) -> dict[str, t.Any]:
    return {"before_header": "/etc/motd", "after_header": "/etc/motd", "before": before, "after": after}


STATE = {"before": {"current": "a"}, "after": {"current": "b"}}


@pytest.mark.parametrize("first", [ActionModule, Containers])
@pytest.mark.parametrize("then", [SystemContainer, Containers])
@pytest.mark.parametrize(
    ("answered", "shown_again"),
    [
        ({"changed": True, "diff": [{**_entry("1", "2"), "systems": "a b"}]}, False),
        ({"changed": False}, True),  # it was staged before
        ({"changed": True}, True),  # with `diff: false`
    ],
)
def test_what_changes_is_shown_once(
    run: Run, first: t.Any, then: t.Any, answered: dict[str, t.Any], shown_again: bool
) -> None:
    run.answers = [answered, {"changed": True, "diff": [{**_entry("1", "2"), "systems": "a b"}, STATE]}]
    given: dict[str, t.Any] = {"containers": {}}
    assert run(first, given, diff=True).get("diff", [])[:1] == ([_entry("1", "2")] if "diff" in answered else [])
    done = run(then, given, diff=True)
    assert done["diff"] == ([_entry("1", "2")] if shown_again else []) + [STATE]


class AnsibleVaultEncryptedUnicode:
    """What ansible-core before 2.19 has for a value that is encrypted alone."""

    def __str__(self) -> str:
        return "s3cret-of-others"


def test_a_difference_shows_no_value_of_the_vault_that_the_task_does_not_name(run: Run) -> None:
    """The systems of the host hold what other tasks have given."""
    shown = {**_entry("x s3cret-of-others", "y"), "systems": "a b"}
    run.answers = [{"changed": True, "diff": [shown, STATE]}]
    variables = {"password": AnsibleVaultEncryptedUnicode()}
    done = run(SystemContainer, {"name": "web", "state": "rolled_back"}, diff=True, variables=variables)
    assert done["diff"] == [_entry("x ********", "y"), STATE]
