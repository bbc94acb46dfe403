# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a declaration says of data: whose directories are, and how large each tmpfs is."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.unshare.container.plugins.plugin_utils.containerized import (
    containerization_report,
    containerized_operating_system,
)
from ansible_collections.unshare.container.plugins.plugin_utils.declared_containers import (
    declared_containers,
    report,
)
from ansible_collections.unshare.container.plugins.plugin_utils.declared_containers import (
    rendered as rendered_as_given,
)
from ansible_collections.unshare.container.plugins.plugin_utils.errors import DeclarationError
from ansible_collections.unshare.container.plugins.plugin_utils.system_files import system_files

Mapping = dict[str, t.Any]


def rendered(arguments: t.Any = None, **declared: t.Any) -> Mapping:
    system = containerized_operating_system({"host_name": "a", **declared}, **(arguments or {}))
    return system_files(system)


def tmpfs(point: str, options: str | None = None, **more: t.Any) -> Mapping:
    return {
        "device": "tmpfs",
        "mount_point": point,
        "type": "tmpfs",
        **({"options": options} if options else {}),
        **more,
    }


def directories(system: Mapping) -> dict[str, Mapping]:
    return {entry["path"]: entry for entry in system["directories"]}


def mounts(system: Mapping) -> dict[str, Mapping]:
    return {entry["mount_point"]: entry for entry in system["spec"]["file_systems"]}


@pytest.mark.parametrize(
    ("kind", "account", "path", "file"),
    [
        pytest.param(
            "postgresql", "postgres", "/var/lib/postgresql/data", "/etc/postgresql/pg_hba.conf", id="cases_B8c"
        ),
        pytest.param("redis", "redis", "/var/lib/redis", "/etc/redis/redis.conf", id="cases_B8_redis"),
    ],
)
@pytest.mark.parametrize(
    ("users", "groups", "ids"),
    [
        ([], [], None),
        ([{"uid": 105}], [], (105, None)),
        ([{"uid": 105}], [{"gid": 106}], (105, 106)),
        ([{"uid": None, "system": True}], [], ("derived", None)),
    ],
)
def test_ids_are_those_of_the_accounts(
    kind: str, account: str, path: str, file: str, users: t.Any, groups: t.Any, ids: t.Any
) -> None:
    system = rendered(
        services=[{"type": kind}],
        users=[{"name": account, **user} for user in users],
        groups=[{"name": account, **group} for group in groups],
    )
    lines = {line.split(":")[0]: line.split(":") for line in system["files"]["/etc/passwd"]["content"].splitlines()}
    lines_of_groups = system["files"]["/etc/group"]["content"].splitlines()
    group = next(int(line.split(":")[2]) for line in lines_of_groups if line.startswith(f"{account}:"))
    uid = int(lines[account][2])
    entry = directories(system)[path]
    assert (entry["uid"], entry["gid"], entry["account"], entry["data"]) == (uid, group, account, True)
    assert system["files"][file]["gid"] == group
    if ids and isinstance(ids[0], int):
        assert uid == ids[0]
    if ids and ids[1]:
        assert group == ids[1]


def test_owners_may_be_names() -> None:
    entry = {"path": "/var/lib/x", "owner": "games", "group": "adm"}
    file = {"content": "x", "owner": "alice", "group": "users"}
    services = [
        {"type": "simple", "value": {"target": "activation", "value": [entry]}},
        {"type": "simple", "value": {"target": "etc", "value": {"x": file}}},
        {"type": "simple", "value": {"target": "system", "value": {"directories": [{**entry, "path": "/y"}]}}},
    ]
    system = rendered(services=services, users=[{"name": "alice", "uid": 1234}])
    for path in ("/var/lib/x", "/y"):
        assert (directories(system)[path]["uid"], directories(system)[path]["gid"]) == (5, 4)
    assert (system["files"]["/etc/x"]["uid"], system["files"]["/etc/x"]["gid"]) == (1234, 100)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"owner": "gamse"}, r"owner: there is no user 'gamse'; did you mean 'games'"),
        ({"group": "nobodys"}, r"group: there is no group 'nobodys'"),
        ({"owner": "games", "uid": 5}, r"owner: is given, and so is `uid`"),
    ],
)
def test_wrong_owners(entry: Mapping, said: str) -> None:
    for target, value in (("activation", [{"path": "/x", **entry}]), ("etc", {"x": {"content": "", **entry}})):
        with pytest.raises(DeclarationError, match=said):
            rendered(services=[{"type": "simple", "value": {"target": target, "value": value}}])


@pytest.mark.parametrize("where", ["file_systems", "extra_file_systems"])
@pytest.mark.parametrize("point", ["/dev/shm", "/tmp", "/run", "/var", "/var/lib", "/home", "/srv/a b"])
@pytest.mark.parametrize("boot", [True, False])
def test_cases_b11_declared_sizes(where: str, point: str, boot: bool) -> None:
    item = tmpfs(point, "size=1g,nodev", needed_for_boot=boot)
    system = rendered({where: [item]}) if where.startswith("extra") else rendered(file_systems=[item])
    found = [entry for entry in system["spec"]["file_systems"] if entry["mount_point"] == point]
    assert [(entry["options"], entry["flags"]) for entry in found] == [("size=1g", ["no-dev"])]
    assert not [path for path in system["files"] if path.endswith(".mount")]


def test_cases_b10_ids_of_a_tmpfs_may_be_names() -> None:
    system = rendered(users=[{"name": "u", "uid": 1000}], file_systems=[tmpfs("/mnt/u", "uid=u,gid=adm,size=50%")])
    assert mounts(system)["/mnt/u"]["options"] == "uid=1000,gid=4,size=50%"


def test_an_unknown_name_in_the_options_of_a_tmpfs() -> None:
    for options, said in (("uid=nosuch", "uid=nosuch: there is no such user"), ("gid=usres", "did you mean 'users'")):
        with pytest.raises(DeclarationError, match=rf"^operating_system\.file_systems\[0\]\.options: .*{said}"):
            rendered(file_systems=[tmpfs("/mnt", options)])


def test_run_is_never_read_only() -> None:
    with pytest.raises(DeclarationError, match="/run cannot be read-only"):
        rendered(file_systems=[tmpfs("/run", "ro,size=1m")])


def test_what_a_tmpfs_says_of_itself_counts() -> None:
    found = directories(rendered(file_systems=[tmpfs("/home", "mode=0700"), tmpfs("/srv", "uid=5,mode=1777")]))
    assert (found["/home"]["mode"], found["/home"]["uid"]) == ("0700", 0)
    assert (found["/srv"]["mode"], found["/srv"]["uid"]) == ("1777", 5)
    redis = rendered(services=[{"type": "redis"}], file_systems=[tmpfs("/var/lib/redis", "mode=0700")])
    assert (directories(redis)["/var/lib/redis"]["uid"], directories(redis)["/var/lib/redis"]["mode"]) == (902, "0700")


@pytest.mark.parametrize(("score", "started"), [(0, 100), (300, 400), (-500, -400), (1000, 1000)])
def test_cases_b12_pid_1_is_killed_last(score: int, started: int) -> None:
    system = system_files(containerized_operating_system({"host_name": "a"}), oom_score_adj=score)
    assert f"DefaultOOMScoreAdjust={started}\n" in system["files"]["/etc/systemd/system.conf"]["content"]
    journal = system["files"]["/etc/systemd/system/systemd-journald.service.d/oom.conf"]["content"]
    assert f"OOMScoreAdjust={started}\n" in journal


DATA = {"path": "/data/x", "owner": "games", "data": True}
READ_ONLY: dict[str, tuple[Mapping, str, str]] = {
    "redis": ({"type": "redis"}, "/var/lib/redis", "/var/lib/redis"),
    "postgresql": ({"type": "postgresql"}, "/var/lib/postgresql/data", "/var/lib/postgresql/data"),
    "above": ({"type": "postgresql"}, "/var/lib", "/var/lib/postgresql/data"),
    "below": ({"type": "redis", "value": {"directory": "/data/redis"}}, "/data", "/data/redis"),
    "by_settings": ({"type": "redis", "value": {"settings": {"dir": "/data"}}}, "/data", "/data"),
    "saves_by_settings": (
        {"type": "redis", "value": {"save": [], "settings": {"save": "1 1"}}},
        "/var",
        "/var/lib/redis",
    ),
    "declared": ({"type": "simple", "value": {"target": "activation", "value": [DATA]}}, "/data/x", "/data/x"),
}


@pytest.mark.parametrize("case", READ_ONLY)
def test_data_on_a_read_only_mapping_are_refused(case: str) -> None:
    service, target, path = READ_ONLY[case]
    given: Mapping = {
        "operating_system": {"host_name": "a", "services": [service]},
        "mappings": ["/x=/y", f"/srv/x={target}"],
    }
    with pytest.raises(DeclarationError) as caught:
        rendered_as_given(given, None)
    assert caught.value.path == "mappings[1]"
    place = "operating_system.services[0]" + ".value.value" * (service["type"] == "simple")
    assert caught.value.message.startswith(f"'{target}' is read-only, and {place} keeps its data in {path}: make it")
    given["mappings"] = [{"source": "/srv/x", "target": target, "writable": True}]
    assert rendered_as_given(given, None)


def test_a_cache_and_keys_may_be_on_a_read_only_mapping() -> None:
    services = [{"type": "redis", "value": {"save": []}}, {"type": "openssh"}]
    assert "/var/lib/redis" not in directories(rendered({"mappings": ["/srv/x=/var/lib/redis"]}, services=services))
    assert "/var/lib/sshd" not in directories(rendered({"mappings": ["/srv/x=/var/lib/sshd"]}, services=services))


@pytest.mark.parametrize("directory", ["/usr/data", "/usr/share/redis"])
def test_data_in_the_store_are_refused(directory: str) -> None:
    with pytest.raises(
        DeclarationError, match=rf"^operating_system\.services\[0\]: keeps its data in {directory}, which"
    ):
        rendered(services=[{"type": "redis", "value": {"directory": directory}}])


def test_nobody_makes_a_directory_in_a_read_only_tmpfs() -> None:
    service = {"type": "static-web-server", "value": {"root": "/data/www"}}
    with pytest.raises(DeclarationError, match=r"^operating_system\.file_systems\[0\]: '/data' is .* cannot be made"):
        rendered(services=[service], file_systems=[tmpfs("/data", "ro")])
    assert rendered(services=[service], file_systems=[tmpfs("/data")])


@pytest.mark.parametrize(
    ("kind", "value", "place"),
    [
        ("redis", {"settings": {"dir": "/var/cache"}}, "settings.dir"),
        ("redis", {"settings": {"dir": "data"}}, "settings.dir"),
        ("redis", {"settings": {"dir": True}}, "settings.dir"),
        ("redis", {"directory": "/var/lib"}, "directory"),
        ("redis", {"directory": "/"}, "directory"),
        ("postgresql", {"data_directory": "/srv"}, "data_directory"),
        ("postgresql", {"settings": {"data_directory": "/tmp"}}, "settings.data_directory"),
    ],
)
def test_a_directory_that_cannot_be_a_services_own(kind: str, value: Mapping, place: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        rendered(services=[{"type": kind, "value": value}])
    assert caught.value.path == f"operating_system.services[0].value.{place}"


NOT_MOUNTED = [
    {"device": "nas:/export", "mount_point": "/srv/nfs", "type": "nfs"},
    {"device": {"uuid": "c0ffee"}, "mount_point": "/srv/disk", "type": "ext4"},
    {"device": "/srv/media", "mount_point": "/srv/b", "type": "none", "flags": ["bind-mount"]},
    {"device": {"label": "x"}, "mount_point": "/srv/not", "type": "xfs", "needed_for_boot": True, "mount": False},
    {"device": "none", "mount_point": "/srv/cg", "type": "overlay", "options": "lowerdir=/a"},
]


@pytest.mark.parametrize("item", NOT_MOUNTED, ids=lambda item: f"cases_N10_{item['type']}")
def test_what_is_kept_and_not_mounted_is_said(item: Mapping) -> None:
    system = {"host_name": "a", "file_systems": [item]}
    (declared,) = declared_containers({"a": {"operating_system": system}})
    (line,) = [line for line in report(declared) if item["mount_point"] in line]
    assert line.startswith(f"kept file_system {item['mount_point']}: declared, but")
    assert line.endswith("a container does not mount it; use a mapping")
    assert item["mount_point"] not in mounts(rendered(file_systems=[item]))
    assert containerization_report(system)["kept"]
