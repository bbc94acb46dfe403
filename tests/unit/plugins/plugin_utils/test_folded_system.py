# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What only the whole system shows: accounts that nobody declared, and two things at one path, each at its place."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.unshare.container.plugins.plugin_utils.accounts import Accounts, Places
from ansible_collections.unshare.container.plugins.plugin_utils.declared_containers import rendered
from ansible_collections.unshare.container.plugins.plugin_utils.errors import DeclarationError
from ansible_collections.unshare.container.plugins.plugin_utils.folded_system import FoldedSystem
from ansible_collections.unshare.container.plugins.plugin_utils.operating_system import operating_system
from ansible_collections.unshare.container.plugins.plugin_utils.records import UserAccount, UserGroup
from ansible_collections.unshare.container.plugins.plugin_utils.service_types import Context

System = dict[str, t.Any]
SERVICES = "operating_system.services"


def render(*services: System, mappings: t.Any = (), **declared: t.Any) -> System:
    system = {"host_name": "a", "services": list(services), **declared}
    return rendered({"operating_system": system, "mappings": list(mappings)}, "a")


def refused(*services: System, **declared: t.Any) -> str:
    with pytest.raises(DeclarationError) as caught:
        render(*services, **declared)
    assert "essential_services[" not in str(caught.value)
    return str(caught.value)


def unit(**service: t.Any) -> System:
    return {"type": "unit", "value": {"name": "app", "command": "/bin/app", "service": service}}


def text(content: str, name: str = "app") -> System:
    return {"type": "unit", "value": {"name": name, "text": f"[Service]\nExecStart=/bin/app\n{content}\n"}}


def adding(target: str, value: t.Any) -> System:
    return {"type": "simple", "value": {"target": target, "value": value}}


SOCKET = {"ListenStream": "/run/a", "SocketGroup": "nosuch"}
KEYS = {"type": "openssh", "value": {"port": 22, "authorized_keys": {"alcie": ["ssh-ed25519 AAAA"]}}}
UNKNOWN: dict[str, tuple[System, str]] = {
    "user": (unit(User="nosuch"), "[0] (app.service: User): there is no user 'nosuch'"),
    "group": (unit(User="root", Group="nosuch"), "[0] (app.service: Group): there is no group 'nosuch'"),
    "groups": (unit(SupplementaryGroups="adm nosuch"), "[0] (app.service: SupplementaryGroups): there is no group"),
    "groups_in_lines": (unit(SupplementaryGroups=["nosuch", "adm"]), "[0] (app.service: SupplementaryGroups): there"),
    "dynamic_groups": (unit(DynamicUser=True, SupplementaryGroups="nosuch"), "[0] (app.service: SupplementaryGr"),
    "a_user_is_no_group": (unit(Group="alice"), "[0] (app.service: Group): there is no group 'alice'"),
    "text": (text("User=nosuch"), "[0] (app.service: User): there is no user 'nosuch'"),
    "the_last_counts": (text("User=root\nUser = nosuch"), "[0] (app.service: User): there is no user 'nosuch'"),
    "behind_a_comment_in_a_continued_line": (
        text("Environment=A \\\n# x\n  B\nUser=\\\nnosuch"),
        "[0] (app.service: User): there is no user 'nosuch'",
    ),
    "template": (text("User=nosuch", "app@"), "[0] (app@.service: User): there is no user"),
    "socket": (
        {"type": "unit", "value": {"name": "app", "command": "/bin/app", "socket": SOCKET}},
        "[0] (app.socket: SocketGroup): there is no group 'nosuch'",
    ),
    "added": (
        adding("systemd", [{"name": "b.service", "sections": {"Service": {"ExecStart": "/bin/b", "User": "nosuch"}}}]),
        "[0].value.value[0] (b.service: User): there is no user 'nosuch'",
    ),
    "a_file": (
        adding("etc", {"systemd/system/b.service": "[Service]\nUser=nosuch\n"}),
        "[0].value.value.systemd/system/b.service (b.service: User): there is no user 'nosuch'",
    ),
    "a_file_of_the_system": (
        adding("system", {"files": {"/etc/systemd/system/b.service": "[Service]\nUser=nosuch\n"}}),
        "[0].value.value.files./etc/systemd/system/b.service (b.service: User): there is no user 'nosuch'",
    ),
    "keys": (KEYS, "[0].value.authorized_keys.alcie: there is no user 'alcie': declare it in operating_system.users"),
}


@pytest.mark.parametrize("case", UNKNOWN)
def test_accounts_that_nobody_declared(case: str) -> None:
    service, said = UNKNOWN[case]
    assert refused(service, users=[{"name": "alice"}]).startswith(SERVICES + said)


def test_a_drop_in_of_a_declared_unit() -> None:
    drop_in = adding("etc", {"systemd/system/app.service.d/a.conf": "[Service]\nUser=nosuch\n"})
    said = refused(unit(), drop_in)
    assert said.startswith(
        f"{SERVICES}[1].value.value.systemd/system/app.service.d/a.conf (app.service.d/a.conf: User)"
    )
    assert render(unit(DynamicUser=True), drop_in)
    assert render(drop_in)  # of a unit of the store


@pytest.mark.parametrize(
    "services",
    [
        [unit(User="alice", Group="users", SupplementaryGroups="adm g")],
        [unit(User="1005", Group=5)],
        [unit(User="%i")],
        [unit(User="")],
        [unit(DynamicUser=True, User="nosuch", Group="nosuch")],
        [text("User=nosuch\nDynamicUser=yes")],
        [text("User=nosuch\nUser=root")],
        [text("#User=nosuch\n; Group=nosuch")],
        [text("Environment=A=1 \\\n# x \\\nUser=nosuch")],
        [text("[X-Mine]\nUser=nosuch\n[Install]\nGroup=nosuch")],
        [text("SupplementaryGroups=nosuch\nSupplementaryGroups=\nSupplementaryGroups=adm")],
        [unit(DynamicUser="yes", User="made"), {"type": "cron", "value": {"jobs": [
            {"name": "a", "schedule": "@daily", "user": "made", "command": "true"}]}}],
        [unit(User="redis"), {"type": "redis"}],
        [unit(User="added"), adding("account", {"users": [{"name": "added"}]})],
        [{"type": "openssh", "value": {"authorized_keys": {"alice": [], "root": []}}}],
    ],
)  # fmt: skip
def test_accounts_that_are_there(services: list[System]) -> None:
    assert render(*services, users=[{"name": "alice"}], groups=[{"name": "g"}])


ELSEWHERE: dict[str, tuple[list[System], list[t.Any]]] = {
    "userdb": ([adding("etc", {"userdb/nosuch.user": '{"userName":"nosuch","uid":3000}'})], []),
    "sysusers": ([adding("etc", {"sysusers.d/a.conf": "u nosuch - -\n"})], []),
    "mapped_name_services": ([], ["/etc/nsswitch.conf"]),
    "mapped_userdb": ([], [{"source": "/srv/userdb", "target": "/etc/userdb"}]),
    "mapped_sysusers": ([], [{"source": "/srv/a.conf", "target": "/etc/sysusers.d/a.conf"}]),
}


@pytest.mark.parametrize("case", ELSEWHERE)
def test_accounts_that_may_come_from_elsewhere(case: str) -> None:
    services, mappings = ELSEWHERE[case]
    jobs = [{"name": "a", "schedule": "@daily", "user": "nosuch", "command": "true"}]
    for service in (unit(User="nosuch"), unit(Group="nosuch"), {"type": "cron", "value": {"jobs": jobs}}):
        assert render(service, *services, mappings=mappings)
        other = adding("etc", {"userdb.conf": ""})
        mapped = [{"source": "/srv/x", "target": "/etc/sysusers.data"}]
        with pytest.raises(DeclarationError, match=r"there is no (user|group) 'nosuch'"):
            render(service, other, mappings=mapped)


def test_two_users_with_one_home() -> None:
    users = [{"name": name, "home_directory": "/srv/x"} for name in ("alice", "bob")]
    assert refused(users=users) == (
        "operating_system.users[1].home_directory: the directory '/srv/x' has another mode or owner by "
        "operating_system.users[0].home_directory: use another directory for one of them"
    )
    assert refused(adding("account", {"users": users})).startswith(
        f"{SERVICES}[0].value.value.users[1].home_directory: the directory '/srv/x' has another mode or owner by "
        f"{SERVICES}[0].value.value.users[0].home_directory"
    )


@pytest.mark.parametrize(
    ("service", "home"),
    [
        ({"type": "redis"}, "/var/lib/redis"),
        ({"type": "postgresql"}, "/var/lib/postgresql/data"),
        ({"type": "openssh"}, "/var/lib/sshd"),
        ({"type": "cron"}, "/var/spool/cron/crontabs"),
    ],
)
def test_a_home_that_is_a_services_directory(service: System, home: str) -> None:
    users = [{"name": "alice", "home_directory": home}]
    said = refused({"type": "agetty"}, service, users=users)
    assert f"the directory '{home}' has another mode or owner" in said
    assert "operating_system.users[0].home_directory: " in said
    assert f"{SERVICES}[1]: " in said


@pytest.mark.parametrize("target", ["activation", "system"])
def test_two_services_with_one_directory(target: str) -> None:
    listed = [{"path": "/srv/x", "mode": mode} for mode in ("0755", "0700")]
    given = listed if target == "activation" else {"directories": listed}
    inner = f"{SERVICES}[0].value.value" + ".directories" * (target == "system")
    said = f"{inner}[1]: the directory '/srv/x' has another mode or owner by {inner}[0]"
    assert refused(adding(target, given)).startswith(said)
    assert refused({"type": "redis"}, adding("system", {"directories": [{"path": "/var/lib/redis"}]})).startswith(
        f"{SERVICES}[1].value.value.directories[0]: the directory '/var/lib/redis' has another mode or owner by "
        f"{SERVICES}[0]: "
    )


@pytest.mark.parametrize(
    ("path", "said"),
    [("/usr/x", "lies in the store"), ("/proc/x", "lies in /proc"), ("/dev/x", "lies in /dev")],
)
def test_files_that_no_container_has(path: str, said: str) -> None:
    given = {"files": {"/srv/a": "x", path: "x"}}
    place = f"{SERVICES}[0].value.value.files.{path}: '{path}' {said}"
    assert refused(adding("system", given)).startswith(place)


@pytest.mark.parametrize("home", ["/etc/hostname", "/etc/hostname/x"])
def test_a_directory_where_a_file_is(home: str) -> None:
    said = f"the directory '{home}' is asked for, but '/etc/hostname' is a file"
    assert refused(users=[{"name": "alice", "home_directory": home}]).startswith(
        f"operating_system.users[0].home_directory: {said}"
    )
    assert refused(adding("activation", [{"path": home}])).startswith(f"{SERVICES}[0].value.value[0]: {said}")
    assert refused({"type": "redis", "value": {"directory": home}}).startswith(f"{SERVICES}[0]: {said}")


@pytest.mark.parametrize("target", ["boot", "privileged-programs", "firmware"])
def test_texts_of_lists(target: str) -> None:
    services = [{"type": "agetty"}, adding(target, ["x", 5])]
    if target == "firmware":
        assert render(*services)  # which no container has
        return
    assert refused(*services).startswith(f"{SERVICES}[1].value.value[1]: must be a string, not a number")


def test_ids_that_two_have() -> None:
    users = [{"name": "alice", "uid": 5000}, {"name": "bob", "uid": 5000}]
    said = "'alice' and 'bob' both have the uid 5000; set `uid` of one of them"
    assert refused(users=users) == f"operating_system.users[1]: {said}"
    assert refused(adding("account", {"users": users})) == f"{SERVICES}[0].value.value.users[1]: {said}"
    groups = [{"name": "a"}, {"name": "g", "gid": 902}]
    assert refused({"type": "redis"}, groups=groups) == (
        "operating_system.groups[1]: 'redis' and 'g' both have the gid 902; set `gid` of one of them"
    )
    assert refused(groups=[{"name": "adm", "gid": 50}]).startswith("operating_system.groups[0]: ")


def test_accounts_of_services_alone_are_named_by_their_list() -> None:
    """Nobody wrote them, so they have no places of their own."""
    user, other = (UserAccount.from_mapping({"name": name, "uid": 5000}, "x") for name in ("a", "b"))
    group, same = (UserGroup.from_mapping({"name": name, "gid": 5000}, "x") for name in ("g", "h"))
    lost = UserAccount.from_mapping({"name": "a", "group": "nosuch"}, "x")
    for users, groups, said in (
        ([user, other], [], "users: 'a' and 'b' both have the uid 5000"),
        ([], [group, same], "groups: 'g' and 'h' both have the gid 5000"),
        ([lost], [], "users: 'a' is in the unknown group 'nosuch'"),
    ):
        with pytest.raises(DeclarationError, match=f"^operating_system.{said}"):
            Accounts(users, groups, "operating_system", Places())


def test_what_is_mounted_is_what_only_the_host_knows() -> None:
    """Not a tmpfs, which is empty, nor what nobody mounts at the start, nor the root and the store."""
    system = {
        "host_name": "a",
        "file_systems": [
            {"device": "/dev/a", "mount_point": "/srv/disk", "type": "ext4", "needed_for_boot": True},
            {"device": "/srv/b", "mount_point": "/srv/bind", "type": "none", "flags": ["bind-mount"],
             "needed_for_boot": True},
            {"device": "tmpfs", "mount_point": "/srv/memory", "type": "tmpfs", "needed_for_boot": True},
            {"device": "/dev/c", "mount_point": "/srv/later", "type": "ext4"},
            {"device": "/dev/d", "mount_point": "/", "type": "ext4", "needed_for_boot": True},
            {"device": "/dev/e", "mount_point": "/gnu", "type": "ext4", "needed_for_boot": True},
        ],
    }  # fmt: skip
    folded = FoldedSystem(Context(operating_system(system), store="/gnu"), {})
    assert folded.mounted() == ["/srv/disk", "/srv/bind"]


def test_a_link_where_a_file_is() -> None:
    said = refused(adding("special-files", {"/etc/passwd": "b"}))
    assert said.startswith(
        f"{SERVICES}[0].value.value./etc/passwd: '/etc/passwd' is already defined by operating_system"
    )
