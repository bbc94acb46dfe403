# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The inventory plugin's own decisions; it is used as a whole in the integration tests."""

from __future__ import annotations

import json
import sys
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


def test_how_the_hosts_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, t.Any] = {}

    def run(words: list[str], env: dict[str, str], **_options: t.Any) -> t.Any:
        seen.update(words=words, env=env)
        extra = json.loads(words[words.index("--extra-vars") + 1])
        Path(extra["unshare_answer"]).write_text('{"one": {"containers": []}}')
        seen.update(extra=extra, playbook=json.loads(Path(words[-1]).read_text()))

    monkeypatch.setattr(container_listing.subprocess, "run", run)
    arguments = {
        "remote_user": "admin",
        "private_key_file": None,
        "ssh_common_args": "-J jump",
        "vault_ids": ["dev@/vault", "ask@prompt"],
        "vault_password_files": ["/password"],
        "subset": "nobody",
        "check": True,
    }
    answer = container_listing.ask(["/hosts.yml", "a,"], "web*", 5.0, arguments, {"EXTRA": "1"})
    assert answer == {"one": {"containers": []}}
    words = seen["words"]
    assert words.count("--inventory") == 2
    # By whole words: those of the interpreter and of the playbook are paths, and a path may say anything.
    assert {"--user=admin", "--ssh-common-args=-J jump", "--vault-id=dev@/vault"} <= set(words)
    assert "--vault-password-file=/password" in words
    options = {word.partition("=")[0] for word in words if word.startswith("-")}
    assert options == {
        "-m",
        "--user",
        "--ssh-common-args",
        "--vault-id",
        "--vault-password-file",
        "--inventory",
        "--extra-vars",
    }
    assert "--vault-id=ask@prompt" not in words
    assert seen["extra"]["unshare_pattern"] == "web*"
    assert (seen["env"]["EXTRA"], seen["env"][container_listing.LISTING]) == ("1", "1")
    assert not Path(seen["extra"]["unshare_answer"]).exists()


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


def test_no_answer_is_an_error_with_what_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    class Result:
        stdout, stderr = "one\n", "it is broken\n"

    monkeypatch.setattr(container_listing.subprocess, "run", lambda *_arguments, **_options: Result())
    with pytest.raises(container_listing.ListingError, match="it is broken"):
        container_listing.ask(["/hosts.yml"], "all", 5.0, {}, {})


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("remote_user", "--user"),
        ("private_key_file", "--private-key"),
        ("ssh_common_args", "--ssh-common-args"),
        ("ssh_extra_args", "--ssh-extra-args"),
        ("timeout", "--timeout"),
    ],
)
def test_how_hosts_are_reached_is_handed_on(monkeypatch: pytest.MonkeyPatch, name: str, option: str) -> None:
    def run(words: list[str], **_options: t.Any) -> t.Any:
        assert words[:5] == [sys.executable, "-m", "ansible", "playbook", f"{option}=-a b"]
        return types.SimpleNamespace(stdout="".join(f"{line}\n" for line in range(30)), stderr="")

    monkeypatch.setattr(container_listing.subprocess, "run", run)
    with pytest.raises(container_listing.ListingError) as error:
        container_listing.ask(["a,"], "all", 5.0, {name: "-a b"}, {})
    said = str(error.value).splitlines()
    assert said == ["the hosts could not be asked for their containers:", *map(str, range(10, 30))]
