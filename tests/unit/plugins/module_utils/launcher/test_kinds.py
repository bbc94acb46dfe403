# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each kind of value in a record: what it takes, at its bounds, and what it says of all else."""

from __future__ import annotations

import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.launcher import contract, kinds
from ansible_collections.unshare.container.plugins.module_utils.launcher.kinds import ContractError

from ..specifications import mount, specification

LONGEST = "/" + "x" * 4094
LONGEST_WIDE = "/" + "ü" * 2047
"""Of as many bytes, in half as many characters, of which the first is one byte."""

READ = kinds.choice("now", "later")
EACH = kinds.list_of(kinds.identifier)
NAMED = kinds.mapping_of(kinds.path, kinds.boolean)

TAKEN: list[tuple[kinds.Kind, t.Any]] = [
    *((kinds.text, value) for value in ("x", " ", "ü", "a\nb")),
    *((kinds.boolean, value) for value in (True, False)),
    *((kinds.identifier, value) for value in (0, 1, 65535)),
    *((kinds.mode, value) for value in ("0", "755", "0644", "7777")),
    *((kinds.path, value) for value in ("/x", "/..x", "/x..", "/a/.b/c", "/a//b/", LONGEST, LONGEST_WIDE)),
    *((kinds.source, value) for value in ("/srv", "/srv/www")),
    *((kinds.container_name, value) for value in ("web", "web-1")),
    *((READ, value) for value in ("now", "later")),
    *((EACH, value) for value in ([], [0, 65535])),
    *((NAMED, value) for value in ({}, {"/a": True, "/b": False})),
    *((kinds.variables, value) for value in ({}, {"A": "b", "B": "", "C": "="})),
]

REFUSED: list[tuple[kinds.Kind, t.Any, str]] = [
    (kinds.text, None, "is missing"),
    (kinds.text, 1, "is no text"),
    (kinds.text, "a\0b", "is no text"),
    (kinds.text, "", "is empty"),
    (kinds.text, "\ud800", "is no valid Unicode"),
    *((kinds.boolean, value, "is not of type bool") for value in (0, 1, "true", None)),
    *(
        (kinds.identifier, value, f"{value!r} is no id of a container (0 to 65535)")
        for value in (-1, 65536, True, "0", 0.0, None)
    ),
    (kinds.identifier, "x" * 99, f"'{'x' * 39} is no id of a container (0 to 65535)"),
    *(
        (kinds.mode, value, f"{value!r} is not up to four octal digits in quotes")
        for value in ("", "00644", "0648", "0o644", 0o644, None)
    ),
    (kinds.mode, "ü" * 99, "'" + "\\xfc" * 9 + "\\xf is not up to four octal digits in quotes"),
    *(
        (kinds.path, value, f"{value!r} is no absolute path without '..'")
        for value in ("x", "x/y", "/", "//", "/.", "/./.", "/..", "/a/../b", "/a/..")
    ),
    (kinds.path, LONGEST + "x", f"'{LONGEST[:200]}' is no absolute path without '..'"),
    (kinds.path, LONGEST_WIDE + "x", f"{LONGEST_WIDE[:200]!a} is no absolute path without '..'"),
    (kinds.path, None, "is missing"),
    (kinds.source, "srv", "'srv' is no absolute path without '..'"),
    *((kinds.container_name, value, "is no container's name") for value in ("", "-web", "a/b", None, 1)),
    *((READ, value, "is neither 'now' nor 'later'") for value in ("", "Now", None, 1, ["now"])),
    (EACH, None, "is missing"),
    (EACH, {}, "is not of type list"),
    (EACH, "12", "is not of type list"),
    (EACH, [0, -1], "[1]: -1 is no id of a container (0 to 65535)"),
    (NAMED, None, "is missing"),
    (NAMED, [], "is not of type dict"),
    (NAMED, {"/a": True, "b": True}, "[b]: 'b' is no absolute path without '..'"),
    (NAMED, {"/a": True, "/b": 1}, "[/b]: is not of type bool"),
    (kinds.variables, {"A": "b", "B=": "c"}, "[B=]: 'B=' is no variable's name"),
    (kinds.variables, {"": "c"}, "[]: is empty"),
    (kinds.variables, {"A": None}, "[A]: is missing"),
]


@pytest.mark.parametrize(("kind", "value"), TAKEN)
def test_what_is_of_a_kind_is_returned(kind: kinds.Kind, value: t.Any) -> None:
    assert kind(value) == value


@pytest.mark.parametrize(("kind", "value", "said"), REFUSED)
def test_what_is_not_is_told(kind: kinds.Kind, value: t.Any, said: str) -> None:
    with pytest.raises(ContractError) as raised:
        kind(value)
    assert str(raised.value) == said
    assert not raised.value.refused  # the data is damaged


def test_what_must_be_declared_otherwise_is_told_apart() -> None:
    with pytest.raises(ContractError) as raised:
        kinds.source("/")
    assert raised.value.refused


def test_a_list_is_made_of_a_tuple() -> None:
    assert EACH((1, 2)) == [1, 2]


DEFAULTS: dict[type[kinds.ContractRecord], dict[str, t.Any]] = {
    contract.Store: {"tree": ""},
    contract.Init: {"environment": {}, "ready": "exec", "stop_signal": "SIGTERM", "systemd": False},
    contract.Security: {"no_new_privileges": False, "nesting": False, "fuse": False, "set_user_id": False},
    contract.Mount: {
        "flags": [],
        "options": None,
        "required": False,
        "mount_may_fail": False,
        "propagation": "private",
        "uid": None,
        "gid": None,
        "volume": None,
    },
    contract.Volume: {"uid": 0, "gid": 0, "mode": "0755"},
    contract.File: {"link": None, "mode": "0644", "uid": 0, "gid": 0, "secret": False},
    contract.Directory: {
        "mode": "0755",
        "uid": 0,
        "gid": 0,
        "account": "",
        "data": False,
        "made_once": "",
        "present": False,
    },
    contract.Device: {"mode": "", "uid": 0, "gid": 0},
    contract.Credential: {"source": "system", "place": ""},
    contract.Specification: {
        "root": contract.Root(),
        "shared_network": False,
        "network": None,
        "private_users": "auto",
        "oom_score_adj": 0,
        "log": "volatile",
        "security": contract.Security(),
        "devices": [],
        "credentials": [],
        "file_systems": [],
        "files": {},
        "directories": [],
        "host_files": [],
        "ports": [],
        "launcher": "",
        "python": "",
        "filter_digest": "",
    },
}


@pytest.mark.parametrize("record", DEFAULTS)
def test_a_field_that_is_left_out_has_its_default(record: type[kinds.ContractRecord]) -> None:
    """A system says nothing of them, so another default is another container."""
    found = {name: getattr(record, name) for name in record.KINDS if hasattr(record, name)}
    assert found == DEFAULTS[record]
    assert [type(value) for value in found.values()] == [type(value) for value in DEFAULTS[record].values()]


@pytest.mark.parametrize(
    ("given", "source"),
    [("/dev/sda", "/dev/sda"), ({"uuid": "c0"}, "/dev/disk/by-uuid/c0"), ({"label": "x"}, "/dev/disk/by-label/x")],
)
def test_a_device_is_a_path_or_named(given: t.Any, source: str) -> None:
    assert mount(device=given, type="ext4").source == source


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"device": {}}, "device: is neither a path nor a UUID nor a label"),
        ({"device": {"partuuid": "x"}}, "device: is neither a path nor a UUID nor a label"),
        ({"device": {"uuid": "x", "label": "y"}}, "device: is neither a path nor a UUID nor a label"),
        ({"device": {"uuid": "../x"}}, "device: {'uuid': '../x'} is neither a UUID nor a label"),
        ({"device": {"uuid": ""}}, "device: is empty"),
        ({"flags": ["read-only", "remount"]}, "flags[1]: 'remount' is no flag; known are read-only, bind-mount, "),
        ({"flags": [None]}, "flags[0]: None is no flag; known are read-only, "),
        ({"flags": ["bind-mount"], "type": "ext4"}, "type: a bind mount has the type 'none'"),
        ({"flags": ["bind-mount"], "device": "srv"}, "device: 'srv' is no absolute path"),
    ],
)
def test_mounts_that_are_none(change: dict[str, t.Any], said: str) -> None:
    with pytest.raises(ContractError) as raised:
        mount(**change)
    assert str(raised.value).startswith(said)


@pytest.mark.parametrize("users", ["auto", "identity", 0, 65536])
def test_users_are_private(users: t.Any) -> None:
    assert specification(private_users=users).private_users == users


@pytest.mark.parametrize(
    ("change", "said"),
    [
        *(
            ({"private_users": value}, "private_users: is neither 'auto' nor 'identity' nor a number")
            for value in ("own", True, 1.0, None, ["auto"])
        ),
        ({"init": {"argv": []}}, "init.argv: names no program"),
        ({"init": {"argv": ["/x"], "ready": "soon"}}, "init.ready: is neither 'exec' nor 'notify'"),
        ({"log": "kept"}, "log: is neither 'volatile' nor 'persistent'"),
        ({"format": 1}, "format: is 1, and this launcher reads 2"),
        ({"format": 2.0}, "format: is 2.0, and this launcher reads 2"),
        ({"store": {"source": "/usr", "target": "/proc"}}, "store.target: "),
        ({"security": None}, "security: is missing"),
        ({"security": []}, "security: is not of type dict"),
        ({"files": {"/etc/x": {"mode": 1}}}, "files[/etc/x].mode: 1 is not up to four octal digits in quotes"),
        ({"directories": [{"path": "/a"}, {"path": "b"}]}, "directories[1].path: 'b' is no absolute path"),
        (
            {"files": {"/etc/x/y": {}}, "file_systems": [{"device": "none", "mount_point": "/etc", "type": "tmpfs"}]},
            "file_systems[0].mount_point: '/etc' would hide /etc/x/y, which the system brings itself",
        ),
    ],
)
def test_specifications_that_are_none(change: dict[str, t.Any], said: str) -> None:
    with pytest.raises(ContractError) as raised:
        specification(**change)
    assert str(raised.value).startswith(said)


def test_a_record_is_made_whole_or_not_at_all() -> None:
    with pytest.raises(TypeError, match=r"^Store: unknown \['where'\], missing \['target'\]$"):
        contract.Store(source="/usr", where="/usr")  # type: ignore[call-arg]


def test_what_is_written_is_plain() -> None:
    given: t.Any = ("/x", "-y")
    assert contract.Init(argv=given).write() == {"argv": ["/x", "-y"]}


def test_records_are_compared_by_what_they_say() -> None:
    one, same, other = (contract.Store(source="/usr", target=target) for target in ("/usr", "/usr", "/opt"))
    assert one == same
    assert one != other
    assert contract.Security() != contract.File()  # both say nothing
    assert one != one.write()
    with pytest.raises(TypeError, match="^a record is no key$"):
        hash(one)
