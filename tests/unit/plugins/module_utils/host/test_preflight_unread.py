# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files that nothing reads in a container, units that nothing starts, and drop-ins of no unit are warnings."""

from __future__ import annotations

import re
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host.preflight_unread import TABLE, unread
from ansible_collections.unshare.container.plugins.module_utils.host.unit_settings import UnitSettings
from ansible_collections.unshare.container.plugins.module_utils.state.system_content import SystemContent
from ansible_collections.unshare.container.plugins.plugin_utils.containerized import containerized_operating_system
from ansible_collections.unshare.container.plugins.plugin_utils.system_files import system_files

RUN = "[Service]\nExecStart=/bin/sleep 9\n"
WANTED = RUN + "[Install]\nWantedBy=multi-user.target\n"
UNIT = "systemd/system/own.service"


def etc(files: dict[str, t.Any]) -> dict[str, t.Any]:
    value = {name: {"content": item} if isinstance(item, str) else item for name, item in files.items()}
    return {"type": "simple", "value": {"target": "etc", "value": value}}


def said(*services: dict[str, t.Any], boot: str = "", **system: t.Any) -> list[str]:
    declared = {"host_name": "web", "services": list(services), **system}
    content = SystemContent(system_files(containerized_operating_system(declared)), boot, {}, "")
    texts = UnitSettings(content.specification, lambda path: content.files[path].content)
    return unread(content.files, texts, boot)


UNREAD = {
    "tmpfiles.d/app.conf": "RuntimeDirectory=",
    "sysusers.d/app.conf": "operating_system.users",
    "sysctl.d/90.conf": "the kernel is the host's",
    "sysctl.conf": "the kernel is the host's",
    "modules-load.d/x.conf": "the kernel is the host's",
    "udev/rules.d/x.rules": "devices are the host's",
    "cron.daily/x": "a job of a service of the type cron",
    "cron.d/x": "a job of a service of the type cron",
    "crontab": "a job of a service of the type cron",
    "logrotate.d/app": "runs logrotate",
    "rc.local": "declare units",
    "init.d/app": "declare units",
    "rc2.d/S01app": "declare units",
    "systemd/system-generators/x": "/etc/systemd/generators",
    "systemd/network/a.network": "a type for the network",
    "network/interfaces": "a type for the network",
    "systemd/resolved.conf.d/x.conf": "resolv.conf",
    "systemd/timesyncd.conf": "the clock is the host's",
    "sudoers.d/app": "operating_system.sudoers",
}


@pytest.mark.parametrize("path", UNREAD)
def test_a_file_that_nothing_reads(path: str) -> None:
    (warning,) = said(etc({path: "x\n"}))
    assert warning.startswith(f"/etc/{path} is read by nothing in this container: ")
    assert UNREAD[path] in warning


def test_every_kind_of_files_is_tested() -> None:
    assert [kind for kind in TABLE if not any(re.fullmatch(kind.paths, path) for path in UNREAD)] == []


@pytest.mark.parametrize(
    ("path", "reader"),
    [
        ("tmpfiles.d/app.conf", "/usr/bin/systemd-tmpfiles --create"),
        ("sysctl.d/90.conf", "/usr/sbin/sysctl --system"),
        ("logrotate.d/app", "/usr/sbin/logrotate /etc/logrotate.d/app"),
        ("cron.daily/x", "/usr/bin/run-parts /etc/cron.daily"),
        ("crontab", "/usr/sbin/cron -f"),
        ("cron.d/x", "/usr/sbin/crond -n"),
        ("rc.local", "/etc/rc.local start"),
        ("init.d/app", "/etc/init.d/app start"),
        ("systemd/network/a.network", "/usr/lib/systemd/systemd-networkd"),
        ("network/interfaces", "/usr/sbin/ifup -a"),
    ],
)
def test_a_file_that_a_unit_reads(path: str, reader: str) -> None:
    unit = {"type": "unit", "value": {"name": "reader", "command": reader}}
    assert said(etc({path: "x\n"}), unit) == []
    assert said(etc({path: "x\n"}), boot=f"#!/bin/sh\n{reader}\n") == []


def test_a_unit_of_the_store_that_reads() -> None:
    link = {"link": "/usr/lib/systemd/system/systemd-tmpfiles-setup.service"}
    assert said(etc({"tmpfiles.d/x.conf": "x", "systemd/system/systemd-tmpfiles-setup.service": link})) == []


def test_the_services_of_the_collection_read_all_of_their_files() -> None:
    kinds = ("cron", "dbus", "login", "syslog", "openssh", "redis", "nscd", "postgresql")
    nginx = {"type": "nginx", "value": {"servers": [{"root": "/srv/www"}]}}
    job = {"name": "x", "schedule": "@daily", "command": "true", "user": "root"}
    cron = {"type": "cron", "value": {"jobs": [job]}}
    assert said(*({"type": kind} for kind in kinds if kind != "cron"), cron, nginx) == []
    assert said(etc({"profile.d/x.sh": "A=1\n", "app/app.conf": "x", "hosts.allow": "x"})) == []


def test_cron_runs_no_scripts_of_a_directory() -> None:
    (warning,) = said({"type": "cron"}, etc({"cron.daily/x": "#!/bin/sh\n", "cron.d/y": "@daily root z\n"}))
    assert warning.startswith("/etc/cron.daily/x is read by nothing")


@pytest.mark.parametrize(("name", "read"), [("a.conf", False), ("a~", False), ("a", True), ("a-b_c", True)])
def test_the_names_of_rules_of_sudo(name: str, read: bool) -> None:
    rules = "root ALL=(ALL:ALL) ALL\n@includedir /etc/sudoers.d\n"
    found = said(etc({f"sudoers.d/{name}": "x ALL=ALL\n"}), sudoers=rules)
    assert len(found) == (0 if read else 1)
    assert read or "sudo reads no file whose name has a dot" in found[0]


@pytest.mark.parametrize("key", ["WantedBy", "RequiredBy", "UpheldBy"])
def test_a_unit_that_nothing_starts(key: str) -> None:
    (warning,) = said(etc({UNIT: f"{RUN}[Install]\n{key}=multi-user.target\n"}))
    assert f"/etc/{UNIT} has {key}=multi-user.target in [Install], and nothing starts it" in warning
    (warning,) = said(etc({"systemd/system/own.timer": WANTED.replace("Service", "Timer"), UNIT: RUN}))
    assert warning.startswith("/etc/systemd/system/own.timer has WantedBy=")


@pytest.mark.parametrize(
    "others",
    [
        {"systemd/system/multi-user.target.wants/own.service": {"link": "../own.service"}},
        {"systemd/system/basic.target.requires/own.service": {"link": "/etc/systemd/system/own.service"}},
        {"systemd/system/multi-user.target.d/x.conf": "[Unit]\nUpholds=own.service\n"},
        {
            "systemd/system/own.timer": "[Timer]\nOnCalendar=daily\n",
            "systemd/system/timers.target.wants/own.timer": {"link": "../own.timer"},
        },
        {"app/start": "#!/bin/sh\nexec systemctl start --no-block own\n"},
        {"dbus-1/system-services/x.service": "[D-BUS Service]\nSystemdService=own.service\n"},
        {
            "systemd/system/other.service": {"link": "own.service"},
            "systemd/system/multi-user.target.wants/other.service": {"link": "../other.service"},
        },
    ],
)
def test_a_unit_that_something_starts(others: dict[str, t.Any]) -> None:
    assert said(etc({UNIT: WANTED, **others})) == []


def test_a_unit_that_is_declared_as_one() -> None:
    assert said({"type": "unit", "value": {"name": "own", "text": WANTED}}) == []
    assert said(etc({UNIT: RUN})) == []
    assert said(etc({UNIT: RUN + "[Install]\nWantedBy=\n"})) == []
    assert said(etc({UNIT: RUN + "[Install]\nWantedBy=a.target\nWantedBy=\n"})) == []


@pytest.mark.parametrize(
    ("unit", "said_of"),
    [
        ("ngnix.service", "did you mean nginx.service?"),
        ("nginx.socket", "name a unit that the container has"),
        ("multiuser.target", "did you mean multi-user.target?"),
        ("nothing-alike-at-all.service", "name a unit that the container has"),
        ("nginx@one.service", "did you mean nginx.service?"),
    ],
)
def test_a_drop_in_of_a_unit_that_is_not_there(unit: str, said_of: str) -> None:
    nginx = {"type": "nginx", "value": {"servers": [{"root": "/srv/www"}]}}
    (warning,) = said(nginx, etc({f"systemd/system/{unit}.d/x.conf": "[Unit]\nDescription=x\n"}))
    assert warning == f"/etc/systemd/system/{unit}.d/x.conf changes the unit {unit}, which is not there: {said_of}"


@pytest.mark.parametrize(
    "unit",
    [
        "nginx.service",
        "systemd-journald@x.service",
        "service",
        "ng-.service",
        "multi-user.target",
        "x.slice",
        "a.mount",
    ],
)
def test_a_drop_in_of_a_unit_that_may_be_there(unit: str) -> None:
    nginx = {"type": "nginx", "value": {"servers": [{"root": "/srv/www"}]}}
    assert said(nginx, etc({f"systemd/system/{unit}.d/x.conf": "[Unit]\nDescription=x\n"})) == []
