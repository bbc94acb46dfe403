# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Characters at which `str.splitlines` splits are no ends of lines in what users declare."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.unshare.container.plugins.plugin_utils import crontab
from ansible_collections.unshare.container.plugins.plugin_utils.containerized import containerized_operating_system
from ansible_collections.unshare.container.plugins.plugin_utils.system_files import system_files

NO_ENDS = ["\u2028", "\u2029", "\x85"]
CONTROLS = ["\x0c", "\x0b", "\x1c", "\x1d", "\x1e"]


def render(**system: t.Any) -> dict[str, t.Any]:
    return system_files(containerized_operating_system({"host_name": "a", **system}))


@pytest.mark.parametrize("character", NO_ENDS)
@pytest.mark.parametrize("text", ["alice{}", "a{}b", "x{}y z w"])
def test_a_comment_of_a_user(character: str, text: str) -> None:
    files = render(users=[{"name": "alice", "comment": text.format(character)}])["files"]
    assert f":{text.format(character)}:" in files["/etc/passwd"]["content"]


@pytest.mark.parametrize("character", NO_ENDS + CONTROLS)
def test_a_comment_and_a_command_of_cron(character: str) -> None:
    content = f"# part one{character}part two\n@daily root echo 'a{character}b'\n"
    assert crontab.users(content, "x") == [("root", "x (line 2)")]


@pytest.mark.parametrize("character", NO_ENDS)
def test_a_description_of_a_unit(character: str) -> None:
    text = f"[Unit]\nDescription=x{character}User=nosuch\n[Service]\nExecStart=/bin/sleep 9\n"
    assert render(services=[{"type": "unit", "value": {"name": "a", "text": text}}])
