# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whose the directories are that services need, and whether their data last, is said before anything is written."""

from __future__ import annotations

import os
import re
import typing as t
from pathlib import Path

import pytest
from ansible_collections.unshare.container.plugins.module_utils.host.facts import HostFacts
from ansible_collections.unshare.container.plugins.module_utils.host.preflight import problems, warnings
from ansible_collections.unshare.container.plugins.module_utils.host.preflight_directories import (
    lost_data,
    missing,
    owners,
)
from ansible_collections.unshare.container.plugins.module_utils.host.preflight_mounts import tmpfs_options
from ansible_collections.unshare.container.plugins.module_utils.launcher.contract import Specification
from ansible_collections.unshare.container.plugins.plugin_utils.containerized import containerized_operating_system
from ansible_collections.unshare.container.plugins.plugin_utils.system_files import system_files

pytestmark = pytest.mark.root

POSTGRES = "/var/lib/postgresql/data"
REDIS = "/var/lib/redis"
KEYS = "/var/lib/sshd"
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\n"


def redis(**value: t.Any) -> dict[str, t.Any]:
    return {"type": "redis", "value": value}


@pytest.fixture
def host(tmp_path: Path) -> HostFacts:
    return HostFacts(tmp_path)


def specified(services: list[t.Any], mappings: t.Any = (), **declared: t.Any) -> Specification:
    """Return the specification that a host gets of a declaration."""
    system = system_files(
        containerized_operating_system({"host_name": "a", "services": services, **declared}, mappings=mappings)
    )
    return Specification.read({**system["spec"], "directories": system["directories"]})


def mapping(target: str, source: str = "/srv/x", **more: t.Any) -> dict[str, t.Any]:
    return {"source": source, "target": target, "writable": True, **more}


def directory(host: HostFacts, ids: tuple[int, int], mode: int = 0o755, name: str = "", path: str = "srv/x") -> Path:
    """Return a directory of the host, with a file of this name in it."""
    made = host.root / path
    made.mkdir(parents=True)
    if name:
        (made / name).mkdir()
    made.chmod(mode)
    os.chown(made, *ids)
    return made


ALICE = {"users": [{"name": "alice"}], "services": []}
ENTRY = {"path": "/var/lib/cache", "owner": "games", "group": "games"}


@pytest.mark.parametrize(
    ("arguments", "target", "ids", "said"),
    [
        pytest.param(
            {"services": [{"type": "postgresql"}]},
            POSTGRES,
            (101, 104),
            r"/srv/x: belongs to 101:104, and /var/lib/postgresql/data of the container to 901:901 \(postgres\): .*"
            r"users: \[\{name: postgres, uid: 101\}\] and groups: \[\{name: postgres, gid: 104\}\]",
            id="cases_B8_postgresql",
        ),
        pytest.param({"services": [{"type": "redis"}]}, REDIS, (103, 106), "902:902", id="cases_B8_redis"),
        pytest.param({"services": [{"type": "redis"}]}, REDIS, (0, 0), "belongs to 0:0", id="cases_B8_of_root"),
        pytest.param(ALICE, "/home/alice", (1000, 1000), r"\(alice\)", id="cases_B8_home"),
        pytest.param(
            {"services": [{"type": "simple", "value": {"target": "activation", "value": [ENTRY]}}]},
            "/var/lib/cache",
            (9, 9),
            r"\(games\)",
            id="cases_B8_declared",
        ),
        pytest.param(
            {"services": [{"type": "redis"}], "users": [{"name": "redis", "uid": 105}]},
            REDIS,
            (902, 902),
            "to 105:902",
            id="cases_B8_another_id",
        ),
    ],
)
def test_a_directory_of_another_owner(
    host: HostFacts, arguments: t.Any, target: str, ids: tuple[int, int], said: str
) -> None:
    made = directory(host, ids, 0o700, "file")
    specification = specified(mappings=[mapping(target)], **arguments)
    (problem,) = owners(host, specification)
    assert re.search(said, problem), problem
    assert problem in problems(host, specification)
    status = made.stat()
    assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (*ids, 0o700)


def test_cases_b8_an_empty_directory_of_another_owner(host: HostFacts) -> None:
    directory(host, (107, 107))
    (problem,) = owners(host, specified([{"type": "redis"}], [mapping(REDIS)]))
    assert "chown 902:902 /srv/x on the host" in problem


@pytest.mark.parametrize("below", ["", "/data"])
def test_cases_b8_what_lies_below_a_mapping(host: HostFacts, below: str) -> None:
    """After its first start the data lie in the mapping of a directory above."""
    directory(host, (101, 104), name="file", path="srv/x" + below)
    place = POSTGRES[: len(POSTGRES) - len(below)]
    (problem,) = owners(host, specified([{"type": "postgresql"}], [mapping(place)]))
    assert problem.startswith(f"/srv/x{below}: belongs to 101:104")


@pytest.mark.parametrize(
    ("ids", "name", "declared"),
    [
        pytest.param((902, 902), "dump.rdb", {}, id="its_own"),
        pytest.param((902, 5), "dump.rdb", {}, id="another_group"),
        pytest.param((0, 0), "", {}, id="empty"),
        pytest.param((0, 0), "lost+found", {}, id="a_new_file_system"),
        pytest.param((103, 106), "dump.rdb", {"users": [{"name": "redis", "uid": 103}]}, id="cases_B8_declared_ids"),
        pytest.param((200000, 200000), "dump.rdb", {}, id="perhaps_the_containers_own"),
    ],
)
def test_a_directory_that_will_do(host: HostFacts, ids: tuple[int, int], name: str, declared: t.Any) -> None:
    directory(host, ids, name=name)
    assert owners(host, specified([{"type": "redis"}], [mapping(REDIS)], **declared)) == []


@pytest.mark.parametrize(
    ("ids", "owner", "refused"),
    [
        pytest.param((107, 112), "redis", "", id="its_owner"),
        pytest.param((200000, 112), "redis", "", id="its_owner_of_a_large_id"),
        pytest.param((902, 902), "redis", "", id="its_owner_by_number"),
        pytest.param(
            (107, 112),
            "games",
            "belongs to 5:60 inside (107:112 on the host), and /var/lib/redis of the container to 902:902",
            id="another",
        ),
        pytest.param((107, 112), "root", "belongs to 0:0 inside (107:112 on the host), and", id="roots"),
    ],
)
def test_v2_the_mapping_says_whose_it_is(host: HostFacts, ids: tuple[int, int], owner: str, refused: str) -> None:
    directory(host, ids, name="dump.rdb")
    said = owners(host, specified([{"type": "redis"}], [mapping(REDIS, owner=owner)]))
    assert [refused in problem for problem in said] == [True] * bool(refused)


@pytest.mark.parametrize(
    ("owner", "below", "said"),
    [
        ((107, 112), (107, 112), ""),
        ((107, 112), (902, 902), "belongs to 107:112 inside (902:902 on the host), and"),
        ((70000, 5), (902, 5), "belongs to 65534:902 inside (902:5 on the host), and"),
        ((70000, 5), (902, 5), ": chown -R 70000:5 /srv/x/redis on the host, or map an empty"),
    ],
)
def test_v2_of_a_directory_below(host: HostFacts, owner: tuple[int, int], below: tuple[int, int], said: str) -> None:
    """It is judged by the map of its mapping, and what is nobody's is refused as such."""
    directory(host, owner)
    directory(host, below, name="dump.rdb", path="srv/x/redis")
    problems = owners(host, specified([{"type": "redis"}], [mapping("/var/lib", owner="redis")]))
    assert [said in problem for problem in problems] == [True] * bool(said), problems


def test_v2_the_way_out_names_the_owner_of_the_mapping(host: HostFacts) -> None:
    """Where that helps: of what belongs to the owner of the mapping's source."""
    directory(host, (107, 112), name="dump.rdb")
    (problem,) = owners(host, specified([{"type": "redis"}], [mapping(REDIS)]))
    assert "902:902 (redis): let the mapping say whose it is (owner: redis), declare the account" in problem
    directory(host, (107, 112), name="dump.rdb", path="srv/lib/redis")
    (problem,) = owners(host, specified([{"type": "redis"}], [mapping("/var/lib", "/srv/lib")]))
    assert "owner: redis" not in problem


def test_nobody_asks_whose_the_directories_of_every_system_are(host: HostFacts) -> None:
    directory(host, (33, 33), name="site")
    assert owners(host, specified([], [mapping("/srv"), mapping("/home"), mapping("/var/log")])) == []


@pytest.mark.parametrize(
    ("services", "arguments", "lost"),
    [
        pytest.param([{"type": "redis", "value": {"port": 6380}}], {}, [REDIS], id="cases_U5"),
        pytest.param([{"type": "postgresql"}], {}, [POSTGRES], id="cases_U5_postgresql"),
        pytest.param([{"type": "redis"}, {"type": "postgresql"}], {"mappings": [mapping(REDIS)]}, [POSTGRES], id="one"),
        pytest.param(
            [{"type": "redis", "value": {"directory": "/data"}}],
            {"mappings": [mapping(REDIS)]},
            ["/data"],
            id="elsewhere",
        ),
        pytest.param([{"type": "redis"}], {"mappings": [mapping(REDIS, "/missing")]}, [REDIS], id="left_out"),
        pytest.param(
            [{"type": "redis"}],
            {"file_systems": [{"device": "tmpfs", "mount_point": "/var/lib", "type": "tmpfs"}]},
            [REDIS],
            id="cases_B10_tv",
        ),
        pytest.param(
            [{"type": "redis"}],
            {"file_systems": [{"device": "tmpfs", "mount_point": REDIS, "type": "tmpfs"}]},
            [],
            id="meant",
        ),
        pytest.param([{"type": "redis", "value": {"save": []}}], {}, [], id="a_cache"),
        pytest.param(
            [{"type": "redis", "value": {"save": [], "settings": {"appendonly": True}}}], {}, [REDIS], id="appendonly"
        ),
        pytest.param([{"type": "redis"}], {"mappings": [mapping("/var/lib")]}, [], id="above"),
        pytest.param([{"type": "nginx", "value": {"servers": [{}]}}, {"type": "cron"}], {}, [], id="no_database"),
        pytest.param([redis(save=[], settings={"save": "60 1"})], {}, [REDIS], id="saves_by_settings"),
        pytest.param([redis(settings={"save": ""})], {}, [], id="no_saves_by_settings"),
        pytest.param([redis(save=[], settings={"appendonly": "YES"})], {}, [REDIS], id="appends_by_settings"),
        pytest.param(
            [redis(settings={"dir": "/data"})], {"mappings": [mapping(REDIS)]}, ["/data"], id="directory_by_settings"
        ),
        pytest.param(
            [{"type": "postgresql", "value": {"settings": {"data_directory": "/data"}}}],
            {"mappings": [mapping(POSTGRES)]},
            ["/data"],
            id="directory_of_postgresql_by_settings",
        ),
        pytest.param([redis(settings={"dir": "'/data'"})], {"mappings": [mapping("/data")]}, [], id="quoted"),
        pytest.param([{"type": "openssh"}], {}, [KEYS], id="host_keys"),
        pytest.param(
            [{"type": "openssh", "value": {"host_key_directory": "/k"}}], {}, ["/k"], id="host_keys_elsewhere"
        ),
        pytest.param([{"type": "openssh", "value": {"host_keys": {"ed25519": KEY}}}], {}, [], id="host_keys_given"),
        pytest.param(
            [{"type": "openssh", "value": {"host_keys": {"ed25519": KEY}, "host_key_types": ["ed25519", "rsa"]}}],
            {},
            [KEYS],
            id="host_keys_given_in_part",
        ),
        pytest.param([{"type": "openssh"}], {"mappings": [mapping(KEYS)]}, [], id="host_keys_kept"),
        pytest.param(
            [{"type": "openssh"}], {"mappings": [mapping(KEYS, writable=False)]}, [], id="host_keys_read_only"
        ),
    ],
)
def test_data_in_memory(host: HostFacts, services: t.Any, arguments: t.Any, lost: list[str]) -> None:
    directory(host, (0, 0))
    specification = specified(services, **arguments)
    said = lost_data(host, specification)
    assert [text.partition(":")[0] for text in said] == lost
    for text in said:
        assert "volumes: true, or volumes: [{name: data, path: /" in text
        assert text in warnings(host, specification)


def test_host_keys_that_are_lost_are_called_so(host: HostFacts) -> None:
    (said,) = lost_data(host, specified([{"type": "openssh"}]))
    assert "the host keys of sshd" in said
    assert "`host_keys`" in said


BELOW: dict[str, tuple[t.Any, str]] = {
    "a_cache": ({"services": [redis(save=[], directory="/data/redis")]}, "/data/redis of redis"),
    "a_root": ({"services": [{"type": "static-web-server", "value": {"root": "/data/a/b"}}]}, "/data/a/b of a service"),
    "a_home": ({"services": [], "users": [{"name": "alice", "home_directory": "/data/alice"}]}, "/data/alice of alice"),
    "host_keys": ({"services": [{"type": "openssh", "value": {"host_key_directory": "/data/keys"}}]}, "/data/keys"),
    "declared": (
        {"services": [{"type": "simple", "value": {"target": "activation", "value": [{**ENTRY, "path": "/data/x"}]}}]},
        "/data/x of games",
    ),
}


@pytest.mark.parametrize("case", BELOW)
def test_what_nobody_can_make_in_a_read_only_mapping(host: HostFacts, case: str) -> None:
    """It was left out without a word, and the service failed when the former container was gone."""
    declared, said = BELOW[case]
    top = directory(host, (9, 9))
    specification = specified(mappings=[mapping("/data", writable=False)], **declared)
    (entry,) = [entry for entry in specification.directories if entry.present]
    (problem,) = missing(host, specification)
    assert f"the directory {said}" in problem
    assert f"make /srv/x{entry.path.removeprefix('/data')} on the host" in problem
    assert problem in problems(host, specification)
    (top / entry.path.removeprefix("/data/")).mkdir(parents=True)
    assert missing(host, specification) == owners(host, specification) == []


@pytest.mark.parametrize("kind", ["of_the_store", "a_link", "left_out"])
def test_what_may_be_there_in_a_read_only_mapping(host: HostFacts, kind: str) -> None:
    path = "/usr/share/doc" if kind == "of_the_store" else "/data/site"
    (host.root / "usr/share/doc").mkdir(parents=True)
    if kind == "a_link":
        (directory(host, (0, 0)) / "site").symlink_to("releases/5")
    service = {"type": "static-web-server", "value": {"root": path}}
    assert missing(host, specified([service], [mapping("/data", writable=False)])) == []


@pytest.mark.parametrize("point", ["/mnt", "/run", "/dev/shm"])
@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("sise=1g", "'sise' is no option of a tmpfs; known are size,"),
        ("size=lots", "'size' of a tmpfs must be a number"),
        ("size", "'size' of a tmpfs must be"),
        ("mode=rwx", "'mode' of a tmpfs must be octal digits"),
        ("noswap=1", "'noswap' of a tmpfs must be without a value"),
        ("size=1m,nofail,noatime,uid=games,mode=1777", ""),
    ],
)
def test_options_of_a_tmpfs(host: HostFacts, point: str, options: str, said: str) -> None:
    item = {"device": "tmpfs", "mount_point": point, "type": "tmpfs", "options": options}
    found = tmpfs_options(host, specified([], file_systems=[item]))
    assert [text.startswith(f"{point}: {said}") for text in found] == [True] * bool(said)
    assert tmpfs_options(host, specified([], file_systems=[{**item, "mount_may_fail": True}])) == []
