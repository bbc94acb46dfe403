# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a machine's root has of the declaration (T5)."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.unshare.container.plugins.plugin_utils.containerized import containerized_operating_system
from ansible_collections.unshare.container.plugins.plugin_utils.errors import DeclarationError
from ansible_collections.unshare.container.plugins.plugin_utils.system_files import system_files

TREE = "/srv/trees/a/usr"
UNIT = {"type": "unit", "value": {"name": "own", "command": ["/bin/true"]}}


def render(declared: dict[str, t.Any] | None = None, root: t.Any = "machine", **options: t.Any) -> dict[str, t.Any]:
    derived = containerized_operating_system({"host_name": "web", **(declared or {})})
    return system_files(derived, **{"root": root, "store": TREE, **options})


def test_t5_the_trees_own_configuration_stays() -> None:
    system = render()
    files = system["files"]
    for name in (
        "nsswitch.conf",
        "login.defs",
        "profile",
        "sudoers",
        "environment",
        "shells",
        "localtime",
        "os-release",
    ):
        assert f"/etc/{name}" not in files, name
    assert not [path for path in files if path.startswith(("/etc/pam.d/", "/etc/skel/", "/etc/security/"))]
    assert {"/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/etc/fstab"} <= files.keys()
    assert system["host_files"] == []
    assert system["directories"] == []
    assert "/usr" not in [item["mount_point"] for item in system["spec"]["file_systems"]]
    assert system["spec"]["init"]["environment"].keys() == {"PATH"}


def test_t5_what_is_declared_is_there() -> None:
    declared = {"locale": "de_DE.UTF-8", "timezone": "Europe/Berlin", "sudoers": "x\n", "issue": "hello\n"}
    files = render(declared)["files"]
    assert {"/etc/locale.conf", "/etc/localtime", "/etc/timezone", "/etc/sudoers", "/etc/issue"} <= files.keys()
    assert files["/etc/default/locale"]["content"] == "LANG=de_DE.UTF-8\n"


def test_t5_accounts_are_those_of_the_declaration_and_its_services() -> None:
    declared = {
        "users": [{"name": "ann", "uid": 1234, "supplementary_groups": ["sudo"]}, {"name": "www-data", "comment": "w"}],
        "groups": [{"name": "new"}],
        "services": [{"type": "redis"}],
    }
    system = render(declared)
    passwd = [line.split(":")[0] for line in system["files"]["/etc/passwd"]["content"].splitlines()]
    assert passwd == ["www-data", "redis", "nscd", "ann"] or set(passwd) == {"www-data", "redis", "nscd", "ann"}
    groups = {line.split(":")[0]: line for line in system["files"]["/etc/group"]["content"].splitlines()}
    assert groups.keys() >= {"sudo", "redis", "new", "users", "www-data"}
    assert not {"root", "adm", "daemon"} & groups.keys()
    assert groups["sudo"] == "sudo:x:27:ann"
    assert system["spec"]["root"] == {
        "kind": "machine",
        "users": {"ann": True, "www-data": False},
        "groups": {"new": False},
    }


def test_t5_units_that_only_metal_needs_are_masked() -> None:
    masked = {path for path, item in render()["files"].items() if item.get("link") == "/dev/null"}
    units = {path.rpartition("/")[2] for path in masked}
    assert {"systemd-udevd.service", "getty@tty1.service", "fstrim.timer", "sys-kernel-debug.mount"} <= units
    assert "swap.target" not in units
    assert "systemd-networkd.service" not in units
    shared = render(shared_network=True)["files"]
    assert shared["/etc/systemd/system/systemd-networkd.service"] == {"link": "/dev/null"}
    own = {"type": "unit", "value": {"name": "fstrim", "command": ["/bin/true"]}}
    assert "content" in render({"services": [own]})["files"]["/etc/systemd/system/fstrim.service"]


def test_t5_a_declared_service_takes_the_place_of_the_trees_own_units() -> None:
    """Both would want the same port, and the same directory."""
    units = "/etc/systemd/system/"
    plain = render()["files"]
    files = render({"services": [{"type": "openssh"}, {"type": "postgresql"}]})["files"]
    for name in ("ssh.socket", "postgresql@.service"):
        assert units + name not in plain
        assert files[units + name] == {"link": "/dev/null"}
    assert "content" in files[units + "postgresql.service"]


def test_t5_units_of_the_tree_ask_for_no_user_namespace() -> None:
    path = "/etc/systemd/system/service.d/unshare-no-user-namespaces.conf"
    assert "[Service]\nPrivateUsers=no\n" in render()["files"][path]["content"]
    assert path not in render(security={"nesting": True})["files"]
    assert path not in render(root="declared")["files"]


def test_t5_the_kind_and_the_layer() -> None:
    assert render()["spec"]["root"]["kind"] == "machine"
    assert render(root={"kind": "machine"})["spec"]["root"] == {"kind": "machine"}
    assert render(root={"kind": "machine", "layer": "kept"})["spec"]["root"]["layer"] == "kept"
    assert render()["spec"]["security"] == {"set_user_id": True}
    declared = render(root="declared")
    assert "root" not in declared["spec"]
    assert "security" not in declared["spec"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"root": "other"}, "root.kind: "),
        ({"root": ["machine"]}, "root: must be a kind of root or a mapping, not"),
        ({"root": {"kind": "machine", "layer": "x"}}, "root.layer: "),
        ({"root": {"kind": "declared", "layer": "kept"}}, "root.layer: is for the kind 'machine'"),
        ({"root": {"kinds": "machine"}}, "root"),
        ({"store": "/usr"}, "store: '/usr' is not the `usr` of a tree"),
        ({"store": "/srv/tree=/opt"}, "store: '/srv/tree' is not the `usr` of a tree"),
    ],
)
def test_what_is_no_root_is_refused(options: dict[str, t.Any], said: str) -> None:
    with pytest.raises(DeclarationError) as refused:
        render(**options)
    assert str(refused.value).startswith(said)
