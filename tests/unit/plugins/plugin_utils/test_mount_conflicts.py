# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""No mapping replaces, hides or is hidden by what the system of a container brings, however it comes to be there."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.unshare.container.plugins.plugin_utils.declared_containers import rendered
from ansible_collections.unshare.container.plugins.plugin_utils.errors import DeclarationError

Mapping = dict[str, t.Any]

SERVICE = "operating_system.services[0]"
ACCOUNTS = "the system itself (from operating_system: users, groups)"
LOCALE = "the system itself (from operating_system: timezone, locale, issue, sudoers)"
UNITS = "/etc/systemd/system"


def unit(**value: t.Any) -> Mapping:
    return {"type": "unit", "value": {"name": "a", "command": "/bin/sleep 9", **value}}


def simple(target: str, value: t.Any) -> Mapping:
    return {"type": "simple", "value": {"target": target, "value": value}}


def typed(kind: str, **value: t.Any) -> Mapping:
    return {"type": kind, "value": value}


def server(*services: Mapping, **more: t.Any) -> Mapping:
    return {"host_name": "a", "services": list(services), **more}


OWN_TYPE = {"name": "mine", "extensions": {"etc": {"mine.conf": "x"}}}
COVERED: dict[str, tuple[Mapping, str, str]] = {
    "passwd": (server(users=[{"name": "alice"}]), "/etc/passwd", ACCOUNTS),
    "shadow": (server(), "/etc/shadow", ACCOUNTS),
    "group": (server(), "/etc/group", ACCOUNTS),
    "sudoers": (server(sudoers="root ALL=(ALL) ALL\n"), "/etc/sudoers", LOCALE),
    "hostname": (server(), "/etc/hostname", "the system itself (from operating_system: host_name)"),
    "localtime": (server(timezone="Europe/Berlin"), "/etc/localtime", LOCALE),
    "redis": (server(typed("redis", port=7000)), "/etc/redis/redis.conf", SERVICE),
    "sshd": (server({"type": "openssh"}), "/etc/ssh/sshd_config", SERVICE),
    "authorized_keys": (
        server(typed("openssh", authorized_keys={"root": ["ssh-ed25519 x"]})),
        "/etc/ssh/authorized_keys.d/root",
        SERVICE,
    ),
    "nginx": (server(typed("nginx", servers=[{}])), "/etc/nginx/nginx.conf", SERVICE),
    "postgresql": (server({"type": "postgresql"}), "/etc/postgresql/pg_hba.conf", SERVICE),
    "cron": (
        server(typed("cron", jobs=[{"name": "j", "schedule": "@daily", "command": "x"}])),
        "/etc/cron.d/j",
        SERVICE,
    ),
    "a_unit": (server(unit()), f"{UNITS}/a.service", SERVICE),
    "a_unit_of_a_type": (server({"type": "redis"}), f"{UNITS}/redis.service", SERVICE),
    "a_starter": (server(unit()), f"{UNITS}/multi-user.target.wants/a.service", SERVICE),
    "a_drop_in": (
        server({"type": "redis"}, unit(command=None, text="[Service]\nExecStart=/x\n", requirement=["redis"])),
        f"{UNITS}/a.service.d/requirement.conf",
        "operating_system.services[1]",
    ),
    "a_timer": (server(unit(timer={"OnCalendar": "daily"})), f"{UNITS}/a.timer", SERVICE),
    "default_target": (server(), f"{UNITS}/default.target", "the system itself"),
    "a_target": (server(), f"{UNITS}/sysinit.target", "the system itself"),
    "system_conf": (server(), "/etc/systemd/system.conf", "the system itself"),
    "pam": (server(simple("pam", {"mine": "x"})), "/etc/pam.d/mine", f"{SERVICE}.value.value"),
    "cases_0_7_simple": (server(simple("etc", {"deep/x": "x"})), "/etc//deep/./x", f"{SERVICE}.value.value"),
    "special_files": (server(simple("special-files", {"/opt/x": "/srv"})), "/opt/x", f"{SERVICE}.value.value"),
    "system": (server(simple("system", {"files": {"/opt/x": "x"}})), "/opt/x", f"{SERVICE}.value.value"),
    "a_type_of_ones_own": (
        server({"type": "mine"}, service_types=[OWN_TYPE]),
        "/etc/mine.conf",
        "operating_system.service_types[0].extensions.etc",
    ),
}


def refused(system: Mapping, *mappings: t.Any, **more: t.Any) -> DeclarationError:
    with pytest.raises(DeclarationError) as caught:
        rendered({"operating_system": system, "mappings": ["/srv/x=/srv/y", *mappings], **more}, None)
    return caught.value


@pytest.mark.parametrize("case", COVERED)
@pytest.mark.parametrize("writable", [False, True])
def test_what_a_declaration_writes_is_not_replaced(case: str, writable: bool) -> None:
    system, target, writer = COVERED[case]
    assert rendered({"operating_system": system}, None)
    error = refused(system, {"source": "/srv/f", "target": target, "writable": writable})
    assert error.path == "mappings[1]"
    assert f"which {writer} writes: use another target" in error.message


@pytest.mark.parametrize("item", [{"device": "tmpfs", "type": "tmpfs"}, {"device": "/srv/f", "type": "none"}])
def test_a_file_system_of_a_declaration_does_not_either(item: Mapping) -> None:
    flags = ["bind-mount", "read-only"] if item["type"] == "none" else []
    item = {**item, "mount_point": "/etc/redis/redis.conf", "flags": flags, "needed_for_boot": True}
    error = refused(server({"type": "redis"}, file_systems=[item]))
    assert (error.path, SERVICE in error.message) == ("operating_system.file_systems[0]", True)
    extra = refused(server({"type": "redis"}), extra_file_systems=[item])
    assert extra.path == "extra_file_systems[0]"


@pytest.mark.parametrize(
    ("target", "hidden"), [("/etc/redis", "redis.conf"), (f"{UNITS}/multi-user.target.wants", "redis.service")]
)
def test_a_directory_that_hides_it_is_refused_with_both_places(target: str, hidden: str) -> None:
    error = refused(server({"type": "redis"}), f"/srv/x={target}")
    assert error.path == "mappings[1]"
    assert error.message.startswith(f"'{target}' hides {target}/{hidden}, which {SERVICE} writes")


@pytest.mark.parametrize("link", ["/etc", "../etc", "/srv/../etc"])
def test_a_link_of_the_system_leads_no_mapping_over_its_files(link: str) -> None:
    error = refused(server(simple("special-files", {"/opt/a": link})), "/srv/f=/opt/a/passwd")
    assert "'/opt/a/passwd' leads to /etc/passwd, and would replace" in error.message


def test_links_in_a_circle_end() -> None:
    system = server(simple("special-files", {"/opt/a": "/opt/b", "/opt/b": "/opt/a"}))
    assert rendered({"operating_system": system, "mappings": ["/srv/f=/opt/a/x"]}, None)


@pytest.mark.parametrize("target", ["/var/log/journal", "/var/log/journal/deep"])
def test_the_log_hides_no_mapping(target: str) -> None:
    error = refused(server(), f"/srv/x={target}", log="persistent")
    assert (error.path, "`log: volatile`" in error.message) == ("mappings[1]", True)
    assert rendered({"operating_system": server(), "mappings": [f"/srv/x={target}"]}, None)
    above = {"operating_system": server(), "mappings": ["/srv/x=/var/log"], "log": "persistent"}
    assert rendered(above, None)


@pytest.mark.parametrize(
    "target",
    [
        "/etc/resolv.conf",
        "/etc/hosts",
        "/etc/nsswitch.conf",
        "/etc/services",
        "/etc/login.defs",
        "/etc/profile",
        "/etc/os-release",
        "/etc/ssl",
        "/etc/new",
        "/etc/redis/users.acl",
        "/var/lib/redis",
        "/home/alice",
        "/srv",
    ],
)
@pytest.mark.parametrize("shared", [True, False])
def test_what_can_be_mapped(target: str, shared: bool) -> None:
    system = server(
        {"type": "redis"}, users=[{"name": "alice"}], hosts=[{"address": "10.0.0.1", "canonical_name": "b"}]
    )
    mapping = {"source": "/srv/f", "target": target, "writable": True}
    assert rendered({"operating_system": system, "mappings": [mapping], "shared_network": shared}, None)


def test_another_init_has_no_units_to_cover() -> None:
    given = {
        "operating_system": server(),
        "mappings": [f"/srv/f={UNITS}/default.target"],
        "init": {"argv": ["/bin/sh"]},
    }
    assert rendered(given, None)
