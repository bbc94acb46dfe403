# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a system would run first is looked for before anything is written."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host.facts import HostFacts
from ansible_collections.unshare.container.plugins.module_utils.host.preflight_programs import Programs

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
        '[Service]\nExecStart="/usr/bin/nosuch" x\n',
        "[Service]\nExecStart=/usr/bin/nosu'ch' x\n",
        "[Service]\nExecStart=/usr/bin/\\x6eosuch x\n",
        "[Service]\nExecStart='-/usr/bin/none' ; /usr/bin/nosuch\n",
        "[Service]\nExecStart=/usr/bin/init a \\; b ; /usr/bin/nosuch\n",
        "[Service]\nStateDirectory=a\nExecStart=/usr/bin/nosuch\n",
        "[Service]\nConditionPathExists=\nExecStart=/usr/bin/nosuch\n",
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


SERVICE = "[Service]\nExecStart=/usr/bin/nosuch\n"
OTHER = "[Service]\nExecStartPre=/usr/bin/init\n"
WANTED = {f"{UNITS}multi-user.target.wants/a.service": {"link": "../a.service"}}
REACHED: dict[str, tuple[dict[str, str], dict[str, t.Any], str]] = {
    "an_instance_that_another_requires": (
        {"a.service": "[Unit]\nRequires=t@one.service\n", "t@.service": SERVICE},
        WANTED,
        "t@one.service",
    ),
    "an_instance_by_a_link": (
        {"t@.service": SERVICE},
        {f"{UNITS}multi-user.target.wants/t@one.service": {"link": "../t@.service"}},
        "t@one.service",
    ),
    "an_instance_by_its_own_name": (
        {"a.service": "[Unit]\nWants=t@.service\n", "t@.service": SERVICE},
        WANTED,
        "t@a.service",
    ),
    "a_program_by_its_instance": (
        {"a.service": "[Unit]\nBindsTo=t@nosuch.service\n", "t@.service": SERVICE.replace("nosuch", "%i")},
        WANTED,
        "t@nosuch.service",
    ),
    "required": ({"a.service": "[Unit]\nRequires=b.service\n", "b.service": SERVICE}, WANTED, "b.service"),
    "required_in_turn": (
        {"a.service": "[Unit]\nWants=b.target\n", "b.target": "[Unit]\nUpholds=c.service\n", "c.service": SERVICE},
        WANTED,
        "c.service",
    ),
    "a_drop_in": (
        {"a.service": "[Service]\nExecStart=/usr/bin/init\n", "a.service.d/x.conf": SERVICE},
        WANTED,
        "a.service",
    ),
    "a_drop_in_of_all_services": ({"a.service": "", "service.d/x.conf": SERVICE}, WANTED, "a.service"),
    "beside_a_drop_in_of_all_services": ({"a.service": SERVICE, "service.d/y.conf": OTHER}, WANTED, "a.service"),
    "a_drop_in_of_a_prefix": (
        {"b-c.service": "", "b-.service.d/x.conf": SERVICE},
        {f"{UNITS}multi-user.target.wants/b-c.service": {"link": "../b-c.service"}},
        "b-c.service",
    ),
    "a_drop_in_of_a_template": (
        {"a.service": "[Unit]\nRequires=t@x.service\n", "t@.service": "", "t@.service.d/x.conf": SERVICE},
        WANTED,
        "t@x.service",
    ),
    "a_drop_in_for_a_unit_of_the_store": (
        {"a.service.d/x.conf": SERVICE},
        {**WANTED, f"{UNITS}a.service": {"link": "/usr/lib/systemd/system/a.service"}},
        "a.service",
    ),
    "by_the_setting_of_a_timer": (
        {"x.timer": "[Timer]\nUnit=b.service\n", "b.service": SERVICE},
        {},
        "b.service",
    ),
    "for_each_connection": ({"x.socket": "[Socket]\nAccept=yes\n", "x@.service": SERVICE}, {}, "x@.service"),
    "of_a_socket": (
        {"x.socket": "[Socket]\nExecStartPre=/usr/bin/nosuch\n", "x.service": ""},
        {},
        "x.socket",
    ),
}


@pytest.mark.parametrize("case", REACHED)
def test_a_unit_that_is_started_by_another_way(host: HostFacts, case: str) -> None:
    units, links, unit_name = REACHED[case]
    (said,) = programs(host, {UNITS + name: text for name, text in units.items()}, files=links).problems()
    by = "".join(f" (by {UNITS}{path})" for path in units if path in ("service.d/x.conf", "b-.service.d/x.conf"))
    assert said.startswith(f"the unit {unit_name}{by} starts /usr/bin/nosuch, which is not there")


def test_a_condition_of_a_unit_of_the_store_counts(host: HostFacts) -> None:
    path = host.path("/usr/lib/systemd/system/a.service")
    path.parent.mkdir(parents=True)
    path.write_text("[Unit]\nConditionPathExists=/x\n")
    units, links, _name = REACHED["a_drop_in_for_a_unit_of_the_store"]
    assert programs(host, {UNITS + name: text for name, text in units.items()}, files=links).problems() == []


DIRECT = {
    "by_name": ("nosuch x", "starts nosuch, which is in none of /usr/local/sbin, "),
    "by_name_elsewhere": ("sh\nExecSearchPath=/usr/sbin", "starts sh, which is in none of /usr/sbin: "),
    "interpreter": ("/usr/bin/bad", "starts /usr/bin/bad, whose interpreter /usr/bin/nosuch is not there: "),
    "interpreter_of_a_declared_file": ("/etc/x.sh", "starts /etc/x.sh, whose interpreter /bin/nosuch is not there: "),
    "interpreter_by_name": ("/etc/env.sh", "starts /etc/env.sh, whose interpreter is nosuch, which is in none of "),
    "no_program": ("/usr/bin/data", "starts /usr/bin/data, which is no file that may be executed: make it"),
    "a_declared_file": ("/etc/plain", "starts /etc/plain, which is no file that may be executed: its mode is 0644"),
    "a_link_to_nothing": ("/usr/bin/link", "starts /usr/bin/link, which is not there: "),
}
SCRIPTS = {
    "/etc/x.sh": "#!/bin/nosuch\n",
    "/etc/env.sh": "#!/usr/bin/env nosuch\n",
    "/etc/good.sh": "#!/usr/bin/env sh\n",
    "/etc/plain": "",
}


def of_command(host: HostFacts, command: str) -> list[str]:
    (host.root / "usr/bin/env").touch(0o755)
    contents, links = unit(f"[Service]\nExecStart={command}\n")
    modes = {path: {"mode": "0644" if path == "/etc/plain" else "0755"} for path in SCRIPTS}
    return programs(host, {**contents, **SCRIPTS}, files={**links, **modes}).problems()


@pytest.mark.parametrize("case", DIRECT)
def test_a_program_that_cannot_be_run(host: HostFacts, case: str) -> None:
    command, expected = DIRECT[case]
    (said,) = of_command(host, command)
    assert f"the unit a.service {expected}" in said


@pytest.mark.parametrize(
    "command",
    [
        "sh -c x",
        "'/usr/bin/sh' x",
        "/etc/good.sh",
        "/usr/bin/good",
        "prog\nExecSearchPath=/usr/sbin:/usr/bin\nExecStart=\nExecStart=sh",
        "/etc/env.sh\nEnvironment=PATH=/opt/bin",
        "/usr/bin/\\x73h",
        "/usr/bin/'sh'",
        "/usr/bin/nosuch 'x",
    ],
)
def test_a_program_that_can_be_run_or_is_not_known(host: HostFacts, command: str) -> None:
    assert of_command(host, command) == []


def test_what_systemd_does_not_find_on_the_host_the_container_may_have(host: HostFacts) -> None:
    contents, links = unit("[Service]\nExecStart=/usr/bin/init\n")
    contents[f"{UNITS}t@.service"] = "[Service]\nExecStartPre=/usr/bin/%i\nExecStart=/usr/bin/nosuch\n"
    contents[f"{UNITS}c.service"] = "[Unit]\nConditionPathExists=/x\n"
    contents[f"{UNITS}idle.service"] = contents[f"{UNITS}own.service"] = ""
    contents["/etc/own"] = ""
    found = programs(host, contents, files={**links, "/etc/own": {"mode": "0755"}})
    missing, warnings = found.said(
        [
            ("a.service", "/usr/bin/nosuch"),
            ("a.service", "/etc/own"),
            ("c.service", "/usr/bin/nosuch"),
            ("t@i.service", "/usr/bin/i"),
            ("own.service", "/etc/own"),
        ]
    )
    assert [said.partition(",")[0] for said in missing] == ["the unit a.service starts /usr/bin/nosuch"]
    assert warnings == []
    _missing, (said,) = found.said([("t@i.service", "/usr/bin/nosuch")])
    assert said.startswith("nothing starts this unit, and it could not run: the unit t@i.service starts /usr/bin/nos")


def test_each_program_once(host: HostFacts) -> None:
    contents, links = unit("[Service]\nExecStartPre=/usr/bin/a\nExecStartPre=/usr/bin/b\nExecStart=/usr/bin/a\n")
    found = [said.partition(",")[0] for said in programs(host, contents, files=links).problems()]
    assert found == ["the unit a.service starts /usr/bin/a", "the unit a.service starts /usr/bin/b"]


RUN = "the unit a.service starts /opt/app/run, which is not there: install it, or map it into the container"
PLAIN = "[Service]\nExecStart=/opt/app/run\n"
BEFORE = "[Service]\nExecStartPre=/usr/bin/init\nExecStart=/opt/app/run\n"
AFTER = "[Unit]\nRequires=b.service\nAfter=b.service\n" + PLAIN
MADE: dict[str, tuple[str, str, list[dict[str, t.Any]], bool]] = {
    "by_nothing": (PLAIN, "", [], False),
    "by_an_earlier_command": (BEFORE, "", [], True),
    "in_another_order": ("[Service]\nExecStart=/opt/app/run\nExecStartPre=/usr/bin/init\n", "", [], True),
    "by_an_earlier_one_of_several": ("[Service]\nExecStart=/usr/bin/init\nExecStart=/opt/app/run\n", "", [], True),
    "by_a_later_command": (PLAIN + "ExecStartPost=/usr/bin/init\n", "", [], False),
    "by_itself": ("[Service]\nExecStartPre=/opt/app/run\nExecStart=/opt/app/run\n", "", [], False),
    "by_another_unit": (AFTER, "", [], True),
    "by_a_unit_that_may_be_later": (AFTER.replace("After=b.service\n", ""), "", [], False),
    "after_a_unit_of_the_store": (AFTER.replace("b.service", "network.target"), "", [], False),
    "by_the_activation": (PLAIN, "mkdir -p /opt/app && cp x /opt/app\n", [], True),
    "by_the_activation_elsewhere": (PLAIN, "mkdir -p /opt/app2 /opt\n", [], False),
    "where_nobody_can_write": (
        BEFORE,
        "/opt/app/run",
        [{"device": "/srv", "mount_point": "/opt", "type": "none", "flags": ["bind-mount", "read-only"]}],
        False,
    ),
}


@pytest.mark.parametrize("case", MADE)
def test_a_program_that_may_be_made_inside(host: HostFacts, case: str) -> None:
    text, boot, mounts, is_made = MADE[case]
    (host.root / "srv").mkdir(exist_ok=True)
    contents, links = unit(text)
    contents[f"{UNITS}b.service"] = "[Service]\nExecStart=/usr/bin/init\n"
    found = programs(host, contents, files=links, file_systems=[STORE, *mounts])
    found.boot = boot
    assert found.problems() == ([] if is_made else [RUN])
    assert found.warnings() == ([f"{RUN}, unless something inside makes it before"] if is_made else [])
    missing, warnings = found.said([("a.service", "/opt/app/run")])
    assert (bool(missing), bool(warnings)) == (not is_made, is_made)


def test_a_program_of_the_store_is_not_made_inside(host: HostFacts) -> None:
    contents, links = unit("[Service]\nExecStartPre=/usr/bin/init\nExecStart=/usr/local/bin/nosuch\n")
    found = programs(host, contents, files=links)
    found.boot = "/usr/local/bin"
    assert (len(found.problems()), found.warnings()) == (1, [])


CARRIAGE, NONE = (
    "starts /etc/x.sh, whose first line ends with a carriage return",
    "starts /etc/x.sh, whose first line names no",
)
FORMS = {
    "#!/bin/sh\r\nexit 0\r\n": CARRIAGE,
    "#! /bin/sh\r\n": CARRIAGE,
    "#!/bin/sh \r\n": CARRIAGE,
    "#!/bin/sh\r": CARRIAGE,
    "#!\r\n": CARRIAGE,
    "#!": NONE,
    "#! \n/bin/sh\n": NONE,
    "#!/usr/bin/env python3\r\n": CARRIAGE,
    "echo x\n": NONE,
    "# a comment\n#!/bin/sh\n": NONE,
    " #!/bin/sh\n": NONE,
    "\n#!/bin/sh\n": NONE,
    "\ufeff#!/bin/sh\n": NONE,
    "#!/bin/sh\nexit 0\r\n": "",
    "#!/bin/sh": "",
    "#!/bin/sh -w\r\n": "",
    "": "",
    "\0\1\2": "",
    "\x7fELF\2\1\1\0": "",
    "MZ\0": "",
}


@pytest.mark.parametrize("text", FORMS)
@pytest.mark.parametrize("stored", [False, True])
def test_the_form_of_a_script(host: HostFacts, text: str, stored: bool) -> None:
    """systemd executes it as the kernel does, which is no shell."""
    program = "/usr/bin/x.sh" if stored else "/etc/x.sh"
    contents, links = unit(f"[Service]\nExecStart={program}\n")
    if stored:
        (host.root / "usr/bin/x.sh").write_bytes(text.encode())
        (host.root / "usr/bin/x.sh").chmod(0o755)
    else:
        contents = {**contents, program: text}
        links = {**links, program: {"mode": "0755"}}
    found = programs(host, contents, files=links).problems()
    expected = FORMS[text].replace("/etc/x.sh", program)
    assert len(found) == bool(expected)
    assert not expected or expected in found[0]
