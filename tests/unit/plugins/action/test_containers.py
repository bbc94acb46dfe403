# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The action `containers`: systems are derived on the controller, and sent only to hosts that lack them."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible.errors import AnsibleActionFail
from ansible_collections.unshare.container.plugins.action import containers
from ansible_collections.unshare.container.plugins.action.containers import ActionModule
from ansible_collections.unshare.container.plugins.plugin_utils.declared_containers import NEEDED

from .conftest import Run

PASSWORD = "$6$salt$hash"
WEB = {
    "operating_system": {
        "host_name": "web.example.org",
        "users": [{"name": "alice", "password": PASSWORD}],
        "services": [{"type": "udev"}],
    }
}
GONE = {"state": "absent"}


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """No system is so small that it is sent unasked."""
    monkeypatch.setattr(containers, "UNASKED", 0)


@pytest.mark.usefixtures("large")
def test_a_host_that_has_all_is_sent_digests_alone(run: Run) -> None:
    run.answers = [{"changed": False, "containers": []}]
    result = run(ActionModule, {"containers": {"web": WEB, "old": GONE}, "purge": True})
    assert result == {"changed": False, "containers": []}
    ((name, sent),) = run.sent
    assert name == "unshare.container.containers"
    assert (sent["systems"], sent["secrets"], sent["purge"]) == ({}, {}, True)
    assert len(sent["containers"]["web"].pop("digest")) == 64
    assert sent["containers"]["old"].pop("digest") is None
    assert {name: options["state"] for name, options in sent["containers"].items()} == {
        "web": "started",
        "old": "absent",
    }
    assert "operating_system" not in sent["containers"]["web"]


@pytest.mark.usefixtures("large")
def test_what_is_missing_is_sent_with_its_secrets_apart(run: Run) -> None:
    run.answers = [{"missing": ["web"]}, {"changed": True}]
    # A host has one of the two.
    assert run(ActionModule, {"containers": {"has": WEB, "web": WEB}}) == {"changed": True}
    first, second = (sent for _name, sent in run.sent)
    assert first["systems"] == {}
    assert {**second, "systems": {}, "secrets": {}} == first
    assert list(second["systems"]) == ["web"]
    assert second["systems"]["web"].keys() == {"system", "boot"}
    assert second["systems"]["web"]["boot"].startswith("#!/bin/sh\n")
    assert PASSWORD not in str(second["systems"])
    assert PASSWORD in second["secrets"]["web"]["/etc/shadow"]


@pytest.mark.usefixtures("large")
def test_what_one_host_lacked_is_sent_to_the_next_unasked(run: Run) -> None:
    run.answers = [{"missing": ["web"]}, {"changed": True}]
    run(ActionModule, {"containers": {"web": WEB}})
    other = {"operating_system": {"host_name": "other"}}
    run(ActionModule, {"containers": {"web": WEB, "other": other}}, host="web2")
    assert [list(sent["systems"]) for _name, sent in run.sent] == [[], ["web"], ["web"]]
    # A third lacks another one as well.
    run.answers = [{"missing": ["other"]}, {"changed": True}]
    run(ActionModule, {"containers": {"web": WEB, "other": other}}, host="web3")
    assert [list(sent["systems"]) for _name, sent in run.sent[3:]] == [["web"], ["web", "other"]]


def test_small_systems_are_sent_unasked_as_many_as_there_is_room_for(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run(ActionModule, {"containers": {"web": WEB, "second": WEB, "old": GONE}})
    ((_name, sent),) = run.sent
    assert list(sent["systems"]) == list(sent["secrets"]) == ["web", "second"]
    size = len(json.dumps([*sent["systems"]["web"].values(), sent["secrets"]["web"]]))
    assert size < containers.UNASKED
    for room, expected in ((size, ["web"]), (size - 1, [])):
        monkeypatch.setattr(containers, "UNASKED", room)
        run(ActionModule, {"containers": {"web": WEB, "second": WEB}})
        assert list(run.sent[-1][1]["systems"]) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"systems": {}}, "systems: is filled in from 'containers', and cannot be given"),
        ({"secrets": {}}, "secrets: is filled in from 'containers', and cannot be given"),
        ({"containers": {"web": {}}}, f"containers.web.operating_system: {NEEDED}"),
        ({"containers": [1]}, "containers: must be a mapping of names to containers, not a list"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_sent(
    run: Run, arguments: dict[str, t.Any], message: str
) -> None:
    with pytest.raises(AnsibleActionFail) as error:
        run(ActionModule, arguments)
    assert error.value.message == message
    assert run.sent == []


def test_without_containers_the_host_is_asked_all_the_same(run: Run) -> None:
    run(ActionModule, {"purge": True})
    assert run.sent[0][1] == {"purge": True, "containers": {}, "systems": {}, "secrets": {}}


@pytest.mark.parametrize(
    ("diff", "answered", "shown"), [(True, ["d"], 2), (True, [], 0), (False, ["d"], 1)], ids=["asked", "same", "not"]
)
def test_c14_a_difference_begins_with_what_is_not_taken_over(
    run: Run, diff: bool, answered: list[str], shown: int
) -> None:
    run.answers = [{"changed": True, "diff": list(answered)}]
    result = run(ActionModule, {"containers": {"old": GONE, "web": WEB}}, diff=diff)
    assert len(result["diff"]) == shown
    if shown == 2:
        assert result["diff"][1] == "d"
        lines = result["diff"][0]["prepared"].splitlines(keepends=True)
        assert lines[0] == "container web, of its declaration:\n"
        assert "dropped service udev: devices belong to the host, whose udev manages them\n" in lines
        assert lines[-1].endswith("\n")


def test_it_can_be_checked_and_shows_differences() -> None:
    assert ActionModule._supports_check_mode
    assert ActionModule._supports_diff
    assert not ActionModule.TRANSFERS_FILES
