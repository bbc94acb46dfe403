# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""An error names the place in the user's own declaration, whatever the container does without or has in addition."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.unshare.container.plugins.filter.container_record import container_record
from ansible_collections.unshare.container.plugins.plugin_utils.containerized import Derivation
from ansible_collections.unshare.container.plugins.plugin_utils.declared_containers import declared_containers, derive
from ansible_collections.unshare.container.plugins.plugin_utils.errors import DeclarationError

DROPPED = ({"type": "agetty"}, {"type": "udev"})
"""Services that no container has, so that its services are counted in another way."""

SERVICES = "operating_system.services"


def refusal(system: dict[str, t.Any], **options: t.Any) -> str:
    containers = {"web": {"operating_system": {"host_name": "web", **system}, **options}}
    with pytest.raises(DeclarationError) as raised:
        derive(declared_containers(containers)[0])
    said = str(raised.value)
    assert said.startswith("containers.web.")
    assert "essential_services[" not in said
    return said.removeprefix("containers.web.")


def adding(target: str, value: t.Any) -> dict[str, t.Any]:
    return {"type": "simple", "value": {"target": target, "value": value}}


@pytest.mark.parametrize(
    ("target", "value", "said"),
    [
        pytest.param(
            "etc", {"motd": {"content": "x", "mode": 420}}, ".motd.mode: must be a string", id="cases_B20_mode"
        ),
        pytest.param("etc", {"/etc/motd": "x"}, "./etc/motd: '/etc/motd' must be", id="first_use_U13"),
        ("etc", {"motd": {"contnet": "x"}}, ".motd: unknown key 'contnet'; did you mean 'content'?"),
        ("etc", {"a/../b": "x"}, ".a/../b: '/a/../b' must not contain '..'"),
        ("etc", {"nsswitch.conf": "x"}, ": 'nsswitch.conf' is already defined by operating_system (its essential"),
        ("activation", ["true", 5], "[1]: what is added must be shell text"),
        ("activation", [{"path": "/srv/x", "mode": "9"}], "[0].mode: '9' is not a mode"),
        ("activation", [{"path": "/srv", "mode": "0700"}], "[0]: the directory '/srv' has another mode or owner by"),
        ("hosts", [{"address": "x", "canonical_name": "y"}], "[0].address: 'x' is not an IP address"),
        ("pam", {"sudo": 5}, ".sudo: must be the text of a PAM service"),
        ("session-environment", {"A": 5}, ".A: must be a string, not a number; quote it"),
        ("session-environment", {"A B": "x"}, ".A B: 'A B' is not the name of an environment variable"),
        ("special-files", {"/usr/x": "y"}, "./usr/x: "),
        ("special-files", {"/srv/x": 5}, "./srv/x: must be the target of a link"),
        ("profile", ["a", 5], "[1]: must be a string, not a number; quote it"),
        ("account", {"users": [{"name": "A"}], "groups": []}, ".users[0].name: 'A' is not a user's"),
        (
            "fstab",
            [{"device": "x", "mount_point": "/x", "type": "ext4"}],
            "[0]: a container mounts nothing of its fstab but a tmpfs",
        ),
        ("systemd", [{"name": "a"}], "[0]: needs exactly one of"),
        (
            "systemd",
            [{"name": "a.service", "sections": {"Service": {"ExecStart": {}}}}],
            "[0].sections.Service.ExecStart: must be",
        ),
        ("systemd", 5, ": must be a list, not a number"),
    ],
)
def test_what_is_added_to_another_type(target: str, value: t.Any, said: str) -> None:
    services = [*DROPPED, {"type": "nscd"}, adding(target, value)]
    assert refusal({"services": services}).startswith(f"{SERVICES}[3].value.value{said}")
    types = [{"name": "first"}, {"name": "own", "extensions": {target: value}}]
    place = f"operating_system.service_types[1].extensions.{target}"
    assert refusal({"services": [{"type": "nscd"}, {"type": "own"}], "service_types": types}).startswith(place + said)


@pytest.mark.parametrize(
    ("services", "said"),
    [
        (
            [*DROPPED, {"type": "unit", "value": {"name": "a", "command": "/bin/a", "requirement": ["b"]}}],
            f"{SERVICES}[2]: requires 'b', which no service provides",
        ),
        (
            [*DROPPED, *({"type": "unit", "value": {"name": "a", "command": "/bin/a"}},) * 2],
            f"{SERVICES}[3]: the unit 'a.service' is already defined by {SERVICES}[2]",
        ),
        (
            [*DROPPED, adding("etc", {"a": "x"}), {"type": "udev"}, adding("etc", {"a": "y"})],
            f"{SERVICES}[4].value.value: 'a' is already defined by {SERVICES}[2].value.value.a",
        ),
        ([*DROPPED, {"type": "nscd", "value": {"x": 1}}], f"{SERVICES}[2].value: unknown key 'x'"),
    ],
)
def test_services_are_counted_as_they_are_declared(services: list[t.Any], said: str) -> None:
    assert refusal({"services": services}).startswith(said)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(
    ("system", "options", "place"),
    [
        ({}, {"mappings": ["/srv/a", "/srv/b=/etc"]}, "mappings[1]"),
        ({}, {"mappings": ["/srv/a", {"source": "/srv/b", "target": "/etc/systemd"}]}, "mappings[1]"),
        (
            {},
            {
                "mappings": ["/srv/a"],
                "extra_file_systems": [
                    {"device": "t", "mount_point": "/etc", "type": "tmpfs", "needed_for_boot": True}
                ],
            },
            "extra_file_systems[0]",
        ),
        (
            {
                "file_systems": [
                    {"device": "/dev/sda1", "mount_point": "/data", "type": "ext4"},
                    {"device": "t", "mount_point": "/etc", "type": "tmpfs", "needed_for_boot": True},
                ]
            },
            {"mappings": ["/srv/a"]},
            "operating_system.file_systems[1]",
        ),
    ],
)
def test_file_systems_are_counted_as_they_are_declared(
    system: dict[str, t.Any], options: dict[str, t.Any], place: str, shared: bool
) -> None:
    assert refusal(system, shared_network=shared, **options).startswith(f"{place}: '/etc")


def test_what_is_made_for_the_container_is_called_that() -> None:
    derivation = Derivation({"host_name": "web", "services": [{"type": "agetty"}]})
    services = [service.type for service in derivation.system.services]
    assert derivation.in_declaration(f"{SERVICES}[{services.index('nscd')}].x") == (
        "operating_system (its added service 'nscd').x"
    )
    assert derivation.in_declaration("operating_system.file_systems[0]") == "operating_system (its own root)"
    assert derivation.in_declaration("operating_system.essential_services[0].value[1], and") == (
        "operating_system (its essential service 'system'), and"
    )
    assert derivation.in_declaration("operating_system.users[0].name") == "operating_system.users[0].name"


@pytest.mark.parametrize(
    "home", ["/", "/etc", "/home", "/var/lib", "/tmp", "/usr", "/usr/local/u1", "/proc/x", "/bin", "/dev/x", "//etc/"]
)
def test_a_home_is_no_directory_of_the_system(home: str) -> None:
    """cases N3: it was given to the user, or not made without a word."""
    users = [{"name": "a"}, {"name": "u1", "home_directory": home}]
    said = refusal({"users": users})
    assert said.startswith("operating_system.users[1].home_directory: ")
    assert "belongs to the system, and would be given to the user" in said or "lies in the store" in said


@pytest.mark.parametrize("home", ["/home/u1", "/srv/app", "/var/lib/app", "/etc/app", "/binary"])
def test_any_other_directory_is_a_home(home: str) -> None:
    for user in ({"home_directory": home}, {"home_directory": "/usr/local/u1", "create_home_directory": False}):
        system = {"host_name": "web", "users": [{"name": "u1", **user}]}
        made = derive(declared_containers({"web": {"operating_system": system}})[0])["directories"]
        assert (home in {entry["path"] for entry in made}) == ("create_home_directory" not in user)


def test_the_role_names_its_variable_and_the_place_in_it() -> None:
    services = [*DROPPED, {"type": "unit", "value": {"name": "a", "command": ["/bin/sleep", 5]}}]
    record = {"operating_system": {"host_name": "web", "services": services}}
    with pytest.raises(
        DeclarationError, match=r"^system_container_operating_system\.services\[2\]\.value\.command\[1\]: "
    ):
        container_record(record, "system_container_")
    assert container_record({**record, "state": "absent"})["state"] == "absent"  # for which it does not matter
