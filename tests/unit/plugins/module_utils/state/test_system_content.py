# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a system may hold, and that its name follows its content and nothing else."""

from __future__ import annotations

import base64
import json
import os
import signal
import string
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.state import system_content
from ansible_collections.unshare.container.plugins.module_utils.state.system_content import (
    SystemContent,
    check_name,
    check_path,
)
from ansible_collections.unshare.container.plugins.module_utils.state.target import TargetError
from hypothesis import given
from hypothesis import strategies as st

from ..target_helpers import LAUNCHER, content, system

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
    launcher = {**LAUNCHER, "life/main.py": "changed"}
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


NO_PATH = "must be an absolute path without '.', '..' or empty parts"
KNOWN = "content, encoding, gid, link, mode, secret, uid"
NO_NAME = (
    "name: 'Web' cannot name a container; use 1 to 63 lower-case letters, digits and dashes, beginning with a letter "
    "or a digit"
)
HERE = "system.files['/etc/x']"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        *(
            ({path: {"content": ""}}, f"system.files: {path!r} {NO_PATH}")
            for path in ("etc/x", "/etc/../x", "/etc/./x", "/etc/x/", "//etc/x", "/", "", "/etc/x\0")
        ),
        ({"/etc/x": {"contents": "", "a": 1}}, f"{HERE}: unknown key 'a'; known are {KNOWN}"),
        ({"/etc/x": {}}, f"{HERE}: needs either 'content' or 'link'"),
        ({"/etc/x": {"content": "", "link": "y"}}, f"{HERE}: needs either 'content' or 'link'"),
        *(
            (
                {"/etc/x": {"content": "", "mode": mode}},
                f"{HERE}.mode: {mode!r} must be a string of 3 or 4 octal digits",
            )
            for mode in ("rw", "64", "00644", "648", 420, None)
        ),
        *(
            ({"/etc/x": {"content": "", key: number}}, f"{HERE}.{key}: {number!r} must be a number from 0 to 65535")
            for key in ("uid", "gid")
            for number in (65536, -1, True, "0", None)
        ),
        ({"/etc/x": {"content": "%", "encoding": "base64"}}, f"{HERE}.content: is not valid base64"),
        ({"/etc/x": {"content": "YQ", "encoding": "base64"}}, f"{HERE}.content: is not valid base64"),
        (
            {"/etc/x": {"content": "", "encoding": "latin1"}},
            f"{HERE}.encoding: 'latin1' is not known; use 'utf-8' or 'base64'",
        ),
        ({"/etc/x": {"content": 1}}, f"{HERE}.content: must be a string"),
        *(
            ({"/etc/x": {"link": link}}, f"{HERE}.link: must be the path that the link leads to")
            for link in ("", 1, "a\0")
        ),
        ({"/etc/x": "text"}, f"{HERE}: must be a mapping with 'content' or 'link'"),
        (
            {"/etc/x": {"link": "/"}, "/etc/x/y/z": {"content": ""}},
            "system.files['/etc/x/y/z']: lies below '/etc/x', which is a file or a link itself",
        ),
    ],
)
def test_bad_files_are_refused_by_name(files: dict[str, t.Any], message: str) -> None:
    assert refusal(_with(files=files)) == message


def refusal(value: dict[str, t.Any], secrets: dict[str, str] | None = None, name: str | None = None) -> str:
    with pytest.raises(TargetError) as raised:
        SystemContent(value, "", LAUNCHER, "/p", secrets, name)
    return str(raised.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"directories": [{"path": "/a"}, {"path": "b"}]}, f"system.directories[1]: 'b' {NO_PATH}"),
        ({"host_files": ["/a", "b"]}, f"system.host_files: 'b' {NO_PATH}"),
        (
            {"directories": [{"path": "/a", "mode": 7}]},
            "system.directories[0].mode: 7 is not up to four octal digits in quotes",
        ),
        ({"host_files": {"/a": 1}}, "system.host_files: is not of type list"),
        ({"spec": {**system()["spec"], "files": {}}}, "system.spec.files: belongs beside 'spec', not in it"),
        ({"spec": {**system()["spec"], "log": "x"}}, "system.spec.log: is neither 'volatile' nor 'persistent'"),
        (
            {"name": "Web"},
            NO_NAME,
        ),
    ],
)
def test_what_stands_beside_the_files_is_refused_by_name(change: dict[str, t.Any], message: str) -> None:
    assert refusal(_with(**change)) == message


def test_what_is_left_out_has_its_default() -> None:
    entries = {
        "/etc/a": {"content": "\udc80"},
        "/etc/b": {"link": "/x", "mode": "0600", "uid": 7},
        "/etc/c": {"content": "", "mode": "600"},
    }
    made = SystemContent(
        _with(files=entries, directories=[{"path": "/d", "uid": None}], host_files=None), "", LAUNCHER, "/p"
    )
    assert {path: (file.content, file.link, file.secret) for path, file in made.files.items()} == {
        "/etc/a": (b"\x80", None, False),
        "/etc/b": (b"", "/x", False),
        "/etc/c": (b"", None, False),
    }
    written = made.specification.write()
    assert written["files"] == {"/etc/a": {}, "/etc/b": {"link": "/x"}, "/etc/c": {"mode": "0600"}}
    assert written["directories"] == [{"path": "/d"}]
    assert "host_files" not in written
    assert written["python"] == "/p"
    assert len(written["launcher"]) == 64


def test_a_secret_stays_one() -> None:
    file = SystemContent(system(), "", LAUNCHER, "/p").files["/etc/shadow"]
    assert file.record().write() == {"mode": "0640", "gid": 42, "secret": True}
    value = system()
    value["files"]["/etc/hostname"].pop("content")
    made = SystemContent(value, "", LAUNCHER, "/p", {"/etc/hostname": "x"})
    assert made.files["/etc/hostname"].record().write() == {"secret": True}  # it was kept apart, whatever was said


def test_another_name_is_everywhere() -> None:
    made = SystemContent(system(), "", LAUNCHER, "/p", name="other")
    assert made.name == made.specification.name == "other"
    assert made.directory_name(None).endswith("-other")


def test_secrets_must_belong_to_a_file_without_content() -> None:
    assert refusal(system(), {"/etc/no": "x"}) == "secrets['/etc/no']: 'system.files' has no such file"
    assert refusal(system(), {"/etc/shadow": "x"}) == (
        "system.files['/etc/shadow']: its content is given twice, here and in 'secrets'"
    )


def test_the_digest_of_the_content_is_every_hosts() -> None:
    here, there = (SystemContent(system(), "", LAUNCHER, python) for python in ("/usr/bin/python3", "/opt/python3"))
    assert here.content_digest() == there.content_digest()
    assert here.digest(b"x") == system_content.digest_on_target(here.content_digest(), "/usr/bin/python3", b"x")
    assert here.digest(b"x") != there.digest(b"x")


def test_the_scripts() -> None:
    found = system_content.scripts("/opt/python3")
    assert found.keys() == {"run-container", "enter-container"}
    for name, text in found.items():
        function = name.replace("-", "_") + "_main"
        lines = text.splitlines()
        assert lines[0] == "#!/opt/python3 -IS"
        assert f"from library.life.main import {function}" in lines
        assert f"status = {function}()" in lines
        compile(text, name, "exec")


@pytest.mark.parametrize("closed", [False, True])
def test_a_script_ends_with_its_status_and_all_that_it_has_said(tmp_path: Path, closed: bool) -> None:
    main = tmp_path / "library/life/main.py"
    main.parent.mkdir(parents=True)
    main.write_text(
        "import sys\ndef run_container_main():\n    print('said')\n    print('it', file=sys.stderr)\n    return 7\n"
    )
    script = tmp_path / "run-container"
    script.write_text(system_content.scripts(sys.executable)["run-container"])
    read, write = os.pipe()
    if closed:
        os.close(read)
    done = subprocess.run([sys.executable, "-IS", script], stdout=write, stderr=subprocess.PIPE, text=True, check=False)
    os.close(write)
    assert done.returncode == 7
    if not closed:
        assert (os.read(read, 100), done.stderr) == (b"said\n", "it\n")
        os.close(read)


def test_a_signal_in_a_callback_of_an_import_ends_a_script(tmp_path: Path) -> None:
    """Python drops what its handler raises there, and an import has callbacks: one for each module's lock."""
    main = tmp_path / "library/life/main.py"
    main.parent.mkdir(parents=True)
    main.write_text(
        "import os, signal, weakref\n"
        "class Lock: pass\n"
        "weakref.finalize(Lock(), lambda: os.kill(os.getpid(), signal.SIGINT))\n"
        "def run_container_main():\n    return 7\n"
    )
    script = tmp_path / "run-container"
    script.write_text(system_content.scripts(sys.executable)["run-container"])
    done = subprocess.run([sys.executable, "-IS", script], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGINT
    assert "ignored" not in done.stderr


def test_one_json_text_whatever_the_order() -> None:
    assert system_content.canonical({"b": [1, "ü"], "a": None}) == b'{"a":null,"b":[1,"\\u00fc"]}'


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
