# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What holds for every declaration: from any input a result or an error of ours, order, purity."""

from __future__ import annotations

import contextlib
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
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

TEXT = st.sampled_from(["", "a", "/a", "a b", "x\n", "\0", "é", "${a}", "../x", "8080", "udev", "etc", "/bin/sh", "%"])
LEAVES = st.none() | st.booleans() | st.integers(-2, 70000) | st.floats() | TEXT
KEYS = {key for kind in BUILT_IN.values() for key in kind.spec or {}} | {"content", "link", "path", "a", "Service"}


def values(depth: int) -> st.SearchStrategy[t.Any]:
    inner = LEAVES if depth == 0 else values(depth - 1)
    return inner | st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(sorted(KEYS)), inner, max_size=3)


@st.composite
def fitting_service(draw: st.DrawFn) -> dict[str, t.Any]:
    """Return a service whose value has right keys and, mostly, right types."""
    name = draw(st.sampled_from(sorted(BUILT_IN)))
    spec = BUILT_IN[name].spec
    if spec is None or draw(st.integers(0, 9)) == 0:
        return {"type": name, "value": draw(values(2))}
    kinds: dict[str, st.SearchStrategy[t.Any]] = {
        "str": TEXT,
        "int": st.integers(0, 70000),
        "bool": st.booleans(),
        "list": st.lists(TEXT | values(1), max_size=2),
        "dict": st.dictionaries(TEXT, values(1), max_size=2),
        "raw": values(2),
    }
    keys = draw(st.sets(st.sampled_from(sorted(spec)), max_size=4)) | {
        key for key, entry in spec.items() if entry.get("required")
    }
    return {"type": name, "value": {key: draw(kinds[spec[key].get("type", "str")]) for key in sorted(keys)}}


SYSTEMS = st.fixed_dictionaries({"host_name": st.just("a"), "services": st.lists(fitting_service(), max_size=4)})


@example({"host_name": "a", "services": [{"type": "unit", "value": {"name": "a", "sections": {"": "a"}}}]}, False)
@example({"host_name": "a", "services": [{"type": "unit", "value": {"name": "a", "sections": {"": None}}}]}, False)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SYSTEMS, st.booleans())
def test_any_services_render_or_are_refused(system: dict[str, t.Any], shared: bool) -> None:
    before = copy.deepcopy(system)
    with contextlib.suppress(DeclarationError):
        derived = containerized_operating_system(system, shared_network=shared)
        json.dumps(system_files(derived, shared_network=shared))
    assert repr(before) == repr(system)


@given(values(3), values(2))
def test_any_changes_apply_or_are_refused(services: t.Any, changes: t.Any) -> None:
    with contextlib.suppress(DeclarationError):
        modify_services(services, changes)


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
