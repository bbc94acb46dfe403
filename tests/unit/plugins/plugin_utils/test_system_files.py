# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is rendered for the target."""

from __future__ import annotations

import json
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.plugin_utils.accounts import derived_id
from ansible_collections.unshare.container.plugins.plugin_utils.containerized import containerized_operating_system
from ansible_collections.unshare.container.plugins.plugin_utils.errors import DeclarationError
from ansible_collections.unshare.container.plugins.plugin_utils.operating_system import default_name
from ansible_collections.unshare.container.plugins.plugin_utils.system_files import system_files
from hypothesis import given
from hypothesis import strategies as st

System = dict[str, t.Any]


def render(declared: System, mappings: t.Any = (), shared_network: bool = False, **more: t.Any) -> System:
    derived = containerized_operating_system(declared, mappings=mappings, shared_network=shared_network)
    return system_files(derived, shared_network=shared_network, **more)


def test_plain_data_the_same_each_time(server: System) -> None:
    first = json.dumps(render(server))
    assert first == json.dumps(render(server))


def test_s1_store_first_then_mappings_then_container_file_systems(server: System) -> None:
    mounts = render(server, mappings=["/a"])["spec"]["file_systems"]
    assert [item["mount_point"] for item in mounts] == [
        "/usr", "/a", "/srv/data", "/srv/scratch", "/dev/pts", "/dev/shm", "/dev/mqueue",
    ]  # fmt: skip


def test_t1_a_store_that_is_a_tree_is_named_and_nothing_more(server: System) -> None:
    spec = render(server, store={"tree": "debian13"})["spec"]
    place = "/var/lib/unshare/trees/debian13/root/usr"
    assert spec["store"] == {"source": place, "target": "/usr", "tree": "debian13"}
    assert (spec["file_systems"][0]["device"], spec["file_systems"][0]["mount_point"]) == (place, "/usr")


def test_c12_container_file_systems(server: System) -> None:
    mounts = {item["mount_point"]: item for item in render(server)["spec"]["file_systems"]}
    assert mounts["/dev/pts"]["options"] == "newinstance,ptmxmode=0666,mode=620"
    assert mounts["/dev/shm"]["options"] == "mode=1777,size=65536k"
    assert set(mounts["/dev/mqueue"]["flags"]) == {"no-exec", "no-suid", "no-dev"}


def test_s2_only_what_boot_needs(server: System) -> None:
    places = [item["mount_point"] for item in render(server)["spec"]["file_systems"]]
    assert "/" not in places
    assert "/boot" not in places


def test_parents_before_children(server: System) -> None:
    mounts = render(server, mappings=["/x=/m/n/o", "/y=/m"])["spec"]["file_systems"]
    places = [item["mount_point"] for item in mounts]
    assert places.index("/m") < places.index("/m/n/o")


def test_s12_localhost_and_the_host_name(server: System) -> None:
    hosts = render(server)["files"]["/etc/hosts"]["content"]
    assert "127.0.0.1 localhost\n" in hosts
    assert "127.0.1.1 web.example.org web\n" in hosts


def test_network_files_of_the_host(server: System) -> None:
    files = render(server, shared_network=True)["files"]
    assert not {"/etc/hosts", "/etc/resolv.conf", "/etc/nsswitch.conf", "/etc/services"} & files.keys()


def test_shadow_is_secret_and_locked(server: System) -> None:
    shadow = render(server)["files"]["/etc/shadow"]
    assert (shadow["mode"], shadow["gid"], shadow["secret"]) == ("0640", 42, True)
    assert "\nalice:!:" in shadow["content"]
    assert shadow["content"].startswith("root:!:")


def test_directories_in_read_only_mappings_are_left_alone(server: System) -> None:
    def paths(mapping: t.Any) -> list[str]:
        return [item["path"] for item in render(server, mappings=[mapping])["directories"]]

    assert "/srv/www" not in paths("/site=/srv/www")
    assert "/srv/www" in paths({"source": "/site", "target": "/srv/www", "writable": True})
    assert "/home/alice" in paths("/a=/b")


def test_a_mapping_that_hides_generated_files_is_refused(server: System) -> None:
    with pytest.raises(DeclarationError, match="'/etc' hides /etc/"):
        render(server, mappings=["/x=/etc"])


def test_default_target_is_an_alias(server: System) -> None:
    files = render(server)["files"]
    assert files["/etc/systemd/system/default.target"] == {"link": "multi-user.target"}
    assert not any("getty@" in path or "udev" in path for path in files)


def test_another_init(server: System) -> None:
    system = render(server, init={"argv": ["/bin/sh", "-c", "exec sleep 9"]})
    assert system["spec"]["init"]["argv"] == ["/bin/sh", "-c", "exec sleep 9"]
    assert "systemd" not in system["spec"]["init"]
    assert not any(path.startswith("/etc/systemd/") for path in system["files"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "A"}, "name: 'A' is not a container's name"),
        ({"log": "x"}, "log: "),
        ({"private_users": 5}, "private_users: 5"),
        ({"private_users": True}, "private_users: "),
        ({"store": {"source": "/usr", "writable": True}}, "store.writable"),
        ({"store": "/gnu=/"}, "store.target"),
        ({"store": {"tree": "Debian"}}, "store.tree: 'Debian' cannot name a tree"),
        ({"store": {"tree": "../etc"}}, "store.tree: "),
        ({"store": {"tree": 13}}, "store.tree: 13 "),
        ({"store": {"tree": "debian", "target": "/usr"}}, "store.target: not beside 'tree'"),
        ({"store": {"tree": "debian", "writable": True}}, "store.writable: not beside 'tree'"),
        ({"init": {"argv": []}}, "init.argv"),
        ({"init": {"argv": ["sh"]}}, r"init.argv\[0\]"),
        ({"init": {"argv": ["/x"], "stop_signal": "SIGFOO"}}, "init.stop_signal"),
        (
            {"security": {"nesting": True}, "private_users": "identity"},
            r"security\.nesting: not with private_users: identity, .*\(private_users: auto\)",
        ),
        ({"store": "/=/usr"}, r"store\.source: '/' is the whole host"),
        ({"security": {"nestling": True}}, "security: unknown key 'nestling'; did you mean 'nesting'"),
    ],
)
def test_wrong_arguments(arguments: dict[str, t.Any], message: str) -> None:
    with pytest.raises(DeclarationError, match=f"^{message}"):
        render({"host_name": "a"}, **arguments)


@pytest.mark.parametrize(
    ("declared", "name"),
    [
        ({"host_name": "web"}, "web"),
        ({"host_name": "Web01.example.org"}, "web01"),
        ({"host_name": "a", "services": "not valid"}, "a"),
    ],
)
def test_the_default_name(declared: dict[str, t.Any], name: str) -> None:
    assert default_name(declared) == name
    assert render({"host_name": declared["host_name"]})["name"] == name


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({}, "operating_system: 'host_name' is required"),
        ({"host_name": None}, "operating_system: 'host_name' is required"),
        ({"hostname": "x"}, "operating_system: unknown key 'hostname'; did you mean 'host_name'"),
        ({"host_name": 5}, r"operating_system\.host_name: must be a string, not a number; quote it"),
        ({"host_name": ["a"]}, r"operating_system\.host_name: must be a string, not a list"),
        ({"host_name": "web_1"}, r"operating_system\.host_name: 'web_1' is not a host name"),
        ({"host_name": ""}, r"operating_system\.host_name: '' is not a host name"),
        ("web", "operating_system: must be a mapping, not a string"),
        (None, "operating_system: must be a mapping, not null"),
    ],
)
def test_a_host_name_that_gives_no_name(declared: t.Any, message: str) -> None:
    with pytest.raises(DeclarationError, match=f"^{message}"):
        default_name(declared)


def test_only_a_derived_system_is_rendered() -> None:
    with pytest.raises(DeclarationError, match="containerized_operating_system first"):
        system_files({"host_name": "a"})


@given(st.text(alphabet="abcdefghij", min_size=1, max_size=12), st.booleans())
def test_derived_ids_are_stable_and_in_range(name: str, system: bool) -> None:
    number = derived_id(name, system=system)
    assert number == derived_id(name, system=system)
    assert (101 <= number < 900) if system else (1000 <= number < 60000)


def test_ids_used_twice() -> None:
    users = [{"name": "a", "uid": 5000}, {"name": "b", "uid": 5000}]
    with pytest.raises(DeclarationError, match="'a' and 'b' both have the uid 5000; set `uid` of one"):
        render({"host_name": "a", "users": users})


def test_an_unknown_group() -> None:
    with pytest.raises(DeclarationError, match="unknown group 'suod'; did you mean 'sudo'"):
        render({"host_name": "a", "users": [{"name": "a", "supplementary_groups": ["suod"]}]})


def test_a_declared_root_keeps_what_is_not_said() -> None:
    hashed = "$6$abc$def"
    system = render({"host_name": "a", "users": [{"name": "root", "password": hashed}]})
    assert "root:x:0:0:root:/root:/bin/bash\n" in system["files"]["/etc/passwd"]["content"]
    assert system["files"]["/etc/shadow"]["content"].startswith(f"root:{hashed}:")
