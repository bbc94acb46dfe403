# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can be asked, and what is refused before anything is done."""

from __future__ import annotations

import io
import json
import os
import subprocess
import typing as t
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.evaluation import confinement, identity
from ansible_collections.unshare.container.plugins.module_utils.evaluation.request import (
    Mapping,
    Request,
    RequestedFile,
    RequestedFileSystem,
)
from ansible_collections.unshare.container.plugins.module_utils.launcher import identity as containers
from ansible_collections.unshare.container.plugins.module_utils.launcher.errors import LauncherError
from ansible_collections.unshare.container.plugins.module_utils.state import id_ranges
from ansible_collections.unshare.container.tests.unit.plugins.module_utils.evaluation.parameters import parameters

WITHOUT_TREE = ["user", "pid"]


def request(**given: t.Any) -> Request:
    return Request(parameters(**given))


@pytest.mark.parametrize(
    ("given", "mapping"),
    [
        ("/srv/a", Mapping("/srv/a", "/srv/a", False)),
        ("/srv/a=/b=c", Mapping("/srv/a", "/b=c", False)),
        ("/srv//a/./=/b/", Mapping("/srv/a", "/b", False)),
        ({"source": "/srv/a=b"}, Mapping("/srv/a=b", "/srv/a=b", False)),
        ({"source": "/srv/a", "target": "/b", "writable": True}, Mapping("/srv/a", "/b", True)),
        ({"source": "/srv/a", "writable": "yes"}, Mapping("/srv/a", "/srv/a", True)),
    ],
)
def test_mappings(given: t.Any, mapping: Mapping) -> None:
    assert request(mappings=[given]).mappings == [mapping]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"argv": []}, "argv: is empty"),
        ({"argv": ["bin/true"]}, "argv: 'bin/true' must be an absolute path"),
        ({"argv": ["no-such-program"]}, "argv: no-such-program: no such program in /usr/local/sbin"),
        ({"argv": ["/bin/echo", "a\0b"]}, "NUL"),
        ({"executable": "/bin/sh"}, "executable: says what runs"),
        ({"mappings": ["relative"]}, r"mappings\[0\].source: 'relative' must be an absolute path"),
        ({"mappings": ["/a", "/b=/../c"]}, r"mappings\[1\].target: '/../c' must not contain '..'"),
        ({"mappings": ["/a=/"]}, "container's own root"),
        *(
            (
                {"mappings": ["/a", {"source": source, "target": "/x", "writable": True}]},
                r"mappings\[1\].source: .*unshare",
            )
            for source in (
                "/",
                "/var//lib",
                "/var/lib/unshare",
                "/var/lib/unshare/systems/",
                "/./run",
                "/run/unshare/x",
            )
        ),
        ({"mappings": ["/a", "/=/host"]}, r"^mappings\[1\].source: '/' is the whole host.*: name the directories"),
        ({"mappings": ["//./=/host"]}, r"^mappings\[0\].source: '/' is the whole host"),
        ({"store": "/"}, "^store: '/' is the whole host"),
        ({"mappings": ["/a=/dev/x"]}, "makes itself"),
        ({"mappings": ["/a=/x\ny"]}, "control character"),
        ({"mappings": [{"source": "/a", "read_only": True}]}, r"mappings\[0\]: unknown key read_only"),
        ({"mappings": [{"target": "/a"}]}, "a mapping with a source"),
        ({"mappings": [{"source": "/a", "writable": "perhaps"}]}, "true or false"),
        ({"mappings": ["/a=/x", "/b=/x"]}, "/x: is used twice"),
        ({"file_systems": [{"mount_point": "/x", "flags": ["readonly"]}]}, r"flags: 'readonly' is not one of"),
        ({"files": {"/x": 5}}, r"files\[/x\]: must be a text"),
        ({"files": {"/x": {"content": "a", "owner": "b"}}}, r"files\[/x\]: must be a text"),
        ({"files": {"/x": {"content": "a", "mode": 644}}}, "such as"),
        ({"files": {"/x": {"content": "a", "mode": "4755"}}}, "such as"),
        ({"files": {"/x": {"content": "?", "encoding": "base64"}}}, "is not base64"),
        ({"files": {"/x/y": "a"}, "mappings": ["/srv=/x"]}, "files: /x/y: lies in /x"),
        ({"environment": {"A=B": "c"}}, "environment: 'A=B'"),
        ({"guest_uid": -1}, "guest_uid: -1 is no id"),
        ({"guest_gid": 10, "ids": 10}, "guest_gid: 10 is not among the 10 ids"),
        ({"ids": 0}, "ids: must be from 1"),
        ({"chdir": "here"}, "chdir: 'here' must be an absolute path"),
        ({"child_is_pid1": True, "namespaces": ["user"]}, "child_is_pid1: needs pid"),
        ({"ids": 5, "namespaces": ["mnt"]}, "need user among the namespaces"),
        ({"mappings": ["/a"], "namespaces": WITHOUT_TREE}, "mappings: needs mnt"),
        ({"files": {"/x": "a"}, "namespaces": WITHOUT_TREE}, "files: needs mnt"),
        ({"writable_root": True, "namespaces": WITHOUT_TREE}, "writable_root: needs mnt"),
    ],
)
def test_refused(given: dict[str, t.Any], message: str) -> None:
    with pytest.raises(LauncherError, match=message):
        request(**given)


def test_files() -> None:
    files = {
        "/a//b": "text",
        "/c": {"content": "/wA=", "encoding": "base64", "mode": "755"},
        "/d": {"link": "a/b"},
    }
    assert request(files=files).files == {
        "/a/b": RequestedFile(b"text", 0o644, None),
        "/c": RequestedFile(b"\xff\x00", 0o755, None),
        "/d": RequestedFile(b"", 0, "a/b"),
    }


def test_commands() -> None:
    assert request(argv=["sh", "-c", "a b"]).argv[1:] == ["-c", "a b"]
    assert request(cmd="a  b", executable="/bin/bash").argv == ["/bin/bash", "-c", "a  b"]
    assert request(argv=["/x", 5]).argv == ["/x", "5"]
    assert request(cmd="true", stdin="x").input == b"x\n"
    assert request(cmd="true", stdin="x", stdin_add_newline=False).input == b"x"


@pytest.mark.parametrize(
    ("text", "output"),
    [
        ("1 + 2", 3),
        (" [\n1,\n2] # a comment ", [1, 2]),
        ("{'a': print}", {"a": repr(print)}),
        ("None", None),
        ("print('[4]')", [4]),
        ("import json\nprint(json.dumps('x'))", "x"),
    ],
)
def test_an_expression_is_printed(text: str, output: t.Any) -> None:
    program = request(expression=text).argv[2]
    said = io.StringIO()
    with redirect_stdout(said):
        exec(compile(program, "program", "exec"), {})
    assert (json.loads(said.getvalue()) if said.getvalue() else None) == output


def test_a_program_in_a_mapping_is_looked_at_where_it_is() -> None:
    asked = request(argv=["/opt/tool/bin/run"], mappings=["/srv/tool=/opt/tool", "/srv/bin=/opt/tool/bin"])
    assert asked.source_of("/opt/tool/bin/run") == "/srv/bin/run"
    assert asked.source_of("/opt/tool/lib") == "/srv/tool/lib"
    assert asked.source_of("/opt/toolbox") == "/opt/toolbox"


def test_capabilities() -> None:
    assert confinement.numbers(request(capabilities=["cap_net_admin", "CHOWN"]).capabilities) == [12, 0]
    assert confinement.numbers(["ALL"])[:3] == [0, 1, 2]
    with pytest.raises(LauncherError, match="capabilities: this kernel knows no FLY"):
        confinement.numbers(["FLY"])


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Make this process look like the host's root, whoever runs the test."""
    monkeypatch.setattr(identity, "HELD", str(tmp_path / "ids"))
    monkeypatch.setattr(identity, "is_privileged", lambda: True)
    monkeypatch.setattr(containers, "available", lambda: (4294967295, False))


@pytest.fixture
def user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this process look like an ordinary user's, whoever runs the test."""
    monkeypatch.setattr(identity, "is_privileged", lambda: False)
    monkeypatch.setattr(identity.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(identity.os, "getegid", lambda: 1001)


@pytest.mark.usefixtures("root")
def test_a_command_of_root_gets_an_id_of_its_own() -> None:
    first = identity.choose(request(guest_uid=42, guest_gid=77))
    second = identity.choose(request())
    try:
        assert first.host != second.host
        for ids in (first, second):
            assert id_ranges.COMMANDS_FIRST <= ids.host[0] <= id_ranges.COMMANDS_LAST
            assert ids.host[0] > id_ranges.LAST + containers.COUNT - 1
        assert first.map_lines() == (f"42 {first.host[0]} 1\n", f"77 {first.host[1]} 1\n")
        assert first.owner(42, 77) == first.host
        assert first.file_map_lines((5, 6)) == (f"5 {first.host[0]} 1\n", f"6 {first.host[1]} 1\n")
    finally:
        first.release()
        second.release()


@pytest.mark.usefixtures("root")
def test_an_id_is_held_while_the_command_runs() -> None:
    ids = identity.choose(request(ids=65536, guest_uid=42))
    other = identity.Ids(True, True, (0, 0), (0, 0), 1)
    assert ids.map_lines()[0] == f"0 {ids.host[0]} 65536\n"
    assert ids.owner(42, 0) == (ids.host[0] + 42, ids.host[1])
    for first, count in ((0, 65536), (65535, 1), (-5, 6), (1000, 10)):
        assert not other.hold(ids.host[0] + first, count), "two commands share an id"
    for first, count in ((-1, 1), (65536, 1)):
        assert other.hold(ids.host[0] + first, count)
        other.release()
    ids.release()
    assert other.hold(ids.host[0], 65536)
    other.release()


@pytest.mark.usefixtures("root")
@pytest.mark.parametrize("count", [1, 65536])
@pytest.mark.parametrize("offset", [0, -1])
def test_an_id_of_a_process_that_outlived_its_command_is_not_given_again(
    monkeypatch: pytest.MonkeyPatch, count: int, offset: int
) -> None:
    """Without a pid namespace nothing ends what a command leaves: its lock was gone, and its ids were given again."""
    left = id_ranges.COMMANDS_FIRST + 65536 * (count > 1)
    bases = iter([left, left, left + count])
    used = left if offset == 0 else left + count - 1
    held: list[bool] = []
    other = identity.Ids(True, True, (0, 0), (0, 0), 1)

    def in_use() -> set[int]:
        held.append(not other.hold(used, 1))
        return {0, used}

    monkeypatch.setattr(identity.random, "randrange", lambda *_range: next(bases))
    monkeypatch.setattr(identity, "_in_use", in_use)
    ids = identity.choose(request(ids=count))
    assert ids.host == (left + count, left + count)
    assert held[:2] == [True, True], "it is looked for while the ids are held"
    other.release()
    assert other.hold(used, 1), "those that were not taken are held by nobody"
    other.release()
    ids.release()


def test_which_ids_are_in_use() -> None:
    with subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        status = os.stat(f"/proc/{process.pid}")
        assert {status.st_uid, status.st_gid, os.getuid(), os.getegid()} <= identity._in_use()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a process of another user")
def test_the_id_of_a_process_is_in_use_until_it_ends() -> None:
    number = id_ranges.COMMANDS_FIRST + 4711
    with subprocess.Popen(
        ["/bin/cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, user=number, group=number + 1
    ):
        assert {number, number + 1} <= identity._in_use()
    assert number not in identity._in_use()


@pytest.mark.usefixtures("root")
def test_ids_that_were_asked_for() -> None:
    assert identity.choose(request(private_users="100000")).host == (100000, 100000)
    assert identity.choose(request(private_users="identity", ids=10)).host == (0, 0)
    assert identity.choose(request(private_users="identity", ids=10)).file_map_lines((0, 0)) is None
    with pytest.raises(LauncherError, match="private_users: 'root' is neither auto"):
        identity.choose(request(private_users="root"))


def test_inside_a_container_its_unused_ids_are_taken(root: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "available", lambda: (65536, True))
    ids = identity.choose(request())
    assert 60578 <= ids.host[0] <= 61183
    ids.release()
    monkeypatch.setattr(containers, "available", lambda: (1000, True))
    with pytest.raises(LauncherError, match="has no id to spare"):
        identity.choose(request())


@pytest.mark.usefixtures("user")
def test_a_command_of_a_user_is_that_user() -> None:
    ids = identity.choose(request(guest_uid=42))
    assert ids.map_lines() == ("42 1000 1\n", "0 1001 1\n")
    assert ids.file_map_lines((1000, 1001)) is None
    for given, message in (
        ({"ids": 2}, "an ordinary user can map one, not 2"),
        ({"private_users": "5"}, "leave it out"),
        ({"namespaces": ["pid"]}, "only root can leave out user"),
    ):
        with pytest.raises(LauncherError, match=message):
            identity.choose(request(**given))


def test_file_systems_and_files() -> None:
    asked = request(
        file_systems=[
            {"mount_point": "/a/", "type": "tmpfs", "options": "size=1M", "flags": ["no-exec"]},
            {"mount_point": "/b"},
        ],
        files={"/c": "text", "/d/e": {"content": "/w==", "encoding": "base64", "mode": "755"}, "/f": {"link": "/c"}},
        mappings=["/srv=/g"],
    )
    assert asked.file_systems == [
        RequestedFileSystem("/a", "tmpfs", "size=1M", ["no-exec"]),
        RequestedFileSystem("/b", "tmpfs", "", []),
    ]
    assert asked.files == {
        "/c": RequestedFile(b"text", 0o644, None),
        "/d/e": RequestedFile(b"\xff", 0o755, None),
        "/f": RequestedFile(b"", 0, "/c"),
    }
    assert asked.hidden() == ["/g", "/c", "/d/e", "/f", "/a", "/b"]
