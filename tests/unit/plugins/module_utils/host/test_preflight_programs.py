# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a system would run first is looked for before anything is written."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host.facts import HostFacts
from ansible_collections.unshare.container.plugins.module_utils.host.preflight_programs import Programs, started

from ..specifications import specification

STORE = {"device": "/usr", "mount_point": "/usr", "type": "none", "flags": ["bind-mount", "read-only"]}
UNITS = "/etc/systemd/system/"


@pytest.fixture
def host(tmp_path: Path) -> HostFacts:
    for directory in ("usr/bin", "usr/sbin", "srv/app"):
        (tmp_path / directory).mkdir(parents=True)
    for program in ("usr/bin/init", "usr/bin/sh", "srv/app/init"):
        (tmp_path / program).touch(0o755)
    (tmp_path / "usr/bin/data").touch(0o644)
    (tmp_path / "usr/bin/good").write_text("#!/bin/sh\n")
    (tmp_path / "usr/bin/bad").write_text("#! /usr/bin/nosuch -x\n")
    for script in ("good", "bad"):
        (tmp_path / "usr/bin" / script).chmod(0o755)
    (tmp_path / "usr/bin/link").symlink_to("/etc/alternatives/init")
    return HostFacts(tmp_path)


def programs(host: HostFacts, contents: dict[str, str] | None = None, **more: t.Any) -> Programs:
    contents = contents or {}
    files = {path: {} for path in contents} | more.pop("files", {})
    given = specification(**{"file_systems": [STORE], "files": files, **more})
    return Programs(host, given, lambda path: contents[path].encode())


INITS = {
    "cases_U14": ("/usr/bin/nosuchinit", "/usr/bin/nosuchinit is not there"),
    "a_directory": ("/usr/bin", "/usr/bin is no file that may be executed"),
    "no_program": ("/usr/bin/data", "/usr/bin/data is no file that may be executed"),
    "a_link_to_nothing": ("/usr/bin/link", "/usr/bin/link is not there"),
    "in_the_root": ("/opt/init", "/opt/init is not there"),
    "a_script_without_its_interpreter": ("/usr/bin/bad", "needs the interpreter /usr/bin/nosuch, which is not there"),
}


@pytest.mark.parametrize("case", INITS)
def test_an_init_that_cannot_run(host: HostFacts, case: str) -> None:
    program, said = INITS[case]
    (message,) = programs(host, init={"argv": [program]}).problems()
    assert message.startswith("init.argv[0]: ")
    assert said in message


@pytest.mark.parametrize(
    ("program", "mounts"),
    [
        ("/usr/bin/init", []),
        ("/bin/init", []),
        ("/usr/bin/good", []),
        ("/app/init", [{**STORE, "device": "/srv/app", "mount_point": "/app"}]),
        ("/app/later", [{**STORE, "device": "/srv/app", "mount_point": "/app", "flags": ["bind-mount"]}]),
        ("/app/init", [{"device": "tmpfs", "mount_point": "/app", "type": "tmpfs"}]),
    ],
)
def test_an_init_that_can_run_or_may_be_there_by_then(
    host: HostFacts, program: str, mounts: list[dict[str, t.Any]]
) -> None:
    assert programs(host, init={"argv": [program]}, file_systems=[STORE, *mounts]).problems() == []


def test_an_init_of_the_system_itself(host: HostFacts) -> None:
    path = "/srv/init"
    found = programs(host, {path: "#!/bin/nosuch\n"}, init={"argv": [path]}, files={path: {"mode": "0755"}})
    assert "needs the interpreter /bin/nosuch" in found.problems()[0]
    found = programs(host, {path: "#!/bin/sh\n"}, init={"argv": [path]}, files={path: {"mode": "0755"}})
    assert found.problems() == []


def unit(text: str, *wanted: str) -> tuple[dict[str, str], dict[str, t.Any]]:
    links = {f"{UNITS}{name}": {"link": "../a.service"} for name in wanted or ("multi-user.target.wants/a.service",)}
    return {f"{UNITS}a.service": text}, links


@pytest.mark.parametrize(
    "text",
    [
        "[Service]\nExecStart=/usr/bin/nosuch --x\n",
        "[Service]\nExecStart=@/usr/bin/nosuch name\n",
        "[Service]\nExecStart=+!/usr/bin/nosuch\n",
        "[Service]\nExecStart=\\\n  /usr/bin/nosuch\n",
        "[Service]\nExecStartPre=/usr/bin/nosuch\nExecStart=/usr/bin/init\n",
        "[Service]\nExecStart=/usr/bin/init\nExecStart=/usr/bin/nosuch\n",
    ],
)
def test_a_unit_whose_program_is_missing(host: HostFacts, text: str) -> None:
    contents, links = unit(text)
    (said,) = programs(host, contents, files=links).problems()
    assert "the unit a.service starts /usr/bin/nosuch, which is not there" in said


@pytest.mark.parametrize("starter", ["a.timer", "a.socket", "a.path", "x.target.requires/a.service"])
def test_a_unit_that_something_else_starts(host: HostFacts, starter: str) -> None:
    contents, links = unit("[Service]\nExecStart=/usr/bin/nosuch\n", starter)
    assert len(programs(host, contents, files=links).problems()) == 1


@pytest.mark.parametrize(
    "text",
    [
        "[Service]\nExecStart=/usr/bin/init\n",
        "[Service]\nExecStart=-/usr/bin/nosuch\n",
        "[Service]\nExecStart=/usr/bin/%i\n",
        "[Service]\nExecStart=${PROGRAM}\n",
        "[Service]\nExecStop=/usr/bin/nosuch\nExecReload=/usr/bin/nosuch\n",
        "[Service]\nExecStart=/usr/bin/nosuch\nExecStart=\nExecStart=/usr/bin/init\n",
        "[Service]\n#ExecStart=/usr/bin/nosuch\n",
        "[Unit]\nConditionFileIsExecutable=/usr/bin/nosuch\n[Service]\nExecStart=/usr/bin/nosuch\n",
        "[Service]\nRootDirectory=/srv/tree\nExecStart=/usr/bin/nosuch\n",
        "[Service]\nStateDirectory=app\nExecStart=/var/lib/app/program\n",
        "",
        "\0\x01garbage=\n=",
    ],
)
def test_a_unit_that_can_start_or_need_not(host: HostFacts, text: str) -> None:
    contents, links = unit(text)
    assert programs(host, contents, files=links).problems() == []


def test_a_unit_that_nothing_starts(host: HostFacts) -> None:
    contents, _links = unit("[Service]\nExecStart=/usr/bin/nosuch\n")
    assert programs(host, contents).problems() == []
    assert programs(host, {f"{UNITS}a@.service": contents[f"{UNITS}a.service"]}).problems() == []


def test_each_program_once() -> None:
    assert started("[Service]\nExecStartPre=/a\nExecStartPre=/b\nExecStart=/a\n") == ["/a", "/b"]
