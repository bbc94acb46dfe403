# SPDX-FileCopyrightText: The unshare.container authors
# SPDX-License-Identifier: GPL-3.0-or-later

"""A state is asked for a name that no container of the host has: a typing error, unless it is to be absent."""

from __future__ import annotations

import contextlib
import typing as t

import pytest
from ansible_collections.unshare.container.plugins.module_utils.life import strangers
from ansible_collections.unshare.container.plugins.module_utils.life.host_containers import HostContainers
from ansible_collections.unshare.container.plugins.module_utils.life.life_cycle import LifeCycle
from ansible_collections.unshare.container.plugins.module_utils.life.strangers import SHOWN
from ansible_collections.unshare.container.plugins.module_utils.state.systems import Systems
from ansible_collections.unshare.container.plugins.module_utils.state.target import Layout, TargetError
from ansible_collections.unshare.container.plugins.modules.containers import options_of

from ..target_helpers import FakeContainer, content

STATES = ["started", "stopped", "restarted", "rolled_back"]


@pytest.fixture
def layout(tmp_path: t.Any, own_launcher: None) -> Layout:
    """Return a host that has the containers `web`, which runs a system, and `database`."""
    layout = Layout(tmp_path)
    system = Systems(layout).write(content(), None)
    LifeCycle(layout, "web", FakeContainer(), system=system).reach("started")
    layout.generations("database").mkdir(parents=True)
    return layout


def said(layout: Layout, name: str, state: str) -> str:
    container = FakeContainer()
    container.name = name
    cycle = LifeCycle(layout, name, container)
    found = set()
    for act in (cycle.plan, cycle.would_change, cycle.reach):
        with pytest.raises(TargetError) as error:
            act(state)
        found.add(str(error.value))
    assert container.calls == []
    assert not layout.container(name).exists()
    (only,) = found
    return only


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("wbe", "; did you mean 'web'? It has database, web. "),
        ("web-1", "; did you mean 'web'? It has database, web. "),
        ("databse", "; did you mean 'database'? It has database, web. "),
        ("queue", ". It has database, web. "),
    ],
)
def test_the_names_of_the_host_are_said(layout: Layout, name: str, meant: str, state: str) -> None:
    assert said(layout, name, state).startswith(
        f"container {name!r}: this host has no container of this name{meant}Correct the name; "
    )


@pytest.mark.parametrize(
    ("state", "way_out"),
    [
        ("started", "a new container needs a system: write one with unshare.container.container_script"),
        ("restarted", "a new container needs a system: write one with unshare.container.container_script"),
        ("stopped", "a container that is not to be there has state: absent"),
        ("rolled_back", "a container that was never there has nothing to go back to"),
    ],
)
def test_the_way_out_is_that_of_the_state(layout: Layout, state: str, way_out: str) -> None:
    assert f"Correct the name; {way_out}" in said(layout, "wbe", state)


@pytest.mark.parametrize("state", STATES)
def test_a_host_without_containers_says_so(tmp_path: t.Any, state: str) -> None:
    assert "no container of this name. It has none. " in said(Layout(tmp_path), "web", state)


def test_many_names_are_not_all_said(layout: Layout) -> None:
    for number in range(SHOWN):
        layout.generations(f"many-{number:02}").mkdir(parents=True)
    text = said(layout, "wbe", "stopped")
    assert "did you mean 'web'? It has database, many-00, " in text
    assert text.count("many-") == SHOWN - 1
    assert "many-28 and 2 more. " in text


def test_one_that_is_run_by_hand_is_named(layout: Layout) -> None:
    (layout.root / "run/unshare/by-hand").mkdir(parents=True)
    assert "It has by-hand, database, web. " in said(layout, "x", "stopped")


def test_the_lock_of_the_unknown_one_is_no_container(layout: Layout) -> None:
    (layout.root / "run/unshare/wbe").mkdir(parents=True)
    text = str(strangers.unknown(layout, "wbe", "snapshot"))
    assert "no container of this name; did you mean 'web'? It has database, web. " in text


@pytest.mark.parametrize("state", STATES)
def test_what_is_left_of_one_is_no_stranger(layout: Layout, state: str) -> None:
    """Its error, if any, is another one."""
    cycle = LifeCycle(layout, "database", FakeContainer())
    for act in (cycle.plan, cycle.reach):
        with (
            contextlib.nullcontext() if state == "stopped" else pytest.raises(TargetError, match="has no (system|gen)")
        ):
            act(state)


def test_absent_stays_as_it_is(layout: Layout) -> None:
    cycle = LifeCycle(layout, "wbe", FakeContainer())
    assert cycle.plan("absent")["state"] == "absent"
    assert not cycle.would_change("absent")
    cycle.reach("absent")
    assert not cycle.changed


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize("state", ["stopped", "rolled_back"])
def test_a_misspelled_name_keeps_the_one_that_is_meant_from_being_purged(
    layout: Layout, state: str, check: bool
) -> None:
    declared = {"wbe": {**options_of({"state": state}, "wbe"), "digest": None, "security": None}}

    def make(name: str) -> t.Any:
        container = FakeContainer()
        container.name = name
        return container

    host = HostContainers(layout.root, declared, {}, {}, make, check)
    results = {result["name"]: result for result in host.bring(False, options_of({"state": "absent"}, "purge"))}
    assert "did you mean 'web'?" in results["wbe"]["msg"]
    assert all(result["failed"] for result in results.values())
    assert "another container is refused (wbe)" in results["web"]["msg"]
    assert layout.current_system("web")
    assert "did you mean 'web'?" in host.stage()[0]["msg"]
