# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for every declaration: from any input a result or an error of ours, order, purity."""

from __future__ import annotations

import copy
import json
import typing as t

from ansible_collections.unshare.container.plugins.plugin_utils.containerized import (
    Derivation,
    containerized_operating_system,
)
from ansible_collections.unshare.container.plugins.plugin_utils.errors import DeclarationError
from ansible_collections.unshare.container.plugins.plugin_utils.modify import modify_services
from ansible_collections.unshare.container.plugins.plugin_utils.registry import BUILT_IN
from ansible_collections.unshare.container.plugins.plugin_utils.system_files import system_files
from ansible_collections.unshare.container.tests.tally import RARELY, Tally
from ansible_collections.unshare.container.tests.unit.plugins.plugin_utils.good_values import (
    ADDITIONS,
    VALUES,
    with_value,
)
from ansible_collections.unshare.container.tests.unit.plugins.plugin_utils.good_values import places as places_in
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

TEXT = st.sampled_from(["", "a", "/a", "a b", "x\n", "\0", "é", "${a}", "../x", "8080", "udev", "etc", "/bin/sh", "%"])
LEAVES = st.none() | st.booleans() | st.integers(-2, 70000) | st.floats() | TEXT
ONE_OF_A_KIND = sorted({*VALUES, "dbus", "login", "udev", "ntp"} & set(BUILT_IN))


def values(depth: int) -> st.SearchStrategy[t.Any]:
    inner = LEAVES if depth == 0 else values(depth - 1)
    return inner | st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=3)


def without_some(draw: st.DrawFn, value: dict[str, t.Any], kind: str) -> dict[str, t.Any]:
    """Return a value without some of the keys that it may lack."""
    spec = BUILT_IN[kind].spec or {}
    needed = {"command", "sections", "text"} | {key for key, entry in spec.items() if entry.get("required")}
    kept = draw(st.sets(st.sampled_from(sorted(value))))
    return {key: item for key, item in value.items() if key in kept | needed}


@st.composite
def systems(draw: st.DrawFn) -> dict[str, t.Any]:
    """Return a declaration with good services; in one of five, something at some place of them is another value."""
    services: list[dict[str, t.Any]] = []
    for kind in draw(st.lists(st.sampled_from(ONE_OF_A_KIND), max_size=4, unique=True)):
        service: dict[str, t.Any] = {"type": kind}
        if kind in VALUES and (kind == "unit" or draw(st.booleans())):
            service["value"] = without_some(draw, draw(st.sampled_from(VALUES[kind])), kind)
        services.append(service)
    for target in draw(st.lists(st.sampled_from(sorted(ADDITIONS)), max_size=2, unique=True)):
        services.append({"type": "simple", "value": {"target": target, "value": ADDITIONS[target]}})
    system: dict[str, t.Any] = {"host_name": "a", "services": copy.deepcopy(draw(st.permutations(services)))}
    if draw(RARELY):
        places = [place for place in places_in(system) if len(place) > 2]
        if places:
            system = with_value(system, draw(st.sampled_from(places)), draw(values(2)))
    return system


def test_any_services_render_or_are_refused() -> None:
    tally = Tally()

    @example({"host_name": "a", "services": [{"type": "unit", "value": {"name": "a", "sections": {"": "a"}}}]}, False)
    @example({"host_name": "a", "services": [{"type": "unit", "value": {"name": "a", "sections": {"": None}}}]}, False)
    @settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(systems(), st.booleans())
    def holds(system: dict[str, t.Any], shared: bool) -> None:
        before = copy.deepcopy(system)
        with tally.case(DeclarationError):
            derived = containerized_operating_system(system, shared_network=shared)
            json.dumps(system_files(derived, shared_network=shared))
        assert repr(before) == repr(system)

    holds()
    tally.check()


QUERIES = ["[?type=='unit']", "type == 'nginx'", "[0]", "@", "value.a", "[?", "value.port == `80`"]


@st.composite
def changes_of_services(draw: st.DrawFn) -> tuple[t.Any, t.Any]:
    """Return services and changes to them; in one of five, something at some place of either is another value."""
    services: list[dict[str, t.Any]] = [
        {"type": kind, "value": {"a": {"b": 1}, "port": 80}}
        for kind in draw(st.lists(st.sampled_from(ONE_OF_A_KIND), min_size=1, max_size=4))
    ]
    changes: list[dict[str, t.Any]] = []
    for action in draw(st.lists(st.sampled_from(["delete", "replace", "merge"]), max_size=3)):
        kinds = st.sampled_from([service["type"] for service in services])
        queries = st.sampled_from(QUERIES)
        selected = {"query": draw(queries)} if draw(RARELY) else {"type": draw(kinds)}
        change = {"select": selected, "action": action, "required": draw(RARELY)}
        if action != "delete":
            merged = st.dictionaries(st.sampled_from("abc"), values(1), max_size=2)
            change["value"] = draw(merged if action == "merge" else values(1))
        changes.append(change)
    both = {"services": services, "changes": changes}
    if draw(RARELY):
        both = with_value(both, draw(st.sampled_from(list(places_in(both))[1:])), draw(values(2)))
    return both["services"], both["changes"]


def test_any_changes_apply_or_are_refused() -> None:
    tally = Tally()

    @given(changes_of_services())
    def holds(both: tuple[t.Any, t.Any]) -> None:
        before = repr(both)
        with tally.case(DeclarationError):
            modify_services(*both)
        assert repr(both) == before

    holds()
    tally.check()


@settings(deadline=None)
@given(st.lists(st.sampled_from(sorted(BUILT_IN)), max_size=8), st.booleans())
def test_c6_order_is_kept(names: list[str], shared: bool) -> None:
    system = {"host_name": "a", "services": [{"type": name} for name in names]}
    derivation = Derivation(system, shared_network=shared)
    kept = [service.type for service in derivation.system.services]
    assert kept[-2:] == ["dummy-networking", "nscd"]
    stays = [name for name in names if derivation.reason_to_drop(BUILT_IN[name]) is None]
    assert kept[:-2] == stays


@settings(deadline=None)
@given(st.lists(st.sampled_from(["/a", "/a/b", "/c", "/d e"]), unique=True), st.booleans())
def test_c8_order_is_kept(targets: list[str], shared: bool) -> None:
    own = [{"device": {"uuid": "x"}, "mount_point": "/own", "type": "ext4"}]
    derived = containerized_operating_system(
        {"host_name": "a", "file_systems": own}, mappings=targets, shared_network=shared
    )
    places = [item["mount_point"] for item in derived["file_systems"]]
    assert places[4 if shared else 0 :] == [*targets, "/own", "/"]
    assert containerized_operating_system(derived, mappings=targets, shared_network=shared) == derived
