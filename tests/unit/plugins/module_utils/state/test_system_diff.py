# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A diff shows what differs, all of it, nothing else, and no secret."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.state.system_content import SystemContent
from ansible_collections.unshare.container.plugins.module_utils.state.system_diff import (
    Difference,
    differences,
    of_content,
    of_directory,
)
from ansible_collections.unshare.container.plugins.module_utils.state.systems import Systems
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout
from hypothesis import given
from hypothesis import strategies as st

from ..target_helpers import LAUNCHER, content, system

NAMES = st.sampled_from(["a", "b", "c", "d"])
FILES = st.dictionaries(NAMES, st.sampled_from(["", "one\n", "two\n", "\0", "\u00e9"]))


def between(one: dict[str, t.Any], other: dict[str, t.Any]) -> list[Difference]:
    contents = [SystemContent(value, "", LAUNCHER, "/usr/bin/python3") for value in (one, other)]
    return differences(of_content(contents[0], None), of_content(contents[1], None))


@given(FILES, FILES)
def test_exactly_the_files_that_differ(one: dict[str, str], other: dict[str, str]) -> None:
    titles = [entry["after_header"] for entry in between(system(**one), system(**other))]
    assert titles == [f"/etc/{name}" for name in sorted({*one, *other}) if one.get(name) != other.get(name)]


@pytest.mark.parametrize("seccomp_filter", [None, b"filter"])
def test_nothing_is_shown_of_a_written_system(tmp_path: Path, seccomp_filter: bytes | None) -> None:
    path = Systems(Layout(tmp_path)).write(content(motd="x"), seccomp_filter)
    assert differences(of_directory(path), of_content(content(motd="x"), seccomp_filter)) == []


def test_the_first_system_is_all_new_and_a_damaged_one_is_as_none(tmp_path: Path) -> None:
    first = differences(of_directory(None), of_content(content(), None))
    assert all(entry["before"] == "" for entry in first)
    assert "/etc/hostname" in [entry["after_header"] for entry in first]
    assert differences(of_directory(tmp_path), of_content(content(), None)) == first


def test_secrets_are_hidden() -> None:
    changed = system()
    changed["files"]["/etc/shadow"]["content"] = "root:$y$hash:::::::\n"
    entry = {"before_header": "/etc/shadow", "after_header": "/etc/shadow"}
    assert between(system(), changed) == [{**entry, "before": "secret\n", "after": "secret, changed\n"}]
    assert between(changed, changed) == []
    public = system()
    public["files"]["/etc/shadow"].pop("secret")
    assert "hash" not in str(between(changed, public)) + str(between(public, changed))


def test_modes_owners_and_links() -> None:
    changed = system()
    changed["files"]["/etc/hostname"]["mode"] = "0600"
    changed["files"]["/etc/systemd/system/default.target"] = {"link": "/elsewhere"}
    shown = {entry["after_header"]: (entry["before"], entry["after"]) for entry in between(system(), changed)}
    assert shown == {
        "/etc/hostname (attributes)": ("mode 0644, owner 0:0\n", "mode 0600, owner 0:0\n"),
        "/etc/systemd/system/default.target": (
            "link to /usr/lib/systemd/system/multi-user.target\n",
            "link to /elsewhere\n",
        ),
    }


def test_mounts_are_a_line_each() -> None:
    changed = system()
    mount = {
        "device": {"uuid": "1-2"},
        "mount_point": "/srv",
        "type": "ext4",
        "flags": ["no-exec"],
        "options": "discard",
    }
    changed["spec"]["file_systems"] = [*changed["spec"]["file_systems"], mount]
    (entry,) = between(system(), changed)
    assert entry["after"] == entry["before"] + "/srv from uuid=1-2, ext4 (no-exec, discard)\n"


def test_settings_launcher_and_boot() -> None:
    changed = system()
    changed["spec"]["shared_network"] = True
    assert [entry["after_header"] for entry in between(system(), changed)] == ["settings"]
    one = SystemContent(system(), "a", LAUNCHER, "/usr/bin/python3")
    other = SystemContent(system(), "b", {**LAUNCHER, "x.py": ""}, "/opt/python3")
    shown = differences(of_content(one, None), of_content(other, None))
    assert [entry["after_header"] for entry in shown] == ["boot", "launcher"]
