# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the hosts of another inventory are asked for their containers: the program, what it gets, what it answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.plugin_utils import container_listing

ANSWER: dict[str, t.Any] = {"web1": {"containers": []}}


class Ansible:
    """In place of Ansible: it notes how it was called, and answers.

    Attributes:
        answer: the text of the answer; None for no answer.
        calls: what was done, in order.
    """

    def __init__(self) -> None:
        self.answer: str | None = json.dumps(ANSWER)
        self.calls: list[str] = []
        self.words: list[str] = []
        self.options: dict[str, t.Any] = {}
        self.extra: dict[str, t.Any] = {}
        self.playbook: t.Any = None

    def heed(self) -> None:
        self.calls.append("heed children")

    def __call__(self, words: list[str], **options: t.Any) -> subprocess.CompletedProcess[str]:
        self.calls.append("run")
        self.words, self.options = words, options
        with open(words[-1], encoding="utf-8") as file:
            self.playbook = json.load(file)
        self.extra = json.loads(words[words.index("--extra-vars") + 1])
        if self.answer is not None:
            with open(self.extra["unshare_answer"], "w", encoding="utf-8") as file:
                file.write(self.answer)
        said = "".join(f"line {number}\n" for number in range(30))
        return subprocess.CompletedProcess(words, 2, said, "it failed\n")


@pytest.fixture
def ansible(monkeypatch: pytest.MonkeyPatch) -> Ansible:
    made = Ansible()
    monkeypatch.setattr(subprocess, "run", made)
    monkeypatch.setattr(container_listing, "heed_children", made.heed)
    return made


def ask(**arguments: t.Any) -> dict[str, t.Any]:
    return container_listing.ask(["/a/hosts.yml", "b,"], "web*", 2.5, arguments, {"MORE": "x"})


def test_what_is_run(ansible: Ansible) -> None:
    assert ask() == ANSWER
    assert ansible.calls == ["heed children", "run"]  # or the status of what is run would be lost
    directory = os.path.dirname(ansible.words[-1])
    assert ansible.words == [
        *(sys.executable, "-m", "ansible", "playbook"),
        *("--inventory", "/a/hosts.yml", "--inventory", "b,"),
        *("--extra-vars", json.dumps(ansible.extra), f"{directory}/playbook.yml"),
    ]
    assert ansible.extra == {
        "unshare_pattern": "web*",
        "unshare_answer": f"{directory}/answer.json",
        "unshare_timeout": 2.5,
    }
    assert ansible.playbook == container_listing.PLAYBOOK
    assert ansible.options == {
        "env": {**os.environ, "MORE": "x", container_listing.LISTING: "1"},
        "stdin": subprocess.DEVNULL,
        "capture_output": True,
        "text": True,
        "check": False,
    }
    assert not os.path.exists(directory)


@pytest.mark.parametrize("answer", [None, "", "{"])
def test_no_answer_is_an_error_with_the_end_of_what_was_said(ansible: Ansible, answer: str | None) -> None:
    ansible.answer = answer
    with pytest.raises(container_listing.ListingError) as raised:
        ask()
    lines = [f"line {number}" for number in range(11, 30)]
    said = "\n".join(["the hosts could not be asked for their containers:", *lines, "it failed"])
    assert str(raised.value) == said


REACHED = {
    "remote_user": "--user",
    "private_key_file": "--private-key",
    "ssh_common_args": "--ssh-common-args",
    "ssh_extra_args": "--ssh-extra-args",
    "timeout": "--timeout",
}
"""The options of a command line that say how hosts are reached, as Ansible keeps them, and as they are written."""


def test_how_hosts_are_reached_is_handed_on(ansible: Ansible) -> None:
    """And nothing else of the caller's: what it is about is not this."""
    secrets = {"vault_ids": ["dev@file", "prod@prompt", "prompt"], "vault_password_files": ["/secret"]}
    ask(**dict.fromkeys(REACHED, "-a b"), **secrets, subset="nobody", check=True, listhosts=True)
    assert ansible.words[4 : ansible.words.index("--inventory")] == [
        *(f"{option}=-a b" for option in REACHED.values()),
        *("--vault-id=dev@file", "--vault-id=prompt", "--vault-password-file=/secret"),
    ]


@pytest.mark.parametrize("name", REACHED)
def test_each_by_itself(ansible: Ansible, name: str) -> None:
    ask(**{name: "x"})
    assert ansible.words[4:6] == [f"{REACHED[name]}=x", "--inventory"]
    ask(**{name: None})
    assert ansible.words[4] == "--inventory"
