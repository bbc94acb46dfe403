# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""`owner` and `group` of a mapping (V2): names and numbers of the declaration, and what is refused with its place."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher.contract import Mount, Specification
from ansible_collections.unshare.container.plugins.module_utils.launcher.kinds import ContractError
from ansible_collections.unshare.container.plugins.plugin_utils.containerized import Derivation
from ansible_collections.unshare.container.plugins.plugin_utils.errors import DeclarationError
from ansible_collections.unshare.container.plugins.plugin_utils.mappings import bind_mount
from ansible_collections.unshare.container.plugins.plugin_utils.system_files import system_files

DECLARED = {
    "host_name": "web",
    "users": [{"name": "db", "uid": 1500, "group": "staff-db"}, {"name": "alice"}],
    "groups": [{"name": "staff-db", "gid": 1600}, {"name": "readers", "gid": 1700}],
    "services": [{"type": "redis"}],
}
BIND = {"device": "/srv/x", "mount_point": "/x", "type": "none", "flags": ["bind-mount"], "needed_for_boot": True}
DISK = {**BIND, "type": "ext4", "flags": []}


def found(mappings: t.Sequence[t.Any] = (), **more: t.Any) -> list[Mount]:
    """Return the mounts from /srv/x of the system that a declaration with these mappings becomes."""
    derivation = Derivation(DECLARED, mappings=list(mappings), **more)
    try:
        spec = system_files(derivation.system.to_mapping())["spec"]
    except DeclarationError as error:
        raise DeclarationError("", derivation.in_declaration(str(error))) from error
    return [item for item in Specification.read(spec).file_systems if item.source == "/srv/x"]


def mapping(**more: t.Any) -> dict[str, t.Any]:
    return {"source": "/srv/x", "target": "/x", **more}


@pytest.mark.parametrize(
    ("given", "ids"),
    [
        ({}, (None, None)),
        ({"owner": "db"}, (1500, 1600)),
        ({"owner": "db", "writable": True, "required": True}, (1500, 1600)),
        ({"owner": 1500}, (1500, 1600)),
        ({"owner": "1500"}, (1500, 1600)),
        ({"owner": "redis"}, (902, 902)),
        ({"owner": "root"}, (0, 0)),
        ({"owner": "db", "group": "readers"}, (1500, 1700)),
        ({"owner": "db", "group": 7}, (1500, 7)),
        ({"owner": 4242, "group": "readers"}, (4242, 1700)),
        ({"group": "readers"}, (None, 1700)),
        ({"owner": None, "group": None}, (None, None)),
    ],
)
def test_v2_owner_and_group_are_those_of_the_declaration(given: dict[str, t.Any], ids: tuple[int, int]) -> None:
    (mount,) = found([mapping(**given)])
    assert (mount.uid, mount.gid) == ids
    (mount,) = found(extra_file_systems=[{**BIND, **{key: given[key] for key in ("owner", "group") if key in given}}])
    assert (mount.uid, mount.gid) == ids


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"owner": "dbb"},
            "mappings[1].owner: 'dbb': there is no such user of the declaration, which adds one with users:",
        ),
        ({"owner": "redsi"}, "did you mean 'redis'?"),
        ({"group": "reader"}, "mappings[1].group: 'reader': there is no such group of the declaration, which adds one"),
        ({"group": "reader"}, "groups: [{name: …, gid: …}]; did you mean 'readers'?"),
        ({"owner": 4242}, "mappings[1].owner: 4242 is no user of the declaration, which adds one with users:"),
        ({"owner": 4242}, "so its group is not known: declare it, or name a `group`"),
        ({"owner": 65536, "group": 1}, "mappings[1].owner: 65536 is not an id of a container"),
        ({"group": -1}, "mappings[1].group: -1 is not an id of a container"),
        ({"owner": True}, "mappings[1].owner: must be the name or the number of a user, not"),
        ({"owner": ""}, "mappings[1].owner: '': there is no such user"),
        ({"group": ["x"]}, "mappings[1].group: must be the name or the number of a group, not a list"),
        ({"owner": "x", "source": "/etc/hosts"}, "mappings[1].owner: not for /etc/hosts, which belongs to root inside"),
        ({"group": "x", "source": "/etc/hosts"}, "mappings[1].group: not for /etc/hosts, which belongs to root inside"),
    ],
)
@pytest.mark.parametrize("shared", [False, True])
def test_v2_what_is_refused_is_named(given: dict[str, t.Any], said: str, shared: bool) -> None:
    with pytest.raises(DeclarationError) as caught:
        found(["/srv/other", mapping(**given)], shared_network=shared)
    assert said in str(caught.value)


@pytest.mark.parametrize("key", ["owner", "group"])
def test_v2_only_of_bind_mounts(key: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        found(extra_file_systems=[{**DISK, key: "root"}])
    assert str(caught.value).endswith(
        f"extra_file_systems[0].{key}: is for bind mounts, whose source is a directory of the host"
    )
    name = {"owner": "uid", "group": "gid"}[key]
    with pytest.raises(ContractError) as refused:
        Mount.read({"device": "tmpfs", "mount_point": "/x", "type": "tmpfs", name: 5})
    assert (str(refused.value), refused.value.refused) == (f"{name}: is for bind mounts", True)
    with pytest.raises(ContractError, match="65536 is no id of a container"):
        Mount.read({"device": "/x", "mount_point": "/x", "type": "none", "flags": ["bind-mount"], name: 65536})


def test_v2_a_bind_mount_has_them_as_they_were_written() -> None:
    made = bind_mount({"source": "/srv/x", "owner": "db", "group": 5})
    assert (made["owner"], made["group"]) == ("db", 5)
    assert not {"owner", "group"} & bind_mount({"source": "/srv/x"}).keys()
