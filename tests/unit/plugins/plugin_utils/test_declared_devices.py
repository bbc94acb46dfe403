# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""The option `devices`: what a path and a mapping become, and what is refused with its place."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.contract import Specification
from ansible_collections.unshare.container.plugins.plugin_utils.account_ids import AccountIds
from ansible_collections.unshare.container.plugins.plugin_utils.containerized import containerized_operating_system
from ansible_collections.unshare.container.plugins.plugin_utils.devices import devices
from ansible_collections.unshare.container.plugins.plugin_utils.errors import DeclarationError
from ansible_collections.unshare.container.plugins.plugin_utils.system_files import system_files

IDS = AccountIds({"root": 0, "media": 900}, {"root": 0, "video": 44}, {"root": 0, "media": 900})


def made(*declared: t.Any) -> list[dict[str, t.Any]]:
    """Return the fields of devices that have no default."""
    return [device.write() for device in devices(list(declared), IDS)]


def test_a_path_alone() -> None:
    assert made("/dev/net/tun", "/dev//kvm/") == [
        {"path": "/dev/net/tun", "target": "/dev/net/tun"},
        {"path": "/dev/kvm", "target": "/dev/kvm"},
    ]


@pytest.mark.parametrize("owner", ["media", 900, "900"])
@pytest.mark.parametrize("group", ["video", 44])
def test_a_mapping(owner: str | int, group: str | int) -> None:
    given = {"path": "/dev/dri", "target": "/dev/gpu", "mode": "660", "owner": owner, "group": group}
    assert made(given) == [{"path": "/dev/dri", "target": "/dev/gpu", "mode": "0660", "uid": 900, "gid": 44}]
    assert made({"path": "/dev/dri", "mode": "0600"}) == [{"path": "/dev/dri", "target": "/dev/dri", "mode": "0600"}]


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ("dev/kvm", "devices[1].path: 'dev/kvm' must be an absolute path"),
        ("/dev/../etc", "devices[1].path: '/dev/../etc' must not contain '..'"),
        ("/etc/kvm", "devices[1].path: '/etc/kvm' does not lie in /dev, where devices are"),
        ("/dev", "devices[1].path: '/dev' does not lie in /dev, where devices are"),
        ("/dev/pts/0", "devices[1].path: '/dev/pts/0' lies in a part of /dev that is each container's own"),
        ("/dev/kmsg", "devices[1].path: '/dev/kmsg' lies in a part of /dev that is each container's own"),
        ("/dev/null", "devices[1].path: nothing can be mounted at '/dev/null', which the container makes itself"),
        ("/dev/fuse", "devices[1].path: '/dev/fuse' is given by security.fuse: true, which says what it costs"),
        ("/dev/zero-0", "devices[1].path: '/dev/zero-0' is where '/dev/zero-0' is: let each have a target of its own"),
        (7, "devices[1]: must be a mapping, not a number"),
        ({}, "devices[1]: 'path' is required"),
        ({"path": "/dev/kvm", "taget": "/dev/x"}, "devices[1]: unknown key 'taget'; did you mean 'target'?"),
        ({"path": "/dev/kvm", "target": "/x"}, "devices[1].target: '/x' does not lie in /dev"),
        ({"path": "/dev/kvm", "target": "/dev/console"}, "devices[1].target: nothing can be mounted at '/dev/console'"),
        ({"path": "/dev/kvm", "mode": 432}, "devices[1].mode: must be a string, not a number; write it as a quoted"),
        ({"path": "/dev/kvm", "mode": "rw"}, "devices[1].mode: 'rw' is not a mode"),
        ({"path": "/dev/kvm", "mode": "4660"}, "devices[1].mode: '4660' sets more than permissions"),
        (
            {"path": "/dev/kvm", "owner": "medja"},
            "devices[1].owner: 'medja': there is no such user of the declaration, which adds one with users: [",
        ),
        ({"path": "/dev/kvm", "group": "vidoe"}, "devices[1].group: 'vidoe': there is no such group of the decl"),
        ({"path": "/dev/kvm", "owner": 65536}, "devices[1].owner: 65536 is not an id of a container"),
        ({"path": "/dev/kvm", "owner": -1}, "devices[1].owner: -1 is not an id of a container"),
        ({"path": "/dev/kvm", "owner": True}, "devices[1].owner: must be the name or the number of a user"),
        ({"path": "/dev/kvm", "group": ["video"]}, "devices[1].group: must be the name or the number of a group"),
    ],
)
def test_what_is_refused_is_named(item: t.Any, said: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        devices([{"path": "/dev/x", "target": "/dev/zero-0"}, item], IDS)
    assert str(caught.value).startswith(said)


def test_the_owner_is_a_user_of_the_container() -> None:
    users = {"users": [{"name": "media", "uid": 1500, "group": "users"}]}
    derived = containerized_operating_system({"host_name": "web", **users})
    spec = system_files(derived, devices=[{"path": "/dev/dri", "owner": "media", "group": "video"}])["spec"]
    (device,) = Specification.read(spec).devices
    assert (device.uid, device.gid) == (1500, 44)
    assert "devices" not in system_files(derived)["spec"]
