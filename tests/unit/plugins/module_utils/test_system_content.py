# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a system may hold, and that its name follows its content and nothing else."""

from __future__ import annotations

import base64
import json
import string
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils import system_content
from ansible_collections.unshare.container.plugins.module_utils.system_content import (
    SystemContent,
    check_name,
    check_path,
)
from ansible_collections.unshare.container.plugins.module_utils.target import TargetError
from hypothesis import given
from hypothesis import strategies as st

from .target_helpers import LAUNCHER, content, system

NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
    lambda name: name not in (".", "..", "systemd")  # of which the system has a directory
)
FILES = st.dictionaries(NAMES, st.text(st.characters(exclude_categories=["Cs"])), max_size=6)


def digest(value: dict[str, t.Any], boot: str = "", python: str = "/usr/bin/python3") -> str:
    return SystemContent(value, boot, LAUNCHER, python).digest(None)


@given(FILES, st.randoms())
def test_the_order_of_keys_does_not_matter(files: dict[str, str], random: t.Any) -> None:
    value = system(**files)
    items = list(value["files"].items())
    random.shuffle(items)
    assert digest(value) == digest({**value, "files": dict(items)})


@given(FILES)
def test_json_does_not_matter(files: dict[str, str]) -> None:
    value = system(**files)
    assert digest(value) == digest(json.loads(json.dumps(value)))


@given(FILES, FILES)
def test_other_files_give_another_name(one: dict[str, str], other: dict[str, str]) -> None:
    assert (digest(system(**one)) == digest(system(**other))) == (system(**one) == system(**other))


def _with(**changes: t.Any) -> dict[str, t.Any]:
    return {**system(), **changes}


@pytest.mark.parametrize(
    "value",
    [
        _with(name="other"),
        _with(directories=[]),
        _with(host_files=[]),
        _with(spec={**system()["spec"], "shared_network": True}),
        _with(files={**system()["files"], "/etc/hostname": {"content": "web\n", "mode": "0600"}}),
        _with(files={**system()["files"], "/etc/hostname": {"content": "web\n", "mode": "0644", "uid": 1}}),
        _with(files={**system()["files"], "/etc/hostname": {"link": "web\n"}}),
    ],
)
def test_all_that_decides_is_in_the_name(value: dict[str, t.Any]) -> None:
    assert digest(value) != digest(system())


def test_boot_launcher_and_python_are_in_the_name() -> None:
    launcher = {**LAUNCHER, "main.py": "changed"}
    assert digest(system(), boot="x") != digest(system())
    assert digest(system(), python="/opt/python3") != digest(system())
    assert SystemContent(system(), "", launcher, "/usr/bin/python3").digest(None) != digest(system())


def test_what_the_controller_used_up_is_not_in_the_name() -> None:
    assert digest(_with(programs=[{"service": "a", "program": "b"}], packages=["p"])) == digest(system())


def test_a_secret_apart_is_the_same_as_within() -> None:
    value = system()
    secret = value["files"]["/etc/shadow"].pop("content")
    apart = SystemContent(value, "", LAUNCHER, "/usr/bin/python3", {"/etc/shadow": secret})
    assert apart.digest(None) == digest(system())


def test_binary_content() -> None:
    entry = {"content": base64.b64encode(bytes(range(256))).decode(), "encoding": "base64"}
    value = _with(files={"/etc/blob": entry})
    assert SystemContent(value, "", LAUNCHER, "/p").files["/etc/blob"].content == bytes(range(256))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"etc/x": {"content": ""}}, "must be an absolute path"),
        ({"/etc/../x": {"content": ""}}, "must be an absolute path"),
        ({"//etc/x": {"content": ""}}, "must be an absolute path"),
        ({"/": {"content": ""}}, "must be an absolute path"),
        ({"/etc/x\0": {"content": ""}}, "must be an absolute path"),
        ({"/etc/x": {"contents": ""}}, "unknown key 'contents'"),
        ({"/etc/x": {}}, "needs either 'content' or 'link'"),
        ({"/etc/x": {"content": "", "link": "y"}}, "needs either 'content' or 'link'"),
        ({"/etc/x": {"content": "", "mode": "rw"}}, "octal digits"),
        ({"/etc/x": {"content": "", "mode": 420}}, "octal digits"),
        ({"/etc/x": {"content": "", "uid": 65536}}, "a number from 0 to 65535"),
        ({"/etc/x": {"content": "", "uid": True}}, "a number from 0 to 65535"),
        ({"/etc/x": {"content": "%", "encoding": "base64"}}, "not valid base64"),
        ({"/etc/x": {"content": "", "encoding": "latin1"}}, "not known"),
        ({"/etc/x": {"content": 1}}, "must be a string"),
        ({"/etc/x": {"link": ""}}, "the path that the link leads to"),
        ({"/etc/x": "text"}, "must be a mapping"),
        ({"/etc/x": {"link": "/"}, "/etc/x/y": {"content": ""}}, "lies below '/etc/x'"),
    ],
)
def test_bad_files_are_refused_by_name(files: dict[str, t.Any], message: str) -> None:
    with pytest.raises(TargetError, match=message):
        digest(_with(files=files))


def test_secrets_must_belong_to_a_file_without_content() -> None:
    for secrets, message in (({"/etc/no": "x"}, "no such file"), ({"/etc/shadow": "x"}, "given twice")):
        with pytest.raises(TargetError, match=message):
            SystemContent(system(), "", LAUNCHER, "/p", secrets)


@given(st.text(string.ascii_letters + string.digits + "-._/ \n\u00e9", max_size=70))
def test_names(name: str) -> None:
    good = 0 < len(name) <= 63 and set(name) <= set(string.ascii_lowercase + string.digits + "-") and name[0] != "-"
    try:
        assert check_name(name) == name
        assert good
    except TargetError:
        assert not good


@given(st.lists(NAMES, min_size=1, max_size=5))
def test_plain_paths_are_taken_as_they_are(parts: list[str]) -> None:
    path = "/" + "/".join(parts)
    assert check_path(path, "here") == path


def test_the_directory_names_the_container() -> None:
    assert content().directory_name(b"filter") == content().digest(b"filter") + "-web"
    assert len(content().digest(b"filter")) == 32


def test_the_filter_and_its_absence_are_in_the_name() -> None:
    assert len({content().digest(seccomp_filter) for seccomp_filter in (None, b"", b"filter", b"other")}) == 4


def test_the_text_of_the_scripts_is_in_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    before = content().digest(None)
    monkeypatch.setattr(system_content, "STUB", system_content.STUB + "\n")
    assert content().digest(None) != before
