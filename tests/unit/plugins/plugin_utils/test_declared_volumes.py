# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The option `volumes`, as far as the controller reads it (V1)."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.contract import Specification
from ansible_collections.unshare.container.plugins.plugin_utils.declared_containers import rendered
from ansible_collections.unshare.container.plugins.plugin_utils.errors import DeclarationError

ALL = [{"type": "postgresql"}, {"type": "redis"}, {"type": "openssh"}, {"type": "cron"}]
OFFERED = {
    "postgresql": "/var/lib/postgresql/data",
    "redis": "/var/lib/redis",
    "openssh": "/var/lib/sshd",
    "cron": "/var/spool/cron/crontabs",
}
GIVEN_KEYS = dict.fromkeys(("ed25519", "rsa", "ecdsa"), "-----BEGIN OPENSSH PRIVATE " + "KEY-----\n")


def specification(
    volumes: t.Any, services: list[dict[str, t.Any]] = ALL, users: t.Any = (), **options: t.Any
) -> Specification:
    system = {"host_name": "web", "services": services, "users": [{"name": "alice", "uid": 1500}, *users]}
    return Specification.read(rendered({"operating_system": system, "volumes": volumes, **options}, "web")["spec"])


def made(*given: t.Any, **options: t.Any) -> dict[str, str]:
    """Return the paths of a container's volumes by their names."""
    found = specification(*given, **options)
    return {mount.volume.name: mount.mount_point for mount in found.file_systems if mount.volume is not None}


def test_v1_true_is_all_that_the_services_keep() -> None:
    assert made(True) == OFFERED
    assert made(True, []) == made(False) == made(None) == made([]) == {}


@pytest.mark.parametrize(
    ("services", "options", "left_out"),
    [
        pytest.param([{"type": "redis", "value": {"save": []}}], {}, "redis", id="a_cache_alone"),
        pytest.param([{"type": "openssh", "value": {"host_keys": GIVEN_KEYS}}], {}, "openssh", id="keys_are_given"),
        pytest.param(
            [{"type": "redis"}],
            {"mappings": [{"source": "/srv/x", "target": "/var/lib", "writable": True}]},
            "redis",
            id="a_mapping_keeps_it",
        ),
        pytest.param(
            [{"type": "redis"}],
            {"extra_file_systems": [{"device": "tmpfs", "type": "tmpfs", "mount_point": "/var/lib/redis"}]},
            "redis",
            id="it_is_meant_not_to_last",
        ),
    ],
)
def test_v1_true_leaves_out_what_has_no_use_for_it(
    services: list[dict[str, t.Any]], options: dict[str, t.Any], left_out: str
) -> None:
    assert left_out not in made(True, services, **options)


def test_v1_a_tmpfs_above_does_not_keep_it() -> None:
    above = [{"device": "tmpfs", "type": "tmpfs", "mount_point": "/var/lib"}]
    found = specification(True, [{"type": "redis"}], extra_file_systems=above)
    points = [mount.mount_point for mount in found.file_systems]
    assert points.index("/var/lib") < points.index("/var/lib/redis")


def test_v1_a_name_alone_is_the_volume_of_a_service() -> None:
    assert made(["redis", {"name": "postgresql"}]) == {name: OFFERED[name] for name in ("redis", "postgresql")}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"name": "data", "path": "/srv/data"}, (0, 0, "0755")),
        ({"name": "data", "path": "/srv//data/", "owner": "alice"}, (1500, 100, "0755")),
        ({"name": "data", "path": "/srv/data", "owner": "alice", "group": "adm"}, (1500, 4, "0755")),
        ({"name": "data", "path": "/srv/data", "owner": 1500, "mode": "700"}, (1500, 100, "0700")),
        ({"name": "data", "path": "/srv/data", "owner": 777, "group": 5}, (777, 5, "0755")),
        ({"name": "data", "path": "/srv/data", "group": "adm"}, (0, 4, "0755")),
        ({"name": "redis"}, (902, 902, "0750")),
        ({"name": "redis", "mode": "0700"}, (902, 902, "0700")),
        ({"name": "redis", "owner": "alice"}, (1500, 100, "0750")),
        ({"name": "redis", "path": "/srv/data"}, (902, 902, "0750")),
    ],
)
def test_v1_owner_and_mode(given: dict[str, t.Any], expected: tuple[int, int, str]) -> None:
    (mount,) = [mount for mount in specification([given]).file_systems if mount.volume is not None]
    volume = mount.volume
    assert volume is not None
    assert (volume.uid, volume.gid, volume.mode) == expected
    assert mount.source == f"/var/lib/unshare/containers/web/volumes/{volume.name}"
    assert (mount.type, mount.flags, mount.read_only, mount.is_own) == ("none", ["bind-mount"], False, True)


@pytest.mark.parametrize(
    ("volumes", "said"),
    [
        ("data", "volumes: must be a list, or true for those of all services, not a string"),
        ({"name": "data"}, "volumes: must be a list, or true for those of all services, not a mapping"),
        ([7], "volumes[0]: must be a mapping, not a number"),
        ([{}], "volumes[0]: 'name' is required"),
        ([{"name": "data", "paht": "/x"}], "volumes[0]: unknown key 'paht'; did you mean 'path'?"),
        (["Data"], "volumes[0]: 'Data' cannot name a volume; use 1 to 63 lower-case letters"),
        ([{"name": "../x", "path": "/x"}], "volumes[0].name: '../x' cannot name a volume; use 1 to 63"),
        (["redsi"], "volumes[0]: no declared service has a volume 'redsi'; did you mean 'redis'?; of one of your own"),
        ([{"name": "data"}], "volumes[0].name: no declared service has a volume 'data'"),
        ([{"name": "data", "path": "srv"}], "volumes[0].path: 'srv' must be an absolute path"),
        ([{"name": "data", "path": "/"}], "volumes[0].path: '/' is the container's own root"),
        ([{"name": "data", "path": "/proc/x"}], "volumes[0].path: '/proc/x' lies in /proc"),
        ([{"name": "data", "path": "/usr"}], "volumes[0].path: nothing can be mounted at '/usr'"),
        ([{"name": "data", "path": "/etc"}], "volumes[0]: '/etc' hides /etc/"),
        ([{"name": "data", "path": "/etc/passwd"}], "volumes[0]: '/etc/passwd' would replace /etc/passwd"),
        (
            [{"name": "data", "path": "/x", "owner": "alcie"}],
            "volumes[0].owner: 'alcie': there is no such user of",
        ),
        (
            [{"name": "data", "path": "/x", "group": "amd"}],
            "volumes[0].group: 'amd': there is no such group of",
        ),
        ([{"name": "data", "path": "/x", "owner": 70000}], "volumes[0].owner: 70000 is not an id of a container"),
        ([{"name": "data", "path": "/x", "owner": 777}], "volumes[0].owner: 777 is no user of the declaration"),
        ([{"name": "data", "path": "/x", "mode": 493}], "volumes[0].mode: must be a string, not a number"),
        ([{"name": "data", "path": "/x"}, {"name": "data", "path": "/y"}], "volumes[1].name: 'data' is the name of v"),
        (["redis", {"name": "own", "path": "/var/lib/redis"}], "volumes[1].path: '/var/lib/redis' is that of volumes"),
        ([{"name": "data", "path": "/srv/mapped"}], "volumes[0].path: '/srv/mapped' is also the target of a mapping"),
        ([{"name": "data", "path": "/dev/shm"}], "volumes[0].path: '/dev/shm' is also the target of a mapping or"),
    ],
)
def test_v1_what_is_refused_is_named(volumes: t.Any, said: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        specification(volumes, mappings=["/srv/mapped"])
    assert str(caught.value).startswith(said)


def test_v1_a_volume_and_a_kept_log_do_not_meet() -> None:
    volume = {"name": "log", "path": "/var/log/journal"}
    with pytest.raises(DeclarationError, match=r"^volumes\[0\]: '/var/log/journal' would be hidden by the container's"):
        specification([volume], log="persistent")


def adding(directory: dict[str, t.Any]) -> list[dict[str, t.Any]]:
    return [*ALL, {"type": "simple", "value": {"target": "activation", "value": [directory]}}]


def test_v1_a_service_of_the_users_own_names_one() -> None:
    directory = {"path": "/var/lib/app", "owner": "alice", "mode": "0711", "data": True, "volume": "app"}
    assert made(True, adding(directory)) == {**OFFERED, "app": "/var/lib/app"}
    with pytest.raises(DeclarationError, match=r"\.volume: 'App' cannot name a volume"):
        specification(True, adding({**directory, "volume": "App"}))


def test_v1_two_services_that_name_one_volume() -> None:
    with pytest.raises(DeclarationError, match=r"^volumes: two services keep what is to last in a volume 'redis', at "):
        specification(True, adding({"path": "/var/lib/app", "volume": "redis"}))


def test_t5_a_machine_has_the_owners_of_its_declaration_and_root() -> None:
    volumes = [{"name": "own", "path": "/srv/own"}, {"name": "data", "path": "/srv/data", "owner": "alice"}]
    found = specification(volumes, [], root="machine", store="/srv/tree/usr")
    assert [mount.volume.uid for mount in found.file_systems if mount.volume is not None] == [0, 1500]


def system(volumes: t.Any, **options: t.Any) -> dict[str, t.Any]:
    return rendered({"operating_system": {"host_name": "web", "services": ALL}, "volumes": volumes, **options}, "web")


def test_v3_sizes_are_no_part_of_a_system() -> None:
    plain = ["redis", {"name": "data", "path": "/srv/data"}]
    sized = [{"name": "redis", "size": "1G"}, {**plain[1], "size": "5G", "size_may_fail": True}]  # type: ignore[dict-item]
    bare, found = system(plain), system(sized)
    assert "volumes" not in bare
    assert found.pop("volumes") == [
        {"name": "redis", "size": "1G"},
        {"name": "data", "size": "5G", "size_may_fail": True},
    ]
    assert found == bare
    assert system(["redis", sized[1]])["volumes"][0] == {}


@pytest.mark.parametrize(
    ("volumes", "options", "place", "said"),
    [
        ([{"name": "redis", "size": "1M"}], {}, "volumes[0].size", "'1M' is not a size of 16M or more"),
        (["cron", {"name": "redis", "size": "x"}], {}, "volumes[1].size", "'x' is not a size"),
        ([{"name": "redis", "size_may_fail": True}], {}, "volumes[0].size_may_fail", "is said of no size"),
        ([{"name": "redis", "size": "1G", "size_may_fail": 3}], {}, "volumes[0].size_may_fail", "must be a boolean"),
        ([{"name": "redis", "sise": "1G"}], {}, "volumes[0]", "unknown key 'sise'; did you mean 'size'"),
        ([{"name": "redis", "size": "1G"}], {"private_users": "identity"}, "volumes[0].size", "whom no quota holds"),
    ],
)
def test_v3_wrong_sizes_are_refused_with_their_place(
    volumes: t.Any, options: dict[str, t.Any], place: str, said: str
) -> None:
    with pytest.raises(DeclarationError) as error:
        system(volumes, **options)
    assert error.value.path == place
    assert said in error.value.message


def test_v3_a_size_that_may_fail_may_be_of_the_host_s_root() -> None:
    sized = [{"name": "redis", "size": "1G", "size_may_fail": True}]
    assert system(sized, private_users="identity")["volumes"] == sized
