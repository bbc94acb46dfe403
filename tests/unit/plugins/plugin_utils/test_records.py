# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Records: no loss, and errors that name the place."""

from __future__ import annotations

import dataclasses
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.plugin_utils import specs
from ansible_collections.unshare.container.plugins.plugin_utils.errors import DeclarationError
from ansible_collections.unshare.container.plugins.plugin_utils.operating_system import operating_system
from ansible_collections.unshare.container.plugins.plugin_utils.records import FileSystem, FileSystemMapping, Record
from ansible_collections.unshare.container.plugins.plugin_utils.validation import Spec
from ansible_collections.unshare.container.tests.tally import RARELY, Tally, mostly
from ansible_collections.unshare.container.tests.unit.plugins.plugin_utils.good_values import places, with_value
from hypothesis import example, given
from hypothesis import strategies as st

Server = dict[str, t.Any]


def test_round_trip(server: Server) -> None:
    system = operating_system(server)
    assert system.to_mapping() == server
    assert operating_system(system.to_mapping()) == system


def test_round_trip_keeps_explicit_defaults() -> None:
    declared = {"host_name": "a", "users": [{"name": "b", "system": False, "supplementary_groups": []}], "hosts": []}
    assert operating_system(declared).to_mapping() == declared


FILE_SYSTEMS = st.fixed_dictionaries(
    {"device": st.sampled_from(["/a", "x"]), "mount_point": st.just("/b"), "type": st.just("ext4")},
    optional={
        "flags": st.lists(st.sampled_from(["read-only", "no-exec"])),
        "options": st.sampled_from(["size=1M", "a b"]),
        "check": st.booleans(),
        "needed_for_boot": st.booleans(),
        "dependencies": st.lists(st.just("x")),
    },
)


@given(FILE_SYSTEMS)
def test_file_systems_round_trip(mapping: dict[str, t.Any]) -> None:
    assert FileSystem.from_mapping(mapping, "x").to_mapping() == mapping


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hostname": "a"}, "operating_system: unknown key 'hostname'; did you mean 'host_name'?"),
        ({"packages": "vim"}, "operating_system.packages: must be a list, not a string"),
        ({"host_name": 7}, "operating_system.host_name: must be a string, not a number; quote it"),
        ({"users": [{"name": "a", "uid": "x"}]}, "operating_system.users[0].uid: must be a whole number, not a string"),
        ({"users": [{}]}, "operating_system.users[0]: 'name' is required"),
        ({"users": [{"name": "a"}, {"name": "a"}]}, "operating_system.users[1].name: 'a' is already"),
        ({"users": [{"name": "a", "comment": "x:y"}]}, "operating_system.users[0].comment: "),
        ({"users": [{"name": "a", "comment": "x\ny"}]}, "operating_system.users[0].comment: "),
        ({"users": [{"name": "a", "password": "secret"}]}, "operating_system.users[0].password: must be a hash"),
        ({"users": [{"name": "Ä"}]}, "operating_system.users[0].name: "),
        ({"host_name": "a_b"}, "operating_system.host_name: 'a_b' is not a host name"),
        ({"host_name": "a\n"}, "operating_system.host_name: "),
        ({"hosts": [{"address": "1.2.3", "canonical_name": "x"}]}, "operating_system.hosts[0].address: "),
        ({"timezone": "../x"}, "operating_system.timezone: "),
        ({"swap_devices": [3]}, "operating_system.swap_devices[0]"),
        ({"services": [{"value": 1}]}, "operating_system.services[0]: 'type' is required"),
    ],
)
def test_errors_name_the_place(change: dict[str, t.Any], message: str) -> None:
    with pytest.raises(DeclarationError) as error:
        operating_system({"host_name": "a", **change})
    assert str(error.value).startswith(message)


NEEDED: dict[str, tuple[Spec, dict[str, t.Any]]] = {
    "file_systems": (specs.FILE_SYSTEM, {"device": "/dev/x", "mount_point": "/x", "type": "ext4"}),
    "groups": (specs.GROUP, {"name": "x"}),
    "hosts": (specs.HOST, {"address": "192.0.2.1", "canonical_name": "x"}),
    "mapped_devices": (specs.MAPPED_DEVICE, {"source": "/dev/x", "target": "x", "type": "luks"}),
    "service_types": (specs.SERVICE_TYPE, {"name": "x"}),
    "services": (specs.SERVICE, {"type": "nscd"}),
    "swap_devices": (specs.SWAP, {"target": "/dev/x"}),
    "users": (specs.USER, {"name": "x"}),
}
"""Of the records in each list: no more than they need, which they all do."""


@pytest.mark.parametrize("key", NEEDED)
def test_what_a_record_needs(key: str) -> None:
    spec, needed = NEEDED[key]
    assert {name for name, option in spec.items() if option.get("required")} == needed.keys()
    assert operating_system({"host_name": "x", key: [needed]}).to_mapping()[key] == [needed]
    for name in needed:
        item = {other: value for other, value in needed.items() if other != name}
        with pytest.raises(DeclarationError, match=rf"^operating_system\.{key}\[0\]: '{name}' is required"):
            operating_system({"host_name": "x", key: [item]})


@pytest.mark.parametrize("kind", Record.__subclasses__(), ids=lambda kind: kind.__name__)
def test_a_record_says_no_more_than_it_was_given(kind: type[Record]) -> None:
    """Its fields have the defaults of its specification."""
    least = {id(spec): needed for spec, needed in NEEDED.values()}
    least |= {id(specs.OPERATING_SYSTEM): {"host_name": "x"}, id(specs.MAPPING): {"source": "/x"}}
    found = kind.from_mapping(least[id(kind.SPEC)], "x")
    assert dataclasses.replace(found, given=frozenset()).to_mapping() == found.to_mapping() == least[id(kind.SPEC)]


def test_an_operating_system_needs_a_name() -> None:
    assert {name for name, option in specs.OPERATING_SYSTEM.items() if option.get("required")} == {"host_name"}
    assert {name for name, option in specs.MAPPING.items() if option.get("required")} == {"source"}
    with pytest.raises(DeclarationError, match="'host_name' is required"):
        operating_system({})


def test_a_wrong_flag_gets_a_suggestion() -> None:
    good = {"device": "a", "mount_point": "/a", "type": "x"}
    with pytest.raises(DeclarationError) as error:
        operating_system({"host_name": "a", "file_systems": [good, good, {**good, "flags": ["readonly"]}]})
    assert str(error.value) == (
        "operating_system.file_systems[2].flags: 'readonly' is not a flag; did you mean 'read-only'?"
    )


def test_a_password_is_never_shown() -> None:
    with pytest.raises(DeclarationError) as error:
        operating_system({"host_name": "a", "users": [{"name": "b", "password": "hunter2"}]})
    assert "hunter2" not in str(error.value)


GOOD_PATHS = st.lists(st.sampled_from(["srv", "data", "a b", "é"]), min_size=1, max_size=3).map(
    lambda parts: "/" + "/".join(parts)
)
PATHS = mostly(GOOD_PATHS, st.sampled_from(["/a/../b", "/", "a"]) | st.text(max_size=5))


def test_a_specification_is_a_mapping_or_refused() -> None:
    tally = Tally()

    @example("", "")
    @example("=", "/a")
    @example("/a\0", "/b")
    @given(PATHS, st.just("") | PATHS)
    def holds(source: str, target: str) -> None:
        with tally.case(DeclarationError):
            mapping = FileSystemMapping.from_mapping(f"{source}={target}" if target else source, "m")
            assert mapping.place.startswith("/")
            assert mapping.place == (target or source)
            assert mapping.source == source

    holds()
    tally.check(least=0.5)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
WHOLE = {
    "host_name": "a",
    "users": [{"name": "u", "uid": 1000, "supplementary_groups": ["adm"]}],
    "groups": [{"name": "g", "gid": 1000}],
    "file_systems": [{"device": "/a", "mount_point": "/b", "type": "ext4", "flags": ["read-only"]}],
    "services": [{"type": "unit", "value": {"name": "a"}}],
    "swap_devices": [{"target": "/x", "priority": 1}],
    "mapped_devices": [{"source": "/x", "target": "y", "type": "luks"}],
    "hosts": [{"address": "1.2.3.4", "canonical_name": "a.b", "aliases": ["c"]}],
    "packages": ["p"],
}


def test_no_input_makes_anything_but_our_error() -> None:
    tally = Tally()

    @given(st.sets(st.sampled_from(sorted(WHOLE))), st.data())
    def holds(keys: set[str], data: st.DataObject) -> None:
        declared: dict[str, t.Any] = {key: WHOLE[key] for key in keys | {"host_name"}}
        if data.draw(RARELY):
            place = data.draw(st.sampled_from(list(places(declared))[1:]))
            declared = with_value(declared, place, data.draw(JSON))
        with tally.case(DeclarationError):
            assert operating_system(declared).to_mapping() is not None

    holds()
    tally.check()


def test_a_value_that_contains_itself() -> None:
    loop: dict[str, t.Any] = {"host_name": "a"}
    loop["kernel"] = loop
    with pytest.raises(DeclarationError, match="contains itself"):
        operating_system(loop)
