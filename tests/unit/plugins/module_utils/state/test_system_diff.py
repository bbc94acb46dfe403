# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A diff shows what differs, all of it, nothing else, and no secret."""

from __future__ import annotations

import hashlib
import json
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.state.system_content import SystemContent
from ansible_collections.unshare.container.plugins.module_utils.state.system_diff import (
    SYSTEMS,
    Difference,
    between,
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


def compared(one: dict[str, t.Any], other: dict[str, t.Any]) -> list[Difference]:
    contents = [SystemContent(value, "", LAUNCHER, "/usr/bin/python3") for value in (one, other)]
    return differences(of_content(contents[0], None), of_content(contents[1], None))


@given(FILES, FILES)
def test_exactly_the_files_that_differ(one: dict[str, str], other: dict[str, str]) -> None:
    titles = [entry["after_header"] for entry in compared(system(**one), system(**other))]
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
    assert compared(system(), changed) == [{**entry, "before": "secret\n", "after": "secret, changed\n"}]
    assert compared(changed, changed) == []
    public = system()
    public["files"]["/etc/shadow"].pop("secret")
    assert "hash" not in str(compared(changed, public)) + str(compared(public, changed))


def test_modes_owners_and_links() -> None:
    changed = system()
    changed["files"]["/etc/hostname"]["mode"] = "0600"
    changed["files"]["/etc/systemd/system/default.target"] = {"link": "/elsewhere"}
    shown = {entry["after_header"]: (entry["before"], entry["after"]) for entry in compared(system(), changed)}
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
    (entry,) = compared(system(), changed)
    assert entry["after"] == entry["before"] + "/srv from uuid=1-2, ext4 (no-exec, discard)\n"


def test_v2_the_owner_of_a_mapping_is_shown() -> None:
    changed = system()
    mount = {"device": "/srv", "mount_point": "/a", "type": "none", "flags": ["bind-mount"], "uid": 901, "gid": 0}
    changed["spec"]["file_systems"] = [*changed["spec"]["file_systems"], mount]
    (entry,) = compared(system(), changed)
    assert entry["after"] == entry["before"] + "/a from /srv, none (bind-mount, uid 901, gid 0)\n"


def test_settings_launcher_and_boot() -> None:
    changed = system()
    changed["spec"]["shared_network"] = True
    assert [entry["after_header"] for entry in compared(system(), changed)] == ["settings"]
    one = SystemContent(system(), "a", LAUNCHER, "/usr/bin/python3")
    other = SystemContent(system(), "b", {**LAUNCHER, "x.py": ""}, "/opt/python3")
    shown = differences(of_content(one, None), of_content(other, None))
    assert [entry["after_header"] for entry in shown] == ["boot", "launcher"]


def full(**spec: t.Any) -> SystemContent:
    """Return a system with something in every part."""
    value = system(empty="", blob="\0\0", text="one\n")
    value["files"]["/etc/high"] = {"content": "/w==", "encoding": "base64", "mode": "0600", "uid": 1, "gid": 2}
    mounts = [
        {"device": "/srv", "mount_point": "/a", "type": "none", "flags": ["bind-mount"], "required": True},
        {"device": {"label": "x"}, "mount_point": "/b", "type": "ext4", "options": "ro", "mount_may_fail": True},
        {"device": "none", "mount_point": "/c", "type": "tmpfs"},
    ]
    value["spec"] = {**value["spec"], "file_systems": mounts, "log": "persistent", **spec}
    return SystemContent(value, "#!/bin/sh\n", LAUNCHER, "/usr/bin/python3")


def test_what_is_shown_of_a_system_to_the_letter() -> None:
    shown = {
        entry["after_header"]: entry["after"] for entry in differences(of_directory(None), of_content(full(), b"x"))
    }
    fingerprint = full().specification.launcher
    settings = {
        "format": 2,
        "host_name": "web",
        "init": {"argv": ["/usr/lib/systemd/systemd"], "ready": "notify", "systemd": True},
        "log": "persistent",
        "name": "web",
    }
    assert shown == {
        "/etc/blob": "binary, 2 bytes\n",
        "/etc/empty": "(empty)\n",
        "/etc/high": "binary, 1 bytes\n",
        "/etc/hostname": "web\n",
        "/etc/shadow": "secret, changed\n",
        "/etc/systemd/system/default.target": "link to /usr/lib/systemd/system/multi-user.target\n",
        "/etc/text": "one\n",
        "boot": "#!/bin/sh\n",
        "store": "/usr at /usr\n",
        "mounts": "/a from /srv, none (bind-mount, required)\n/b from label=x, ext4 (ro, mount_may_fail)\n"
        "/c from none, tmpfs (no flags)\n",
        "directories": "/var/lib/web mode 0755, owner 0:0\n",
        "files taken from beside the store": "/etc/alternatives\n",
        "settings": json.dumps(settings, indent=2, sort_keys=True) + "\n",
        "system-call filter": f"SHA-256 {hashlib.sha256(b'x').hexdigest()}\n",
        "launcher": f"launcher {fingerprint}\npython /usr/bin/python3\n",
    }


def test_the_titles_are_in_order() -> None:
    titles = [entry["after_header"] for entry in differences(of_directory(None), of_content(full(), b"x"))]
    files = [title for title in titles if title.startswith("/")]
    assert titles == sorted(files) + [
        *(
            "boot",
            "store",
            "mounts",
            "directories",
            "files taken from beside the store",
            "settings",
            "system-call filter",
        ),
        "launcher",
    ]


def test_a_written_system_is_shown_as_its_content(tmp_path: Path) -> None:
    path = Systems(Layout(tmp_path)).write(full(), b"x")
    assert differences(of_directory(path), of_content(full(), b"x")) == []
    (entry,) = differences(of_directory(path), of_content(full(), None))
    assert (entry["before_header"], entry["after"]) == ("system-call filter", "")
    (path / "boot").write_bytes(b"\xff")
    assert of_directory(path).files == {}
    (path / "boot").unlink()
    assert of_directory(path).files == {}


@pytest.mark.parametrize(
    ("before", "after", "shown"),
    [
        ("\0a", "\0b", ("binary, 2 bytes\n", "binary, 2 bytes, other content\n")),
        ("\0a", "\0bc", ("binary, 2 bytes\n", "binary, 3 bytes\n")),
        ("", "(empty)\n", ("(empty)\n", "(empty), other content\n")),
    ],
)
def test_contents_that_are_not_shown_differ_all_the_same(before: str, after: str, shown: tuple[str, str]) -> None:
    (entry,) = compared(system(x=before), system(x=after))
    assert (entry["before"], entry["after"]) == shown


def test_a_file_that_reads_as_the_link_that_it_replaces_differs_all_the_same() -> None:
    """What is shown of it stays, to its last blank."""
    link = system()
    link["files"]["/etc/x"] = {"link": "/a "}
    (entry,) = [entry for entry in compared(link, system(x="link to /a \n")) if entry["after_header"] == "/etc/x"]
    assert (entry["before"], entry["after"]) == ("link to /a \n", "link to /a , other content\n")


def test_what_goes_is_shown_as_gone() -> None:
    assert compared(system(x="one\n"), system()) == [
        {"before_header": "/etc/x", "after_header": "/etc/x", "before": "one\n", "after": ""}
    ]
    without = system()
    del without["files"]["/etc/shadow"]
    assert [(entry["before"], entry["after"]) for entry in compared(system(), without)] == [("secret\n", "")]
    assert [(entry["before"], entry["after"]) for entry in compared(without, system())] == [("", "secret, changed\n")]


def test_a_secret_that_stays_and_has_another_owner() -> None:
    changed = system()
    changed["files"]["/etc/shadow"]["uid"] = 7
    assert [(entry["after_header"], entry["after"]) for entry in compared(system(), changed)] == [
        ("/etc/shadow (attributes)", "mode 0640, owner 7:42\n")
    ]


def test_a_link_in_the_place_of_a_file_has_no_attributes() -> None:
    changed = system()
    changed["files"]["/etc/hostname"] = {"link": "/x"}
    shown = {entry["after_header"]: (entry["before"], entry["after"]) for entry in compared(system(), changed)}
    assert shown == {
        "/etc/hostname": ("web\n", "link to /x\n"),
        "/etc/hostname (attributes)": ("mode 0644, owner 0:0\n", ""),
    }


def _other(**spec: t.Any) -> SystemContent:
    value = system(text="two\n", new="three\n")
    value["files"]["/etc/shadow"]["content"] = "root:$y$hash:::::::\n"
    value["files"]["/etc/hostname"]["mode"] = "0600"
    mount = {"device": "/srv", "mount_point": "/a", "type": "none", "flags": ["bind-mount", "read-only"]}
    value["spec"] = {**value["spec"], "file_systems": [mount], "shared_network": True, **spec}
    value["directories"] = [{"path": "/srv/x"}]
    return SystemContent(value, "#!/bin/sh\ntrue\n", LAUNCHER, "/usr/bin/python3")


@pytest.mark.parametrize("first", [True, False], ids=["the_first", "another"])
def test_a_system_that_is_staged_already_differs_just_as_a_new_one(tmp_path: Path, first: bool) -> None:
    systems = Systems(Layout(tmp_path))
    before = None if first else systems.write(full(), b"x")
    new = differences(of_directory(before), of_content(_other(), b"y"))
    after = systems.write(_other(), b"y")
    staged = between(before, after)
    names = f"{before.name if before else ''} {after.name}"
    assert staged == [{**entry, SYSTEMS: names} for entry in new]
    titles = [entry["after_header"] for entry in staged]
    for title in ("/etc/text", "/etc/new", "/etc/shadow", "boot", "mounts", "directories", "settings"):
        assert title in titles
    assert "hash" not in str(staged)
    if before:
        back = between(after, before)
        assert [(entry["before"], entry["after"]) for entry in back if entry["after_header"] == "mounts"] == [
            (entry["after"], entry["before"]) for entry in new if entry["after_header"] == "mounts"
        ]


def test_nothing_is_said_to_be_gone_that_cannot_be_read(tmp_path: Path) -> None:
    systems = Systems(Layout(tmp_path))
    before, after = systems.write(full(), None), systems.write(_other(), None)
    (after / "spec.json").write_text(json.dumps({"format": 99}))
    assert between(before, after) == []
    assert between(before, tmp_path / "nothing") == []
